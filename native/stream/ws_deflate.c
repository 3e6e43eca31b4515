#include "stream/ws_deflate.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#define LEVEL 1 /* gost's */
#define TAIL_LEN 4u

/* What a message's flush ends with, left out on the wire (RFC 7692 7.2.1). */
static const uint8_t tail[TAIL_LEN] = { 0, 0, 0xff, 0xff };

struct tg_ws_deflate {
    z_stream out, in;
    size_t tail_used;
    bool over; /* a final block: what follows in this message is nothing */
};

struct tg_ws_deflate *tg_ws_deflate_new(void)
{
    struct tg_ws_deflate *z = tg_zalloc(sizeof(*z));
    if (deflateInit2(&z->out, LEVEL, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
        inflateInit2(&z->in, -MAX_WBITS) != Z_OK)
        abort();
    return z;
}

void tg_ws_deflate_free(struct tg_ws_deflate *z)
{
    if (z == NULL)
        return;
    deflateEnd(&z->out);
    inflateEnd(&z->in);
    free(z);
}

size_t tg_ws_deflate_pack(struct tg_ws_deflate *z, const struct iovec *iov, int count, size_t len,
                          uint8_t *out)
{
    z_stream *s = &z->out;
    assert(len <= TG_WS_PACK_MAX);
    s->next_out = out;
    s->avail_out = TG_WS_PACKED_MAX;
    for (int i = 0; i < count && len > 0; i++) {
        size_t n = iov[i].iov_len < len ? iov[i].iov_len : len;
        len -= n;
        s->next_in = iov[i].iov_base;
        s->avail_in = (unsigned)n;
        deflate(s, Z_NO_FLUSH);
    }
    s->next_in = NULL;
    s->avail_in = 0;
    deflate(s, Z_SYNC_FLUSH);
    size_t n = TG_WS_PACKED_MAX - s->avail_out;
    assert(s->avail_out > 0 && n > TAIL_LEN); /* what cannot be compressed is stored: 5 bytes each 16 KiB */
    deflateReset(s);
    return n - TAIL_LEN;
}

ssize_t tg_ws_deflate_unpack(struct tg_ws_deflate *z, const uint8_t *in, size_t len, size_t *used,
                             uint8_t *out, size_t room)
{
    z_stream *s = &z->in;
    *used = len;
    if (z->over)
        return 0;
    s->next_in = (uint8_t *)in;
    s->avail_in = (unsigned)len;
    s->next_out = out;
    s->avail_out = (unsigned)room;
    int rc = inflate(s, Z_NO_FLUSH);
    z->over = rc == Z_STREAM_END;
    if (rc != Z_OK && rc != Z_BUF_ERROR && rc != Z_STREAM_END)
        return -1;
    *used = z->over ? len : len - s->avail_in;
    return (ssize_t)(room - s->avail_out);
}

ssize_t tg_ws_deflate_end(struct tg_ws_deflate *z, uint8_t *out, size_t room)
{
    size_t used;
    ssize_t n = tg_ws_deflate_unpack(z, tail + z->tail_used, TAIL_LEN - z->tail_used, &used, out,
                                     room);
    z->tail_used += n < 0 ? 0 : used;
    if (n == 0) {
        z->tail_used = 0;
        z->over = false;
        inflateReset(&z->in);
    }
    return n;
}
