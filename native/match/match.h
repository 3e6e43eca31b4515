#pragma once

/** @file
 * Compiled lists of patterns for hosts and addresses: built once, by one thread; then sealed,
 * immutable and shared by all threads, which reach them by number.
 *
 * A pattern is, in this order: "geoip:CC", "geoip:private" or "asn:N"; a CIDR; a glob with "*" or
 * "?", and perhaps ":port" or ":min-max" behind; an IP or a range of them, "A-B"; else an address
 * "host[:port|:min-max]" whose host is a name, a ".suffix" or an IP, with brackets around IPv6.
 * A port that is none means any.
 */

#include "match/ipset.h"
#include "match/nameset.h"

#include <stdatomic.h>

struct tg_mmdb;
struct tg_glob;

#define TG_MATCH_NOTES     2048u /**< bytes of notes that are kept */
#define TG_MATCH_COUNTRIES 676u  /**< pairs of letters */

/** A glob and the ports it is meant for. */
struct tg_glob_pattern {
    struct tg_glob *glob;
    struct tg_ports ports;
};

/** Told what a list of clients does not understand, in lower case: host names, perhaps.
 * @return 0 or TG_BUSY: out of memory */
typedef int (*tg_match_other_cb)(void *arg, const char *pattern, size_t len);

/** What was found wrong with patterns: lines, each ended by "\n". */
struct tg_match_notes {
    unsigned count; /**< of all, also those there was no room for */
    unsigned len;
    char text[TG_MATCH_NOTES];
};

struct tg_match {
    atomic_uint refs;
    uint64_t id; /**< 0: not published */
    struct tg_match *next;
    bool clients; /**< only IPs, CIDRs, countries and systems; mapped addresses are IPv4 ones */
    size_t count; /**< patterns that were understood */
    struct tg_ipset ranges, nets;
    struct tg_nameset names;
    bool has_ip_names; /**< IPs with ports are among the names */
    struct tg_glob_pattern *globs;
    size_t glob_count, glob_size;
    uint64_t countries[(TG_MATCH_COUNTRIES + 63) / 64];
    size_t country_count;
    uint32_t *systems; /**< autonomous systems; sorted when sealed */
    size_t system_count, system_size;
    struct tg_mmdb *country_db, *system_db; /**< references; NULL: none */
    struct tg_match_notes *notes;           /**< NULL when sealed */
    tg_match_other_cb other; /**< of a list of clients; NULL: such patterns are noted */
    void *other_arg;
};

/** @param clients only IPs, CIDRs, countries and systems are understood
 * @return an empty list with one reference, NULL: out of memory */
struct tg_match *tg_match_new(bool clients);

/** Add one pattern.  An empty one, or one that is not understood, is noted and left out.
 * @param where named in notes, NULL: nothing; `line` 0: none
 * @return 0 or TG_BUSY: out of memory, or too much of it wanted */
int tg_match_add(struct tg_match *m, const char *pattern, size_t len, const char *where,
                 unsigned line);
/** Add a name.  @return as tg_match_add() */
int tg_match_add_name(struct tg_match *m, enum tg_name_kind kind, const char *name, size_t len);
/** Add a text that must be somewhere in the host.  @return as tg_match_add() */
int tg_match_add_keyword(struct tg_match *m, const char *text, size_t len);
/** Remember what is wrong with a pattern. */
void tg_match_note(struct tg_match *m, const char *where, unsigned line, const char *what,
                   const char *text, size_t len);

/** Nothing more will be added. */
void tg_match_seal(struct tg_match *m);
/** Of a sealed list: is an address, "host" or "host:port", among it?  Without a port it is 0. */
bool tg_match_has(const struct tg_match *m, const char *address, size_t len);
size_t tg_match_bytes(const struct tg_match *m);

/** Give a sealed list a number; the number holds a reference. */
uint64_t tg_match_publish(struct tg_match *m);
/** @return the list with a reference more, NULL: there is none of that number */
struct tg_match *tg_match_find(uint64_t id);
/** The number is no longer good; whoever has the list keeps it. */
void tg_match_withdraw(uint64_t id);
/** NULL is allowed */
void tg_match_put(struct tg_match *m);
