#pragma once

/** @file
 * Joins two datagram endpoints: batches in, batches out, until one of them ends
 * or nothing has passed for a while.  A datagram that cannot be sent is lost and
 * ends nothing.
 *
 * Where datagrams carry addresses, somebody may have to decide about them: a
 * name that the other endpoint does not take must become an address, and a
 * policy may forbid one.  Each address is asked for once (`ask`), remembered for
 * TG_PACKETS_REMEMBER_MS, and a few datagrams to it wait for the answer.
 *
 * Somebody may look at what passes (`tap`), without holding it up.
 *
 * Meters count and limit what passes: TG_IN is up.  A datagram for which there
 * are no tokens waits for its turn, and little is read from its endpoint
 * meanwhile; one that is longer than a bucket's burst, or finds too many waiting,
 * is lost.  A quota that is used up ends the relay.
 */

#include "base/shared.h"
#include "packet/packet.h"
#include "relay/result.h"
#include "stream/meter.h"

#define TG_PACKETS_REMEMBER_MS 60000u
#define TG_PACKETS_KNOWN 256   /**< addresses remembered by one relay */
#define TG_PACKETS_WAITING 16  /**< datagrams that wait for one answer */
#define TG_PACKETS_DELAYED 128 /**< datagrams of a direction that wait for tokens */

struct tg_packets;

/** Decide about "host:port"; the answer is tg_packets_answer(), later. */
typedef void (*tg_packets_ask)(void *arg, const char *address, size_t len);

/** A datagram is about to pass: read only, and only now. */
typedef void (*tg_packets_tap)(void *arg, const struct tg_datagram *d, bool up);

struct tg_packets_options {
    uint32_t idle;    /**< ms without a datagram in either direction; 0: none */
    uint32_t replies; /**< end after so many datagrams from b; 0: never */
    struct tg_meter *const *meters; /**< looked at by tg_packets_start() only */
    unsigned meter_count;
    tg_packets_ask ask; /**< NULL: every address is good, names that b does not take are dropped */
    bool ask_all;       /**< ask for addresses as well, and for sources */
    bool ask_names;     /**< ask for names although b takes them */
    tg_packets_tap tap; /**< may be NULL; must not end the relay */
    tg_relay_done done; /**< may be NULL */
    void *arg;
};

/** All relays of a thread. */
struct tg_packets_list {
    struct tg_packets *first;
    unsigned count;
};

/** Join `a` (the client's side) and `b`; both are owned from now on. */
struct tg_packets *tg_packets_start(struct tg_packets_list *list, struct tg_packet *a,
                                    struct tg_packet *b, const struct tg_packets_options *options);

/** The answer about an address: the IP address it stands for, a peer without one
 * (it may pass as it is), or NULL: datagrams to it are dropped. */
void tg_packets_answer(struct tg_packets *relay, const char *address, size_t len,
                       const struct tg_peer *to);

/** End it, from outside: `done` is called with `code` later in this turn. */
void tg_packets_cut(struct tg_packets *relay, enum tg_code code, const char *detail);

struct tg_packets *tg_packets_next(const struct tg_packets *relay);
/** What it was started with. */
void *tg_packets_arg(const struct tg_packets *relay);
/** Bytes so far and age of a living relay. */
void tg_packets_peek(const struct tg_packets *relay, struct tg_relay_result *out);
