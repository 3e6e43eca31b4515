#include "base/cache.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/shared_object.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CHAINS 64u

struct entry {
    struct entry *next;            /* in its chain */
    struct entry *older, *younger; /* in the order in which entries go */
    struct tg_cache_value *value;
    uint64_t expires; /* ms, 0: never */
    uint64_t hash;
    size_t key_len;
    uint8_t key[];
};

struct tg_cache {
    struct tg_shared shared;
    struct tg_hash_key key;
    pthread_mutex_t lock;
    struct entry **chains;
    size_t chain_count; /* a power of two; 0 before the first entry */
    struct entry *oldest, *youngest;
    size_t count, bytes, max_entries, max_bytes;
    bool lru;
};

struct tg_shared *tg_cache_make(void)
{
    struct tg_cache *c = tg_zalloc(sizeof(*c));
    tg_hash_key_make(&c->key);
    pthread_mutex_init(&c->lock, NULL);
    return &c->shared;
}

void tg_cache_value_put(struct tg_cache_value *v)
{
    if (v != NULL && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        free(v);
}

static struct tg_cache_value *copy_of(const void *data, size_t len)
{
    struct tg_cache_value *v = malloc(sizeof(*v) + len);
    if (v == NULL)
        return NULL;
    atomic_init(&v->refs, 1);
    v->len = len;
    if (len > 0)
        memcpy(v->bytes, data, len);
    return v;
}

static void unlink_order(struct tg_cache *c, struct entry *e)
{
    *(e->older != NULL ? &e->older->younger : &c->oldest) = e->younger;
    *(e->younger != NULL ? &e->younger->older : &c->youngest) = e->older;
}

static void make_youngest(struct tg_cache *c, struct entry *e)
{
    e->older = c->youngest;
    e->younger = NULL;
    *(c->youngest != NULL ? &c->youngest->younger : &c->oldest) = e;
    c->youngest = e;
}

static struct entry **link_of(struct tg_cache *c, uint64_t hash, const void *key, size_t key_len)
{
    if (c->chain_count == 0)
        return NULL;
    struct entry **link = &c->chains[hash & (c->chain_count - 1)];
    while (*link != NULL && ((*link)->hash != hash || (*link)->key_len != key_len ||
                             memcmp((*link)->key, key, key_len) != 0))
        link = &(*link)->next;
    return *link != NULL ? link : NULL;
}

static void drop(struct tg_cache *c, struct entry **link)
{
    struct entry *e = *link;
    *link = e->next;
    unlink_order(c, e);
    c->count--;
    c->bytes -= e->value->len;
    tg_cache_value_put(e->value);
    free(e);
}

static void drop_entry(struct tg_cache *c, const struct entry *e)
{
    drop(c, link_of(c, e->hash, e->key, e->key_len));
}

void tg_cache_free(struct tg_shared *object)
{
    struct tg_cache *c = (struct tg_cache *)object;
    while (c->oldest != NULL)
        drop_entry(c, c->oldest);
    free(c->chains);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static bool is_fresh(const struct entry *e, uint64_t now_ms)
{
    return e->expires == 0 || e->expires > now_ms;
}

static size_t sweep(struct tg_cache *c, uint64_t now_ms)
{
    size_t before = c->count;
    for (struct entry *e = c->oldest, *younger; e != NULL; e = younger) {
        younger = e->younger;
        if (!is_fresh(e, now_ms))
            drop_entry(c, e);
    }
    return before - c->count;
}

static bool is_over(const struct tg_cache *c, size_t entries, size_t bytes)
{
    return (c->max_entries > 0 && c->count + entries > c->max_entries) ||
           (c->max_bytes > 0 && c->bytes + bytes > c->max_bytes);
}

/* Make room for one more; expired entries go first. */
static void make_room(struct tg_cache *c, size_t entries, size_t bytes, uint64_t now_ms)
{
    if (is_over(c, entries, bytes))
        sweep(c, now_ms);
    while (c->oldest != NULL && is_over(c, entries, bytes))
        drop_entry(c, c->oldest);
}

static void grow(struct tg_cache *c)
{
    size_t count = c->chain_count == 0 ? FIRST_CHAINS : c->chain_count * 2;
    struct entry **chains = calloc(count, sizeof(struct entry *));
    if (chains == NULL)
        return; /* slower, but it works */
    for (struct entry *e = c->oldest; e != NULL; e = e->younger) {
        e->next = chains[e->hash & (count - 1)];
        chains[e->hash & (count - 1)] = e;
    }
    free(c->chains);
    c->chains = chains;
    c->chain_count = count;
}

void tg_cache_configure(struct tg_cache *c, size_t max_entries, size_t max_bytes, bool lru,
                        uint64_t now_ms)
{
    pthread_mutex_lock(&c->lock);
    c->max_entries = max_entries;
    c->max_bytes = max_bytes;
    c->lru = lru;
    make_room(c, 0, 0, now_ms);
    pthread_mutex_unlock(&c->lock);
}

static bool add(struct tg_cache *c, uint64_t hash, const void *key, size_t key_len,
                struct tg_cache_value *value, uint64_t expires)
{
    if (c->count >= c->chain_count)
        grow(c);
    struct entry *e = c->chain_count > 0 ? malloc(sizeof(*e) + key_len) : NULL;
    if (e == NULL)
        return false;
    *e = (struct entry){ .value = value, .expires = expires, .hash = hash, .key_len = key_len };
    memcpy(e->key, key, key_len);
    e->next = c->chains[hash & (c->chain_count - 1)];
    c->chains[hash & (c->chain_count - 1)] = e;
    make_youngest(c, e);
    c->count++;
    c->bytes += value->len;
    return true;
}

bool tg_cache_set(struct tg_cache *c, const void *key, size_t key_len, const void *value,
                  size_t value_len, uint64_t ttl_ms, uint64_t now_ms)
{
    struct tg_cache_value *v = copy_of(value, value_len);
    if (v == NULL)
        return false;
    uint64_t hash = tg_hash(&c->key, key, key_len);
    pthread_mutex_lock(&c->lock);
    struct entry **link = link_of(c, hash, key, key_len);
    if (link != NULL)
        drop(c, link);
    bool fits = c->max_bytes == 0 || value_len <= c->max_bytes;
    if (fits) {
        make_room(c, 1, value_len, now_ms);
        fits = add(c, hash, key, key_len, v, ttl_ms == 0 ? 0 : now_ms + ttl_ms);
    }
    pthread_mutex_unlock(&c->lock);
    if (!fits)
        tg_cache_value_put(v);
    return fits;
}

struct tg_cache_value *tg_cache_get(struct tg_cache *c, const void *key, size_t key_len,
                                    uint64_t now_ms, bool *fresh)
{
    uint64_t hash = tg_hash(&c->key, key, key_len);
    pthread_mutex_lock(&c->lock);
    struct entry **link = link_of(c, hash, key, key_len);
    struct tg_cache_value *v = NULL;
    if (link != NULL) {
        struct entry *e = *link;
        v = e->value;
        atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
        *fresh = is_fresh(e, now_ms);
        if (c->lru) {
            unlink_order(c, e);
            make_youngest(c, e);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return v;
}

bool tg_cache_delete(struct tg_cache *c, const void *key, size_t key_len)
{
    uint64_t hash = tg_hash(&c->key, key, key_len);
    pthread_mutex_lock(&c->lock);
    struct entry **link = link_of(c, hash, key, key_len);
    if (link != NULL)
        drop(c, link);
    pthread_mutex_unlock(&c->lock);
    return link != NULL;
}

size_t tg_cache_sweep(struct tg_cache *c, uint64_t now_ms)
{
    pthread_mutex_lock(&c->lock);
    size_t gone = sweep(c, now_ms);
    pthread_mutex_unlock(&c->lock);
    return gone;
}

void tg_cache_size(struct tg_cache *c, size_t *entries, size_t *bytes)
{
    pthread_mutex_lock(&c->lock);
    *entries = c->count;
    *bytes = c->bytes;
    pthread_mutex_unlock(&c->lock);
}
