#include "base/hash.h"
#include "base/mem.h"
#include "base/shared_object.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define STRIPES 16u
#define FIRST_CHAINS 16u
#define DEFAULT_LIMIT ((size_t)64 << 20)
#define SWEEP 2u /* chains looked through per change, so that what expired goes away unasked */

struct entry {
    struct entry *next;
    uint64_t expires; /* ms, 0: never */
    uint64_t hash;
    uint32_t key_len, value_len;
    uint8_t type;
    uint8_t bytes[]; /* key, then value */
};

struct stripe {
    pthread_mutex_t lock;
    struct entry **chains;
    uint32_t chain_count; /* a power of two; 0 before the first entry */
    uint32_t count;
    uint32_t hand; /* chain that is swept next */
};

struct tg_dict {
    struct tg_shared shared;
    struct tg_hash_key key;
    _Atomic size_t limit, used, count;
    struct stripe stripes[STRIPES];
};

struct tg_shared *tg_dict_make(void)
{
    struct tg_dict *d = tg_zalloc(sizeof(*d));
    tg_hash_key_make(&d->key);
    d->limit = DEFAULT_LIMIT;
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&d->stripes[i].lock, NULL);
    return &d->shared;
}

static size_t size_of(size_t key_len, size_t value_len)
{
    return sizeof(struct entry) + key_len + value_len;
}

/* Unlink and free the entry at *link. */
static void drop(struct tg_dict *d, struct stripe *s, struct entry **link)
{
    struct entry *e = *link;
    *link = e->next;
    s->count--;
    atomic_fetch_sub_explicit(&d->count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&d->used, size_of(e->key_len, e->value_len), memory_order_relaxed);
    free(e);
}

static void clear_stripe(struct tg_dict *d, struct stripe *s)
{
    for (uint32_t i = 0; i < s->chain_count; i++)
        while (s->chains[i] != NULL)
            drop(d, s, &s->chains[i]);
    free(s->chains);
    s->chains = NULL;
    s->chain_count = s->hand = 0;
}

void tg_dict_clear(struct tg_dict *d)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        pthread_mutex_lock(&d->stripes[i].lock);
        clear_stripe(d, &d->stripes[i]);
        pthread_mutex_unlock(&d->stripes[i].lock);
    }
}

void tg_dict_free(struct tg_shared *object)
{
    struct tg_dict *d = (struct tg_dict *)object;
    for (unsigned i = 0; i < STRIPES; i++) {
        clear_stripe(d, &d->stripes[i]);
        pthread_mutex_destroy(&d->stripes[i].lock);
    }
    free(d);
}

static struct stripe *lock_stripe(struct tg_dict *d, uint64_t hash)
{
    struct stripe *s = &d->stripes[hash >> 32 & (STRIPES - 1)];
    pthread_mutex_lock(&s->lock);
    return s;
}

static bool is_expired(const struct entry *e, uint64_t now_ms)
{
    return e->expires != 0 && e->expires <= now_ms;
}

static void sweep_chain(struct tg_dict *d, struct stripe *s, struct entry **link, uint64_t now_ms)
{
    while (*link != NULL) {
        if (is_expired(*link, now_ms))
            drop(d, s, link);
        else
            link = &(*link)->next;
    }
}

static void sweep(struct tg_dict *d, struct stripe *s, uint32_t chains, uint64_t now_ms)
{
    if (chains > s->chain_count)
        chains = s->chain_count;
    while (chains-- > 0) {
        sweep_chain(d, s, &s->chains[s->hand], now_ms);
        s->hand = (s->hand + 1) & (s->chain_count - 1);
    }
}

/* @return the link that points to the living entry, or NULL */
static struct entry **find(struct tg_dict *d, struct stripe *s, uint64_t hash, const void *key,
                           size_t key_len, uint64_t now_ms)
{
    if (s->chain_count == 0)
        return NULL;
    struct entry **link = &s->chains[hash & (s->chain_count - 1)];
    for (; *link != NULL; link = &(*link)->next) {
        struct entry *e = *link;
        if (e->hash != hash || e->key_len != key_len || memcmp(e->bytes, key, key_len) != 0)
            continue;
        if (!is_expired(e, now_ms))
            return link;
        drop(d, s, link);
        return NULL;
    }
    return NULL;
}

static bool grow(struct stripe *s)
{
    uint32_t count = s->chain_count == 0 ? FIRST_CHAINS : s->chain_count * 2;
    struct entry **chains = calloc(count, sizeof(struct entry *));
    if (chains == NULL)
        return s->chain_count > 0; /* slower, but it works */
    for (uint32_t i = 0; i < s->chain_count; i++) {
        while (s->chains[i] != NULL) {
            struct entry *e = s->chains[i];
            s->chains[i] = e->next;
            e->next = chains[e->hash & (count - 1)];
            chains[e->hash & (count - 1)] = e;
        }
    }
    free(s->chains);
    s->chains = chains;
    s->chain_count = count;
    return true;
}

/* Reserve `size` bytes of the limit. */
static bool charge(struct tg_dict *d, size_t size)
{
    size_t limit = atomic_load_explicit(&d->limit, memory_order_relaxed);
    size_t used = atomic_load_explicit(&d->used, memory_order_relaxed);
    do
        if (size > limit || used > limit - size)
            return false;
    while (!atomic_compare_exchange_weak_explicit(&d->used, &used, used + size,
                                                  memory_order_relaxed, memory_order_relaxed));
    return true;
}

static struct entry *add(struct tg_dict *d, struct stripe *s, uint64_t hash, const void *key,
                         size_t key_len, size_t value_len, uint64_t now_ms)
{
    if (key_len > UINT32_MAX || value_len > UINT32_MAX)
        return NULL;
    if (s->count >= s->chain_count && !grow(s))
        return NULL;
    size_t size = size_of(key_len, value_len);
    if (!charge(d, size)) {
        sweep(d, s, s->chain_count, now_ms);
        if (!charge(d, size))
            return NULL;
    }
    struct entry *e = malloc(size);
    if (e == NULL) {
        atomic_fetch_sub_explicit(&d->used, size, memory_order_relaxed);
        return NULL;
    }
    e->hash = hash;
    e->key_len = (uint32_t)key_len;
    e->value_len = (uint32_t)value_len;
    memcpy(e->bytes, key, key_len);
    e->next = s->chains[hash & (s->chain_count - 1)];
    s->chains[hash & (s->chain_count - 1)] = e;
    s->count++;
    atomic_fetch_add_explicit(&d->count, 1, memory_order_relaxed);
    return e;
}

static uint64_t expiry(uint64_t ttl_ms, uint64_t now_ms)
{
    return ttl_ms == 0 ? 0 : now_ms + ttl_ms;
}

bool tg_dict_set(struct tg_dict *d, const void *key, size_t key_len, enum tg_dict_type type,
                 const void *value, size_t value_len, uint64_t ttl_ms, uint64_t now_ms)
{
    uint64_t hash = tg_hash(&d->key, key, key_len);
    struct stripe *s = lock_stripe(d, hash);
    sweep(d, s, SWEEP, now_ms);
    struct entry **link = find(d, s, hash, key, key_len, now_ms);
    struct entry *e = link == NULL ? NULL : *link;
    if (e != NULL && e->value_len != value_len) {
        drop(d, s, link);
        e = NULL;
    }
    if (e == NULL)
        e = add(d, s, hash, key, key_len, value_len, now_ms);
    if (e != NULL) {
        e->type = (uint8_t)type;
        e->expires = expiry(ttl_ms, now_ms);
        memcpy(e->bytes + key_len, value, value_len);
    }
    pthread_mutex_unlock(&s->lock);
    return e != NULL;
}

enum tg_dict_type tg_dict_get(struct tg_dict *d, const void *key, size_t key_len, void *value,
                              size_t size, size_t *len, uint64_t now_ms)
{
    uint64_t hash = tg_hash(&d->key, key, key_len);
    struct stripe *s = lock_stripe(d, hash);
    struct entry **link = find(d, s, hash, key, key_len, now_ms);
    enum tg_dict_type type = TG_DICT_ABSENT;
    *len = 0;
    if (link != NULL) {
        struct entry *e = *link;
        type = e->type;
        *len = e->value_len;
        if (size > 0) /* `value` may be NULL then */
            memcpy(value, e->bytes + key_len, e->value_len < size ? e->value_len : size);
    }
    pthread_mutex_unlock(&s->lock);
    return type;
}

bool tg_dict_incr(struct tg_dict *d, const void *key, size_t key_len, double n, double initial,
                  uint64_t ttl_ms, uint64_t now_ms, double *out)
{
    uint64_t hash = tg_hash(&d->key, key, key_len);
    struct stripe *s = lock_stripe(d, hash);
    sweep(d, s, SWEEP, now_ms);
    struct entry **link = find(d, s, hash, key, key_len, now_ms);
    struct entry *e = link == NULL ? NULL : *link;
    double value = initial;
    if (e == NULL) {
        e = add(d, s, hash, key, key_len, sizeof(value), now_ms);
        if (e != NULL) {
            e->type = TG_DICT_NUMBER;
            e->expires = expiry(ttl_ms, now_ms);
        }
    } else if (e->type == TG_DICT_NUMBER) {
        memcpy(&value, e->bytes + key_len, sizeof(value));
    } else {
        e = NULL;
    }
    if (e != NULL) {
        *out = value + n;
        memcpy(e->bytes + key_len, out, sizeof(*out));
    }
    pthread_mutex_unlock(&s->lock);
    return e != NULL;
}

bool tg_dict_delete(struct tg_dict *d, const void *key, size_t key_len)
{
    uint64_t hash = tg_hash(&d->key, key, key_len);
    struct stripe *s = lock_stripe(d, hash);
    struct entry **link = find(d, s, hash, key, key_len, 0);
    if (link != NULL)
        drop(d, s, link);
    pthread_mutex_unlock(&s->lock);
    return link != NULL;
}

size_t tg_dict_count(const struct tg_dict *d)
{
    return atomic_load_explicit(&d->count, memory_order_relaxed);
}

void tg_dict_limit(struct tg_dict *d, size_t bytes)
{
    atomic_store_explicit(&d->limit, bytes == 0 ? DEFAULT_LIMIT : bytes, memory_order_relaxed);
}

void tg_dict_each(struct tg_dict *d, uint64_t now_ms,
                  bool (*each)(void *arg, const void *key, size_t key_len, const void *value,
                               size_t value_len),
                  void *arg)
{
    bool more = true;
    for (unsigned i = 0; i < STRIPES && more; i++) {
        struct stripe *s = &d->stripes[i];
        pthread_mutex_lock(&s->lock);
        for (uint32_t c = 0; c < s->chain_count && more; c++)
            for (struct entry *e = s->chains[c]; e != NULL && more; e = e->next)
                if (!is_expired(e, now_ms))
                    more = each(arg, e->bytes, e->key_len, e->bytes + e->key_len, e->value_len);
        pthread_mutex_unlock(&s->lock);
    }
}
