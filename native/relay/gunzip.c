#include "relay/gunzip.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define GZIP_ONLY (16 + MAX_WBITS)

struct tg_gunzip {
    struct tg_pool *pool;
    struct tg_buf *input; /* NULL: none */
    z_stream z;
    bool last;    /* nothing comes after `input` */
    bool between; /* a member has ended; another one may begin */
};

struct tg_gunzip *tg_gunzip_open(struct tg_pool *pool)
{
    struct tg_gunzip *z = tg_zalloc(sizeof(*z));
    z->pool = pool;
    if (inflateInit2(&z->z, GZIP_ONLY) != Z_OK) {
        free(z);
        return NULL;
    }
    return z;
}

void tg_gunzip_close(struct tg_gunzip *z)
{
    if (z == NULL)
        return;
    inflateEnd(&z->z);
    if (z->input != NULL)
        tg_buf_put(z->pool, z->input);
    free(z);
}

bool tg_gunzip_hungry(const struct tg_gunzip *z)
{
    return z->input == NULL && !z->last;
}

int tg_gunzip_feed(struct tg_gunzip *z, const void *data, size_t len, bool last,
                   struct tg_error *err)
{
    z->last = last;
    if (len == 0)
        return 0;
    z->input = tg_buf_get(z->pool, len);
    if (z->input == NULL)
        return tg_error_put(err, "gzip", "read", TG_BUSY, "out of memory");
    memcpy(z->input->data, data, len);
    z->input->end = (uint32_t)len;
    return 0;
}

/* Take note of what inflate() used up. */
static void consume(struct tg_gunzip *z)
{
    if (z->input == NULL)
        return;
    z->input->start = z->input->end - z->z.avail_in;
    if (tg_buf_len(z->input) == 0) {
        tg_buf_put(z->pool, z->input);
        z->input = NULL;
    }
}

static ssize_t starved(const struct tg_gunzip *z, struct tg_error *err)
{
    if (!z->last)
        return TG_AGAIN;
    return z->between ? 0 : tg_error_put(err, "gzip", "read", TG_PROTOCOL, "cut off");
}

ssize_t tg_gunzip_read(struct tg_gunzip *z, void *out, size_t size, struct tg_error *err)
{
    z->z.next_out = out;
    z->z.avail_out = (uInt)size;
    while (z->z.avail_out == size) {
        z->z.next_in = z->input == NULL ? NULL : z->input->data + z->input->start;
        z->z.avail_in = z->input == NULL ? 0 : (uInt)tg_buf_len(z->input);
        if (z->between && z->z.avail_in == 0)
            return starved(z, err);
        z->between = false;
        int rc = inflate(&z->z, Z_NO_FLUSH);
        consume(z);
        if (rc == Z_STREAM_END) {
            inflateReset(&z->z);
            z->between = true;
        } else if (rc == Z_BUF_ERROR) {
            return starved(z, err);
        } else if (rc != Z_OK) {
            return tg_error_put(err, "gzip", "read", TG_PROTOCOL, "damaged");
        }
    }
    return (ssize_t)(size - z->z.avail_out);
}
