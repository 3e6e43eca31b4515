#pragma once

/** @file
 * Sets of host names in one hash table: exact names, names with all below them, and only what is
 * below them, each with the ports it is meant for.  A lookup is one pass over the name, from its
 * end.  Names are lower case, at most TG_NAME_MAX bytes.
 *
 * Filled by one thread; afterwards immutable, for every thread to read.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_NAME_MAX 1024u

enum tg_name_kind {
    TG_NAME_EXACT,  /**< the name */
    TG_NAME_SUFFIX, /**< the name, and what ends with a dot and the name */
    TG_NAME_BELOW,  /**< what ends with a dot and the name */
    TG_NAME_KINDS
};

/** Inclusive. */
struct tg_ports {
    uint32_t first, last;
};

#define TG_ANY_PORT ((struct tg_ports){ 0, UINT32_MAX })

struct tg_name_slot {
    uint32_t tag;   /**< of the hash */
    uint32_t entry; /**< offset in the text; 0: free */
};

struct tg_name_ports {
    struct tg_ports ports;
    uint32_t next; /**< index + 1 */
};

/** Opened by tg_nameset_open(). */
struct tg_nameset {
    struct tg_name_slot *slots;
    char *text; /**< entries: ports, length, kind, name */
    struct tg_name_ports *ports;
    uint64_t seed, factor;
    size_t slot_count, used;
    size_t text_len, text_size;
    size_t port_count, port_size;
    bool has[TG_NAME_KINDS];
};

void tg_nameset_open(struct tg_nameset *set);
/** @return 0, TG_LIMIT (too long, or 4 GiB of names) or TG_BUSY (out of memory) */
int tg_nameset_add(struct tg_nameset *set, enum tg_name_kind kind, const char *name, size_t len,
                   struct tg_ports ports);
/** Nothing more will be added: give back spare memory. */
void tg_nameset_seal(struct tg_nameset *set);
/** @param name lower case */
bool tg_nameset_has(const struct tg_nameset *set, const char *name, size_t len, unsigned port);
size_t tg_nameset_bytes(const struct tg_nameset *set);
void tg_nameset_free(struct tg_nameset *set);
