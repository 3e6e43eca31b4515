#include "base/shared.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/reactor.h"
#include "base/shared_object.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define STRIPES 16u
#define CHAINS 64u /* per stripe */

/* Time in a bucket is counted in sixteenths of a nanosecond: a token of the
 * highest rate still takes one, and 64 bits last for decades. */
#define UNITS_PER_MS 16000000u
#define UNITS_PER_S 16000000000u
#define CHARGE_SPAN (16u * (uint64_t)UNITS_PER_MS) /* a bucket that is charged holds this much at least */
#define SPAN_MAX ((uint64_t)1 << 62) /* nothing takes longer */
#define OWED_MAX UNITS_PER_S /* that is left of a debt when the rate changes */
#define PORTIONS 64u /* a second's worth is given out in so many, when there is a queue */
#define PORTION_MIN 1024u
#define PORTION_MAX (128u * 1024u)

/* Of a mark's word: failures in the upper bits, ms of the last one in the lower. */
#define MARK_TIME_BITS 40
#define MARK_TIME_MASK (((uint64_t)1 << MARK_TIME_BITS) - 1)
#define MARK_COUNT_MAX (((uint64_t)1 << (64 - MARK_TIME_BITS)) - 1)

struct tg_counter {
    struct tg_shared shared;
    _Atomic int64_t value;
};

/* `full_at` is when the bucket will be full again; what is missing now is the
 * time until then.  One word, so that taking is one compare-and-swap. */
struct tg_bucket {
    struct tg_shared shared;
    _Atomic uint64_t rate, burst, full_at;
};

struct tg_mark {
    struct tg_shared shared;
    _Atomic uint64_t word;
};

struct tg_ticket {
    struct tg_shared shared;
    _Atomic uint64_t next;
};

/* The one mutable static of native/: the process-wide directory that this
 * module exists to be. */
static struct {
    pthread_once_t once;
    struct tg_hash_key key;
    struct {
        pthread_mutex_t lock;
        struct tg_shared *chains[CHAINS];
    } stripes[STRIPES];
} registry = { .once = PTHREAD_ONCE_INIT };

static void open_registry(void)
{
    tg_hash_key_make(&registry.key);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&registry.stripes[i].lock, NULL);
}

static uint32_t hash_of(enum tg_shared_kind kind, const char *name, size_t len)
{
    struct tg_hash_key key = registry.key;
    key.k0 += (uint64_t)kind;
    return (uint32_t)tg_hash(&key, name, len);
}

static pthread_mutex_t *lock_of(uint32_t hash)
{
    return &registry.stripes[hash % STRIPES].lock;
}

static struct tg_shared **chain_of(uint32_t hash)
{
    return &registry.stripes[hash % STRIPES].chains[hash / STRIPES % CHAINS];
}

static struct tg_shared *make(enum tg_shared_kind kind)
{
    switch (kind) {
    case TG_SHARED_COUNTER:
        return tg_zalloc(sizeof(struct tg_counter));
    case TG_SHARED_BUCKET:
        return tg_zalloc(sizeof(struct tg_bucket));
    case TG_SHARED_MARK:
        return tg_zalloc(sizeof(struct tg_mark));
    case TG_SHARED_TICKET:
        return tg_zalloc(sizeof(struct tg_ticket));
    case TG_SHARED_DICT:
        return tg_dict_make();
    case TG_SHARED_LATENCY:
        return tg_latency_make();
    case TG_SHARED_CACHE:
        return tg_cache_make();
    case TG_SHARED_REPLAY:
        return tg_replay_make();
    }
    assert(!"kind of shared object");
    return NULL;
}

static struct tg_shared *find(enum tg_shared_kind kind, const char *name, size_t len, uint32_t hash)
{
    for (struct tg_shared *s = *chain_of(hash); s != NULL; s = s->next)
        if (s->hash == hash && s->kind == kind && s->name_len == len
            && memcmp(s->name, name, len) == 0)
            return s;
    return NULL;
}

static struct tg_shared *add(enum tg_shared_kind kind, const char *name, size_t len, uint32_t hash)
{
    struct tg_shared *s = make(kind);
    s->name = tg_zalloc(len + 1);
    memcpy(s->name, name, len);
    s->name_len = (uint8_t)len;
    s->kind = (uint8_t)kind;
    s->hash = hash;
    s->next = *chain_of(hash);
    *chain_of(hash) = s;
    return s;
}

void *tg_shared_get(enum tg_shared_kind kind, const char *name, size_t len)
{
    if (len > TG_SHARED_NAME_MAX)
        return NULL;
    pthread_once(&registry.once, open_registry);
    uint32_t hash = hash_of(kind, name, len);
    pthread_mutex_lock(lock_of(hash));
    struct tg_shared *s = find(kind, name, len, hash);
    if (s == NULL)
        s = add(kind, name, len, hash);
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(lock_of(hash));
    return s;
}

struct tg_bucket *tg_bucket_new(void)
{
    struct tg_shared *s = make(TG_SHARED_BUCKET);
    s->kind = TG_SHARED_BUCKET;
    atomic_store_explicit(&s->refs, 1, memory_order_relaxed);
    return (struct tg_bucket *)s;
}

void tg_shared_ref(void *object)
{
    struct tg_shared *s = object;
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

static void destroy(struct tg_shared *s)
{
    struct tg_shared **link = chain_of(s->hash);
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    free(s->name);
    if (s->kind == TG_SHARED_DICT)
        tg_dict_free(s);
    else if (s->kind == TG_SHARED_CACHE)
        tg_cache_free(s);
    else if (s->kind == TG_SHARED_REPLAY)
        tg_replay_free(s);
    else
        free(s);
}

/* The last reference goes under the lock, where nobody can find it any more. */
void tg_shared_put(void *object)
{
    struct tg_shared *s = object;
    if (s == NULL)
        return;
    unsigned refs = atomic_load_explicit(&s->refs, memory_order_relaxed);
    while (refs > 1)
        if (atomic_compare_exchange_weak_explicit(&s->refs, &refs, refs - 1, memory_order_release,
                                                  memory_order_relaxed))
            return;
    if (s->name == NULL) { /* nobody can find it: the last one may simply free it */
        if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
            free(s);
        return;
    }
    pthread_mutex_t *lock = lock_of(s->hash);
    pthread_mutex_lock(lock);
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        destroy(s);
    pthread_mutex_unlock(lock);
}

void tg_counter_add(struct tg_counter *c, int64_t n)
{
    atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

int64_t tg_counter_read(const struct tg_counter *c)
{
    return atomic_load_explicit(&c->value, memory_order_relaxed);
}

bool tg_counter_take(struct tg_counter *c, int64_t limit)
{
    int64_t value = atomic_load_explicit(&c->value, memory_order_relaxed);
    do
        if (value >= limit)
            return false;
    while (!atomic_compare_exchange_weak_explicit(&c->value, &value, value + 1,
                                                  memory_order_relaxed, memory_order_relaxed));
    return true;
}

void tg_counter_set(struct tg_counter *c, int64_t value)
{
    atomic_store_explicit(&c->value, value, memory_order_relaxed);
}

int64_t tg_counter_reset(struct tg_counter *c)
{
    return atomic_exchange_explicit(&c->value, 0, memory_order_relaxed);
}

static uint64_t units_for(uint64_t tokens, uint64_t rate)
{
    if (tokens == rate)
        return UNITS_PER_S;
    if (tokens < UINT64_MAX / UNITS_PER_S - 1) /* much faster than the way below; rate <= UNITS_PER_S */
        return (tokens * UNITS_PER_S + rate - 1) / rate;
    unsigned __int128 units = ((unsigned __int128)tokens * UNITS_PER_S + rate - 1) / rate;
    return units < SPAN_MAX ? (uint64_t)units : SPAN_MAX;
}

static uint64_t tokens_in(uint64_t units, uint64_t rate)
{
    return (uint64_t)((unsigned __int128)units * rate / UNITS_PER_S);
}

/* What was missing at the old rate is missing at the new one, but for no longer than the bucket
 * needs to fill. */
static void rebase(struct tg_bucket *b, uint64_t old_rate, uint64_t rate, uint64_t burst)
{
    uint64_t now = tg_clock_ms() * UNITS_PER_MS, most = units_for(burst, rate) + OWED_MAX;
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed), next;
    do {
        if (full_at <= now)
            return;
        uint64_t missing = full_at - now;
        if (old_rate > 0)
            missing = units_for(tokens_in(missing, old_rate), rate);
        next = now + (missing < most ? missing : most);
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, next,
                                                    memory_order_relaxed, memory_order_relaxed));
}

void tg_bucket_configure(struct tg_bucket *b, uint64_t rate, uint64_t burst)
{
    if (rate > UNITS_PER_S)
        rate = UNITS_PER_S;
    if (burst == 0)
        burst = rate;
    uint64_t old_burst = atomic_exchange_explicit(&b->burst, burst, memory_order_relaxed);
    uint64_t old_rate = atomic_exchange_explicit(&b->rate, rate, memory_order_relaxed);
    if (rate > 0 && (old_rate != rate || old_burst > burst)) /* of several threads one gets here */
        rebase(b, old_rate, rate, burst);
}

uint64_t tg_bucket_take(struct tg_bucket *b, uint64_t want, uint64_t now_ms, uint32_t *wait_ms)
{
    uint64_t rate = atomic_load_explicit(&b->rate, memory_order_relaxed);
    if (rate == 0 || want == 0)
        return want;
    uint64_t now = now_ms * UNITS_PER_MS;
    uint64_t span = units_for(atomic_load_explicit(&b->burst, memory_order_relaxed), rate);
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    for (;;) {
        uint64_t missing = full_at > now ? full_at - now : 0;
        uint64_t there = missing < span ? tokens_in(span - missing, rate) : 0;
        if (there == 0) {
            uint64_t until = missing + units_for(1, rate) - span;
            *wait_ms = (uint32_t)((until + UNITS_PER_MS - 1) / UNITS_PER_MS);
            if (*wait_ms == 0)
                *wait_ms = 1;
            return 0;
        }
        uint64_t taken = want < there ? want : there;
        uint64_t next = now + missing + units_for(taken, rate);
        if (atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, next,
                                                  memory_order_relaxed, memory_order_relaxed))
            return taken;
    }
}

bool tg_bucket_take_all(struct tg_bucket *b, uint64_t n, uint64_t now_ms)
{
    uint64_t rate = atomic_load_explicit(&b->rate, memory_order_relaxed);
    if (rate == 0 || n == 0)
        return true;
    uint64_t now = now_ms * UNITS_PER_MS, units = units_for(n, rate);
    /* One token of slack: what is rounded up with every take must not add up to a refusal. */
    uint64_t span = units_for(atomic_load_explicit(&b->burst, memory_order_relaxed) + 1, rate);
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed), next;
    do {
        next = (full_at > now ? full_at : now) + units;
        if (next - now > span)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void tg_bucket_return(struct tg_bucket *b, uint64_t unused)
{
    uint64_t rate = atomic_load_explicit(&b->rate, memory_order_relaxed);
    if (rate == 0)
        return;
    uint64_t units = (uint64_t)((unsigned __int128)unused * UNITS_PER_S / rate);
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    uint64_t next;
    do
        next = full_at > units ? full_at - units : 0;
    while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, next,
                                                  memory_order_relaxed, memory_order_relaxed));
}

static uint64_t span_of(const struct tg_bucket *b, uint64_t rate)
{
    uint64_t span = units_for(atomic_load_explicit(&b->burst, memory_order_relaxed), rate);
    return span > CHARGE_SPAN ? span : CHARGE_SPAN;
}

uint32_t tg_bucket_charge(struct tg_bucket *b, uint64_t n, uint64_t now_ms)
{
    uint64_t rate = atomic_load_explicit(&b->rate, memory_order_relaxed);
    if (rate == 0 || n == 0)
        return 0;
    uint64_t now = now_ms * UNITS_PER_MS, units = units_for(n, rate), next;
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    uint64_t missing;
    do {
        missing = (full_at > now ? full_at - now : 0) + units;
        if (missing > SPAN_MAX)
            missing = SPAN_MAX;
        next = now + missing;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    uint64_t span = span_of(b, rate);
    uint64_t wait = missing > span ? (missing - span + UNITS_PER_MS - 1) / UNITS_PER_MS : 0;
    return wait < UINT32_MAX ? (uint32_t)wait : UINT32_MAX;
}

bool tg_bucket_has(const struct tg_bucket *b, uint64_t n, uint64_t now_ms)
{
    uint64_t rate = atomic_load_explicit(&b->rate, memory_order_relaxed);
    if (rate == 0)
        return true;
    uint64_t now = now_ms * UNITS_PER_MS, span = span_of(b, rate);
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    uint64_t missing = full_at > now ? full_at - now : 0;
    return missing < span && units_for(n, rate) <= span - missing
           && n <= atomic_load_explicit(&b->burst, memory_order_relaxed);
}

uint64_t tg_bucket_portion(const struct tg_bucket *b, uint64_t want, uint64_t now_ms)
{
    uint64_t rate = atomic_load_explicit(&b->rate, memory_order_relaxed);
    if (rate == 0)
        return want;
    uint64_t now = now_ms * UNITS_PER_MS, span = span_of(b, rate);
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    uint64_t missing = full_at > now ? full_at - now : 0;
    uint64_t there = missing < span ? tokens_in(span - missing, rate) : 0;
    uint64_t least = rate / PORTIONS;
    if (least < PORTION_MIN)
        least = PORTION_MIN;
    if (least > PORTION_MAX)
        least = PORTION_MAX;
    uint64_t n = there > least ? there : least;
    uint64_t burst = atomic_load_explicit(&b->burst, memory_order_relaxed);
    if (n > burst)
        n = burst > 0 ? burst : 1;
    return n < want ? n : want;
}

void tg_bucket_follow(struct tg_bucket *b, const struct tg_bucket *rule)
{
    uint64_t rate = atomic_load_explicit(&rule->rate, memory_order_relaxed);
    uint64_t burst = atomic_load_explicit(&rule->burst, memory_order_relaxed);
    if (atomic_load_explicit(&b->rate, memory_order_relaxed) != rate
        || atomic_load_explicit(&b->burst, memory_order_relaxed) != burst)
        tg_bucket_configure(b, rate, burst);
}

uint64_t tg_bucket_burst(const struct tg_bucket *b)
{
    if (atomic_load_explicit(&b->rate, memory_order_relaxed) == 0)
        return UINT64_MAX;
    return atomic_load_explicit(&b->burst, memory_order_relaxed);
}

bool tg_bucket_full(const struct tg_bucket *b, uint64_t now_ms)
{
    return atomic_load_explicit(&b->full_at, memory_order_relaxed) <= now_ms * UNITS_PER_MS;
}

void tg_mark_fail(struct tg_mark *m, uint64_t now_ms)
{
    uint64_t old = atomic_load_explicit(&m->word, memory_order_relaxed), next;
    do {
        uint64_t count = old >> MARK_TIME_BITS;
        if (count < MARK_COUNT_MAX)
            count++;
        next = count << MARK_TIME_BITS | (now_ms & MARK_TIME_MASK);
    } while (!atomic_compare_exchange_weak_explicit(&m->word, &old, next, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void tg_mark_reset(struct tg_mark *m)
{
    /* resetting what is zero must not take the cache line from the others */
    if (atomic_load_explicit(&m->word, memory_order_relaxed) != 0)
        atomic_store_explicit(&m->word, 0, memory_order_relaxed);
}

uint32_t tg_mark_count(const struct tg_mark *m)
{
    return (uint32_t)(atomic_load_explicit(&m->word, memory_order_relaxed) >> MARK_TIME_BITS);
}

bool tg_mark_failed(const struct tg_mark *m, uint32_t max_fails, uint64_t timeout_ms,
                    uint64_t now_ms)
{
    uint64_t word = atomic_load_explicit(&m->word, memory_order_relaxed);
    uint64_t count = word >> MARK_TIME_BITS;
    uint64_t age = (now_ms - word) & MARK_TIME_MASK;
    return count > 0 && count >= max_fails && age < timeout_ms;
}

uint64_t tg_ticket_next(struct tg_ticket *t)
{
    return atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
}
