#include "session/h2_grpc.h"

#include "base/mem.h"
#include "session/h2.h"

#include <stdlib.h>
#include <string.h>

#define HEAD 5u
#define TAG 0x0a          /* field 1, length-delimited */
#define WRITE_MAX 131000u /* payload of one message of ours */
#define PARTS 17
#define STEPS_MAX 4096u /* of one read(): messages may be empty */

/** Where in a message the next byte lies. */
enum place { IN_HEAD, IN_TAG, IN_NUMBER, IN_LENGTH, IN_DATA, IN_OTHER };

struct grpc {
    struct tg_stream base;
    union {
        uint64_t number;       /* being read */
        uint32_t data;         /* bytes left of the field at hand */
        uint8_t in_head[HEAD]; /* between messages */
    };
    uint32_t message;     /* bytes left of the message being read */
    uint32_t promised;    /* bytes left of the message being written */
    bool client : 1;
    bool judged : 1;      /* the response's header was looked at */
    uint8_t in_len : 3;   /* bytes of in_head */
    uint8_t place : 3;
    uint8_t wire;         /* type of the field at hand */
    uint8_t shift;        /* of the number at hand */
    uint8_t head_left;    /* bytes of the head being written */
};

/* --- what the server says beside the bytes ------------------------------------------------------- */

static const struct {
    enum tg_code code;
    const char *text;
} statuses[] = {
    [1] = { TG_RESET, "gRPC status CANCELLED" },
    [2] = { TG_IO, "gRPC status UNKNOWN" },
    [3] = { TG_INVALID, "gRPC status INVALID_ARGUMENT" },
    [4] = { TG_TIMEOUT, "gRPC status DEADLINE_EXCEEDED" },
    [5] = { TG_INVALID, "gRPC status NOT_FOUND" },
    [7] = { TG_DENIED, "gRPC status PERMISSION_DENIED" },
    [8] = { TG_LIMIT, "gRPC status RESOURCE_EXHAUSTED" },
    [12] = { TG_PROTOCOL, "gRPC status UNIMPLEMENTED: the path may differ" },
    [13] = { TG_PROTOCOL, "gRPC status INTERNAL" },
    [14] = { TG_BUSY, "gRPC status UNAVAILABLE" },
    [16] = { TG_AUTH, "gRPC status UNAUTHENTICATED" },
};

static int judge_status(struct grpc *g, const struct tg_h2_field *f)
{
    unsigned status = 0;
    for (size_t i = 0; i < f->value_len && i < 3; i++)
        status = status * 10 + (unsigned)(f->value[i] - '0');
    if (status == 0)
        return 0;
    if (status >= tg_countof(statuses) || statuses[status].text == NULL)
        return tg_stream_break(&g->base, "read", TG_IO, "the server ends with a gRPC error");
    return tg_stream_break(&g->base, "read", statuses[status].code, statuses[status].text);
}

/* The response's header, once it is there.  @return 0 or a negative code */
static int judge_header(struct grpc *g)
{
    struct tg_h2_field f;
    const struct tg_h2_block *b = tg_h2_headers(g->base.lower);
    if (!g->client || g->judged || b == NULL)
        return 0;
    g->judged = true;
    int code = tg_h2_block_find(b, "grpc-status", &f) ? judge_status(g, &f) : 0;
    if (code == 0 && (!tg_h2_block_find(b, ":status", &f) || f.value_len != 3 ||
                      memcmp(f.value, "200", 3) != 0))
        code = tg_stream_break(&g->base, "read", TG_PROTOCOL, "the HTTP status is not 200; the path may differ");
    if (code == 0 && (!tg_h2_block_find(b, "content-type", &f) || f.value_len < 16 ||
                      memcmp(f.value, "application/grpc", 16) != 0))
        code = tg_stream_break(&g->base, "read", TG_PROTOCOL, "the server does not speak gRPC");
    tg_h2_forget_headers(g->base.lower);
    return code;
}

static int judge_end(struct grpc *g)
{
    struct tg_h2_field f;
    if (g->place != IN_HEAD || g->in_len > 0)
        return tg_stream_break(&g->base, "read", TG_EOF, "the end came inside a message");
    if (g->client && tg_h2_block_find(tg_h2_trailers(g->base.lower), "grpc-status", &f))
        return judge_status(g, &f);
    return 0;
}

/* --- reading ------------------------------------------------------------------------------------- */

static int broken(struct grpc *g, const char *detail)
{
    return tg_stream_break(&g->base, "read", TG_PROTOCOL, detail);
}

static void begin_field(struct grpc *g)
{
    g->place = g->message > 0 ? IN_TAG : IN_HEAD;
    g->number = 0;
    g->shift = 0;
}

static int take_head(struct grpc *g)
{
    const uint8_t *h = g->in_head;
    uint8_t flag = h[0];
    g->message = (uint32_t)h[1] << 24 | (uint32_t)h[2] << 16 | (uint32_t)h[3] << 8 | h[4];
    g->in_len = 0;
    if (flag != 0)
        return broken(g, flag == 1 ? "the message is compressed" : "no gRPC message");
    if (g->message > TG_GRPC_MESSAGE_MAX)
        return tg_stream_break(&g->base, "read", TG_LIMIT, "the message is too long");
    begin_field(g);
    return 0;
}

static int begin_value(struct grpc *g)
{
    static const uint8_t sizes[] = { [1] = 8, [5] = 4 };
    if (g->number > UINT32_MAX || g->number >> 3 == 0)
        return broken(g, "a field without a number");
    g->wire = (uint8_t)(g->number & 7);
    bool is_data = g->number == TAG;
    g->number = 0;
    g->shift = 0;
    if (g->wire == 0) {
        g->place = IN_NUMBER;
    } else if (g->wire == 2) {
        g->place = IN_LENGTH;
        g->wire = is_data ? TAG : 2;
    } else if (g->wire == 1 || g->wire == 5) {
        g->place = IN_OTHER;
        g->data = sizes[g->wire];
        if (g->data > g->message)
            return broken(g, "a field ends behind its message");
    } else {
        return broken(g, "a field of an unknown type");
    }
    return 0;
}

static int end_number(struct grpc *g)
{
    if (g->place == IN_TAG)
        return begin_value(g);
    if (g->place == IN_NUMBER) {
        begin_field(g);
        return 0;
    }
    if (g->number > g->message)
        return broken(g, "a field ends behind its message");
    g->data = (uint32_t)g->number;
    g->place = g->wire == TAG ? IN_DATA : IN_OTHER;
    if (g->data == 0)
        begin_field(g);
    return 0;
}

static int take_number(struct grpc *g, uint8_t byte)
{
    if (g->message == 0 || g->shift > 63)
        return broken(g, "a number without an end");
    g->message--;
    g->number |= (uint64_t)(byte & 0x7f) << g->shift;
    g->shift = (uint8_t)(g->shift + 7);
    if (byte & 0x80)
        return g->message == 0 ? broken(g, "a number without an end") : 0;
    return end_number(g);
}

/* Read what is no data.  @return 1 to go on, else what read() answers */
static ssize_t read_frame(struct grpc *g)
{
    struct tg_stream *lower = g->base.lower;
    uint8_t skipped[512];
    ssize_t n;
    int code;
    switch (g->place) {
    case IN_HEAD:
        n = tg_stream_read(lower, g->in_head + g->in_len, HEAD - g->in_len);
        if (n <= 0)
            return n;
        g->in_len = (uint8_t)(g->in_len + n) & 7u;
        code = g->in_len == HEAD ? take_head(g) : 0;
        break;
    case IN_OTHER:
        n = tg_stream_read(lower, skipped, g->data < sizeof(skipped) ? g->data : sizeof(skipped));
        if (n <= 0)
            return n;
        g->data -= (uint32_t)n;
        g->message -= (uint32_t)n;
        if (g->data == 0)
            begin_field(g);
        code = 0;
        break;
    default:
        n = tg_stream_read(lower, skipped, 1);
        if (n <= 0)
            return n;
        code = take_number(g, skipped[0]);
        break;
    }
    return code < 0 ? code : 1;
}

static ssize_t read_data(struct grpc *g, void *buf, size_t len)
{
    ssize_t n = tg_stream_read(g->base.lower, buf, g->data < len ? g->data : len);
    if (n <= 0)
        return n;
    g->data -= (uint32_t)n;
    g->message -= (uint32_t)n;
    if (g->data == 0)
        begin_field(g);
    return n;
}

static ssize_t grpc_read(struct tg_stream *s, void *buf, size_t len)
{
    struct grpc *g = (struct grpc *)s;
    size_t got = 0;
    ssize_t n = 1;
    for (unsigned steps = 0; got < len && n > 0; steps++) {
        if (steps == STEPS_MAX) {
            n = TG_AGAIN; /* the layer below stays readable */
            break;
        }
        bool data = g->place == IN_DATA;
        n = data ? read_data(g, (uint8_t *)buf + got, len - got) : read_frame(g);
        if (data && n > 0)
            got += (size_t)n;
    }
    int code = s->state == TG_STREAM_OPEN ? judge_header(g) : s->error.code;
    if (got > 0)
        return (ssize_t)got; /* what came behind is told by the next call */
    if (code < 0)
        return code;
    if (n == 0)
        return judge_end(g);
    if (n < 0 && n != TG_AGAIN && s->state == TG_STREAM_OPEN)
        return tg_stream_inherit(s);
    return n;
}

/* --- writing --------------------------------------------------------------------------------------- */

static uint8_t put_varint(uint8_t *p, uint32_t value)
{
    uint8_t n = 0;
    for (; value >= 0x80; value >>= 7)
        p[n++] = (uint8_t)(value | 0x80);
    p[n++] = (uint8_t)value;
    return n;
}

/* The head of a message of so many bytes.  @return its length */
static uint8_t make_head(uint8_t *head, uint32_t size)
{
    uint8_t digits = put_varint(head + HEAD + 1, size);
    uint32_t len = 1u + digits + size;
    head[0] = 0;
    head[1] = (uint8_t)(len >> 24);
    head[2] = (uint8_t)(len >> 16);
    head[3] = (uint8_t)(len >> 8);
    head[4] = (uint8_t)len;
    head[HEAD] = TAG;
    return (uint8_t)(HEAD + 1 + digits);
}

static ssize_t grpc_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct grpc *g = (struct grpc *)s;
    struct iovec parts[PARTS];
    if (count > PARTS - 1)
        count = PARTS - 1;
    size_t size = tg_iov_total(iov, count);
    if (size == 0)
        return 0;
    bool fresh = g->promised == 0;
    if (fresh)
        g->promised = size < WRITE_MAX ? (uint32_t)size : WRITE_MAX;
    uint8_t head[HEAD + 6], head_len = make_head(head, g->promised); /* while some of it is left */
    if (fresh)
        g->head_left = head_len;
    size_t left = g->promised;
    int used = 0;
    if (g->head_left > 0)
        parts[used++] = (struct iovec){ head + head_len - g->head_left, g->head_left };
    for (int i = 0; i < count && left > 0; i++) {
        size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;
        parts[used++] = (struct iovec){ iov[i].iov_base, n };
        left -= n;
    }
    ssize_t n = tg_stream_writev(s->lower, parts, used);
    if (n == TG_AGAIN)
        return TG_AGAIN;
    if (n < 0)
        return tg_stream_inherit(s);
    uint8_t of_head = n < g->head_left ? (uint8_t)n : g->head_left;
    g->head_left = (uint8_t)(g->head_left - of_head);
    n -= of_head;
    g->promised -= (uint32_t)n;
    return n > 0 ? n : TG_AGAIN;
}

static int grpc_shutdown(struct tg_stream *s)
{
    struct grpc *g = (struct grpc *)s;
    static const struct tg_h2_field ok = { "grpc-status", "0", 11, 1 };
    if (g->promised > 0)
        return tg_stream_break(s, "shutdown", TG_INVALID, "a message is not complete");
    int code = g->client ? tg_stream_shutdown(s->lower) : tg_h2_finish(s->lower, &ok, 1);
    if (code < 0 && code != TG_AGAIN && s->lower->state == TG_STREAM_FAILED)
        return tg_stream_inherit(s);
    return code;
}

static void grpc_want(struct tg_stream *s, unsigned events)
{
    tg_stream_want(s->lower, events);
}

static void grpc_close(struct tg_stream *s)
{
    tg_stream_close(s->lower);
    free(s);
}

static void on_ready(void *arg, unsigned events)
{
    tg_stream_ready(arg, events);
}

static const struct tg_stream_ops grpc_ops = {
    .name = "grpc",
    .read = grpc_read,
    .writev = grpc_writev,
    .shutdown = grpc_shutdown,
    .want = grpc_want,
    .close = grpc_close,
};

struct tg_stream *tg_h2_grpc_open(struct tg_stream *lower, bool client)
{
    struct grpc *g = tg_zalloc(sizeof(*g));
    g->base.ops = &grpc_ops;
    g->base.lower = lower;
    g->base.reactor = lower->reactor;
    g->base.state = TG_STREAM_OPEN;
    g->base.half_close = lower->half_close;
    g->client = client;
    lower->on_ready = on_ready;
    lower->ready_arg = g;
    return &g->base;
}
