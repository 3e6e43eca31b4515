#include "match/re2.h"

#include "base/mem.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNE_MAX 0x10ffffu
#define UNLIMITED UINT32_MAX

/* An open parenthesis (the bottom one is the whole pattern). */
struct group {
    size_t at;     /* where it was opened */
    uint32_t most; /* largest product of counted repetitions inside */
};

struct parser {
    const char *start, *p, *end;
    char *out;
    size_t len, size;
    struct group *stack;
    unsigned depth;
    uint32_t atom; /* product of counted repetitions in what a repetition would apply to; 0: nothing */
    bool repeated; /* the last item was a repetition */
    bool wide;     /* something only characters can match */
    struct tg_re2 *result;
    struct tg_regex_error *err;
};

__attribute__((format(printf, 3, 4)))
static bool refuse(struct parser *s, const char *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(s->err->message, sizeof(s->err->message), format, args);
    va_end(args);
    s->err->offset = (size_t)(at - s->start);
    return false;
}

static void emit(struct parser *s, const char *text, size_t len)
{
    if (s->size - s->len <= len) {
        s->size = s->size * 2 + len + 64;
        s->out = realloc(s->out, s->size);
        if (s->out == NULL)
            abort();
    }
    memcpy(s->out + s->len, text, len);
    s->len += len;
    s->out[s->len] = '\0';
}

static void emit_text(struct parser *s, const char *text)
{
    emit(s, text, strlen(text));
}

static void emit_rune(struct parser *s, uint32_t rune)
{
    char text[16];
    int len;
    if (rune < 0x80 && isalnum((int)rune))
        len = snprintf(text, sizeof(text), "%c", (char)rune);
    else
        len = snprintf(text, sizeof(text), "\\x{%x}", rune);
    if (rune > 0x7f)
        s->wide = true;
    emit(s, text, (size_t)len);
}

/* What a repetition may apply to has been written. */
static void atom_done(struct parser *s, uint32_t product)
{
    struct group *g = &s->stack[s->depth];
    s->atom = product;
    s->repeated = false;
    if (g->most < product)
        g->most = product;
}

/* Bytes of the UTF-8 character at p, which is decoded into *rune; 0: malformed. */
static size_t decode(const char *p, const char *end, uint32_t *rune)
{
    static const struct {
        uint8_t mask, lead;
        uint32_t least;
    } forms[] = { { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };
    uint8_t first = (uint8_t)*p;
    for (size_t n = 1; n <= 4; n++) {
        if ((first & forms[n - 1].mask) != forms[n - 1].lead)
            continue;
        if ((size_t)(end - p) < n)
            return 0;
        uint32_t value = first & (uint8_t)~forms[n - 1].mask;
        for (size_t i = 1; i < n; i++) {
            if (((uint8_t)p[i] & 0xc0) != 0x80)
                return 0;
            value = value << 6 | ((uint8_t)p[i] & 0x3f);
        }
        bool good = value >= forms[n - 1].least && value <= RUNE_MAX && (value & 0xfffff800) != 0xd800;
        *rune = value;
        return good ? n : 0;
    }
    return 0;
}

static bool next_rune(struct parser *s, uint32_t *rune)
{
    size_t n = decode(s->p, s->end, rune);
    if (n == 0)
        return refuse(s, s->p, "invalid UTF-8");
    s->p += n;
    return true;
}

/* \x7F and \x{10FFFF}; p is behind the x. */
static bool hex_escape(struct parser *s, const char *at, uint32_t *rune)
{
    bool braces = s->p < s->end && *s->p == '{';
    if (braces)
        s->p++;
    unsigned digits = 0;
    *rune = 0;
    while (s->p < s->end && isxdigit((unsigned char)*s->p) && (braces || digits < 2)) {
        int c = tolower((unsigned char)*s->p++);
        *rune = *rune * 16 + (uint32_t)(isdigit(c) ? c - '0' : c - 'a' + 10);
        digits++;
        if (*rune > RUNE_MAX)
            return refuse(s, at, "no such character: a code point has at most 10FFFF");
    }
    bool closed = !braces || (s->p < s->end && *s->p == '}');
    if (digits == 0 || !closed || (!braces && digits < 2))
        return refuse(s, at, "invalid escape sequence \\x");
    s->p += braces;
    if (*rune >= 0xd800 && *rune <= 0xdfff)
        return refuse(s, at, "no such character: a surrogate");
    return true;
}

static bool octal_escape(struct parser *s, const char *at, uint32_t *rune)
{
    bool backreference = s->p[0] != '0' && (s->p + 1 == s->end || s->p[1] < '0' || s->p[1] > '7');
    if (backreference)
        return refuse(s, at, "backreferences are not supported: \\%c", s->p[0]);
    *rune = 0;
    for (int i = 0; i < 3 && s->p < s->end && *s->p >= '0' && *s->p <= '7'; i++)
        *rune = *rune * 8 + (uint32_t)(*s->p++ - '0');
    return true;
}

/* A backslash that stands for one character; p is behind the backslash. */
static bool escaped_rune(struct parser *s, const char *at, uint32_t *rune)
{
    static const char letters[] = "aftnrv", means[] = "\a\f\t\n\r\v";
    if (s->p == s->end)
        return refuse(s, at, "trailing backslash");
    unsigned char c = (unsigned char)*s->p;
    const char *hit = c != '\0' ? strchr(letters, c) : NULL;
    if (c >= '0' && c <= '7')
        return octal_escape(s, at, rune);
    if (c == '8' || c == '9')
        return refuse(s, at, "backreferences are not supported: \\%c", c);
    if (c == 'k' || c == 'g')
        return refuse(s, at, "backreferences are not supported: \\%c", c);
    s->p++;
    if (c == 'x')
        return hex_escape(s, at, rune);
    if (hit != NULL)
        *rune = (unsigned char)means[hit - letters];
    else if (c < 0x80 && !isalnum(c))
        *rune = c;
    else
        return refuse(s, at, c < 0x80 && isprint(c) ? "invalid escape sequence \\%c"
                                                     : "invalid escape sequence", c);
    return true;
}

/* \pN, \p{Greek}, \p{^Greek}; p is at the p or P. */
static bool property(struct parser *s, const char *at)
{
    bool negative = *s->p++ == 'P';
    const char *name = s->p;
    size_t len = 1;
    if (s->p < s->end && *s->p == '{') {
        name = ++s->p;
        const char *close = memchr(name, '}', (size_t)(s->end - name));
        if (close == NULL)
            return refuse(s, at, "missing } of a character class");
        len = (size_t)(close - name);
        s->p = close + 1;
        if (len > 0 && *name == '^') {
            negative = !negative;
            name++;
            len--;
        }
    } else if (s->p < s->end) {
        s->p++;
    } else {
        len = 0;
    }
    bool good = len > 0 && len < 40;
    for (size_t i = 0; good && i < len; i++)
        good = isalpha((unsigned char)name[i]) || name[i] == '_';
    if (!good)
        return refuse(s, at, "unknown character class");
    bool script = len > 2 && strncmp(name, "Any", 3) != 0;
    emit_text(s, negative ? "\\P{" : "\\p{");
    if (script)
        emit_text(s, "sc:");
    emit(s, name, len);
    emit_text(s, "}");
    s->wide = true;
    return true;
}

/* \d and its like.  @return whether that was it */
static bool perl_class(struct parser *s, bool in_class)
{
    char c = *s->p;
    if (c == 's')
        emit_text(s, in_class ? "\\t\\n\\f\\r\\x20" : "[\\t\\n\\f\\r\\x20]");
    else if (c == 'S')
        emit_text(s, in_class ? "\\S\\x0b" : "[^\\t\\n\\f\\r\\x20]");
    else if (c == 'd' || c == 'D' || c == 'w' || c == 'W')
        emit(s, (char[]){ '\\', c }, 2);
    else
        return false;
    s->p++;
    return true;
}

/* [:alpha:] inside a class.  @return 1 written, 0 not one, -1 refused */
static int posix_class(struct parser *s)
{
    static const char *const names[] = { "alnum", "alpha", "ascii", "blank", "cntrl", "digit",
                                         "graph", "lower", "print", "punct", "space", "upper",
                                         "word", "xdigit" };
    if (s->end - s->p < 4 || s->p[1] != ':')
        return 0;
    const char *close = memmem(s->p + 2, (size_t)(s->end - s->p - 2), ":]", 2);
    if (close == NULL)
        return 0;
    const char *name = s->p + 2;
    if (*name == '^')
        name++;
    size_t len = (size_t)(close - name);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) {
            emit(s, s->p, (size_t)(close + 2 - s->p));
            s->p = close + 2;
            return 1;
        }
    }
    refuse(s, s->p, "unknown character class [:%.*s:]", len < 20 ? (int)len : 20, name);
    return -1;
}

static bool class_rune(struct parser *s, uint32_t *rune)
{
    const char *at = s->p;
    if (*s->p != '\\')
        return next_rune(s, rune);
    s->p++;
    return escaped_rune(s, at, rune);
}

static bool class_range(struct parser *s)
{
    const char *at = s->p;
    uint32_t low, high;
    if (!class_rune(s, &low))
        return false;
    emit_rune(s, low);
    if (s->end - s->p < 2 || s->p[0] != '-' || s->p[1] == ']')
        return true;
    s->p++;
    if (!class_rune(s, &high))
        return false;
    if (high < low)
        return refuse(s, at, "invalid range in a character class: the end is before the start");
    emit_text(s, "-");
    emit_rune(s, high);
    return true;
}

static bool class_item(struct parser *s)
{
    if (*s->p == '[') {
        int found = posix_class(s);
        if (found != 0)
            return found > 0;
    }
    if (*s->p == '\\' && s->end - s->p > 1) {
        const char *at = s->p++;
        if (*s->p == 'p' || *s->p == 'P')
            return property(s, at);
        if (perl_class(s, true))
            return true;
        s->p = at;
    }
    return class_range(s);
}

static bool class(struct parser *s)
{
    const char *at = s->p++;
    emit_text(s, "[");
    if (s->p < s->end && *s->p == '^') {
        emit_text(s, "^");
        s->p++;
    }
    for (bool first = true; s->p < s->end && (first || *s->p != ']'); first = false)
        if (!class_item(s))
            return false;
    if (s->p == s->end)
        return refuse(s, at, "missing ] of a character class");
    s->p++;
    emit_text(s, "]");
    atom_done(s, 1);
    return true;
}

/* \Q … \E */
static bool quoted(struct parser *s)
{
    while (s->p < s->end && !(s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'E')) {
        uint32_t rune;
        if (!next_rune(s, &rune))
            return false;
        emit_rune(s, rune);
        atom_done(s, 1);
    }
    if (s->p < s->end)
        s->p += 2;
    return true;
}

static bool escape(struct parser *s)
{
    const char *at = s->p++;
    char c = s->p < s->end ? *s->p : '\0';
    uint32_t rune;
    switch (c) {
    case 'A':
    case 'b':
    case 'B':
    case 'z':
        emit(s, (char[]){ '\\', c }, 2);
        s->p++;
        break;
    case 'C':
        s->result->bytes = true;
        emit_text(s, "(?s:.)");
        s->p++;
        break;
    case 'Q':
        s->p++;
        return quoted(s);
    case 'p':
    case 'P':
        if (!property(s, at))
            return false;
        break;
    default:
        if (s->p < s->end && perl_class(s, false))
            break;
        if (!escaped_rune(s, at, &rune))
            return false;
        emit_rune(s, rune);
    }
    atom_done(s, 1);
    return true;
}

static bool name_taken(const struct tg_re2 *re, const char *name, size_t len)
{
    for (unsigned i = 0; i < re->groups; i++)
        if (re->names[i] != NULL && strlen(re->names[i]) == len && memcmp(re->names[i], name, len) == 0)
            return true;
    return false;
}

static void add_capture(struct tg_re2 *re, const char *name, size_t len)
{
    re->names = realloc(re->names, (re->groups + 1) * sizeof(*re->names));
    char *copy = name != NULL ? strndup(name, len) : NULL;
    if (re->names == NULL || (name != NULL && copy == NULL))
        abort();
    re->names[re->groups++] = copy;
}

static bool open_group(struct parser *s, const char *at, const char *text, size_t len)
{
    if (s->depth >= TG_RE2_DEPTH_MAX)
        return refuse(s, at, "groups are nested too deeply");
    s->depth++;
    s->stack[s->depth] = (struct group){ .at = (size_t)(at - s->start), .most = 1 };
    s->atom = 0;
    s->repeated = false;
    emit(s, text, len);
    return true;
}

static bool named_group(struct parser *s, const char *at, const char *name)
{
    const char *close = memchr(name, '>', (size_t)(s->end - name));
    size_t len = close != NULL ? (size_t)(close - name) : 0;
    bool good = len > 0;
    for (size_t i = 0; good && i < len; i++)
        good = isalnum((unsigned char)name[i]) || name[i] == '_';
    if (!good)
        return refuse(s, at, "invalid name of a group");
    if (name_taken(s->result, name, len))
        return refuse(s, at, "two groups are named %.*s", len < 40 ? (int)len : 40, name);
    add_capture(s->result, name, len);
    s->p = close + 1;
    return open_group(s, at, "(", 1);
}

static bool unknown_group(struct parser *s, const char *at)
{
    const char *rest = at + 2;
    char next = rest < s->end ? *rest : '\0', after = s->end - rest > 1 ? rest[1] : '\0';
    if (next == '=' || next == '!' || (next == '<' && (after == '=' || after == '!')))
        return refuse(s, at, "look-around is not supported");
    if (next == 'P' && (after == '=' || after == '>'))
        return refuse(s, at, "backreferences are not supported");
    return refuse(s, at, "unknown or unsupported kind of group: (?%s%c",
                  isprint((unsigned char)next) ? "" : "…", isprint((unsigned char)next) ? next : ' ');
}

/* (?flags) and (?flags:…); p is behind the question mark. */
static bool flags(struct parser *s, const char *at)
{
    bool minus = false, seen = false;
    for (; s->p < s->end; s->p++) {
        char c = *s->p;
        if (c == 'i' || c == 'm' || c == 's' || c == 'U') {
            seen = true;
        } else if (c == '-' && !minus) {
            minus = true;
            seen = false;
        } else if ((c == ':' || c == ')') && (!minus || seen)) {
            s->p++;
            size_t len = (size_t)(s->p - at);
            if (c == ':')
                return open_group(s, at, at, len);
            emit(s, at, len);
            return true;
        } else {
            break;
        }
    }
    return unknown_group(s, at);
}

static bool group(struct parser *s)
{
    const char *at = s->p++;
    if (s->p == s->end || *s->p != '?') {
        add_capture(s->result, NULL, 0);
        return open_group(s, at, "(", 1);
    }
    s->p++;
    size_t left = (size_t)(s->end - s->p);
    if (left > 2 && s->p[0] == 'P' && s->p[1] == '<')
        return named_group(s, at, s->p + 2);
    if (left > 1 && s->p[0] == '<' && s->p[1] != '=' && s->p[1] != '!')
        return named_group(s, at, s->p + 1);
    return flags(s, at);
}

static bool close_group(struct parser *s)
{
    if (s->depth == 0)
        return refuse(s, s->p, "unexpected )");
    uint32_t most = s->stack[s->depth--].most;
    s->p++;
    emit_text(s, ")");
    atom_done(s, most);
    return true;
}

static const char *read_count(const char *p, const char *end, uint32_t *count)
{
    if (p == end || !isdigit((unsigned char)*p) || (*p == '0' && end - p > 1 && isdigit((unsigned char)p[1])))
        return NULL;
    *count = 0;
    for (; p < end && isdigit((unsigned char)*p); p++)
        if (*count <= TG_RE2_REPEAT_MAX)
            *count = *count * 10 + (uint32_t)(*p - '0');
    return p;
}

/* {n}, {n,} or {n,m} at p.  @return what follows, or NULL: braces mean themselves here */
static const char *read_counts(const char *p, const char *end, uint32_t *least, uint32_t *most)
{
    p = read_count(p + 1, end, least);
    if (p == NULL || p == end)
        return NULL;
    *most = *least;
    if (*p == ',') {
        p++;
        *most = UNLIMITED;
        if (p < end && *p != '}')
            p = read_count(p, end, most);
    }
    return p != NULL && p < end && *p == '}' ? p + 1 : NULL;
}

/* The repetition from p to `after` is one; a question mark may follow. */
static bool repetition(struct parser *s, const char *after, uint32_t count)
{
    const char *at = s->p;
    if (after < s->end && *after == '?')
        after++;
    if (s->repeated)
        return refuse(s, at, "repetitions cannot be stacked: %.*s", (int)(after - at < 20 ? after - at : 20), at);
    if (s->atom == 0)
        return refuse(s, at, "nothing to repeat: %.*s", (int)(after - at < 20 ? after - at : 20), at);
    uint64_t product = (uint64_t)s->atom * (count > 0 ? count : 1);
    if (product > TG_RE2_REPEAT_MAX)
        return refuse(s, at, "repeats more than %u times", TG_RE2_REPEAT_MAX);
    emit(s, at, (size_t)(after - at));
    s->p = after;
    atom_done(s, (uint32_t)product);
    s->repeated = true;
    return true;
}

static bool brace(struct parser *s)
{
    uint32_t least, most;
    const char *after = read_counts(s->p, s->end, &least, &most);
    if (after == NULL) {
        emit_rune(s, '{');
        s->p++;
        atom_done(s, 1);
        return true;
    }
    if (least > TG_RE2_REPEAT_MAX || (most != UNLIMITED && (most > TG_RE2_REPEAT_MAX || most < least)))
        return refuse(s, s->p, "invalid counts of a repetition: %.*s",
                      (int)(after - s->p < 20 ? after - s->p : 20), s->p);
    return repetition(s, after, most == UNLIMITED ? least : most);
}

static bool item(struct parser *s)
{
    uint32_t rune;
    switch (*s->p) {
    case '(':
        return group(s);
    case ')':
        return close_group(s);
    case '[':
        return class(s);
    case '\\':
        return escape(s);
    case '{':
        return brace(s);
    case '*':
    case '+':
    case '?':
        return repetition(s, s->p + 1, 1);
    case '|':
        emit_text(s, "|");
        s->atom = 0;
        s->repeated = false;
        s->p++;
        return true;
    case '.':
    case '^':
    case '$':
        emit(s, s->p++, 1);
        break;
    default:
        if (!next_rune(s, &rune))
            return false;
        emit_rune(s, rune);
    }
    atom_done(s, 1);
    return true;
}

static bool parse(struct parser *s)
{
    while (s->p < s->end)
        if (!item(s))
            return false;
    if (s->depth > 0)
        return refuse(s, s->start + s->stack[s->depth].at, "missing )");
    if (s->result->bytes && s->wide)
        return refuse(s, s->start, "\\C goes with ASCII only");
    return true;
}

bool tg_re2_translate(const char *pattern, size_t len, struct tg_re2 *out,
                      struct tg_regex_error *err)
{
    memset(out, 0, sizeof(*out));
    struct parser s = {
        .start = pattern, .p = pattern, .end = pattern + len, .result = out, .err = err,
        .stack = tg_zalloc((TG_RE2_DEPTH_MAX + 1) * sizeof(struct group)),
    };
    emit(&s, "", 0);
    bool good = parse(&s);
    free(s.stack);
    out->pattern = s.out;
    out->len = s.len;
    if (!good)
        tg_re2_clear(out);
    return good;
}

void tg_re2_clear(struct tg_re2 *re)
{
    for (unsigned i = 0; i < re->groups; i++)
        free(re->names[i]);
    free(re->names);
    free(re->pattern);
    memset(re, 0, sizeof(*re));
}
