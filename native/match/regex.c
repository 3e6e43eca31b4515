#define PCRE2_CODE_UNIT_WIDTH 8

#include "match/regex.h"

#include "base/error.h"
#include "base/mem.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BACKTRACKS 2500000u /* at one place of the text: about 10 ms */
#define HEAP_KIB 8192u
#define STACK_MIN (32u << 10)
#define STACK_MAX (512u << 10)

/* Places of a long text are tried in slices, and the clock is looked at between two. */
#define SLICE_MIN 1u
#define SLICE_FIRST 64u
#define SLICE_NS 1000000u /* slices that took less are followed by longer ones */

struct tg_regex {
    struct tg_re2 source;
    pcre2_code *code;
    pcre2_match_data *data;
    bool anchored;
};

struct tg_regex_context {
    pcre2_match_context *match;
    pcre2_jit_stack *stack;
    uint64_t deadline; /* ns */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct tg_regex_context *tg_regex_context_new(void)
{
    struct tg_regex_context *c = tg_zalloc(sizeof(*c));
    c->match = pcre2_match_context_create(NULL);
    c->stack = pcre2_jit_stack_create(STACK_MIN, STACK_MAX, NULL);
    if (c->match == NULL)
        abort();
    pcre2_set_match_limit(c->match, BACKTRACKS);
    pcre2_set_heap_limit(c->match, HEAP_KIB);
    if (c->stack != NULL) /* NULL: no JIT here */
        pcre2_jit_stack_assign(c->match, NULL, c->stack);
    return c;
}

void tg_regex_context_free(struct tg_regex_context *c)
{
    if (c == NULL)
        return;
    pcre2_match_context_free(c->match);
    pcre2_jit_stack_free(c->stack);
    free(c);
}

static pcre2_code *compile(const struct tg_re2 *re, int *code, PCRE2_SIZE *offset)
{
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    if (c == NULL)
        abort();
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(c, TG_RE2_DEPTH_MAX);
    uint32_t options = PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_CIRCUMFLEX | PCRE2_USE_OFFSET_LIMIT
        | (re->bytes ? 0 : PCRE2_UTF | PCRE2_MATCH_INVALID_UTF);
    pcre2_code *made = pcre2_compile((PCRE2_SPTR)re->pattern, re->len, options, code, offset, c);
    pcre2_compile_context_free(c);
    if (made != NULL)
        pcre2_jit_compile(made, PCRE2_JIT_COMPLETE); /* refused: it is interpreted */
    return made;
}

struct tg_regex *tg_regex_compile(const char *pattern, size_t len, struct tg_regex_error *err)
{
    struct tg_regex *re = tg_zalloc(sizeof(*re));
    int code;
    PCRE2_SIZE offset;
    if (!tg_re2_translate(pattern, len, &re->source, err)) {
        free(re);
        return NULL;
    }
    re->code = compile(&re->source, &code, &offset);
    if (re->code == NULL) { /* what it says about the place is about our translation */
        err->offset = 0;
        pcre2_get_error_message(code, (PCRE2_UCHAR *)err->message, sizeof(err->message));
        tg_regex_free(re);
        return NULL;
    }
    uint32_t all = 0;
    pcre2_pattern_info(re->code, PCRE2_INFO_ALLOPTIONS, &all);
    re->anchored = (all & PCRE2_ANCHORED) != 0;
    re->data = pcre2_match_data_create_from_pattern(re->code, NULL);
    if (re->data == NULL)
        abort();
    return re;
}

void tg_regex_free(struct tg_regex *re)
{
    if (re == NULL)
        return;
    pcre2_match_data_free(re->data);
    pcre2_code_free(re->code);
    tg_re2_clear(&re->source);
    free(re);
}

void tg_regex_begin(struct tg_regex_context *c)
{
    c->deadline = 0;
}

/* Where the slice that begins at `start` ends: the last place of a match's first character. */
static size_t slice_end(const char *text, size_t len, size_t start, size_t slice)
{
    if (len - start <= slice)
        return len;
    size_t end = start + slice;
    while (end + 1 < len && ((uint8_t)text[end + 1] & 0xc0) == 0x80)
        end++; /* the next slice begins with a whole character */
    return end;
}

static int answer(struct tg_regex *re, int code, const size_t **spans)
{
    if (code < 0)
        return code == PCRE2_ERROR_NOMATCH ? 0 : TG_LIMIT;
    size_t *vector = pcre2_get_ovector_pointer(re->data);
    uint32_t pairs = pcre2_get_ovector_count(re->data);
    for (uint32_t i = (uint32_t)code; i < pairs; i++)
        vector[2 * i] = vector[2 * i + 1] = PCRE2_UNSET;
    *spans = vector;
    return 1;
}

int tg_regex_match(struct tg_regex *re, struct tg_regex_context *c, const char *text, size_t len,
                   size_t start, const size_t **spans)
{
    size_t slice = SLICE_FIRST;
    uint64_t before = 0;
    for (;;) {
        size_t end = re->anchored ? len : slice_end(text, len, start, slice);
        pcre2_set_offset_limit(c->match, end);
        if (end < len && before == 0) {
            before = now_ns();
            if (c->deadline == 0)
                c->deadline = before + TG_REGEX_BUDGET_MS * 1000000u;
        }
        int code = pcre2_match(re->code, (PCRE2_SPTR)text, len, start, 0, re->data, c->match);
        if (code != PCRE2_ERROR_NOMATCH || end >= len)
            return answer(re, code, spans);
        uint64_t after = now_ns();
        if (after > c->deadline)
            return TG_LIMIT;
        slice = after - before < SLICE_NS ? slice * 2 : slice / 2 > SLICE_MIN ? slice / 2 : SLICE_MIN;
        before = after;
        start = end + 1;
    }
}

unsigned tg_regex_groups(const struct tg_regex *re)
{
    return re->source.groups;
}

unsigned tg_regex_group_named(const struct tg_regex *re, const char *name, size_t len)
{
    for (unsigned i = 0; i < re->source.groups; i++) {
        const char *own = re->source.names[i];
        if (own != NULL && strlen(own) == len && memcmp(own, name, len) == 0)
            return i + 1;
    }
    return 0;
}
