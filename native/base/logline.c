#include "base/logline.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

char *tg_text_room(struct tg_text *t, size_t more)
{
    if (t->cap - t->len < more) {
        size_t cap = t->cap != 0 ? t->cap : 512;
        while (cap - t->len < more)
            cap *= 2;
        char *data = realloc(t->data, cap);
        if (data == NULL)
            abort();
        t->data = data;
        t->cap = cap;
    }
    return t->data + t->len;
}

void tg_text_add(struct tg_text *t, const void *data, size_t len)
{
    memcpy(tg_text_room(t, len), data, len);
    t->len += len;
}

void tg_text_close(struct tg_text *t)
{
    free(t->data);
    memset(t, 0, sizeof(*t));
}

static bool is_tail(const uint8_t *s, size_t len, size_t at)
{
    return at < len && (s[at] & 0xc0) == 0x80;
}

/* Bytes of the UTF-8 character at the front, 0: there is none (RFC 3629). */
static size_t utf8_length(const uint8_t *s, size_t len)
{
    uint8_t a = s[0], b = len > 1 ? s[1] : 0;
    if (a < 0x80)
        return 1;
    if (a >= 0xc2 && a < 0xe0)
        return is_tail(s, len, 1) ? 2 : 0;
    if (a >= 0xe0 && a < 0xf0) {
        bool odd = (a == 0xe0 && b < 0xa0) || (a == 0xed && b >= 0xa0);
        return is_tail(s, len, 1) && is_tail(s, len, 2) && !odd ? 3 : 0;
    }
    if (a >= 0xf0 && a < 0xf5) {
        bool odd = (a == 0xf0 && b < 0x90) || (a == 0xf4 && b >= 0x90);
        return is_tail(s, len, 1) && is_tail(s, len, 2) && is_tail(s, len, 3) && !odd ? 4 : 0;
    }
    return 0;
}

static const char digits[] = "0123456789abcdef";

/* What a short escape stands for, or 0. */
static char short_escape(uint8_t c, bool json)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\a':
        return json ? 0 : 'a';
    case '\b':
        return json ? 0 : 'b';
    case '\f':
        return json ? 0 : 'f';
    case '\v':
        return json ? 0 : 'v';
    default:
        return 0;
    }
}

static void put_escaped(struct tg_text *out, uint8_t c, bool json)
{
    char letter = short_escape(c, json);
    if (letter != 0) {
        tg_text_add(out, (char[]){ '\\', letter }, 2);
    } else if (json) {
        tg_text_add(out, (char[]){ '\\', 'u', '0', '0', digits[c >> 4], digits[c & 15] }, 6);
    } else {
        tg_text_add(out, (char[]){ '\\', 'x', digits[c >> 4], digits[c & 15] }, 4);
    }
}

/* Length of the run at the front that needs no second look. */
static size_t plain_run(const uint8_t *s, size_t len)
{
    size_t n = 0;
    while (n < len && s[n] >= ' ' && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
        n++;
    return n;
}

static void put_quoted(struct tg_text *out, const uint8_t *s, size_t len, bool json)
{
    tg_text_add(out, "\"", 1);
    while (len > 0) {
        size_t n = plain_run(s, len);
        if (n == 0) {
            n = utf8_length(s, len);
            if (n == 0 && json) {
                tg_text_add(out, "\xef\xbf\xbd", 3);
                n = 1;
            } else if (n == 0 || (n == 1 && (*s != 0x7f || !json))) {
                put_escaped(out, *s, json);
                n = 1;
            } else {
                tg_text_add(out, s, n);
            }
        } else {
            tg_text_add(out, s, n);
        }
        s += n;
        len -= n;
    }
    tg_text_add(out, "\"", 1);
}

void tg_logline_json(struct tg_text *out, const char *s, size_t len)
{
    put_quoted(out, (const uint8_t *)s, len, true);
}

static bool needs_quotes(const uint8_t *s, size_t len)
{
    if (len == 0)
        return true;
    while (len > 0) {
        size_t n = utf8_length(s, len);
        if (n == 0 || *s <= ' ' || *s == '"' || *s == '=' || *s == 0x7f)
            return true;
        s += n;
        len -= n;
    }
    return false;
}

void tg_logline_text(struct tg_text *out, const char *s, size_t len)
{
    if (needs_quotes((const uint8_t *)s, len))
        put_quoted(out, (const uint8_t *)s, len, false);
    else
        tg_text_add(out, s, len);
}
