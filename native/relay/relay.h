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
 * Meters count bytes and may delay them, without being a layer: those that the
 * streams have already (tg_stream_add_meter(): bytes that go through splice()
 * count as well), and one that the options add.  A flow that has to wait for
 * tokens holds no pipe, and nothing is read that may not be written.
 */

#include "base/shared.h"
#include "relay/pipes.h"
#include "relay/result.h"
#include "stream/stream.h"

struct tg_relay;

/** Options that many relays share; counted, freed with the last holder. */
struct tg_relay_options {
    unsigned holders;
    uint32_t idle;   /**< ms without a byte in either direction; 0: none */
    uint32_t linger; /**< ms of silence after one direction has ended; 0: none */
    struct tg_meter *meter; /**< added to `a`: TG_IN is up, TG_OUT is down; held; NULL: none */
};

/** @return options with one holder and nothing set */
struct tg_relay_options *tg_relay_options_new(void);
struct tg_relay_options *tg_relay_options_hold(struct tg_relay_options *o);
/** NULL is allowed */
void tg_relay_options_drop(struct tg_relay_options *o);

/** All relays of a thread, and what they share. */
struct tg_relay_list {
    struct tg_relay *first;
    unsigned count;
    struct tg_pipes pipes;
    uint64_t spliced, copied; /**< bytes moved each way since the start */
    unsigned peak;            /**< most relays at once since it last fell quiet */
    unsigned ended;           /**< relays that ended since then */
    struct tg_timer quiet;    /**< runs when most of a crowd has left */
    void (*on_quiet)(struct tg_relay_list *list); /**< a good moment to give memory back; NULL: nobody cares */
};

/** Join `a` (the client's side) and `b`; either may still be OPENING.  Never
 * fails: an error is the relay's result.  `options` (NULL: none) is held; `done` may be NULL. */
struct tg_relay *tg_relay_start(struct tg_relay_list *list, struct tg_stream *a,
                                struct tg_stream *b, struct tg_relay_options *options,
                                tg_relay_done done, void *arg);

/** End it now, from outside: `done` is called with `code` later in this turn. */
void tg_relay_cut(struct tg_relay *relay, enum tg_code code, const char *detail);

/** Bytes so far and age of a living relay. */
void tg_relay_peek(const struct tg_relay *relay, struct tg_relay_result *out);

struct tg_relay *tg_relay_next(const struct tg_relay *relay);
/** What it was started with. */
void *tg_relay_arg(const struct tg_relay *relay);
tg_relay_done tg_relay_done_of(const struct tg_relay *relay);
