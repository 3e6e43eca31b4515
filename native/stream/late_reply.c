#include "stream/opener.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct reply {
    size_t len;
    uint8_t bytes[];
};

static int open_reply(void *arg, struct tg_pool *pool, const uint8_t *in, size_t len, bool last,
                      struct tg_buf **out)
{
    const struct reply *r = arg;
    return tg_opener_prefix(pool, r->bytes, r->len, in, len, last, out);
}

struct tg_stream *tg_late_reply(struct tg_stream *lower, const char *bytes, size_t len)
{
    static const struct tg_opener kind = {
        .name = "reply", .open = open_reply, .release = free,
    };
    struct reply *r = tg_zalloc(sizeof(*r) + len);
    r->len = len;
    memcpy(r->bytes, bytes, len);
    return tg_opener_start(lower, &kind, r);
}
