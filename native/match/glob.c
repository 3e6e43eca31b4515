#include "match/glob.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum kind { LITERAL, ONE, ANY, LIST, SPAN };

/* A step of the pattern; `at` and `len` lie in the text. */
struct op {
    uint8_t kind;
    bool negated;
    uint16_t at, len;
    uint32_t low, high; /* of SPAN */
};

struct tg_glob {
    char *text;
    uint16_t count;
    struct op ops[];
};

/* One character of UTF-8; a byte that begins none stands for itself.  @return its length */
static size_t decode(const char *s, size_t len, uint32_t *rune)
{
    static const uint8_t bits[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    uint8_t c = (uint8_t)s[0];
    size_t n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;
    *rune = c;
    if (n < 2 || n > len)
        return 1;
    uint32_t made = c & bits[n];
    for (size_t i = 1; i < n; i++) {
        if (((uint8_t)s[i] & 0xc0) != 0x80)
            return 1;
        made = made << 6 | ((uint8_t)s[i] & 0x3f);
    }
    *rune = made;
    return n;
}

/* A class, read from behind its "[".  @return where it ends, behind "]", or NULL: it is no good */
static const char *read_class(const char *p, const char *end, struct op *op, const char **chars)
{
    uint32_t c, next;
    op->negated = p < end && *p == '!';
    if (op->negated)
        p++;
    if (p == end)
        return NULL;
    size_t n = decode(p, (size_t)(end - p), &c);
    if (end - p > (ptrdiff_t)n && p[n] == '-') { /* a span takes no escapes */
        p += n + 1;
        if (p == end)
            return NULL;
        n = decode(p, (size_t)(end - p), &next);
        p += n;
        op->kind = SPAN;
        op->low = c;
        op->high = next;
        return p < end && *p == ']' && c <= next ? p + 1 : NULL;
    }
    const char *from = p;
    while (p < end && *p != ']')
        p += *p == '\\' && end - p > 1 ? 2 : 1;
    if (p == end || p == from)
        return NULL;
    op->kind = LIST;
    *chars = from;
    op->len = (uint16_t)(p - from);
    return p + 1;
}

/* The next piece of a pattern: an escape, a class, or one byte.  @return where it ends, or NULL */
static const char *skip(const char *p, const char *end)
{
    struct op op;
    const char *chars;
    if (*p == '\\')
        return end - p > 1 ? p + 2 : end;
    if (*p == '[')
        return read_class(p + 1, end, &op, &chars);
    return p + 1;
}

/* Where the first "{" is, its "}" (or the end: gobwas lets it be missing).  @return 0: none, 1,
 * or TG_INVALID */
static int find_group(const char *p, const char *end, const char **open, const char **close)
{
    unsigned depth = 0;
    *open = *close = NULL;
    while (p != end) {
        if (*p == '{' && depth++ == 0)
            *open = p;
        if (*p == '}' && depth > 0 && --depth == 0) {
            *close = p;
            return 1;
        }
        p = skip(p, end);
        if (p == NULL)
            return TG_INVALID;
    }
    *close = end;
    return *open != NULL;
}

/* Where the alternative that begins at `p` ends. */
static const char *alternative_end(const char *p, const char *close)
{
    unsigned depth = 0;
    while (p < close && !(*p == ',' && depth == 0)) {
        if (*p == '{')
            depth++;
        else if (*p == '}' && depth > 0)
            depth--;
        p = skip(p, close);
        if (p == NULL)
            return close;
    }
    return p;
}

/* Patterns that still have alternatives, last first. */
struct work {
    struct {
        char *text;
        size_t len;
    } items[TG_GLOB_ALTERNATIVES];
    unsigned count;
};

static int push(struct work *w, const char *head, size_t head_len, const char *middle,
                size_t middle_len, const char *tail, size_t tail_len)
{
    size_t len = head_len + middle_len + tail_len;
    if (w->count == TG_GLOB_ALTERNATIVES)
        return TG_LIMIT;
    char *text = malloc(len + 1);
    if (text == NULL)
        return TG_BUSY;
    memcpy(text, head, head_len);
    memcpy(text + head_len, middle, middle_len);
    memcpy(text + head_len + middle_len, tail, tail_len);
    w->items[w->count].text = text;
    w->items[w->count++].len = len;
    return 0;
}

static int push_alternatives(struct work *w, const char *text, size_t len, const char *open,
                             const char *close)
{
    const char *end = text + len;
    const char *tail = close < end ? close + 1 : end;
    for (const char *p = open + 1;; p++) {
        const char *stop = alternative_end(p, close);
        int code =
            push(w, text, (size_t)(open - text), p, (size_t)(stop - p), tail, (size_t)(end - tail));
        if (code < 0 || stop >= close)
            return code;
        p = stop;
    }
}

/* Take one pattern off the work: tell it, or put its alternatives in its place. */
static int expand_one(struct work *w, unsigned *told, tg_glob_cb each, void *arg)
{
    const char *open, *close;
    char *text = w->items[--w->count].text;
    size_t len = w->items[w->count].len;
    int code = find_group(text, text + len, &open, &close);
    if (code == 1)
        code = push_alternatives(w, text, len, open, close);
    else if (code == 0 && ++*told > TG_GLOB_ALTERNATIVES)
        code = TG_LIMIT;
    else if (code == 0 && !each(arg, text, len))
        code = TG_CLOSED;
    free(text);
    return code;
}

int tg_glob_expand(const char *pattern, size_t len, tg_glob_cb each, void *arg)
{
    const char *open, *close;
    if (len > TG_GLOB_MAX)
        return TG_LIMIT;
    int code = find_group(pattern, pattern + len, &open, &close);
    if (code == 0) /* nearly all of them */
        return each(arg, pattern, len) ? 0 : TG_CLOSED;
    if (code < 0)
        return code;

    struct work *w = malloc(sizeof(*w));
    if (w == NULL)
        return TG_BUSY;
    unsigned told = 0;
    w->count = 0;
    code = push(w, pattern, len, "", 0, "", 0);
    while (code == 0 && w->count > 0)
        code = expand_one(w, &told, each, arg);
    while (w->count > 0)
        free(w->items[--w->count].text);
    free(w);
    return code;
}

/* Compiling ------------------------------------------------------------------------------------ */

struct compiler {
    struct tg_glob *g;
    size_t text_len;
};

static void add_literal(struct compiler *c, char byte)
{
    struct op *last = c->g->count > 0 ? &c->g->ops[c->g->count - 1] : NULL;
    if (last == NULL || last->kind != LITERAL) {
        last = &c->g->ops[c->g->count++];
        *last = (struct op){ .kind = LITERAL, .at = (uint16_t)c->text_len };
    }
    c->g->text[c->text_len++] = byte;
    last->len++;
}

static const char *add_class(struct compiler *c, const char *p, const char *end)
{
    struct op *op = &c->g->ops[c->g->count++];
    const char *chars = NULL;
    *op = (struct op){ .at = (uint16_t)c->text_len };
    p = read_class(p, end, op, &chars);
    if (chars == NULL)
        return p;
    size_t len = op->len;
    op->len = 0;
    for (size_t i = 0; i < len; i++) {
        if (chars[i] == '\\' && ++i == len)
            break;
        c->g->text[c->text_len++] = chars[i];
        op->len++;
    }
    return p;
}

static void add_any(struct compiler *c)
{
    if (c->g->count == 0 || c->g->ops[c->g->count - 1].kind != ANY)
        c->g->ops[c->g->count++] = (struct op){ .kind = ANY };
}

struct tg_glob *tg_glob_compile(const char *pattern, size_t len)
{
    size_t ops = len * sizeof(struct op);
    struct tg_glob *g = malloc(sizeof(*g) + ops + len + 1);
    if (g == NULL || len > TG_GLOB_MAX) {
        free(g);
        return NULL;
    }
    struct compiler c = { .g = g };
    g->text = (char *)g->ops + ops;
    g->count = 0;
    for (const char *p = pattern, *end = pattern + len; p != NULL && p < end;) {
        if (*p == '[') {
            p = add_class(&c, p + 1, end);
        } else if (*p == '*') {
            add_any(&c);
            p++;
        } else if (*p == '?') {
            g->ops[g->count++] = (struct op){ .kind = ONE };
            p++;
        } else {
            if (*p == '\\' && ++p == end)
                break;
            add_literal(&c, *p++);
        }
    }

    /* what the worst case took too much */
    size_t used = g->count * sizeof(struct op);
    memmove((char *)g->ops + used, g->text, c.text_len);
    struct tg_glob *less = realloc(g, sizeof(*g) + used + c.text_len + 1);
    g = less != NULL ? less : g;
    g->text = (char *)g->ops + used;
    g->text[c.text_len] = '\0';
    return g;
}

/* Matching ------------------------------------------------------------------------------------- */

static bool in_list(const struct tg_glob *g, const struct op *op, uint32_t rune)
{
    const char *p = g->text + op->at, *end = p + op->len;
    while (p < end) {
        uint32_t c;
        p += decode(p, (size_t)(end - p), &c);
        if (c == rune)
            return true;
    }
    return false;
}

/* @return how many bytes of `s` the step takes, or -1 */
static ptrdiff_t take(const struct tg_glob *g, const struct op *op, const char *s, size_t len)
{
    uint32_t rune;
    if (op->kind == LITERAL)
        return op->len <= len && memcmp(s, g->text + op->at, op->len) == 0 ? op->len : -1;
    if (len == 0)
        return -1;
    size_t n = decode(s, len, &rune);
    bool in = op->kind == ONE    ? true
              : op->kind == LIST ? in_list(g, op, rune)
                                 : op->low <= rune && rune <= op->high;
    return in != op->negated ? (ptrdiff_t)n : -1;
}

/* Where the run of a "*" may end next: where what follows it could begin. */
static size_t next_start(const struct tg_glob *g, const struct op *op, const char *s, size_t len,
                         size_t from)
{
    uint32_t rune;
    if (op->kind != LITERAL)
        return from + decode(s + from, len - from, &rune);
    const char *found = memmem(s + from + 1, len - from - 1, g->text + op->at, op->len);
    return found != NULL ? (size_t)(found - s) : len + 1;
}

/* Each "*" takes as little as it can; going back to the last one is enough, as the steps between
 * two of them take a fixed number of characters. */
bool tg_glob_match(const struct tg_glob *g, const char *s, size_t len)
{
    size_t at = 0, retry = 0;
    unsigned i = 0, behind = 0; /* the step behind the last "*"; 0: there was none */
    for (;;) {
        if (i == g->count && at == len)
            return true;
        if (i < g->count && g->ops[i].kind == ANY) {
            if (++i == g->count)
                return true;
            behind = i;
            retry = at;
            continue;
        }
        ptrdiff_t n = i < g->count ? take(g, &g->ops[i], s + at, len - at) : -1;
        if (n >= 0) {
            at += (size_t)n;
            i++;
            continue;
        }
        if (behind == 0 || retry >= len)
            return false;
        retry = next_start(g, &g->ops[behind], s, len, retry);
        if (retry > len)
            return false;
        at = retry;
        i = behind;
    }
}

size_t tg_glob_bytes(const struct tg_glob *g)
{
    size_t text = 1;
    for (unsigned i = 0; i < g->count; i++)
        text += g->ops[i].len;
    return sizeof(*g) + g->count * sizeof(struct op) + text;
}

void tg_glob_free(struct tg_glob *g)
{
    free(g);
}

enum tg_glob_shape tg_glob_shape_of(const char *pattern, size_t len, char *out, size_t *out_len)
{
    const char *p = pattern, *end = pattern + len;
    bool below = false;
    if (p < end && *p == '*') {
        while (p < end && *p == '*')
            p++;
        if (p == end || *p++ != '.')
            return TG_GLOB_OTHER;
        below = true;
    }
    *out_len = 0;
    while (p < end) {
        if (*p == '*' || *p == '?' || *p == '[')
            return TG_GLOB_OTHER;
        if (*p == '\\' && ++p == end)
            break;
        out[(*out_len)++] = *p++;
    }
    return below ? TG_GLOB_BELOW : TG_GLOB_PLAIN;
}
