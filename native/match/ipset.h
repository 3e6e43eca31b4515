#pragma once

/** @file
 * Sets of IP addresses: spans are added in any order, sealed once, and asked by binary search.
 * A sealed set is immutable and may be read by every thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** An address as a number; IPv4 has hi == 0. */
struct tg_ip {
    uint64_t hi, lo;
    bool v6;
};

struct tg_span4 {
    uint32_t first, last;
};

struct tg_span6 {
    uint64_t first_hi, first_lo, last_hi, last_lo;
};

/** All zero: an empty set. */
struct tg_ipset {
    struct tg_span4 *v4;
    struct tg_span6 *v6;
    size_t v4_count, v4_size, v6_count, v6_size;
};

/** Read an IP literal: no brackets, no zone, no port.  @return false: it is none */
bool tg_ip_parse(struct tg_ip *ip, const char *text, size_t len);
/** Its bytes in network order: 4 or 16 of them. */
void tg_ip_bytes(const struct tg_ip *ip, uint8_t out[16]);
/** Write its text.  @param size at least INET6_ADDRSTRLEN.  @return the length */
size_t tg_ip_format(const struct tg_ip *ip, char *out, size_t size);
/** @return true when it was ::ffff:a.b.c.d and now is a.b.c.d */
bool tg_ip_unmap(struct tg_ip *ip);
/** Read "address/bits".  Host bits go away, a mapped network becomes an IPv4 one.
 * @return false: it is none */
bool tg_cidr_parse(const char *text, size_t len, struct tg_ip *first, struct tg_ip *last);
/** Read "A" or "A-B", blanks around "-" allowed; IPv4 sorts below IPv6.  @return false: it is none
 */
bool tg_range_parse(const char *text, size_t len, struct tg_ip *first, struct tg_ip *last);

/** Add all of first … last, which may be of two families; first > last adds nothing.
 * @return false: out of memory */
bool tg_ipset_add(struct tg_ipset *set, const struct tg_ip *first, const struct tg_ip *last);
/** Sort and join what was added. */
void tg_ipset_seal(struct tg_ipset *set);
/** Of a sealed set. */
bool tg_ipset_has(const struct tg_ipset *set, const struct tg_ip *ip);
size_t tg_ipset_bytes(const struct tg_ipset *set);
void tg_ipset_free(struct tg_ipset *set);
