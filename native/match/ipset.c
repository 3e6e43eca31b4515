#include "match/ipset.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 16

bool tg_ip_parse(struct tg_ip *ip, const char *text, size_t len)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    /* most of what is asked is a name */
    if (len < 2 || len >= sizeof(copy) || memchr(text, '\0', len) != NULL)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    ip->v6 = memchr(text, ':', len) != NULL;
    if (!ip->v6 && (text[0] < '0' || text[0] > '9'))
        return false;
    if (inet_pton(ip->v6 ? AF_INET6 : AF_INET, copy, bytes) != 1)
        return false;
    ip->hi = ip->lo = 0;
    for (int i = 0; i < 8 && ip->v6; i++)
        ip->hi = ip->hi << 8 | bytes[i];
    for (int i = ip->v6 ? 8 : 0; i < (ip->v6 ? 16 : 4); i++)
        ip->lo = ip->lo << 8 | bytes[i];
    return true;
}

void tg_ip_bytes(const struct tg_ip *ip, uint8_t out[16])
{
    for (int i = 0; i < 8 && ip->v6; i++)
        out[i] = (uint8_t)(ip->hi >> (56 - 8 * i));
    for (int i = 0, n = ip->v6 ? 8 : 4; i < n; i++)
        out[ip->v6 ? 8 + i : i] = (uint8_t)(ip->lo >> (8 * (n - 1 - i)));
}

size_t tg_ip_format(const struct tg_ip *ip, char *out, size_t size)
{
    uint8_t bytes[16];
    tg_ip_bytes(ip, bytes);
    return inet_ntop(ip->v6 ? AF_INET6 : AF_INET, bytes, out, (socklen_t)size) != NULL ? strlen(out)
                                                                                       : 0;
}

bool tg_ip_unmap(struct tg_ip *ip)
{
    if (!ip->v6 || ip->hi != 0 || ip->lo >> 32 != 0xffff)
        return false;
    ip->lo &= UINT32_MAX;
    ip->v6 = false;
    return true;
}

/* @return the number, or -1 when it is none or above `most` */
static int read_bits(const char *text, size_t len, int most)
{
    int bits = 0;
    if (len < 1 || len > 3 || (len > 1 && text[0] == '0'))
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        bits = bits * 10 + (text[i] - '0');
    }
    return bits <= most ? bits : -1;
}

bool tg_cidr_parse(const char *text, size_t len, struct tg_ip *first, struct tg_ip *last)
{
    const char *slash = memchr(text, '/', len);
    if (slash == NULL || !tg_ip_parse(first, text, (size_t)(slash - text)))
        return false;
    int width = first->v6 ? 128 : 32;
    int bits = read_bits(slash + 1, len - (size_t)(slash + 1 - text), width);
    if (bits < 0)
        return false;
    if (bits >= 96 && tg_ip_unmap(first)) {
        bits -= 96;
        width = 32;
    }
    int host = width - bits;
    uint64_t hi = host <= 64 ? 0 : host == 128 ? UINT64_MAX : (1ull << (host - 64)) - 1;
    uint64_t lo = host >= 64 ? UINT64_MAX : (1ull << host) - 1;
    first->hi &= ~hi;
    first->lo &= ~lo;
    *last = *first;
    last->hi |= hi;
    last->lo |= lo;
    return true;
}

static bool parse_trimmed(struct tg_ip *ip, const char *text, size_t len)
{
    while (len > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    return tg_ip_parse(ip, text, len);
}

bool tg_range_parse(const char *text, size_t len, struct tg_ip *first, struct tg_ip *last)
{
    const char *dash = memchr(text, '-', len);
    if (dash == NULL) {
        if (!parse_trimmed(first, text, len))
            return false;
        *last = *first;
        return true;
    }
    size_t head = (size_t)(dash - text);
    return parse_trimmed(first, text, head) && parse_trimmed(last, dash + 1, len - head - 1);
}

static int order(uint64_t a_hi, uint64_t a_lo, uint64_t b_hi, uint64_t b_lo)
{
    if (a_hi != b_hi)
        return a_hi < b_hi ? -1 : 1;
    return a_lo < b_lo ? -1 : a_lo > b_lo;
}

/* @return room for one more of `width` bytes, or NULL */
static void *grow(void *items, size_t count, size_t *size, size_t width)
{
    if (count < *size)
        return items;
    size_t wanted = *size == 0 ? FIRST_SIZE : *size * 2;
    void *more = realloc(items, wanted * width);
    if (more != NULL)
        *size = wanted;
    return more;
}

static bool add4(struct tg_ipset *set, uint32_t first, uint32_t last)
{
    if (first > last)
        return true;
    struct tg_span4 *more = grow(set->v4, set->v4_count, &set->v4_size, sizeof(*more));
    if (more == NULL)
        return false;
    set->v4 = more;
    set->v4[set->v4_count++] = (struct tg_span4){ first, last };
    return true;
}

static bool add6(struct tg_ipset *set, const struct tg_ip *first, const struct tg_ip *last)
{
    if (order(first->hi, first->lo, last->hi, last->lo) > 0)
        return true;
    struct tg_span6 *more = grow(set->v6, set->v6_count, &set->v6_size, sizeof(*more));
    if (more == NULL)
        return false;
    set->v6 = more;
    set->v6[set->v6_count++] = (struct tg_span6){ first->hi, first->lo, last->hi, last->lo };
    return true;
}

bool tg_ipset_add(struct tg_ipset *set, const struct tg_ip *first, const struct tg_ip *last)
{
    static const struct tg_ip lowest = { .v6 = true };
    if (!first->v6 && !last->v6)
        return add4(set, (uint32_t)first->lo, (uint32_t)last->lo);
    if (first->v6 && last->v6)
        return add6(set, first, last);
    if (first->v6) /* from a high one down to a low one */
        return true;
    return add4(set, (uint32_t)first->lo, UINT32_MAX) && add6(set, &lowest, last);
}

static int compare4(const void *a, const void *b)
{
    const struct tg_span4 *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int compare6(const void *a, const void *b)
{
    const struct tg_span6 *x = a, *y = b;
    return order(x->first_hi, x->first_lo, y->first_hi, y->first_lo);
}

static void join4(struct tg_ipset *set)
{
    size_t kept = 0;
    for (size_t i = 1; i < set->v4_count; i++) {
        struct tg_span4 *end = &set->v4[kept], *s = &set->v4[i];
        if (end->last == UINT32_MAX || s->first <= end->last + 1) {
            if (s->last > end->last)
                end->last = s->last;
        } else {
            set->v4[++kept] = *s;
        }
    }
    set->v4_count = set->v4_count > 0 ? kept + 1 : 0;
}

static void join6(struct tg_ipset *set)
{
    size_t kept = 0;
    for (size_t i = 1; i < set->v6_count; i++) {
        struct tg_span6 *end = &set->v6[kept], *s = &set->v6[i];
        if (order(s->first_hi, s->first_lo, end->last_hi, end->last_lo) > 0) {
            set->v6[++kept] = *s;
        } else if (order(s->last_hi, s->last_lo, end->last_hi, end->last_lo) > 0) {
            end->last_hi = s->last_hi;
            end->last_lo = s->last_lo;
        }
    }
    set->v6_count = set->v6_count > 0 ? kept + 1 : 0;
}

/* Give back what growing took too much. */
static void *shrink(void *items, size_t count, size_t *size, size_t width)
{
    void *less = count > 0 ? realloc(items, count * width) : NULL;
    if (less == NULL)
        return items;
    *size = count;
    return less;
}

void tg_ipset_seal(struct tg_ipset *set)
{
    if (set->v4_count > 1)
        qsort(set->v4, set->v4_count, sizeof(*set->v4), compare4);
    if (set->v6_count > 1)
        qsort(set->v6, set->v6_count, sizeof(*set->v6), compare6);
    join4(set);
    join6(set);
    set->v4 = shrink(set->v4, set->v4_count, &set->v4_size, sizeof(*set->v4));
    set->v6 = shrink(set->v6, set->v6_count, &set->v6_size, sizeof(*set->v6));
}

static bool has4(const struct tg_ipset *set, uint32_t ip)
{
    size_t low = 0, high = set->v4_count;
    while (low < high) { /* the first span that begins above */
        size_t middle = low + (high - low) / 2;
        if (set->v4[middle].first <= ip)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && ip <= set->v4[low - 1].last;
}

static bool has6(const struct tg_ipset *set, const struct tg_ip *ip)
{
    size_t low = 0, high = set->v6_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct tg_span6 *s = &set->v6[middle];
        if (order(s->first_hi, s->first_lo, ip->hi, ip->lo) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 &&
           order(ip->hi, ip->lo, set->v6[low - 1].last_hi, set->v6[low - 1].last_lo) <= 0;
}

bool tg_ipset_has(const struct tg_ipset *set, const struct tg_ip *ip)
{
    return ip->v6 ? has6(set, ip) : has4(set, (uint32_t)ip->lo);
}

size_t tg_ipset_bytes(const struct tg_ipset *set)
{
    return set->v4_size * sizeof(*set->v4) + set->v6_size * sizeof(*set->v6);
}

void tg_ipset_free(struct tg_ipset *set)
{
    free(set->v4);
    free(set->v6);
    *set = (struct tg_ipset){ 0 };
}
