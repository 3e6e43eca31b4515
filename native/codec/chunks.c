#include "codec/chunks.h"

#include <string.h>

enum state {
    SIZE,       /* hex digits */
    SIZE_PAD,   /* blanks after them */
    EXTENSION,  /* after the size, up to CR */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,    /* first byte of a line */
    TRAILER_IN, /* inside a line */
    TRAILER_LF,
    END_LF,     /* CR of the empty line was seen */
    DONE,
};

#define AFTER_DATA 7u /* the least that follows a chunk's data: "\r\n0\r\n\r\n" */
#define SIZE_DIGITS_MAX 15u

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static enum state after_size_line(struct tg_chunks *c)
{
    c->line = 0;
    c->digits = 0; /* for the next one */
    return c->left > 0 ? DATA : TRAILER;
}

/* A byte after the digits: blanks may follow, but then nothing that another
 * reader could take for more of the number. */
static int size_end(uint8_t byte)
{
    if (byte == '\r')
        return SIZE_LF;
    if (byte == ';')
        return EXTENSION;
    return byte == ' ' || byte == '\t' ? SIZE_PAD : -1;
}

/* One byte of a chunk size.  @return the next state, or -1 */
static int size_byte(struct tg_chunks *c, uint8_t byte)
{
    int digit = hex(byte);
    if (digit >= 0) {
        if (c->digits == SIZE_DIGITS_MAX)
            return -1;
        c->digits++;
        c->left = c->left << 4 | (unsigned)digit;
        return SIZE;
    }
    if (c->digits == 0)
        return -1;
    return size_end(byte);
}

/* One byte outside of chunk data.  @return the next state, or -1 */
static int step(struct tg_chunks *c, uint8_t byte)
{
    switch ((enum state)c->state) {
    case SIZE:
        return size_byte(c, byte);
    case SIZE_PAD:
        return size_end(byte);
    case EXTENSION:
        return byte == '\r' ? SIZE_LF : is_text(byte) ? EXTENSION : -1;
    case SIZE_LF:
        return byte == '\n' ? (int)after_size_line(c) : -1;
    case DATA_CR:
        return byte == '\r' ? DATA_LF : -1;
    case DATA_LF:
        return byte == '\n' ? SIZE : -1;
    case TRAILER:
        return byte == '\r' ? END_LF : is_text(byte) && byte != ' ' && byte != '\t' ? TRAILER_IN : -1;
    case TRAILER_IN:
        return byte == '\r' ? TRAILER_LF : is_text(byte) ? TRAILER_IN : -1;
    case TRAILER_LF:
        return byte == '\n' ? TRAILER : -1;
    case END_LF:
        return byte == '\n' ? DONE : -1;
    case DATA:
    case DONE:
        break;
    }
    return -1;
}

static bool too_long(struct tg_chunks *c)
{
    c->line++;
    return c->line > (c->state >= TRAILER ? TG_CHUNK_TRAILERS_MAX : TG_CHUNK_LINE_MAX);
}

ssize_t tg_chunks_scan(struct tg_chunks *c, uint8_t *in, size_t len, size_t *data_len,
                       struct tg_error *err)
{
    size_t at = 0, kept = 0;
    c->trailers = 0;
    while (at < len && c->state != DONE) {
        if (c->state == DATA) {
            size_t n = c->left < len - at ? (size_t)c->left : len - at;
            if (data_len != NULL && kept != at)
                memmove(in + kept, in + at, n);
            kept += n;
            at += n;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            continue;
        }
        uint8_t byte = in[at++];
        if (data_len != NULL && c->state >= TRAILER)
            in[kept + c->trailers++] = byte;
        int next = step(c, byte);
        if (next < 0)
            return tg_error_put(err, "http", "body", TG_PROTOCOL, "malformed chunk");
        c->state = (uint8_t)next;
        if (too_long(c))
            return tg_error_put(err, "http", "body", TG_LIMIT, "chunk line or trailers too long");
    }
    if (data_len != NULL)
        *data_len = kept;
    return (ssize_t)at;
}

bool tg_chunks_done(const struct tg_chunks *c)
{
    return c->state == DONE;
}

uint64_t tg_chunks_left(const struct tg_chunks *c)
{
    return c->state == DATA ? c->left + AFTER_DATA : 0;
}
