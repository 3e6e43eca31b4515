#include "match/nameset.h"

#include "base/error.h"
#include "base/hash.h"
#include "match/big.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 64u
#define HEAD        7u /* of an entry: 4 bytes ports, 2 bytes length, 1 byte kind */
#define BATCH       16

void tg_nameset_open(struct tg_nameset *set)
{
    struct tg_hash_key key;
    memset(set, 0, sizeof(*set));
    tg_hash_key_make(&key);
    set->seed = key.k0;
    set->factor = key.k1 | 1;
}

/* One byte more, from the end of the name to its beginning: so the hashes of all suffixes
 * come out of one pass. */
static inline uint64_t hash_byte(const struct tg_nameset *set, uint64_t h, char c)
{
    h = (h ^ (uint8_t)c) * set->factor;
    return h ^ h >> 29;
}

static inline uint32_t tag_of(uint64_t h, enum tg_name_kind kind)
{
    h = (h + (uint64_t)kind) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32);
}

static uint64_t hash_name(const struct tg_nameset *set, const char *name, size_t len)
{
    uint64_t h = set->seed;
    while (len-- > 0)
        h = hash_byte(set, h, name[len]);
    return h;
}

static bool is_entry(const struct tg_nameset *set, uint32_t entry, enum tg_name_kind kind,
                     const char *name, size_t len)
{
    const char *e = set->text + entry;
    uint16_t own;
    memcpy(&own, e + 4, 2);
    return own == len && (uint8_t)e[6] == kind && memcmp(e + HEAD, name, len) == 0;
}

/* @return the slot of the name, or the free one where it belongs */
static struct tg_name_slot *slot_of(const struct tg_nameset *set, uint32_t tag,
                                    enum tg_name_kind kind, const char *name, size_t len)
{
    size_t mask = set->slot_count - 1;
    for (size_t i = tag & mask;; i = (i + 1) & mask) {
        struct tg_name_slot *s = &set->slots[i];
        if (s->entry == 0 || (s->tag == tag && is_entry(set, s->entry, kind, name, len)))
            return s;
    }
}

static bool grow_slots(struct tg_nameset *set)
{
    size_t count = set->slot_count == 0 ? FIRST_SLOTS : set->slot_count * 2;
    struct tg_name_slot *slots = tg_big_alloc(count * sizeof(*slots));
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < set->slot_count; i++) {
        if (set->slots[i].entry == 0)
            continue;
        size_t at = set->slots[i].tag & (count - 1);
        while (slots[at].entry != 0)
            at = (at + 1) & (count - 1);
        slots[at] = set->slots[i];
    }
    tg_big_free(set->slots, set->slot_count * sizeof(*slots));
    set->slots = slots;
    set->slot_count = count;
    return true;
}

static int reserve_text(struct tg_nameset *set, size_t more)
{
    if (set->text_len + more > UINT32_MAX)
        return TG_LIMIT;
    if (set->text_len + more <= set->text_size)
        return 0;
    size_t size = set->text_size == 0 ? 4096 : set->text_size + set->text_size / 2;
    if (size < set->text_len + more)
        size = set->text_len + more;
    char *text = tg_big_resize(set->text, set->text_size, size);
    if (text == NULL)
        return TG_BUSY;
    set->text = text;
    set->text_size = size;
    return 0;
}

/* Offset 0 means a free slot, so the first entry begins one byte later. */
static int add_entry(struct tg_nameset *set, struct tg_name_slot *slot, uint32_t tag,
                     enum tg_name_kind kind, const char *name, size_t len)
{
    int code = reserve_text(set, len + HEAD + 1);
    if (code < 0)
        return code;
    if (set->text_len == 0)
        set->text[set->text_len++] = '\0';
    char *e = set->text + set->text_len;
    uint16_t own = (uint16_t)len;
    memset(e, 0, 4);
    memcpy(e + 4, &own, 2);
    e[6] = (char)kind;
    memcpy(e + HEAD, name, len);
    *slot = (struct tg_name_slot){ .tag = tag, .entry = (uint32_t)set->text_len };
    set->text_len += HEAD + len;
    set->used++;
    set->has[kind] = true;
    return 0;
}

static int add_ports(struct tg_nameset *set, uint32_t entry, struct tg_ports ports)
{
    uint32_t head;
    if (set->port_count == set->port_size) {
        size_t size = set->port_size == 0 ? 16 : set->port_size * 2;
        struct tg_name_ports *more = realloc(set->ports, size * sizeof(*more));
        if (more == NULL)
            return TG_BUSY;
        set->ports = more;
        set->port_size = size;
    }
    memcpy(&head, set->text + entry, 4);
    set->ports[set->port_count++] = (struct tg_name_ports){ .ports = ports, .next = head };
    head = (uint32_t)set->port_count;
    memcpy(set->text + entry, &head, 4);
    return 0;
}

static bool any(struct tg_ports ports)
{
    return ports.first == 0 && ports.last == UINT32_MAX;
}

int tg_nameset_add(struct tg_nameset *set, enum tg_name_kind kind, const char *name, size_t len,
                   struct tg_ports ports)
{
    static const uint32_t every_port = 0;
    if (len > TG_NAME_MAX)
        return TG_LIMIT;
    if ((set->used + 1) * 10 > set->slot_count * 7 && !grow_slots(set))
        return TG_BUSY;
    uint32_t tag = tag_of(hash_name(set, name, len), kind);
    struct tg_name_slot *slot = slot_of(set, tag, kind, name, len);
    bool fresh = slot->entry == 0;
    if (fresh) {
        int code = add_entry(set, slot, tag, kind, name, len);
        if (code < 0)
            return code;
    }
    uint32_t head;
    memcpy(&head, set->text + slot->entry, 4);
    if (any(ports))
        memcpy(set->text + slot->entry, &every_port, 4);
    else if (fresh || head != 0)
        return add_ports(set, slot->entry, ports);
    return 0;
}

void tg_nameset_seal(struct tg_nameset *set)
{
    char *less = set->text_len > 0 ? tg_big_resize(set->text, set->text_size, set->text_len) : NULL;
    if (less != NULL) {
        set->text = less;
        set->text_size = set->text_len;
    }
}

static bool has_port(const struct tg_nameset *set, uint32_t entry, unsigned port)
{
    uint32_t at;
    memcpy(&at, set->text + entry, 4);
    if (at == 0)
        return true;
    for (; at != 0; at = set->ports[at - 1].next) {
        struct tg_ports p = set->ports[at - 1].ports;
        if (p.first <= port && port <= p.last)
            return true;
    }
    return false;
}

/* What a name is looked for as. */
struct candidate {
    uint32_t tag;
    uint16_t from; /* where in the name it begins */
    uint8_t kind;
};

struct batch {
    struct candidate items[BATCH];
    unsigned count;
};

static bool probe(const struct tg_nameset *set, struct batch *b, const char *name, size_t len,
                  unsigned port)
{
    for (unsigned i = 0; i < b->count; i++) {
        struct candidate *c = &b->items[i];
        const struct tg_name_slot *slot =
            slot_of(set, c->tag, (enum tg_name_kind)c->kind, name + c->from, len - c->from);
        if (slot->entry != 0 && has_port(set, slot->entry, port))
            return true;
    }
    b->count = 0;
    return false;
}

/* The slots of a batch are on their way into the cache while the next hashes are made. */
static void want(const struct tg_nameset *set, struct batch *b, uint64_t h, enum tg_name_kind kind,
                 size_t from)
{
    if (!set->has[kind])
        return;
    uint32_t tag = tag_of(h, kind);
    __builtin_prefetch(&set->slots[tag & (set->slot_count - 1)]);
    b->items[b->count++] =
        (struct candidate){ .tag = tag, .from = (uint16_t)from, .kind = (uint8_t)kind };
}

bool tg_nameset_has(const struct tg_nameset *set, const char *name, size_t len, unsigned port)
{
    struct batch b;
    uint64_t h = set->seed;
    if (set->used == 0 || len > TG_NAME_MAX)
        return false;
    b.count = 0;
    for (size_t i = len; i-- > 0;) {
        if (name[i] == '.') {
            want(set, &b, h, TG_NAME_SUFFIX, i + 1);
            want(set, &b, h, TG_NAME_BELOW, i + 1);
            if (b.count > BATCH - 2 && probe(set, &b, name, len, port))
                return true;
        }
        h = hash_byte(set, h, name[i]);
    }
    want(set, &b, h, TG_NAME_EXACT, 0);
    want(set, &b, h, TG_NAME_SUFFIX, 0);
    return probe(set, &b, name, len, port);
}

size_t tg_nameset_bytes(const struct tg_nameset *set)
{
    return set->slot_count * sizeof(*set->slots) + set->text_size +
           set->port_size * sizeof(*set->ports);
}

void tg_nameset_free(struct tg_nameset *set)
{
    tg_big_free(set->slots, set->slot_count * sizeof(*set->slots));
    tg_big_free(set->text, set->text_size);
    free(set->ports);
    memset(set, 0, sizeof(*set));
}
