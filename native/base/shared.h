#pragma once

/** @file
 * Objects that are one for all threads, reached by kind and name from every VM:
 * counters, token buckets, fail marks, tickets and dictionaries.
 *
 * tg_shared_get() finds or makes; each returned pointer holds a reference until
 * tg_shared_put(), and the last one takes the object with it.  The operations
 * are lock-free, but for dictionaries (striped locks).  Names are any bytes up
 * to 255.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_SHARED_KIND_MAP(XX) \
    XX(COUNTER, "counter") \
    XX(BUCKET, "bucket") \
    XX(MARK, "mark") \
    XX(TICKET, "ticket") \
    XX(DICT, "dict") \
    XX(LATENCY, "latency") \
    XX(CACHE, "cache") \
    XX(REPLAY, "replay")

enum tg_shared_kind {
#define XX(name, word) TG_SHARED_##name,
    TG_SHARED_KIND_MAP(XX)
#undef XX
};

#define TG_SHARED_NAME_MAX 255u

/** A 64-bit sum; may go down. */
struct tg_counter;
/** Tokens that refill at a rate, up to a burst: bytes, requests. */
struct tg_bucket;
/** Failures of one thing: how many in a row, and when last. */
struct tg_mark;
/** 0, 1, 2, … each number once: round robin over threads. */
struct tg_ticket;
/** How long something takes lately: a moving average that jumps up at once and comes down slowly. */
struct tg_latency;
/** Byte strings to byte strings, bounded: base/cache.h. */
struct tg_cache;
/** What must not be accepted twice: base/replay.h. */
struct tg_replay;
/** Byte strings to byte strings, numbers or booleans, with time to live. */
struct tg_dict;

/** @return the object, made when it is missing; NULL: the name is too long */
void *tg_shared_get(enum tg_shared_kind kind, const char *name, size_t len);
/** @return a bucket without a name, which only its holder knows; tg_shared_put() as well */
struct tg_bucket *tg_bucket_new(void);
/** One more reference to an object that the caller holds. */
void tg_shared_ref(void *object);
/** NULL is allowed */
void tg_shared_put(void *object);

void tg_counter_add(struct tg_counter *c, int64_t n);
int64_t tg_counter_read(const struct tg_counter *c);
/** Add one unless the value is `limit` or more.  @return whether it was added */
bool tg_counter_take(struct tg_counter *c, int64_t limit);
void tg_counter_set(struct tg_counter *c, int64_t value);
/** @return the value before; it is 0 afterwards */
int64_t tg_counter_reset(struct tg_counter *c);

/** rate: tokens per second, up to 10^10, 0: no limit; burst: tokens that may gather, 0: one
 * second's worth.  A fresh bucket has no limit. */
void tg_bucket_configure(struct tg_bucket *b, uint64_t rate, uint64_t burst);
/** Take up to `want` tokens.  @return how many were taken; 0: none now, try again in *wait_ms */
uint64_t tg_bucket_take(struct tg_bucket *b, uint64_t want, uint64_t now_ms, uint32_t *wait_ms);
/** Take `n` tokens or none.  @return whether they were taken */
bool tg_bucket_take_all(struct tg_bucket *b, uint64_t n, uint64_t now_ms);
/** Give tokens back that were taken but not used. */
void tg_bucket_return(struct tg_bucket *b, uint64_t unused);
/** Take `n` tokens, there or not: what is missing is owed, and whoever comes later waits
 * behind.  This is what keeps many takers in turn.  A bucket that is charged holds 16 ms worth of
 * tokens at least: timers are not punctual.  @return ms until they are there; 0: now */
uint32_t tg_bucket_charge(struct tg_bucket *b, uint64_t n, uint64_t now_ms);
/** What may be charged at once: at most `want` and the burst; what is there, if that is not too
 * little to be worth a wake-up.  @return > 0 */
uint64_t tg_bucket_portion(const struct tg_bucket *b, uint64_t want, uint64_t now_ms);
/** @return whether `n` tokens are there: who charges them need not wait */
bool tg_bucket_has(const struct tg_bucket *b, uint64_t n, uint64_t now_ms);
/** @return the tokens that may gather; UINT64_MAX: no limit */
uint64_t tg_bucket_burst(const struct tg_bucket *b);
/** Take over the rate and the burst of another one. */
void tg_bucket_follow(struct tg_bucket *b, const struct tg_bucket *rule);
/** @return true when nothing is missing: as good as a fresh one */
bool tg_bucket_full(const struct tg_bucket *b, uint64_t now_ms);

/** Times are ms of any one clock. */
void tg_mark_fail(struct tg_mark *m, uint64_t now_ms);
void tg_mark_reset(struct tg_mark *m);
uint32_t tg_mark_count(const struct tg_mark *m);
/** @return true when count ≥ max_fails (and > 0) and the last failure is younger than `timeout_ms` */
bool tg_mark_failed(const struct tg_mark *m, uint32_t max_fails, uint64_t timeout_ms,
                    uint64_t now_ms);

uint64_t tg_ticket_next(struct tg_ticket *t);

/** Note that it took `us` microseconds; over 16 s counts as 16 s. */
void tg_latency_note(struct tg_latency *l, uint64_t us, uint64_t now_ms);
/** @return the average in microseconds; without news it fades, by half in 7 s.  0: nothing known */
uint32_t tg_latency_read(const struct tg_latency *l, uint64_t now_ms);

enum tg_dict_type {
    TG_DICT_ABSENT,  /**< not there, or expired */
    TG_DICT_BYTES,
    TG_DICT_NUMBER,  /**< a double */
    TG_DICT_BOOLEAN, /**< one byte, 0 or 1 */
};

/** ttl_ms 0: forever.  @return false: out of memory or over the dictionary's limit */
bool tg_dict_set(struct tg_dict *d, const void *key, size_t key_len, enum tg_dict_type type,
                 const void *value, size_t value_len, uint64_t ttl_ms, uint64_t now_ms);
/** Copy at most `size` bytes of the value; *len is its whole length. */
enum tg_dict_type tg_dict_get(struct tg_dict *d, const void *key, size_t key_len, void *value,
                              size_t size, size_t *len, uint64_t now_ms);
/** Add to a number, starting from `initial`; only a fresh entry gets `ttl_ms`.
 * @return false: no memory, over the limit, or the value is no number; *out is the new value */
bool tg_dict_incr(struct tg_dict *d, const void *key, size_t key_len, double n, double initial,
                  uint64_t ttl_ms, uint64_t now_ms, double *out);
/** @return true when it was there */
bool tg_dict_delete(struct tg_dict *d, const void *key, size_t key_len);
void tg_dict_clear(struct tg_dict *d);
/** Entries; those that expired and nobody met since may be among them. */
size_t tg_dict_count(const struct tg_dict *d);
/** Bytes that keys and values may take together; 0: 64 MiB, which is also the start */
void tg_dict_limit(struct tg_dict *d, size_t bytes);
/** Call `each` for every live entry, stripe by stripe, until it answers false; it must not use
 * the dictionary. */
void tg_dict_each(struct tg_dict *d, uint64_t now_ms,
                  bool (*each)(void *arg, const void *key, size_t key_len, const void *value,
                               size_t value_len),
                  void *arg);
