#include "codec/gzip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>

#define LEVEL 1 /* text that is read once: time counts more than size */
#define GZIP_ONLY (16 + MAX_WBITS)
#define INPUT_MAX (1u << 30)

uint8_t *tg_gzip(const void *data, size_t len, size_t *out_len)
{
    z_stream z = { .next_in = (Bytef *)data, .avail_in = (uInt)len };
    if (len > INPUT_MAX ||
        deflateInit2(&z, LEVEL, Z_DEFLATED, GZIP_ONLY, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    uLong bound = deflateBound(&z, (uLong)len);
    uint8_t *out = malloc(bound);
    z.next_out = out;
    z.avail_out = (uInt)bound;
    bool done = out != NULL && deflate(&z, Z_FINISH) == Z_STREAM_END;
    *out_len = bound - z.avail_out;
    deflateEnd(&z);
    if (!done) {
        free(out);
        return NULL;
    }
    return out;
}
