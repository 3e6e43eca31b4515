#pragma once

/** @file
 * The syntax of Go's regular expressions (RE2), turned into what PCRE2 understands alike.
 *
 * What RE2 refuses is refused here with a reason: backreferences, look-around, possessive and
 * stacked repetitions, counts over 1000.  What both accept but mean differently is written so that
 * Go's meaning holds: `$` without (?m) is the very end, `\s` has no vertical tab, `\v` is one
 * character, `(?P<name>…)` is a plain group whose name is kept beside it.
 */

#include <stdbool.h>
#include <stddef.h>

/** Counts in {n,m}, also of repetitions inside repetitions, and the depth of groups. */
#define TG_RE2_REPEAT_MAX 1000u
#define TG_RE2_DEPTH_MAX 1000u

/** Why and where a pattern is refused. */
struct tg_regex_error {
    size_t offset;    /**< of the pattern, in bytes from 0 */
    char message[96]; /**< without the place */
};

/** The result; tg_re2_clear() frees what it holds. */
struct tg_re2 {
    char *pattern; /**< for PCRE2, NUL-terminated */
    size_t len;
    unsigned groups; /**< capturing ones */
    char **names;    /**< names[i] belongs to group i + 1; NULL: it has none */
    bool bytes;      /**< holds \C: to be matched by bytes, not characters */
};

/** @return false: refused, see `err`; `out` holds nothing then */
bool tg_re2_translate(const char *pattern, size_t len, struct tg_re2 *out,
                      struct tg_regex_error *err);
void tg_re2_clear(struct tg_re2 *re);
