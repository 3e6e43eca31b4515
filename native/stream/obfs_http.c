#include "stream/opener.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX 65536u
#define PATIENCE_MS 150
#define STATUS_LEN 12u

struct obfs {
    uint32_t seen;   /* bytes of the answer so far */
    uint8_t matched; /* of the empty line that ends it */
    char status[STATUS_LEN + 1]; /* "HTTP/1.1 101" */
    size_t len;
    uint8_t head[];
};

static int open_request(void *arg, struct tg_pool *pool, const uint8_t *in, size_t len, bool last,
                        struct tg_buf **out)
{
    const struct obfs *o = arg;
    return tg_opener_prefix(pool, o->head, o->len, in, len, last, out);
}

static ssize_t take_answer(void *arg, const uint8_t *in, size_t len, bool *over,
                           struct tg_error *err)
{
    static const uint8_t end[] = "\r\n\r\n";
    struct obfs *o = arg;
    for (size_t i = 0; i < len; i++) {
        if (o->seen < STATUS_LEN)
            o->status[o->seen] = (char)in[i];
        if (++o->seen == STATUS_LEN && (memcmp(o->status, "HTTP/1.", 7) != 0 ||
                                        memcmp(o->status + 8, " 101", 4) != 0))
            return tg_error_put(err, NULL, NULL, TG_PROTOCOL,
                                "the server does not answer with 101; it is no ohttp server");
        o->matched = in[i] == end[o->matched] ? o->matched + 1 : in[i] == '\r';
        if (o->matched == 4) {
            *over = true;
            return (ssize_t)i + 1;
        }
        if (o->seen > ANSWER_MAX)
            return tg_error_put(err, NULL, NULL, TG_LIMIT, "the head of the answer has no end");
    }
    return (ssize_t)len;
}

struct tg_stream *tg_obfs_http(struct tg_stream *lower, const char *head, size_t len)
{
    static const struct tg_opener kind = {
        .name = "ohttp", .open = open_request, .answer = take_answer, .release = free,
        .patience = PATIENCE_MS,
    };
    struct obfs *o = tg_zalloc(sizeof(*o) + len);
    o->len = len;
    memcpy(o->head, head, len);
    return tg_opener_start(lower, &kind, o);
}
