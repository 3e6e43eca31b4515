#include "codec/hello_edit.h"

#include "codec/address.h"
#include "codec/client_hello.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define RECORD_MAX 16384u
#define HIDDEN 0xfffeu
#define SERVER_NAME 0u

/** The message without its record headers, and where its extensions lie. */
struct flat {
    uint8_t *bytes; /* malloc()ed */
    size_t len;
    size_t extensions; /* offset of their length; 0: there are none */
};

struct writer {
    uint8_t *at, *end;
    bool full;
};

static void put(struct writer *w, const void *data, size_t len)
{
    if ((size_t)(w->end - w->at) < len) {
        w->full = true;
        return;
    }
    if (len > 0)
        memcpy(w->at, data, len);
    w->at += len;
}

static void put_u16(struct writer *w, size_t value)
{
    put(w, (uint8_t[]){ (uint8_t)(value >> 8), (uint8_t)value }, 2);
}

/* `n` bytes of records, which the decoder has found good. */
static bool flatten(const uint8_t *in, size_t n, struct flat *f)
{
    f->bytes = malloc(n);
    f->len = f->extensions = 0;
    if (f->bytes == NULL)
        return false;
    for (size_t at = 0; at + 5 <= n; at += 5 + (size_t)tg_u16(in + at + 3)) {
        size_t some = tg_u16(in + at + 3);
        some = some < n - at - 5 ? some : n - at - 5;
        memcpy(f->bytes + f->len, in + at + 5, some);
        f->len += some;
    }
    size_t message = 4 + ((size_t)f->bytes[1] << 16 | (size_t)tg_u16(f->bytes + 2));
    f->len = message < f->len ? message : f->len;
    size_t at = 4 + 2 + 32;
    at += 1 + (size_t)f->bytes[at];         /* session id */
    at += 2 + (size_t)tg_u16(f->bytes + at); /* cipher suites */
    at += 1 + (size_t)f->bytes[at];         /* compression */
    if (at + 2 > f->len)
        return true;
    f->extensions = at;
    size_t end = at + 2 + (size_t)tg_u16(f->bytes + at);
    f->len = end < f->len ? end : f->len;
    return true;
}

/* Walk the extensions: *at is the offset of the next one.
 * @return its content's offset, with type and length; 0 at the end */
static size_t next_extension(const struct flat *f, size_t *at, unsigned *type, size_t *len)
{
    if (*at + 4 > f->len)
        return 0;
    *type = tg_u16(f->bytes + *at);
    *len = tg_u16(f->bytes + *at + 2);
    size_t content = *at + 4;
    if (*len > f->len - content)
        return 0;
    *at = content + *len;
    return content;
}

static void put_name(struct writer *w, struct tg_span name)
{
    put_u16(w, SERVER_NAME);
    put_u16(w, name.len + 5);
    put_u16(w, name.len + 3);
    put(w, "", 1);
    put_u16(w, name.len);
    put(w, name.data, name.len);
}

/* The message with its changed extensions, without its length. */
static void rewrite(const struct flat *f, const struct tg_hello_edit *edit, struct writer *w)
{
    put(w, f->bytes, f->extensions);
    uint8_t *size = w->at;
    put_u16(w, 0);
    size_t at = f->extensions + 2, content, len;
    unsigned type;
    while ((content = next_extension(f, &at, &type, &len)) > 0) {
        if (type == SERVER_NAME && edit->name.len > 0 && len > 0)
            put_name(w, edit->name);
        else if (type != HIDDEN)
            put(w, f->bytes + content - 4, len + 4);
    }
    if (edit->hidden.len > 0) {
        put_u16(w, HIDDEN);
        put_u16(w, edit->hidden.len);
        put(w, edit->hidden.data, edit->hidden.len);
    }
    if (w->full)
        return;
    size_t sum = (size_t)(w->at - size) - 2;
    w->full = sum > 0xffff;
    size[0] = (uint8_t)(sum >> 8);
    size[1] = (uint8_t)sum;
}

static void put_records(struct writer *w, const uint8_t *version, const uint8_t *data, size_t len)
{
    while (len > 0) {
        size_t some = len < RECORD_MAX ? len : RECORD_MAX;
        put(w, "\x16", 1);
        put(w, version, 2);
        put_u16(w, some);
        put(w, data, some);
        data += some;
        len -= some;
    }
}

ssize_t tg_hello_edit(const uint8_t *in, size_t len, const struct tg_hello_edit *edit, uint8_t *out,
                      size_t size, struct tg_error *err)
{
    struct tg_client_hello hello;
    struct flat f;
    ssize_t n = tg_client_hello_decode(in, len, &hello, err);
    if (n < 0)
        return n;
    size_t room = (size_t)n + TG_HELLO_EDIT_ROOM;
    uint8_t *message = malloc(room);
    struct writer body = { message, message == NULL ? NULL : message + room, false };
    struct writer w = { out, out + size, false };
    if (message == NULL || !flatten(in, (size_t)n, &f)) {
        free(message);
        return tg_error_put(err, "tls", "edit", TG_LIMIT, "no memory for the ClientHello");
    }
    if (f.extensions > 0)
        rewrite(&f, edit, &body);
    else
        put(&body, f.bytes, f.len);
    size_t made = (size_t)(body.at - message);
    if (!body.full) {
        size_t inner = made - 4;
        message[1] = (uint8_t)(inner >> 16);
        message[2] = (uint8_t)(inner >> 8);
        message[3] = (uint8_t)inner;
        put_records(&w, in + 1, message, made);
    }
    free(message);
    free(f.bytes);
    if (body.full || w.full)
        return tg_error_put(err, "tls", "edit", TG_LIMIT, "the ClientHello becomes too long");
    return w.at - out;
}

size_t tg_hello_hidden(const uint8_t *in, size_t len, uint8_t out[TG_HIDDEN_MAX])
{
    struct tg_client_hello hello;
    struct tg_error err;
    struct flat f;
    size_t found = 0, size, content;
    unsigned type;
    ssize_t n = tg_client_hello_decode(in, len, &hello, &err);
    if (n < 0 || !flatten(in, (size_t)n, &f))
        return 0;
    size_t at = f.extensions + 2;
    while (f.extensions > 0 && (content = next_extension(&f, &at, &type, &size)) > 0)
        if (type == HIDDEN && size <= TG_HIDDEN_MAX) {
            memcpy(out, f.bytes + content, size);
            found = size;
        }
    free(f.bytes);
    return found;
}

static size_t base64url(const uint8_t *in, size_t len, char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = 0;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0) |
                     (i + 2 < len ? in[i + 2] : 0);
        size_t digits = len - i >= 3 ? 4 : len - i + 1;
        for (size_t d = 0; d < digits; d++)
            out[n++] = letters[v >> (18 - 6 * d) & 63];
    }
    return n;
}

size_t tg_hidden_name(const uint8_t *name, size_t len, char *out)
{
    char inner[4 + 4 * 256 / 3 + 4];
    if (len == 0 || len > 255)
        return 0;
    uint32_t sum = (uint32_t)crc32(0, name, (uInt)len);
    uint8_t *head = (uint8_t *)inner;
    for (int i = 0; i < 4; i++)
        head[i] = (uint8_t)(sum >> (24 - 8 * i));
    size_t n = base64url(name, len, inner + 4);
    return base64url((const uint8_t *)inner, n + 4, out);
}
