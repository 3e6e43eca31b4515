/* Lists of patterns and rule sets of all forms, asked for hosts out of the same bytes; and globs
 * against a matcher so simple that it cannot be wrong. */

#include "check.h"

#include "base/error.h"
#include "match/glob.h"
#include "match/rules.h"

#include <stdlib.h>
#include <string.h>

#define SMALL 24 /* bytes of a pattern and a text that the slow matcher is asked about */

static int take_regexp(void *arg, const char *pattern, size_t len)
{
    (void)arg;
    CHECK(len > 0 && pattern != NULL);
    return 0;
}

/* Memory of exactly that size. */
static char *exactly(const uint8_t *data, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, data, len);
    return copy;
}

static void ask(const struct tg_match *m, const char *text, size_t len)
{
    tg_match_has(m, text, len);
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\n' && i + 1 < len && len - i < 300)
            tg_match_has(m, text + i + 1, len - i - 1);
}

static void check_list(enum tg_rules_format format, bool clients, const uint8_t *data, size_t size)
{
    char *text = exactly(data, size);
    struct tg_match *m = tg_match_new(clients);
    CHECK(tg_rules_add(m, format, text, size, "fuzz", take_regexp, NULL) == 0);
    CHECK(strlen(m->notes->text) < sizeof(m->notes->text));
    tg_match_seal(m);
    ask(m, text, size);
    CHECK(tg_match_bytes(m) >= sizeof(*m));
    tg_match_put(m);
    free(text);
}

/* A pattern of names alone finds what it says. */
static void check_name(const uint8_t *data, size_t size)
{
    char name[64] = "";
    size_t n = 0;
    for (size_t i = 0; i < size && n < sizeof(name); i++)
        if (data[i] >= 'a' && data[i] <= 'z')
            name[n++] = (char)data[i];
    if (n < 6) /* or the last byte is the dot, which does not count */
        return;
    name[n / 2] = '.';
    struct tg_match *m = tg_match_new(false);
    CHECK(tg_match_add(m, name, n, NULL, 0) == 0);
    CHECK(tg_match_add_name(m, TG_NAME_SUFFIX, name, n / 2) == 0);
    tg_match_seal(m);
    CHECK(tg_match_has(m, name, n));
    CHECK(tg_match_has(m, name, n / 2));
    CHECK(!tg_match_has(m, name, n - 1));
    tg_match_put(m);
}

/* Matching by its definition; takes forever for long ones. */
static bool slow(const char *p, size_t plen, const char *s, size_t len)
{
    if (plen == 0)
        return len == 0;
    if (*p == '*')
        return slow(p + 1, plen - 1, s, len) || (len > 0 && slow(p, plen, s + 1, len - 1));
    return len > 0 && (*p == '?' || *p == *s) && slow(p + 1, plen - 1, s + 1, len - 1);
}

struct expected {
    const char *text;
    size_t len;
    bool found;
};

static bool compare(void *arg, const char *pattern, size_t len)
{
    struct expected *e = arg;
    char shape[TG_GLOB_MAX];
    size_t n;
    struct tg_glob *g = tg_glob_compile(pattern, len);
    CHECK(g != NULL);
    bool found = tg_glob_match(g, e->text, e->len);
    e->found = e->found || found;
    if (tg_glob_shape_of(pattern, len, shape, &n) == TG_GLOB_PLAIN)
        CHECK(found == (n == e->len && memcmp(shape, e->text, n) == 0));
    CHECK(tg_glob_bytes(g) > 0);
    tg_glob_free(g);
    return true;
}

static void check_glob(const uint8_t *data, size_t size)
{
    size_t cut = size / 2;
    char *pattern = exactly(data, cut), *text = exactly(data + cut, size - cut);
    struct expected e = { .text = text, .len = size - cut };
    int code = tg_glob_expand(pattern, cut, compare, &e);
    CHECK(code == 0 || code == TG_INVALID || code == TG_LIMIT);
    bool simple = cut <= SMALL && size - cut <= SMALL;
    for (size_t i = 0; i < size && simple; i++)
        simple = data[i] < 0x80 && strchr("[{}\\", data[i]) == NULL && data[i] != '\0';
    if (simple)
        CHECK(code == 0 && e.found == slow(pattern, cut, text, size - cut));
    free(pattern);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 8192)
        return 0;
    check_list((enum tg_rules_format)(data[0] % TG_RULES_FORMATS), (data[0] & 0x80) != 0, data + 1,
               size - 1);
    check_name(data + 1, size - 1);
    check_glob(data + 1, size - 1);
    return 0;
}
