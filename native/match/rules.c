#include "match/rules.h"

#include "base/error.h"
#include "base/mem.h"

#include <sched.h>
#include <string.h>
#include <strings.h>

#define TURN 256u /* lines */

const char *const tg_rules_words[TG_RULES_FORMATS + 1] = {
#define XX(name, word) word,
    TG_RULES_MAP(XX)
#undef XX
        NULL,
};

/* A piece of a line. */
struct slice {
    const char *at;
    size_t len;
};

struct reader {
    struct tg_match *m;
    const char *name;
    unsigned line;
    tg_rules_regexp_cb regexp;
    void *arg;
};

/* What readers of lines answer besides codes. */
enum { OTHER = 1 }; /* the line is not of this form */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_blank(*s.at)) {
        s.at++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.at[s.len - 1]))
        s.len--;
    return s;
}

/* What is before the first `c`; the rest, behind it, stays in *s. */
static struct slice cut(struct slice *s, char c)
{
    const char *found = memchr(s->at, c, s->len);
    struct slice head = { s->at, found != NULL ? (size_t)(found - s->at) : s->len };
    size_t gone = head.len + (found != NULL);
    *s = (struct slice){ s->at + gone, s->len - gone };
    return head;
}

static bool begins(struct slice s, const char *with)
{
    size_t n = strlen(with);
    return s.len >= n && strncasecmp(s.at, with, n) == 0;
}

static bool is(struct slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.at, word, s.len) == 0;
}

static struct slice behind(struct slice s, size_t n)
{
    return trim((struct slice){ s.at + n, s.len - n });
}

static void note(struct reader *r, const char *what, struct slice s)
{
    tg_match_note(r->m, r->name, r->line, what, s.at, s.len);
}

static bool is_host(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.at[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.' && c < 0x80)
            return false;
    }
    return s.len > 0 && s.len <= 255;
}

static int add_host(struct reader *r, enum tg_name_kind kind, struct slice s)
{
    if (!is_host(s)) {
        note(r, "is no domain, left out", s);
        return 0;
    }
    return tg_match_add_name(r->m, kind, s.at, s.len);
}

static int add_pattern(struct reader *r, struct slice s)
{
    return tg_match_add(r->m, s.at, s.len, r->name, r->line);
}

static int add_regexp(struct reader *r, struct slice s)
{
    if (r->regexp == NULL) {
        note(r, "regular expressions are not read here, left out", s);
        return 0;
    }
    return s.len > 0 ? r->regexp(r->arg, s.at, s.len) : 0;
}

/* Forms ---------------------------------------------------------------------------------------- */

static int read_pattern(struct reader *r, struct slice s)
{
    return add_pattern(r, trim(cut(&s, '#')));
}

static bool is_address(struct slice s)
{
    struct tg_ip first, last;
    return tg_cidr_parse(s.at, s.len, &first, &last) || tg_range_parse(s.at, s.len, &first, &last);
}

/* "example.com", ".example.com", "+.example.com", "*.example.com", an address, a CIDR */
static int read_plain(struct reader *r, struct slice s)
{
    s = trim(cut(&s, '#'));
    if (s.len == 0)
        return 0;
    if (begins(s, "+."))
        return add_host(r, TG_NAME_SUFFIX, behind(s, 2));
    if (is_address(s) || memchr(s.at, '*', s.len) != NULL)
        return add_pattern(r, s);
    if (*s.at == '.')
        s = behind(s, 1);
    return is_host(s) ? tg_match_add_name(r->m, TG_NAME_SUFFIX, s.at, s.len) : OTHER;
}

/* "server=/a/b/192.0.2.1": all between the first slash and the last */
static int read_dnsmasq(struct reader *r, struct slice s)
{
    static const char *const words[] = { "server=/", "address=/", "local=/",
                                         "ipset=/",  "nftset=/",  "rev-server=/" };
    size_t i = 0;
    while (i < tg_countof(words) && !begins(s, words[i]))
        i++;
    if (i == tg_countof(words))
        return OTHER;
    s = behind(s, strlen(words[i]));
    int code = 0;
    while (code == 0 && memchr(s.at, '/', s.len) != NULL) {
        struct slice name = trim(cut(&s, '/'));
        if (name.len > 0)
            code = add_host(r, TG_NAME_SUFFIX, name);
    }
    return code;
}

static bool is_own_name(struct slice s)
{
    static const char *const names[] = {
        "localhost",     "localhost.localdomain", "local",        "broadcasthost",
        "ip6-localhost", "ip6-loopback",          "ip6-localnet", "ip6-mcastprefix",
        "ip6-allnodes",  "ip6-allrouters",        "ip6-allhosts", "0.0.0.0",
    };
    for (size_t i = 0; i < tg_countof(names); i++)
        if (is(s, names[i]))
            return true;
    return false;
}

/* "0.0.0.0 example.com www.example.com": exactly these names */
static int read_hosts(struct reader *r, struct slice s)
{
    struct tg_ip ip;
    s = trim(cut(&s, '#'));
    size_t n = 0;
    while (n < s.len && !is_blank(s.at[n]))
        n++;
    const char *zone = memchr(s.at, '%', n);
    if (n == s.len || !tg_ip_parse(&ip, s.at, zone != NULL ? (size_t)(zone - s.at) : n))
        return s.len == 0 ? 0 : OTHER;
    int code = 0;
    for (s = behind(s, n); code == 0 && s.len > 0; s = behind(s, n)) {
        for (n = 0; n < s.len && !is_blank(s.at[n]);)
            n++;
        struct slice name = { s.at, n };
        if (!is_own_name(name))
            code = add_host(r, TG_NAME_EXACT, name);
    }
    return code;
}

/* "domain:example.com @ads" */
static int read_v2ray(struct reader *r, struct slice s)
{
    struct slice whole = s;
    if (begins(s, "regexp:"))
        return add_regexp(r, behind(s, 7));
    const char *attribute = memmem(s.at, s.len, " @", 2);
    s = trim((struct slice){ s.at, attribute != NULL ? (size_t)(attribute - s.at) : s.len });
    if (begins(s, "geoip:") || begins(s, "asn:"))
        return add_pattern(r, trim(cut(&s, '#')));
    if (memchr(s.at, ':', s.len) == NULL)
        return attribute != NULL ? read_plain(r, s) : OTHER;
    struct slice word = cut(&s, ':');
    s = trim(cut(&s, '#'));
    if (is(word, "domain"))
        return add_host(r, TG_NAME_SUFFIX, s);
    if (is(word, "full"))
        return add_host(r, TG_NAME_EXACT, s);
    if (is(word, "keyword"))
        return tg_match_add_keyword(r->m, s.at, s.len);
    if (!is(word, "include"))
        return OTHER;
    note(r, "other lists are not included, left out", whole);
    return 0;
}

enum clash_rule { EXACT, SUFFIX, KEYWORD, WILDCARD, REGEXP, NUMBERS, COUNTRY, SYSTEM };

static const struct {
    const char *word;
    enum clash_rule rule;
} clash_words[] = {
    { "DOMAIN", EXACT },        { "DOMAIN-SUFFIX", SUFFIX },     { "DOMAIN-KEYWORD", KEYWORD },
    { "HOST", EXACT },          { "HOST-SUFFIX", SUFFIX },       { "HOST-KEYWORD", KEYWORD },
    { "DOMAIN-REGEX", REGEXP }, { "DOMAIN-WILDCARD", WILDCARD }, { "IP-CIDR", NUMBERS },
    { "IP-CIDR6", NUMBERS },    { "IP6-CIDR", NUMBERS },         { "GEOIP", COUNTRY },
    { "IP-ASN", SYSTEM },
};

static int add_place(struct reader *r, const char *prefix, struct slice s)
{
    char text[64];
    size_t n = strlen(prefix);
    if (s.len > sizeof(text) - n || s.len == 0) {
        note(r, "is no place, left out", s);
        return 0;
    }
    memcpy(text, prefix, n);
    memcpy(text + n, s.at, s.len);
    return add_pattern(r, (struct slice){ text, n + s.len });
}

static int add_clash(struct reader *r, enum clash_rule rule, struct slice s)
{
    switch (rule) {
    case EXACT:
        return add_host(r, TG_NAME_EXACT, s);
    case SUFFIX:
        return add_host(r, TG_NAME_SUFFIX, s);
    case KEYWORD:
        return tg_match_add_keyword(r->m, s.at, s.len);
    case REGEXP:
        return add_regexp(r, s);
    case COUNTRY:
        return add_place(r, "geoip:", is(s, "lan") ? (struct slice){ "private", 7 } : s);
    case SYSTEM:
        return add_place(r, "asn:", s);
    case NUMBERS:
        if (!is_address(s)) {
            note(r, "is no network, left out", s);
            return 0;
        }
        return add_pattern(r, s);
    case WILDCARD:
    default:
        return add_pattern(r, s);
    }
}

/* "DOMAIN-SUFFIX,example.com[,policy]" */
static int read_clash(struct reader *r, struct slice s)
{
    struct slice whole = s;
    if (memchr(s.at, ',', s.len) == NULL)
        return OTHER;
    struct slice word = trim(cut(&s, ','));
    for (size_t i = 0; i < tg_countof(clash_words); i++) {
        if (is(word, clash_words[i].word)) {
            enum clash_rule rule = clash_words[i].rule;
            /* an expression may hold commas of its own */
            return add_clash(r, rule, rule == REGEXP ? trim(s) : trim(cut(&s, ',')));
        }
    }
    note(r, "no rule about a target that is known here, left out", whole);
    return 0;
}

/* "||example.com^" */
static int read_adblock(struct reader *r, struct slice s)
{
    struct slice whole = s;
    if (begins(s, "@@")) {
        note(r, "exceptions are not read, left out", whole);
        return 0;
    }
    if (!begins(s, "||"))
        return OTHER;
    s = behind(s, 2);
    struct slice name = cut(&s, '^');
    if (s.len > 0 || !is_host(name)) {
        note(r, "is more than a domain, left out", whole);
        return 0;
    }
    return add_host(r, TG_NAME_SUFFIX, name);
}

static int (*const readers[TG_RULES_FORMATS])(struct reader *r, struct slice s) = {
    [TG_RULES_PATTERNS] = read_pattern, [TG_RULES_PLAIN] = read_plain,
    [TG_RULES_DNSMASQ] = read_dnsmasq,  [TG_RULES_HOSTS] = read_hosts,
    [TG_RULES_V2RAY] = read_v2ray,      [TG_RULES_CLASH] = read_clash,
    [TG_RULES_ADBLOCK] = read_adblock,
};

/* Plain lines are tried last but one: most of what looks like another form is none of a domain. */
static const enum tg_rules_format guesses[] = {
    TG_RULES_DNSMASQ, TG_RULES_ADBLOCK, TG_RULES_V2RAY,
    TG_RULES_CLASH,   TG_RULES_HOSTS,   TG_RULES_PLAIN,
};

/* Rule providers of clash are YAML: "payload:", then "  - 'rule'". */
static struct slice unwrap(struct slice s)
{
    if (begins(s, "- ") || is(s, "-"))
        s = behind(s, 1);
    if (s.len > 1 && (*s.at == '\'' || *s.at == '"') && s.at[s.len - 1] == *s.at)
        s = trim((struct slice){ s.at + 1, s.len - 2 });
    return s;
}

static bool says_nothing(struct slice s)
{
    return s.len == 0 || *s.at == '#' || *s.at == '!' || *s.at == ';' || begins(s, "//") ||
           is(s, "payload:") || is(s, "---");
}

static int read_line(struct reader *r, enum tg_rules_format format, struct slice s)
{
    s = trim(s);
    if (format == TG_RULES_PATTERNS)
        return read_pattern(r, s);
    s = unwrap(s);
    if (says_nothing(s))
        return 0;
    int code = OTHER;
    if (format != TG_RULES_AUTO) {
        code = readers[format](r, s);
        if (code == OTHER && (format == TG_RULES_V2RAY || format == TG_RULES_CLASH))
            code = read_plain(r, s);
    }
    for (size_t i = 0; format == TG_RULES_AUTO && code == OTHER && i < tg_countof(guesses); i++)
        code = readers[guesses[i]](r, s);
    if (code == OTHER) {
        note(r, "is of no form that is known here, left out", s);
        return 0;
    }
    return code;
}

int tg_rules_add(struct tg_match *m, enum tg_rules_format format, const char *text, size_t len,
                 const char *name, tg_rules_regexp_cb regexp, void *arg)
{
    struct reader r = { .m = m, .name = name, .regexp = regexp, .arg = arg };
    struct slice rest = { text, len };
    if (begins(rest, "\xef\xbb\xbf"))
        rest = (struct slice){ text + 3, len - 3 };
    int code = 0;
    while (code == 0 && rest.len > 0) {
        if (++r.line % TURN == 0) /* workers want the processor more */
            sched_yield();
        code = read_line(&r, format, cut(&rest, '\n'));
    }
    return code;
}
