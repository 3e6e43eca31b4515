#include "base/logline.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *tg_text_room(struct tg_text *t, size_t more)
{
    if (t->data == NULL || t->cap - t->len < more) {
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

enum quoting {
    TEXT, /* a string of Go */
    JSON,
    HTML, /* JSON that is safe in a page */
};

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
static char short_escape(uint8_t c, enum quoting how)
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
        return how != TEXT ? 0 : 'a';
    case '\b':
        return how != TEXT ? 0 : 'b';
    case '\f':
        return how != TEXT ? 0 : 'f';
    case '\v':
        return how != TEXT ? 0 : 'v';
    default:
        return 0;
    }
}

static void put_escaped(struct tg_text *out, uint8_t c, enum quoting how)
{
    char letter = short_escape(c, how);
    if (letter != 0) {
        tg_text_add(out, (char[]){ '\\', letter }, 2);
    } else if (how != TEXT) {
        tg_text_add(out, (char[]){ '\\', 'u', '0', '0', digits[c >> 4], digits[c & 15] }, 6);
    } else {
        tg_text_add(out, (char[]){ '\\', 'x', digits[c >> 4], digits[c & 15] }, 4);
    }
}

/* The code point of a character of `n` > 1 bytes. */
static uint32_t rune_of(const uint8_t *s, size_t n)
{
    uint32_t rune = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        rune = rune << 6 | (s[i] & 0x3f);
    return rune;
}

/* Spaces but the ordinary one, controls, marks without a shape, private use; beyond ASCII. */
static bool is_unprintable(uint32_t rune)
{
    static const uint32_t ranges[][2] = {
        { 0x80, 0xa0 },     { 0xad, 0xad },     { 0x600, 0x605 },     { 0x61c, 0x61c },
        { 0x6dd, 0x6dd },   { 0x70f, 0x70f },   { 0x1680, 0x1680 },   { 0x180e, 0x180e },
        { 0x2000, 0x200f }, { 0x2028, 0x202f }, { 0x205f, 0x206f },   { 0x3000, 0x3000 },
        { 0xe000, 0xf8ff }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb },   { 0xfffd, 0xffff },
        { 0xe0000, 0xe00ff }, { 0xe01f0, 0x10ffff },
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (rune >= ranges[i][0] && rune <= ranges[i][1])
            return true;
    return false;
}

/* \u00a0 or \U000e0001, as strconv.Quote writes it; U+FFFD it leaves as it is. */
static void put_rune(struct tg_text *out, uint32_t rune)
{
    int digits_left = rune > 0xffff ? 8 : 4;
    tg_text_add(out, digits_left == 8 ? "\\U" : "\\u", 2);
    while (digits_left-- > 0)
        tg_text_add(out, &digits[rune >> digits_left * 4 & 15], 1);
}

/* Length of the run at the front that needs no second look. */
static size_t plain_run(const uint8_t *s, size_t len, enum quoting how)
{
    static const uint8_t special[256] = {
        [0x00 ... 0x1f] = 3, ['"'] = 3, ['\\'] = 3, [0x7f ... 0xff] = 3,
        ['<'] = 2, ['>'] = 2, ['&'] = 2,
    };
    unsigned mask = how == HTML ? 2 : 1;
    size_t n = 0;
    while (n < len && !(special[s[n]] & mask))
        n++;
    return n;
}

/* Of the characters beyond ASCII. */
static bool is_escaped(uint32_t rune, enum quoting how)
{
    if (how != TEXT)
        return rune == 0x2028 || rune == 0x2029;
    return rune != 0xfffd && is_unprintable(rune);
}

static void put_quoted(struct tg_text *out, const uint8_t *s, size_t len, enum quoting how)
{
    tg_text_add(out, "\"", 1);
    while (len > 0) {
        size_t n = plain_run(s, len, how);
        if (n == 0) {
            n = utf8_length(s, len);
            if (n == 0 && how != TEXT) {
                tg_text_add(out, "\xef\xbf\xbd", 3);
                n = 1;
            } else if (n == 0 || (n == 1 && (*s != 0x7f || how == TEXT))) {
                put_escaped(out, *s, how);
                n = 1;
            } else if (n > 1 && is_escaped(rune_of(s, n), how)) {
                put_rune(out, rune_of(s, n));
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
    put_quoted(out, (const uint8_t *)s, len, JSON);
}

void tg_logline_html(struct tg_text *out, const char *s, size_t len)
{
    put_quoted(out, (const uint8_t *)s, len, HTML);
}

/* As Go's slog decides; it takes DEL for printable there. */
static bool needs_quotes(const uint8_t *s, size_t len)
{
    if (len == 0)
        return true;
    while (len > 0) {
        size_t n = utf8_length(s, len);
        if (n == 0 || *s <= ' ' || *s == '"' || *s == '=' || (n > 1 && is_unprintable(rune_of(s, n))))
            return true;
        s += n;
        len -= n;
    }
    return false;
}

void tg_logline_text(struct tg_text *out, const char *s, size_t len)
{
    if (needs_quotes((const uint8_t *)s, len))
        put_quoted(out, (const uint8_t *)s, len, TEXT);
    else
        tg_text_add(out, s, len);
}

void tg_logline_count(struct tg_text *out, uint64_t n)
{
    char text[20];
    size_t len = 0;
    do
        text[sizeof(text) - ++len] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    tg_text_add(out, text + sizeof(text) - len, len);
}

void tg_logline_time(struct tg_text *t, struct tg_stamp *last, const struct timespec *at)
{
    if (last->second != at->tv_sec || last->head[0] == 0) {
        struct tm tm;
        localtime_r(&at->tv_sec, &tm);
        strftime(last->head, sizeof(last->head), "%Y-%m-%dT%H:%M:%S", &tm);
        long minutes = labs(tm.tm_gmtoff) / 60;
        snprintf(last->zone, sizeof(last->zone), minutes == 0 ? "Z" : "%c%02u:%02u",
                 tm.tm_gmtoff < 0 ? '-' : '+', (unsigned)minutes / 60 % 100, (unsigned)minutes % 60);
        last->second = at->tv_sec;
    }
    tg_text_add(t, last->head, strlen(last->head));
    char fraction[] = ".000000000";
    long nanos = at->tv_nsec;
    for (int i = 9; i > 0; i--, nanos /= 10)
        fraction[i] = (char)('0' + nanos % 10);
    size_t len = sizeof(fraction) - 1;
    while (len > 1 && fraction[len - 1] == '0')
        len--;
    if (len > 1)
        tg_text_add(t, fraction, len);
    tg_text_add(t, last->zone, strlen(last->zone));
}
