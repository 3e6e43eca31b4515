#pragma once

/** @file
 * The datagrams of one listening UDP socket, as one endpoint per client; or those of another
 * endpoint which carries addresses, such as a port that a proxy has opened for us.
 *
 * Every session is a tg_packet with one peer, its client.  Until somebody sets
 * a sink its datagrams wait in a bounded queue; from then on a batch read from
 * the socket is handed to the sessions it belongs to, each its share at once.
 *
 * A session ends, that is recv() answers TG_EOF after what is queued,
 *  - when no datagram passed either way for `ttl` (up to twice that: a sweep),
 *  - without `keepalive`, some hundred milliseconds after its first answer
 *    (TG_ANSWERED_MS to twice that).  Until then it still carries both ways;
 *    but where a new session would be decided anew (see `fresh`), the next
 *    datagram of that client ends it and begins another,
 *  - when the table is closed.
 */

#include "packet/packet.h"

#define TG_ANSWERED_MS 250u

struct tg_udp_sessions;

struct tg_udp_sessions_options {
    uint32_t ttl;        /**< ms */
    uint32_t limit;      /**< longer datagrams are cut to it */
    uint32_t queue;      /**< datagrams a session holds that nobody has asked for */
    uint32_t backlog;    /**< new sessions that nobody has accepted yet */
    uint32_t most;       /**< sessions; 0: no limit */
    bool keepalive;
    bool stateless;      /**< a session for each datagram, which ends when it is closed */
    bool fresh;          /**< after an answer, the next datagram begins a new session */
};

/** A new client; the endpoint is the callee's, from inside or later in this turn. */
typedef void (*tg_udp_session_cb)(void *arg, struct tg_packet *session);

/** Read `fd`, which stays the caller's to close (after tg_udp_sessions_close()).
 * @return NULL: see `err` */
struct tg_udp_sessions *tg_udp_sessions_open(struct tg_reactor *r, int fd,
                                             const struct tg_udp_sessions_options *options,
                                             tg_udp_session_cb on_session, void *arg,
                                             struct tg_error *err);

/** What lies below has ended, or failed; may close the table, which does nothing any more. */
typedef void (*tg_udp_sessions_end_cb)(void *arg, const struct tg_error *err);

/** The same over an endpoint, which is owned from now on.  Datagrams without an IP address are dropped. */
struct tg_udp_sessions *tg_udp_sessions_over(struct tg_packet *lower,
                                             const struct tg_udp_sessions_options *options,
                                             tg_udp_session_cb on_session,
                                             tg_udp_sessions_end_cb on_end, void *arg);

/** Somebody takes care of a session: it counts for the backlog no more. */
void tg_udp_session_accept(struct tg_packet *session);

/** The first datagram that waits in a session; it stays there.  @return false: none does, or it is another kind of
 * endpoint */
bool tg_udp_session_peek(const struct tg_packet *p, const uint8_t **data, size_t *len);

/** Other options, for what happens from now on. */
void tg_udp_sessions_configure(struct tg_udp_sessions *t,
                               const struct tg_udp_sessions_options *options);

/** Read no more: another process has the socket as well.  Living sessions go on, and hear of their clients no more. */
void tg_udp_sessions_pause(struct tg_udp_sessions *t);

/** Stop reading.  Living sessions end; their owners close them. */
void tg_udp_sessions_close(struct tg_udp_sessions *t);

unsigned tg_udp_sessions_count(const struct tg_udp_sessions *t);
