#pragma once

/** @file
 * Texts full of patterns: lines in tidegate's own grammar, and the forms in which others write
 * down domains.  What each form looks like is told in docs/policies.md.
 */

#include "match/match.h"

#define TG_RULES_MAP(XX)                                                                           \
    XX(PATTERNS, "patterns") /* one pattern of tg_match_add() a line, "#" begins a comment */      \
    XX(AUTO, "auto")         /* each line may be of any of the forms that follow */                \
    XX(PLAIN, "plain")       /* a domain, with all below it */                                     \
    XX(DNSMASQ, "dnsmasq")   /* server=/domain/… */                                              \
    XX(HOSTS, "hosts")       /* address name… */                                                 \
    XX(V2RAY, "v2ray")       /* domain: full: keyword: regexp: geoip: */                           \
    XX(CLASH, "clash")       /* DOMAIN-SUFFIX,… and the like */                                  \
    XX(ADBLOCK, "adblock")   /* ||domain^ */

enum tg_rules_format {
#define XX(name, word) TG_RULES_##name,
    TG_RULES_MAP(XX)
#undef XX
        TG_RULES_FORMATS
};

/** The words of the formats, in order; NULL behind the last. */
extern const char *const tg_rules_words[TG_RULES_FORMATS + 1];

/** Told each regular expression.  @return 0 or TG_BUSY */
typedef int (*tg_rules_regexp_cb)(void *arg, const char *pattern, size_t len);

/** Add what the lines of a text say.  Lines that say nothing we know are noted and left out.
 * @param name of the text, for notes
 * @param regexp takes regular expressions; NULL: they are noted and left out
 * @return 0 or TG_BUSY: out of memory */
int tg_rules_add(struct tg_match *m, enum tg_rules_format format, const char *text, size_t len,
                 const char *name, tg_rules_regexp_cb regexp, void *arg);
