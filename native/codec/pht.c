#include "codec/pht.h"

#include "codec/base64.h"

#include <stdlib.h>
#include <string.h>

void tg_pht_begin(struct tg_pht *p, uint64_t length, uint32_t most)
{
    *p = (struct tg_pht){ .left = length, .most = most, .over = length == 0 };
}

void tg_pht_end(struct tg_pht *p)
{
    free(p->line);
    p->line = NULL;
    p->held = p->cap = 0;
}

/* What of the input belongs to the body, squeezed to its front.  @return as tg_pht_feed */
static ssize_t unframe(struct tg_pht *p, uint8_t *in, size_t len, size_t *data, struct tg_error *err)
{
    if (len == 0 && p->left != TG_PHT_CLOSE)
        return tg_error_put(err, "pht", "body", TG_EOF, "the connection ends within a body");
    if (p->left == TG_PHT_CHUNKED) {
        ssize_t n = tg_chunks_scan(&p->chunks, in, len, data, err);
        p->over = tg_chunks_done(&p->chunks);
        return n;
    }
    *data = len;
    if (p->left == TG_PHT_CLOSE) {
        p->over = len == 0;
    } else {
        *data = p->left < len ? (size_t)p->left : len;
        p->left -= *data;
        p->over = p->left == 0;
    }
    return (ssize_t)*data;
}

static bool hold(struct tg_pht *p, const uint8_t *data, size_t len)
{
    if (p->held + len > p->cap) {
        uint8_t *line = realloc(p->line, p->held + len);
        if (line == NULL)
            return false;
        p->line = line;
        p->cap = p->held + len;
    }
    if (len > 0)
        memcpy(p->line + p->held, data, len);
    p->held += len;
    return true;
}

/* @return bytes that the line stood for */
static size_t take_line(struct tg_pht *p, const uint8_t *line, size_t len, uint8_t *out)
{
    if (p->lines++ >= p->most || p->foreign)
        return 0;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    ssize_t n = tg_base64_decode((const char *)line, len, false, out);
    p->foreign = n < 0;
    return n > 0 ? (size_t)n : 0;
}

ssize_t tg_pht_feed(struct tg_pht *p, uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                    struct tg_error *err)
{
    size_t data = 0, at = 0, from = p->held;
    *out_len = 0;
    ssize_t taken = p->over ? 0 : unframe(p, in, len, &data, err);
    if (taken < 0)
        return taken;
    if (!hold(p, in, data))
        return tg_error_put(err, "pht", "body", TG_LIMIT, "no memory for a line");
    for (const uint8_t *end;
         p->held > from && (end = memchr(p->line + from, '\n', p->held - from)) != NULL;) {
        size_t n = (size_t)(end - p->line) - at;
        if (n > TG_PHT_LINE_MAX)
            break;
        *out_len += take_line(p, p->line + at, n, out + *out_len);
        at = from = (size_t)(end - p->line) + 1;
    }
    p->held -= at;
    if (at > 0)
        memmove(p->line, p->line + at, p->held);
    if (p->held > TG_PHT_LINE_MAX)
        return tg_error_put(err, "pht", "body", TG_LIMIT, "a line is too long");
    if (p->over && p->held > 0) {
        *out_len += take_line(p, p->line, p->held, out + *out_len);
        p->held = 0;
    }
    return taken;
}
