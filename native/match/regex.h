#pragma once

/** @file
 * Regular expressions in Go's syntax (RE2), run by PCRE2.
 *
 * RE2 takes linear time; PCRE2 does not, so every match has a budget: of backtracking at each place
 * it tries, and of time over all places.  Who exceeds it gets TG_LIMIT, not an answer.
 *
 * Text is UTF-8; bytes that are not match nothing.
 */

#include "match/re2.h"

#include <stdint.h>

/** Time one tg_regex_begin() allows, in ms. */
#define TG_REGEX_BUDGET_MS 50u

struct tg_regex;
/** What the matches of one thread share: limits, a stack for compiled code, and the budget. */
struct tg_regex_context;

struct tg_regex_context *tg_regex_context_new(void);
void tg_regex_context_free(struct tg_regex_context *c);

/** @return NULL: refused, see `err` */
struct tg_regex *tg_regex_compile(const char *pattern, size_t len, struct tg_regex_error *err);
void tg_regex_free(struct tg_regex *re);

/** A call of a user begins: the budget of time is whole again. */
void tg_regex_begin(struct tg_regex_context *c);

/** Look for the first match from `start` on.
 * `*spans`: on a match, pairs of begin and end (SIZE_MAX: that group took no part), the whole match
 * first; valid until the next call with this regex.
 * @return 1, 0: no match, or TG_LIMIT */
int tg_regex_match(struct tg_regex *re, struct tg_regex_context *c, const char *text, size_t len,
                   size_t start, const size_t **spans);

/** @return how many capturing groups there are */
unsigned tg_regex_groups(const struct tg_regex *re);

/** @return the number of a named group, 1 …; 0: there is none */
unsigned tg_regex_group_named(const struct tg_regex *re, const char *name, size_t len);
