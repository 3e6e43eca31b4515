#include "match/match.h"

#include "base/error.h"
#include "match/glob.h"
#include "match/mmdb.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PATTERN_MAX TG_NAME_MAX
#define NOTE_SHOWN  80 /* bytes of a pattern */

static struct {
    pthread_mutex_t lock;
    struct tg_match *first;
    uint64_t last_id;
} published = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct tg_match *tg_match_new(bool clients)
{
    struct tg_match *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->notes = calloc(1, sizeof(*m->notes));
    if (m->notes == NULL) {
        free(m);
        return NULL;
    }
    m->clients = clients;
    atomic_init(&m->refs, 1);
    tg_nameset_open(&m->names);
    return m;
}

void tg_match_note(struct tg_match *m, const char *where, unsigned line, const char *what,
                   const char *text, size_t len)
{
    struct tg_match_notes *notes = m->notes;
    char place[160] = "";
    notes->count++;
    if (where != NULL && line > 0)
        snprintf(place, sizeof(place), "%.120s:%u: ", where, line);
    else if (where != NULL)
        snprintf(place, sizeof(place), "%.120s: ", where);
    size_t room = sizeof(notes->text) - notes->len;
    int n = snprintf(notes->text + notes->len, room, "%s%.*s: %s\n", place,
                     (int)(len < NOTE_SHOWN ? len : NOTE_SHOWN), text, what);
    if (n > 0 && (size_t)n < room)
        notes->len += (unsigned)n;
    else
        notes->text[notes->len] = '\0';
}

/* Parts of patterns ---------------------------------------------------------------------------- */

static void lower(char *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
}

/* A name that ends with the root's dot is the same name. */
static size_t without_root(const char *name, size_t len)
{
    return len > 1 && name[len - 1] == '.' ? len - 1 : len;
}

/* @return behind the digits, or NULL: there are none, or too many */
static const char *read_number(const char *p, const char *end, uint32_t *n)
{
    const char *from = p;
    *n = 0;
    while (p < end && *p >= '0' && *p <= '9' && p - from < 9)
        *n = *n * 10 + (uint32_t)(*p++ - '0');
    return p > from ? p : NULL;
}

static bool read_ports(const char *p, size_t len, struct tg_ports *ports)
{
    const char *end = p + len;
    p = read_number(p, end, &ports->first);
    if (p == end) {
        ports->last = ports->first;
        return ports->first <= 65535;
    }
    return p != NULL && *p == '-' && read_number(p + 1, end, &ports->last) == end;
}

/* A text taken apart. */
struct parts {
    const char *host, *port;
    size_t host_len, port_len;
    bool has_port;
};

/* "host", "host:port", "[host]", "[host]:port"; what has more colons is all host. */
static struct parts split(const char *text, size_t len)
{
    struct parts p = { .host = text, .host_len = len };
    const char *end = text + len;
    const char *close = len > 1 && *text == '[' ? memchr(text, ']', len) : NULL;
    if (close != NULL && (close + 1 == end || close[1] == ':')) {
        p.host = text + 1;
        p.host_len = (size_t)(close - p.host);
        p.has_port = close + 1 < end;
        p.port = p.has_port ? close + 2 : NULL;
    } else {
        const char *colon = memchr(text, ':', len);
        if (colon == NULL || memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL)
            return p;
        p.host_len = (size_t)(colon - text);
        p.has_port = true;
        p.port = colon + 1;
    }
    p.port_len = p.has_port ? (size_t)(end - p.port) : 0;
    return p;
}

/* Adding --------------------------------------------------------------------------------------- */

static int add_glob(struct tg_match *m, const char *pattern, size_t len, struct tg_ports ports)
{
    if (m->glob_count == m->glob_size) {
        size_t size = m->glob_size == 0 ? 8 : m->glob_size * 2;
        struct tg_glob_pattern *more = realloc(m->globs, size * sizeof(*more));
        if (more == NULL)
            return TG_BUSY;
        m->globs = more;
        m->glob_size = size;
    }
    struct tg_glob *glob = tg_glob_compile(pattern, len);
    if (glob == NULL)
        return TG_BUSY;
    m->globs[m->glob_count++] = (struct tg_glob_pattern){ .glob = glob, .ports = ports };
    return 0;
}

static int add_name(struct tg_match *m, enum tg_name_kind kind, const char *name, size_t len,
                    struct tg_ports ports)
{
    int code = tg_nameset_add(&m->names, kind, name, without_root(name, len), ports);
    return code == TG_LIMIT ? TG_BUSY : code;
}

struct glob_target {
    struct tg_match *m;
    struct tg_ports ports;
    int code;
};

static bool add_expanded(void *arg, const char *pattern, size_t len)
{
    struct glob_target *t = arg;
    char text[TG_GLOB_MAX];
    size_t n = 0;
    switch (tg_glob_shape_of(pattern, len, text, &n)) {
    case TG_GLOB_PLAIN:
        t->code = add_name(t->m, TG_NAME_EXACT, text, n, t->ports);
        break;
    case TG_GLOB_BELOW:
        t->code = add_name(t->m, TG_NAME_BELOW, text, n, t->ports);
        break;
    default:
        t->code = add_glob(t->m, pattern, len, t->ports);
    }
    return t->code == 0;
}

/* @return 0, TG_BUSY, or TG_INVALID: it is no glob */
static int add_wildcard(struct tg_match *m, const char *pattern, size_t len)
{
    struct parts p = split(pattern, len);
    struct glob_target target = { .m = m, .ports = TG_ANY_PORT };
    /* brackets are a class unless they hold IPv6 */
    if (!p.has_port || !read_ports(p.port, p.port_len, &target.ports) ||
        (p.host != pattern && memchr(p.host, ':', p.host_len) == NULL)) {
        target.ports = TG_ANY_PORT;
        p.host = pattern;
        p.host_len = len;
        const char *colon = memrchr(pattern, ':', len);
        const char *close = memrchr(pattern, ']', len);
        if (colon != NULL && close != NULL && close < colon && memchr(pattern, ':', len) == colon &&
            read_ports(colon + 1, len - (size_t)(colon + 1 - pattern), &target.ports))
            p.host_len = (size_t)(colon - pattern);
        else
            target.ports = TG_ANY_PORT;
    }
    int code = tg_glob_expand(p.host, p.host_len, add_expanded, &target);
    return code == TG_CLOSED ? target.code : code;
}

static int add_address(struct tg_match *m, const char *pattern, size_t len, const char *where,
                       unsigned line)
{
    char text[INET6_ADDRSTRLEN];
    struct parts p = split(pattern, len);
    struct tg_ports ports;
    struct tg_ip ip;
    if (p.host_len == 0) {
        tg_match_note(m, where, line, "without a host it never matches", pattern, len);
        return 0;
    }
    if (!p.has_port || !read_ports(p.port, p.port_len, &ports))
        ports = TG_ANY_PORT;
    if (tg_ip_parse(&ip, p.host, p.host_len)) {
        m->has_ip_names = true;
        size_t n = tg_ip_format(&ip, text, sizeof(text));
        return add_name(m, TG_NAME_EXACT, text, n, ports);
    }
    bool suffix = *p.host == '.';
    return add_name(m, suffix ? TG_NAME_SUFFIX : TG_NAME_EXACT, p.host + suffix,
                    p.host_len - suffix, ports);
}

static const char *const private_nets[] = {
    "0.0.0.0/8",      "10.0.0.0/8",    "100.64.0.0/10", "127.0.0.0/8",
    "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",  "192.168.0.0/16",
    "::/127",         "fc00::/7",      "fe80::/10",
};

static int add_private(struct tg_match *m)
{
    struct tg_ip first, last;
    for (size_t i = 0; i < sizeof(private_nets) / sizeof(*private_nets); i++)
        if (tg_cidr_parse(private_nets[i], strlen(private_nets[i]), &first, &last) &&
            !tg_ipset_add(&m->nets, &first, &last))
            return TG_BUSY;
    return 0;
}

static int add_system(struct tg_match *m, uint32_t system)
{
    if (m->system_count == m->system_size) {
        size_t size = m->system_size == 0 ? 8 : m->system_size * 2;
        uint32_t *more = realloc(m->systems, size * sizeof(*more));
        if (more == NULL)
            return TG_BUSY;
        m->systems = more;
        m->system_size = size;
    }
    m->systems[m->system_count++] = system;
    return 0;
}

/* @return index of a pair of letters, or -1 */
static int country_index(const char *code)
{
    int a = (code[0] | 0x20) - 'a', b = (code[1] | 0x20) - 'a';
    return a >= 0 && a < 26 && b >= 0 && b < 26 ? a * 26 + b : -1;
}

/* What a place is named by. */
enum place { NO_PLACE, COUNTRY, PRIVATE, SYSTEM };

static enum place read_place(const char *pattern, size_t len, uint32_t *number)
{
    if (len > 6 && strncasecmp(pattern, "geoip:", 6) == 0) {
        if (len == 13 && strncasecmp(pattern + 6, "private", 7) == 0)
            return PRIVATE;
        int index = len == 8 ? country_index(pattern + 6) : -1;
        *number = (uint32_t)index;
        return index >= 0 ? COUNTRY : NO_PLACE;
    }
    if (len > 4 && strncasecmp(pattern, "asn:", 4) == 0) {
        const char *p = pattern + 4, *end = pattern + len;
        if (end - p > 2 && strncasecmp(p, "as", 2) == 0)
            p += 2;
        uint64_t n = 0;
        const char *from = p;
        while (p < end && *p >= '0' && *p <= '9' && p - from < 10)
            n = n * 10 + (uint64_t)(*p++ - '0');
        *number = (uint32_t)n;
        return p == end && p > from && n <= UINT32_MAX ? SYSTEM : NO_PLACE;
    }
    return NO_PLACE;
}

static int add_place(struct tg_match *m, enum place place, uint32_t number)
{
    if (place == PRIVATE)
        return add_private(m);
    if (place == SYSTEM)
        return add_system(m, number);
    m->countries[number / 64] |= 1ull << (number % 64);
    m->country_count++;
    return 0;
}

/* @return 0, TG_BUSY, or TG_INVALID: it is neither */
static int add_numbers(struct tg_match *m, const char *pattern, size_t len)
{
    struct tg_ip first, last;
    if (tg_cidr_parse(pattern, len, &first, &last))
        return tg_ipset_add(&m->nets, &first, &last) ? 0 : TG_BUSY;
    if (m->clients && tg_ip_parse(&first, pattern, len)) {
        tg_ip_unmap(&first);
        return tg_ipset_add(&m->nets, &first, &first) ? 0 : TG_BUSY;
    }
    return TG_INVALID;
}

static bool is_wild(const char *pattern, size_t len)
{
    return memchr(pattern, '*', len) != NULL || memchr(pattern, '?', len) != NULL;
}

static int add_target(struct tg_match *m, const char *pattern, size_t len, const char *where,
                      unsigned line)
{
    struct tg_ip first, last;
    if (is_wild(pattern, len)) {
        int code = add_wildcard(m, pattern, len);
        if (code == 0 || code == TG_BUSY)
            return code;
        tg_match_note(m, where, line,
                      code == TG_LIMIT ? "too many alternatives, taken for a name"
                                       : "is no glob, taken for a name",
                      pattern, len);
    } else if (tg_range_parse(pattern, len, &first, &last)) {
        return tg_ipset_add(&m->ranges, &first, &last) ? 0 : TG_BUSY;
    }
    return add_address(m, pattern, len, where, line);
}

int tg_match_add(struct tg_match *m, const char *pattern, size_t len, const char *where,
                 unsigned line)
{
    char text[PATTERN_MAX];
    uint32_t number;
    if (len == 0)
        return 0;
    if (len > sizeof(text)) {
        tg_match_note(m, where, line, "is too long, left out", pattern, len);
        return 0;
    }
    lower(text, pattern, len);
    enum place place = read_place(text, len, &number);
    int code = place != NO_PLACE ? add_place(m, place, number) : add_numbers(m, text, len);
    if (code == TG_INVALID && m->clients && m->other != NULL) {
        return m->other(m->other_arg, text, len);
    } else if (code == TG_INVALID && m->clients) {
        tg_match_note(m, where, line, "is no address, left out", pattern, len);
        return 0;
    }
    if (code == TG_INVALID)
        code = add_target(m, text, len, where, line);
    m->count += code == 0;
    return code;
}

int tg_match_add_name(struct tg_match *m, enum tg_name_kind kind, const char *name, size_t len)
{
    char text[PATTERN_MAX];
    if (len == 0 || len > sizeof(text))
        return 0;
    lower(text, name, len);
    int code = add_name(m, kind, text, len, TG_ANY_PORT);
    m->count += code == 0;
    return code;
}

int tg_match_add_keyword(struct tg_match *m, const char *text, size_t len)
{
    char pattern[2 * 256 + 2];
    size_t n = 0;
    if (len == 0 || len > 256)
        return 0;
    pattern[n++] = '*';
    for (size_t i = 0; i < len; i++) {
        if (strchr("*?[]{},\\", text[i]) != NULL)
            pattern[n++] = '\\';
        lower(&pattern[n++], &text[i], 1);
    }
    pattern[n++] = '*';
    int code = add_glob(m, pattern, n, TG_ANY_PORT);
    m->count += code == 0;
    return code;
}

static int compare_systems(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

void tg_match_seal(struct tg_match *m)
{
    tg_ipset_seal(&m->ranges);
    tg_ipset_seal(&m->nets);
    tg_nameset_seal(&m->names);
    if (m->system_count > 1)
        qsort(m->systems, m->system_count, sizeof(*m->systems), compare_systems);
    free(m->notes);
    m->notes = NULL;
}

/* Asking --------------------------------------------------------------------------------------- */

static bool in_country(const struct tg_match *m, const struct tg_ip *ip)
{
    char code[2];
    if (m->country_count == 0 || m->country_db == NULL || !tg_mmdb_country(m->country_db, ip, code))
        return false;
    int index = country_index(code);
    return index >= 0 && (m->countries[index / 64] >> (index % 64) & 1);
}

static bool in_system(const struct tg_match *m, const struct tg_ip *ip)
{
    uint32_t system;
    if (m->system_count == 0 || m->system_db == NULL || !tg_mmdb_system(m->system_db, ip, &system))
        return false;
    return bsearch(&system, m->systems, m->system_count, sizeof(system), compare_systems) != NULL;
}

/* Resolvers take "127.1", "0x7f000001" and the like for addresses, so they are. */
static bool is_loose_ip(struct tg_ip *ip, const char *text, size_t len)
{
    char copy[64];
    struct in_addr in;
    if (len == 0 || len >= sizeof(copy) || text[0] < '0' || text[0] > '9')
        return false;
    for (size_t i = 0; i < len; i++)
        if (strchr("0123456789abcdefx.", text[i]) == NULL)
            return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (inet_aton(copy, &in) == 0)
        return false;
    *ip = (struct tg_ip){ .lo = ntohl(in.s_addr) };
    return true;
}

static bool find_ip(struct tg_ip *ip, const char *host, size_t len)
{
    const char *zone = memchr(host, '%', len);
    return tg_ip_parse(ip, host, zone != NULL ? (size_t)(zone - host) : len) ||
           is_loose_ip(ip, host, len);
}

/* Are numbers enough to say so? */
static bool has_ip(const struct tg_match *m, struct tg_ip ip)
{
    if (tg_ipset_has(&m->ranges, &ip))
        return true;
    tg_ip_unmap(&ip);
    return tg_ipset_has(&m->nets, &ip) || in_country(m, &ip) || in_system(m, &ip);
}

static bool has_ip_name(const struct tg_match *m, const struct tg_ip *ip, unsigned port)
{
    char text[INET6_ADDRSTRLEN];
    size_t n = tg_ip_format(ip, text, sizeof(text));
    return tg_nameset_has(&m->names, text, n, port);
}

static bool has_glob(const struct tg_match *m, const char *host, size_t len, unsigned port)
{
    for (size_t i = 0; i < m->glob_count; i++) {
        const struct tg_glob_pattern *g = &m->globs[i];
        if (g->ports.first <= port && port <= g->ports.last && tg_glob_match(g->glob, host, len))
            return true;
    }
    return false;
}

bool tg_match_has(const struct tg_match *m, const char *address, size_t len)
{
    char host[TG_NAME_MAX];
    struct parts p = split(address, len);
    uint32_t port = 0;
    struct tg_ip ip;
    if (p.host_len == 0 || p.host_len > sizeof(host))
        return false;
    if (p.has_port && read_number(p.port, p.port + p.port_len, &port) != p.port + p.port_len)
        port = 0;
    lower(host, p.host, p.host_len);
    size_t n = without_root(host, p.host_len);
    if (find_ip(&ip, host, n) && (has_ip(m, ip) || (m->has_ip_names && has_ip_name(m, &ip, port))))
        return true;
    return tg_nameset_has(&m->names, host, n, port) || has_glob(m, host, n, port);
}

size_t tg_match_bytes(const struct tg_match *m)
{
    size_t globs = m->glob_size * sizeof(*m->globs);
    for (size_t i = 0; i < m->glob_count; i++)
        globs += tg_glob_bytes(m->globs[i].glob);
    return sizeof(*m) + tg_ipset_bytes(&m->ranges) + tg_ipset_bytes(&m->nets) +
           tg_nameset_bytes(&m->names) + globs + m->system_size * sizeof(*m->systems);
}

/* Sharing -------------------------------------------------------------------------------------- */

uint64_t tg_match_publish(struct tg_match *m)
{
    pthread_mutex_lock(&published.lock);
    atomic_fetch_add(&m->refs, 1);
    m->id = ++published.last_id;
    m->next = published.first;
    published.first = m;
    uint64_t id = m->id;
    pthread_mutex_unlock(&published.lock);
    return id;
}

struct tg_match *tg_match_find(uint64_t id)
{
    pthread_mutex_lock(&published.lock);
    struct tg_match *m = published.first;
    while (m != NULL && m->id != id)
        m = m->next;
    if (m != NULL)
        atomic_fetch_add(&m->refs, 1);
    pthread_mutex_unlock(&published.lock);
    return m;
}

void tg_match_withdraw(uint64_t id)
{
    pthread_mutex_lock(&published.lock);
    struct tg_match **link = &published.first;
    while (*link != NULL && (*link)->id != id)
        link = &(*link)->next;
    struct tg_match *m = *link;
    if (m != NULL)
        *link = m->next;
    pthread_mutex_unlock(&published.lock);
    tg_match_put(m);
}

static void destroy(struct tg_match *m)
{
    tg_ipset_free(&m->ranges);
    tg_ipset_free(&m->nets);
    tg_nameset_free(&m->names);
    for (size_t i = 0; i < m->glob_count; i++)
        tg_glob_free(m->globs[i].glob);
    free(m->globs);
    free(m->systems);
    tg_mmdb_put(m->country_db);
    tg_mmdb_put(m->system_db);
    free(m->notes);
    free(m);
}

void tg_match_put(struct tg_match *m)
{
    if (m != NULL && atomic_fetch_sub(&m->refs, 1) == 1)
        destroy(m);
}
