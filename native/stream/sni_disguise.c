#include "stream/opener.h"

#include "base/mem.h"
#include "codec/client_hello.h"
#include "codec/hello_edit.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct disguise {
    uint8_t len;
    char host[TG_HELLO_NAME_MAX + 1];
};

static int copy(struct tg_pool *pool, const uint8_t *in, size_t len, struct tg_buf **out)
{
    *out = tg_buf_get(pool, len > 0 ? len : 1);
    if (*out == NULL)
        return 0; /* what is lost the reader of the rest will find out */
    memcpy((*out)->data, in, len);
    (*out)->end = (uint32_t)len;
    return 0;
}

static void add(struct tg_buf *b, const void *data, size_t len)
{
    memcpy(b->data + b->end, data, len);
    b->end += (uint32_t)len;
}

static int disguise_hello(const struct disguise *d, struct tg_pool *pool, const uint8_t *in,
                          size_t len, bool last, struct tg_buf **out)
{
    struct tg_client_hello hello;
    struct tg_error err;
    char hidden[TG_HIDDEN_MAX];
    ssize_t n = tg_client_hello_decode(in, len, &hello, &err);
    if (n == TG_AGAIN && !last)
        return TG_AGAIN;
    if (n < 0 || hello.name_len == 0)
        return copy(pool, in, len, out);
    struct tg_hello_edit edit = {
        .name = { (const uint8_t *)d->host, d->len },
        .hidden = { (const uint8_t *)hidden,
                    tg_hidden_name((const uint8_t *)hello.name, hello.name_len, hidden) },
    };
    size_t rest = len - (size_t)n, room = (size_t)n + TG_HELLO_EDIT_ROOM;
    struct tg_buf *b = tg_buf_get(pool, room + rest);
    ssize_t made = b == NULL ? TG_LIMIT : tg_hello_edit(in, (size_t)n, &edit, b->data, room, &err);
    if (made < 0) {
        tg_buf_put(pool, b);
        return copy(pool, in, len, out);
    }
    b->end = (uint32_t)made;
    add(b, in + n, rest);
    *out = b;
    return 0;
}

/* The first line of a request begins with a method, in capitals. */
static bool looks_like_request(const uint8_t *in, size_t len)
{
    for (size_t i = 0; i < len && i < 16; i++) {
        if (in[i] == ' ')
            return i > 2;
        if (in[i] < 'A' || in[i] > 'Z')
            return false;
    }
    return len < 16;
}

static const uint8_t *find_host(const uint8_t *in, size_t len, size_t *line)
{
    const uint8_t *at = in, *end = in + len, *next;
    while ((next = memmem(at, (size_t)(end - at), "\r\n", 2)) != NULL) {
        at = next + 2;
        next = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (next == NULL || next == at)
            return NULL;
        if (next - at >= 5 && strncasecmp((const char *)at, "Host:", 5) == 0) {
            *line = (size_t)(next - at);
            return at;
        }
    }
    return NULL;
}

static int disguise_request(const struct disguise *d, struct tg_pool *pool, const uint8_t *in,
                            size_t len, bool last, struct tg_buf **out)
{
    char hidden[TG_HIDDEN_MAX];
    size_t line = 0;
    if (!last && memmem(in, len, "\r\n\r\n", 4) == NULL)
        return TG_AGAIN;
    const uint8_t *at = find_host(in, len, &line);
    if (at == NULL)
        return copy(pool, in, len, out);
    const uint8_t *name = at + 5, *end = at + line;
    while (name < end && *name == ' ')
        name++;
    while (end > name && end[-1] == ' ')
        end--;
    size_t n = tg_hidden_name(name, (size_t)(end - name), hidden);
    struct tg_buf *b = n == 0 ? NULL : tg_buf_get(pool, len + d->len + n + 32);
    if (b == NULL)
        return copy(pool, in, len, out);
    add(b, in, (size_t)(at - in));
    add(b, "Host: ", 6);
    add(b, d->host, d->len);
    add(b, "\r\nGost-Target: ", 15);
    add(b, hidden, n);
    add(b, at + line, len - (size_t)(at - in) - line);
    *out = b;
    return 0;
}

static int open_disguised(void *arg, struct tg_pool *pool, const uint8_t *in, size_t len, bool last,
                          struct tg_buf **out)
{
    const struct disguise *d = arg;
    if (len == 0)
        return last ? 0 : TG_AGAIN;
    if (in[0] == 0x16)
        return disguise_hello(d, pool, in, len, last, out);
    if (looks_like_request(in, len))
        return disguise_request(d, pool, in, len, last, out);
    return copy(pool, in, len, out);
}

struct tg_stream *tg_sni_disguise(struct tg_stream *lower, const char *host, size_t len)
{
    static const struct tg_opener kind = { .name = "sni", .open = open_disguised, .release = free };
    struct disguise *d = tg_zalloc(sizeof(*d));
    d->len = (uint8_t)(len < TG_HELLO_NAME_MAX ? len : TG_HELLO_NAME_MAX);
    memcpy(d->host, host, d->len);
    return tg_opener_start(lower, &kind, d);
}
