#pragma once

/** @file
 * Objects that are one for all threads, reached by kind and name from every VM:
 * counters, token buckets, fail marks, tickets and dictionaries.
 *
 * tg_shared_get() finds or makes; each returned pointer holds a reference until
 * tg_shared_put().  The operations are lock-free, but for dictionaries (striped
 * locks).  Names are any bytes up to 255.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_SHARED_KIND_MAP(XX) \
    XX(COUNTER, "counter") \
    XX(BUCKET, "bucket") \
    XX(MARK, "mark") \
    XX(TICKET, "ticket") \
    XX(DICT, "dict")

enum tg_shared_kind {
#define XX(name, word) TG_SHARED_##name,
    TG_SHARED_KIND_MAP(XX)
#undef XX
};

/** A 64-bit sum; may go down. */
struct tg_counter;
/** Tokens that refill at a rate, up to a burst: bytes, requests. */
struct tg_bucket;
/** Failures of one thing: how many in a row, and when last. */
struct tg_mark;
/** 0, 1, 2, … each number once: round robin over threads. */
struct tg_ticket;
/** Byte strings to byte strings or numbers, with time to live. */
struct tg_dict;

/** @return the object, made when it is missing; NULL: the name is too long */
void *tg_shared_get(enum tg_shared_kind kind, const char *name, size_t len);
void tg_shared_put(enum tg_shared_kind kind, void *object);

void tg_counter_add(struct tg_counter *c, int64_t n);
int64_t tg_counter_read(const struct tg_counter *c);
/** @return the value before; it is 0 afterwards */
int64_t tg_counter_reset(struct tg_counter *c);

/** rate: tokens per second, 0: no limit; burst: tokens that may gather (≥ 1 s of `rate` is usual) */
void tg_bucket_configure(struct tg_bucket *b, uint64_t rate, uint64_t burst);
/** Take up to `want` tokens.  @return how many were taken; 0: none now, try again in *wait_ms */
uint64_t tg_bucket_take(struct tg_bucket *b, uint64_t want, uint64_t now_ms, uint32_t *wait_ms);
/** Give tokens back that were taken but not used. */
void tg_bucket_return(struct tg_bucket *b, uint64_t unused);

/** Times are seconds of any one clock. */
void tg_mark_fail(struct tg_mark *m, uint64_t now_s);
void tg_mark_reset(struct tg_mark *m);
uint32_t tg_mark_count(const struct tg_mark *m);
/** @return true when count ≥ max_fails and the last failure is younger than `timeout_s` */
bool tg_mark_failed(const struct tg_mark *m, uint32_t max_fails, double timeout_s, double now_s);

uint64_t tg_ticket_next(struct tg_ticket *t);

/** ttl_ms 0: forever.  @return false: out of memory or over the dictionary's limit */
bool tg_dict_set(struct tg_dict *d, const void *key, size_t key_len, const void *value,
                 size_t value_len, uint64_t ttl_ms, uint64_t now_ms);
/** Copy at most `size` bytes of the value.  @return its length, or -1: absent or expired */
int64_t tg_dict_get(struct tg_dict *d, const void *key, size_t key_len, void *value, size_t size,
                    uint64_t now_ms);
/** Add to a number (stored as 8 bytes), starting from `initial`; a fresh entry gets `ttl_ms`.
 * @return the new value */
double tg_dict_incr(struct tg_dict *d, const void *key, size_t key_len, double n, double initial,
                    uint64_t ttl_ms, uint64_t now_ms);
bool tg_dict_delete(struct tg_dict *d, const void *key, size_t key_len);
size_t tg_dict_count(const struct tg_dict *d);
/** Bytes that keys and values may take together; 0: 64 MiB */
void tg_dict_limit(struct tg_dict *d, size_t bytes);
/** Call `each` for every live entry, stripe by stripe; it must not use the dictionary. */
void tg_dict_each(struct tg_dict *d, uint64_t now_ms,
                  bool (*each)(void *arg, const void *key, size_t key_len, const void *value,
                               size_t value_len),
                  void *arg);
