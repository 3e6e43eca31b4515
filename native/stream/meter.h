#pragma once

/** @file
 * What counts and limits the bytes of connections, without being a layer.
 *
 * A meter is a list of entries: counters, token buckets, quotas and slots, each
 * for bytes that come in (read from the metered stream: from the client), go
 * out, or both.  Several streams may share a meter, and a stream may have
 * several (of its service, its client, itself); entries added later count for
 * streams that have the meter already.  Usually it is the accepted socket that
 * is metered, below all layers: see tg_stream_add_meter().  A datagram relay
 * takes meters as well (relay/packets.h).
 *
 * A meter belongs to one thread; what its entries refer to is shared by all
 * (base/shared.h).
 *
 * A gauge is what one stream or direction of datagrams keeps: its meters, and
 * bytes it has paid for but not moved yet.  Bytes are paid for before they move,
 * at every bucket of their direction: the least portion that any of them gives,
 * so that a fast bucket is never charged for what a slower one holds back.  When
 * tokens are missing they are owed, and the gauge is ready when the debt is
 * covered: takers get their turn in the order in which they came.
 */

#include "base/shared.h"

#include <stddef.h>

enum tg_way {
    TG_IN,  /**< from the client */
    TG_OUT, /**< to the client */
};

#define TG_WAY_IN 1u
#define TG_WAY_OUT 2u
#define TG_WAY_BOTH 3u

struct tg_meter;

/** @return a meter without entries, with one holder */
struct tg_meter *tg_meter_new(void);
struct tg_meter *tg_meter_hold(struct tg_meter *m);
/** The last one gives its slots back.  NULL is allowed. */
void tg_meter_drop(struct tg_meter *m);
/** @return how many gauges have it */
unsigned tg_meter_users(const struct tg_meter *m);

/* Each takes a reference of its own to the shared objects.  `ways`: TG_WAY_… */

/** Add up bytes as they move. */
void tg_meter_count(struct tg_meter *m, struct tg_counter *counter, unsigned ways);
/** Bytes per second. */
void tg_meter_limit(struct tg_meter *m, struct tg_bucket *bucket, unsigned ways);
/** A limit of the meter's own: bytes per second (0: none) and burst (0: one second's worth) of one
 * way.  Called again it changes them. */
void tg_meter_rate(struct tg_meter *m, enum tg_way way, uint64_t rate, uint64_t burst);
/** Bytes per second of each gauge that has the meter, by itself: the bucket only says how many. */
void tg_meter_limit_each(struct tg_meter *m, struct tg_bucket *rule, unsigned ways);
/** Bytes of `ways` are added to `used` while `cap` is not 0, and none move either way once it has
 * reached `cap`. */
void tg_meter_quota(struct tg_meter *m, struct tg_counter *used, struct tg_counter *cap,
                    unsigned ways);
/** A place that was taken (tg_counter_take()): it is given back with the meter. */
void tg_meter_slot(struct tg_meter *m, struct tg_counter *taken);

/** Take over the entries that `part` has now, but for its slots; it has one user more as long as `m`
 * lives. */
void tg_meter_include(struct tg_meter *m, struct tg_meter *part);

struct tg_gauge {
    struct tg_meter **meters; /**< held; `few`, or allocated */
    struct tg_meter *few[1];
    unsigned count, own_count;
    struct tg_own_bucket *own; /**< for tg_meter_limit_each() */
    struct {
        uint64_t paid;     /**< bytes charged, not moved yet */
        uint64_t ready_at; /**< ms: they may move from then on */
    } way[2];
};

void tg_gauge_add(struct tg_gauge *g, struct tg_meter *m);
/** Give back what was paid and drop the meters. */
void tg_gauge_close(struct tg_gauge *g);

/** How many of `want` (> 0) bytes may move now.  Where tokens are scarce, some are paid for, if none were.
 * @return > 0; 0: none before way[w].ready_at; TG_BLOCKED: a quota is used up */
int64_t tg_gauge_reserve(struct tg_gauge *g, enum tg_way w, uint64_t want, uint64_t now);
/** `n` bytes moved; those that were not paid for are now. */
void tg_gauge_spend(struct tg_gauge *g, enum tg_way w, uint64_t n, uint64_t now);
/** `n` bytes moved that were charged before. */
void tg_gauge_count(struct tg_gauge *g, enum tg_way w, uint64_t n);
/** Give back what was paid beyond `keep` bytes. */
void tg_gauge_release(struct tg_gauge *g, enum tg_way w, uint64_t keep);

/** Pay for a whole datagram of `n` bytes.
 * @return ms to wait before it goes; TG_LIMIT: it is longer than a burst; TG_BLOCKED: a quota is used up */
int64_t tg_gauge_charge(struct tg_gauge *g, enum tg_way w, uint64_t n, uint64_t now);
