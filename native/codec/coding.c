#include "codec/coding.h"

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define FIRST_ROOM 4096u
#define WINDOW_GZIP (16 + MAX_WBITS)
#define BROTLI_LEVEL 4
#define ZSTD_LEVEL 3
#define ZSTD_WINDOW_LOG 23 /* 8 MiB, what RFC 8878 7.1 has everybody support */
#define MEM_LEVEL 8

static const struct {
    const char *name;
    enum tg_coding coding;
} names[] = {
    { "gzip", TG_CODING_GZIP },     { "x-gzip", TG_CODING_GZIP }, { "deflate", TG_CODING_DEFLATE },
    { "br", TG_CODING_BROTLI },     { "zstd", TG_CODING_ZSTD },
};

bool tg_coding_find(const char *name, enum tg_coding *out)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].coding;
            return true;
        }
    return false;
}

/** Output that grows up to a limit. */
struct room {
    struct tg_coding_result *out;
    size_t size, max;
};

/* @return free bytes at out->data + out->len; 0: the limit is reached, or there is no memory */
static size_t make_room(struct room *r)
{
    if (r->out->len < r->size)
        return r->size - r->out->len;
    size_t size = r->size == 0 ? FIRST_ROOM : r->size * 2;
    size = size > r->max ? r->max : size;
    if (size <= r->size)
        return 0;
    uint8_t *data = realloc(r->out->data, size);
    if (data == NULL)
        return 0;
    r->out->data = data;
    r->size = size;
    return r->size - r->out->len;
}

static int broken(struct tg_error *err)
{
    return tg_error_put(err, "coding", "unpack", TG_PROTOCOL, "the coding of the body is broken");
}

/* One byte of input that makes no output is possible at the very end: the limit is only known to be passed
 * when a decoder wants more room than there is. */
static int unpack_zlib(int window, const void *in, size_t len, struct room *r, struct tg_error *err)
{
    z_stream z = { .next_in = (Bytef *)in, .avail_in = (uInt)len };
    if (inflateInit2(&z, window) != Z_OK)
        return tg_error_put(err, "coding", "unpack", TG_BUSY, "out of memory");
    int code = 0, result = Z_OK;
    for (;;) {
        uint8_t spare;
        size_t room = make_room(r);
        z.next_out = room > 0 ? r->out->data + r->out->len : &spare;
        z.avail_out = room > 0 ? (uInt)room : 1;
        uInt before = z.avail_out;
        result = inflate(&z, Z_NO_FLUSH);
        uInt made = before - z.avail_out;
        if (room == 0 && made > 0)
            break; /* more than was asked for */
        r->out->len += made;
        if (result == Z_STREAM_END && z.avail_in > 0 && window == WINDOW_GZIP) {
            if (inflateReset(&z) == Z_OK) /* the next member */
                continue;
        }
        if (result == Z_STREAM_END) {
            r->out->whole = true;
            break;
        }
        if (result != Z_OK) {
            /* Z_BUF_ERROR: the input is cut off */
            code = result == Z_BUF_ERROR ? 0 : broken(err);
            break;
        }
        if (z.avail_in == 0 && made == 0)
            break;
    }
    inflateEnd(&z);
    return code;
}

static int unpack_brotli(const void *in, size_t len, struct room *r, struct tg_error *err)
{
    BrotliDecoderState *b = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    if (b == NULL)
        return tg_error_put(err, "coding", "unpack", TG_BUSY, "out of memory");
    const uint8_t *next = in;
    int code = 0;
    for (;;) {
        size_t room = make_room(r);
        uint8_t *out = room > 0 ? r->out->data + r->out->len : NULL;
        size_t before = room;
        BrotliDecoderResult result = BrotliDecoderDecompressStream(b, &len, &next, &room, &out, NULL);
        r->out->len += before - room;
        if (result == BROTLI_DECODER_RESULT_SUCCESS) {
            r->out->whole = len == 0;
            break;
        }
        if (result == BROTLI_DECODER_RESULT_ERROR) {
            code = broken(err);
            break;
        }
        if (result == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT || before == 0)
            break;
    }
    BrotliDecoderDestroyInstance(b);
    return code;
}

static int unpack_zstd(const void *in, size_t len, struct room *r, struct tg_error *err)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    if (z == NULL)
        return tg_error_put(err, "coding", "unpack", TG_BUSY, "out of memory");
    ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
    ZSTD_inBuffer from = { in, len, 0 };
    int code = 0;
    for (;;) {
        uint8_t spare;
        size_t room = make_room(r);
        ZSTD_outBuffer to = { room > 0 ? r->out->data + r->out->len : &spare, room > 0 ? room : 1, 0 };
        size_t at = from.pos;
        size_t left = ZSTD_decompressStream(z, &to, &from);
        if (ZSTD_isError(left)) {
            code = broken(err);
            break;
        }
        if (room == 0 && to.pos > 0)
            break;
        r->out->len += to.pos;
        if (left == 0 && from.pos == len) {
            r->out->whole = true;
            break;
        }
        if (to.pos == 0 && from.pos == at)
            break; /* cut off */
    }
    ZSTD_freeDStream(z);
    return code;
}

int tg_coding_unpack(enum tg_coding coding, const void *in, size_t len, size_t max,
                     struct tg_coding_result *out, struct tg_error *err)
{
    memset(out, 0, sizeof(*out));
    struct room r = { .out = out, .max = max };
    if (len > UINT32_MAX)
        return tg_error_put(err, "coding", "unpack", TG_LIMIT, "too long");
    switch (coding) {
    case TG_CODING_GZIP:
        return unpack_zlib(WINDOW_GZIP, in, len, &r, err);
    case TG_CODING_DEFLATE:
        return unpack_zlib(MAX_WBITS, in, len, &r, err);
    case TG_CODING_BROTLI:
        return unpack_brotli(in, len, &r, err);
    case TG_CODING_ZSTD:
        return unpack_zstd(in, len, &r, err);
    }
    return TG_INVALID;
}

static bool pack_zlib(int window, const void *in, size_t len, struct tg_coding_result *out)
{
    z_stream z = { .next_in = (Bytef *)in, .avail_in = (uInt)len };
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window, MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t size = deflateBound(&z, (uLong)len);
    out->data = malloc(size);
    z.next_out = out->data;
    z.avail_out = (uInt)size;
    bool ok = out->data != NULL && deflate(&z, Z_FINISH) == Z_STREAM_END;
    out->len = z.total_out;
    deflateEnd(&z);
    return ok;
}

static bool pack_brotli(const void *in, size_t len, struct tg_coding_result *out)
{
    size_t size = BrotliEncoderMaxCompressedSize(len);
    size = size == 0 ? len + FIRST_ROOM : size;
    out->data = malloc(size);
    bool ok = out->data != NULL &&
              BrotliEncoderCompress(BROTLI_LEVEL, BROTLI_DEFAULT_WINDOW, BROTLI_DEFAULT_MODE, len, in,
                                    &size, out->data) == BROTLI_TRUE;
    out->len = size;
    return ok;
}

static bool pack_zstd(const void *in, size_t len, struct tg_coding_result *out)
{
    size_t size = ZSTD_compressBound(len);
    out->data = malloc(size);
    size_t made = out->data != NULL ? ZSTD_compress(out->data, size, in, len, ZSTD_LEVEL) : 0;
    out->len = made;
    return out->data != NULL && !ZSTD_isError(made);
}

int tg_coding_pack(enum tg_coding coding, const void *in, size_t len, struct tg_coding_result *out,
                   struct tg_error *err)
{
    memset(out, 0, sizeof(*out));
    bool ok = false;
    if (len > UINT32_MAX / 2)
        return tg_error_put(err, "coding", "pack", TG_LIMIT, "too long");
    switch (coding) {
    case TG_CODING_GZIP:
        ok = pack_zlib(WINDOW_GZIP, in, len, out);
        break;
    case TG_CODING_DEFLATE:
        ok = pack_zlib(MAX_WBITS, in, len, out);
        break;
    case TG_CODING_BROTLI:
        ok = pack_brotli(in, len, out);
        break;
    case TG_CODING_ZSTD:
        ok = pack_zstd(in, len, out);
        break;
    }
    out->whole = ok;
    if (ok)
        return 0;
    free(out->data);
    memset(out, 0, sizeof(*out));
    return tg_error_put(err, "coding", "pack", TG_BUSY, "cannot pack the body");
}
