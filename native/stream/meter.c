#include "stream/meter.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FEW 1u /* meters a gauge has room for */
#define BUCKETS_MAX 8u /* remembered while a way is paid for; of more they are looked up again */

enum kind {
    COUNT = 1,
    LIMIT,
    EACH,
    QUOTA,
    SLOT,
};

struct entry {
    enum kind kind; /* 0: the end of a list */
    unsigned ways;
    void *object;
    struct tg_counter *cap; /* QUOTA */
};

/* Entries by what asks for them, so that a byte meets no others. */
enum list {
    BUCKETS, /* and the next one: of TG_IN, of TG_OUT */
    SPENT = 2, /* likewise: what counts bytes that moved */
    QUOTAS = 4,
    LISTS,
};

/* What a gauge has of its own for an EACH. */
struct tg_own_bucket {
    const struct tg_bucket *rule;
    struct tg_bucket *bucket;
};

struct tg_meter {
    unsigned holders; /* gauges among them */
    unsigned users;
    unsigned count, part_count;
    struct entry *entries; /* all of them, which hold what they refer to */
    struct entry *lists[LISTS]; /* copies; NULL: empty */
    struct tg_meter **parts; /* included ones, held */
    struct tg_bucket *own[2]; /* also among the entries, which hold them; NULL: none */
};

struct tg_meter *tg_meter_new(void)
{
    struct tg_meter *m = tg_zalloc(sizeof(*m));
    m->holders = 1;
    return m;
}

struct tg_meter *tg_meter_hold(struct tg_meter *m)
{
    m->holders++;
    return m;
}

void tg_meter_drop(struct tg_meter *m)
{
    if (m == NULL || --m->holders > 0)
        return;
    for (unsigned i = 0; i < m->count; i++) {
        if (m->entries[i].kind == SLOT)
            tg_counter_add(m->entries[i].object, -1);
        tg_shared_put(m->entries[i].object);
        tg_shared_put(m->entries[i].cap);
    }
    for (unsigned i = 0; i < m->part_count; i++) {
        m->parts[i]->users--;
        tg_meter_drop(m->parts[i]);
    }
    for (unsigned i = 0; i < LISTS; i++)
        free(m->lists[i]);
    free(m->parts);
    free(m->entries);
    free(m);
}

unsigned tg_meter_users(const struct tg_meter *m)
{
    return m->users;
}

static struct entry *grow(struct entry *list, unsigned count)
{
    struct entry *grown = realloc(list, count * sizeof(*grown));
    if (grown == NULL)
        abort();
    return grown;
}

static void put(struct tg_meter *m, enum list which, const struct entry *entry)
{
    struct entry *list = m->lists[which];
    unsigned count = 0;
    while (list != NULL && list[count].kind != 0)
        count++;
    m->lists[which] = list = grow(list, count + 2);
    list[count] = *entry;
    list[count + 1] = (struct entry){ .object = NULL };
}

static void sort(struct tg_meter *m, const struct entry *entry)
{
    if (entry->kind == QUOTA)
        put(m, QUOTAS, entry);
    for (unsigned way = TG_IN; way <= TG_OUT; way++) {
        if ((entry->ways & 1u << way) == 0)
            continue;
        if (entry->kind == LIMIT || entry->kind == EACH)
            put(m, BUCKETS + way, entry);
        else if (entry->kind == COUNT || entry->kind == QUOTA)
            put(m, SPENT + way, entry);
    }
}

static void add(struct tg_meter *m, struct entry entry)
{
    m->entries = grow(m->entries, m->count + 1);
    m->entries[m->count++] = entry;
    sort(m, &entry);
    tg_shared_ref(entry.object);
    if (entry.cap != NULL)
        tg_shared_ref(entry.cap);
}

void tg_meter_count(struct tg_meter *m, struct tg_counter *counter, unsigned ways)
{
    add(m, (struct entry){ .kind = COUNT, .ways = ways, .object = counter });
}

void tg_meter_limit(struct tg_meter *m, struct tg_bucket *bucket, unsigned ways)
{
    add(m, (struct entry){ .kind = LIMIT, .ways = ways, .object = bucket });
}

void tg_meter_rate(struct tg_meter *m, enum tg_way way, uint64_t rate, uint64_t burst)
{
    struct tg_bucket *bucket = m->own[way];
    if (bucket != NULL) {
        tg_bucket_configure(bucket, rate, burst);
        return;
    }
    m->own[way] = bucket = tg_bucket_new();
    tg_bucket_configure(bucket, rate, burst);
    tg_meter_limit(m, bucket, 1u << way);
    tg_shared_put(bucket);
}

void tg_meter_limit_each(struct tg_meter *m, struct tg_bucket *rule, unsigned ways)
{
    add(m, (struct entry){ .kind = EACH, .ways = ways, .object = rule });
}

void tg_meter_quota(struct tg_meter *m, struct tg_counter *used, struct tg_counter *cap,
                    unsigned ways)
{
    add(m, (struct entry){ .kind = QUOTA, .ways = ways, .object = used, .cap = cap });
}

void tg_meter_slot(struct tg_meter *m, struct tg_counter *taken)
{
    add(m, (struct entry){ .kind = SLOT, .object = taken });
}

void tg_meter_include(struct tg_meter *m, struct tg_meter *part)
{
    assert(m != part);
    struct tg_meter **grown = realloc(m->parts, (m->part_count + 1) * sizeof(struct tg_meter *));
    if (grown == NULL)
        abort();
    m->parts = grown;
    m->parts[m->part_count++] = tg_meter_hold(part);
    part->users++;
    for (unsigned i = 0; i < part->count; i++)
        if (part->entries[i].kind != SLOT)
            add(m, part->entries[i]);
}

void tg_gauge_add(struct tg_gauge *g, struct tg_meter *m)
{
    struct tg_meter **before = g->count > FEW ? g->meters : NULL;
    if (g->count < FEW) {
        g->meters = g->few;
    } else {
        g->meters = realloc(before, (g->count + 1) * sizeof(struct tg_meter *));
        if (g->meters == NULL)
            abort();
        if (before == NULL)
            memcpy(g->meters, g->few, sizeof(g->few));
    }
    g->meters[g->count++] = tg_meter_hold(m);
    m->users++;
}

void tg_gauge_close(struct tg_gauge *g)
{
    tg_gauge_release(g, TG_IN, 0);
    tg_gauge_release(g, TG_OUT, 0);
    for (unsigned i = 0; i < g->count; i++) {
        g->meters[i]->users--;
        tg_meter_drop(g->meters[i]);
    }
    for (unsigned i = 0; i < g->own_count; i++)
        tg_shared_put(g->own[i].bucket);
    free(g->own);
    if (g->count > FEW)
        free(g->meters);
    *g = (struct tg_gauge){ .meters = NULL };
}

/* Where one is among the entries of a gauge's meters.  Begins with { 0, NULL }. */
struct place {
    unsigned meter;
    const struct entry *entry;
};

static inline const struct entry *next(const struct tg_gauge *g, enum list which, struct place *at)
{
    if (at->entry != NULL && at->entry->kind != 0)
        return at->entry++;
    while (at->meter < g->count) {
        at->entry = g->meters[at->meter++]->lists[which];
        if (at->entry != NULL)
            return at->entry++;
    }
    return NULL;
}

static struct tg_bucket *own_bucket(struct tg_gauge *g, struct tg_bucket *rule)
{
    if (tg_bucket_burst(rule) == UINT64_MAX)
        return rule; /* it limits nothing */
    for (unsigned i = 0; i < g->own_count; i++) {
        if (g->own[i].rule == rule) {
            tg_bucket_follow(g->own[i].bucket, rule);
            return g->own[i].bucket;
        }
    }
    struct tg_own_bucket *grown = realloc(g->own, (g->own_count + 1) * sizeof(*grown));
    if (grown == NULL)
        abort();
    g->own = grown;
    g->own[g->own_count] = (struct tg_own_bucket){ .rule = rule, .bucket = tg_bucket_new() };
    tg_bucket_follow(g->own[g->own_count].bucket, rule);
    return g->own[g->own_count++].bucket;
}

/* The next bucket of a direction. */
static struct tg_bucket *next_bucket(struct tg_gauge *g, enum tg_way w, struct place *at)
{
    const struct entry *e = next(g, BUCKETS + w, at);
    if (e == NULL)
        return NULL;
    return e->kind == LIMIT ? e->object : own_bucket(g, e->object);
}

/* A quota counts its direction, and stops both. */
static bool is_used_up(const struct tg_gauge *g)
{
    struct place at = { 0, NULL };
    for (const struct entry *e; (e = next(g, QUOTAS, &at)) != NULL;) {
        int64_t cap = tg_counter_read(e->cap);
        if (cap > 0 && tg_counter_read(e->object) >= cap)
            return true;
    }
    return false;
}

/* @return ms until all that is owed is there */
static uint32_t charge(struct tg_gauge *g, enum tg_way w, uint64_t n, uint64_t now)
{
    struct place at = { 0, NULL };
    uint32_t wait = 0;
    for (struct tg_bucket *b; (b = next_bucket(g, w, &at)) != NULL;) {
        uint32_t ms = tg_bucket_charge(b, n, now);
        if (ms > wait)
            wait = ms;
    }
    return wait;
}

/* Would nobody have to wait for `want` bytes?  Then they are paid for when they have moved. */
static bool is_there(struct tg_gauge *g, enum tg_way w, uint64_t want, uint64_t now)
{
    struct place at = { 0, NULL };
    for (struct tg_bucket *b; (b = next_bucket(g, w, &at)) != NULL;)
        if (!tg_bucket_has(b, want, now))
            return false;
    return true;
}

/* Pay for a part of `want`. */
static void pay(struct tg_gauge *g, enum tg_way w, uint64_t want, uint64_t now)
{
    struct place at = { 0, NULL };
    struct tg_bucket *buckets[BUCKETS_MAX];
    unsigned count = 0;
    uint64_t n = want;
    for (struct tg_bucket *b; (b = next_bucket(g, w, &at)) != NULL; count++) {
        n = tg_bucket_portion(b, n, now);
        if (count < BUCKETS_MAX)
            buckets[count] = b;
    }
    uint32_t wait = count > BUCKETS_MAX ? charge(g, w, n, now) : 0;
    for (unsigned i = 0; i < count && count <= BUCKETS_MAX; i++) {
        uint32_t ms = tg_bucket_charge(buckets[i], n, now);
        wait = ms > wait ? ms : wait;
    }
    g->way[w].paid = n;
    g->way[w].ready_at = now + wait;
}

int64_t tg_gauge_reserve(struct tg_gauge *g, enum tg_way w, uint64_t want, uint64_t now)
{
    if (is_used_up(g))
        return TG_BLOCKED;
    if (g->way[w].paid == 0) {
        if (is_there(g, w, want, now))
            return (int64_t)want;
        pay(g, w, want, now);
    }
    if (g->way[w].ready_at > now)
        return 0;
    return (int64_t)(g->way[w].paid < want ? g->way[w].paid : want);
}

void tg_gauge_spend(struct tg_gauge *g, enum tg_way w, uint64_t n, uint64_t now)
{
    uint64_t paid = n < g->way[w].paid ? n : g->way[w].paid;
    g->way[w].paid -= paid;
    if (n > paid)
        charge(g, w, n - paid, now);
    tg_gauge_count(g, w, n);
}

void tg_gauge_count(struct tg_gauge *g, enum tg_way w, uint64_t n)
{
    struct place at = { 0, NULL };
    for (const struct entry *e; (e = next(g, SPENT + w, &at)) != NULL;)
        if (e->kind == COUNT || tg_counter_read(e->cap) > 0)
            tg_counter_add(e->object, (int64_t)n);
}

void tg_gauge_release(struct tg_gauge *g, enum tg_way w, uint64_t keep)
{
    if (g->way[w].paid <= keep)
        return;
    struct place at = { 0, NULL };
    for (struct tg_bucket *b; (b = next_bucket(g, w, &at)) != NULL;)
        tg_bucket_return(b, g->way[w].paid - keep);
    g->way[w].paid = keep;
}

int64_t tg_gauge_charge(struct tg_gauge *g, enum tg_way w, uint64_t n, uint64_t now)
{
    struct place at = { 0, NULL };
    if (is_used_up(g))
        return TG_BLOCKED;
    for (struct tg_bucket *b; (b = next_bucket(g, w, &at)) != NULL;)
        if (n > tg_bucket_burst(b))
            return TG_LIMIT;
    return charge(g, w, n, now);
}
