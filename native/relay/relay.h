#pragma once

/** @file
 * Joins two byte streams until both directions have ended.
 *
 * The relay owns both streams from the start and closes them at the end.  It
 * begins with a buffer shared by all relays of the thread; a direction that
 * keeps both its ends busy is moved to splice() when both streams have a
 * descriptor.  Buffers and pipes are held only while bytes are stuck in them.
 *
 * Half-close: the end of input on one side becomes shutdown() on the other, and
 * each direction ends on its own.  When one direction has ended the other may
 * stay silent for `linger` ms.  A stream that cannot half-close ends the relay
 * at its peer's end of input, once everything is written.
 *
 * Meters count bytes (and may delay them) without being a layer.
 */

#include "base/shared.h"
#include "stream/stream.h"

struct tg_relay;

/** Which side ended it first, and how. */
struct tg_relay_result {
    uint64_t up, down;      /**< bytes from a to b, from b to a */
    uint64_t duration;      /**< ms */
    struct tg_error error;  /**< code TG_OK or TG_EOF: both ends finished in order */
    bool from_b;            /**< the error arose on side b */
};

typedef void (*tg_relay_done)(void *arg, const struct tg_relay_result *result);

struct tg_relay_options {
    uint32_t idle;   /**< ms without a byte in either direction; 0: none */
    uint32_t linger; /**< ms of silence after one direction has ended; 0: none */
    struct tg_counter *up, *down;         /**< counted as bytes move; NULL: not */
    struct tg_bucket *up_limit, *down_limit; /**< bytes per second; NULL: no limit */
    tg_relay_done done; /**< called once, from the reactor, after both are closed; may be NULL */
    void *arg;
};

/** All relays of a thread, for draining and for the connections list. */
struct tg_relay_list {
    struct tg_relay *first;
    unsigned count;
};

/** Join `a` (the client's side) and `b`.  Never fails: an error is the relay's result. */
struct tg_relay *tg_relay_start(struct tg_relay_list *list, struct tg_stream *a,
                                struct tg_stream *b, const struct tg_relay_options *options);

/** End it now: `done` is called with `code` from the reactor. */
void tg_relay_cut(struct tg_relay *relay, enum tg_code code);

/** Bytes so far and age, for a living relay. */
void tg_relay_peek(const struct tg_relay *relay, struct tg_relay_result *out);
