#pragma once

/** @file
 * Datagram endpoints: the one shape in which handlers and the relay see UDP
 * sockets, UDP sessions of a listener, and datagrams framed in a byte stream.
 *
 * Receiving is pull: recv() hands out what is there, in batches, or answers
 * TG_AGAIN; want() says that one waits, and on_ready comes when it is worth
 * trying again, once per turn of the reactor, until recv() has answered
 * TG_AGAIN or the wish is withdrawn.  An endpoint whose datagrams already are
 * in memory may push them instead (`sink`).
 *
 * Sending never waits: what cannot be taken at once and does not fit into a
 * bounded queue is dropped, as the network would.  Only an endpoint that is
 * broken for good answers with a code.
 *
 * What every kind keeps and every caller may rely on:
 *  - no function calls on_ready or the sink; both come from the reactor only;
 *  - on_ready and the sink are the last thing an implementation does with the
 *    endpoint, so the user may close it there;
 *  - close() frees the endpoint at once, in any state;
 *  - after a failure `error` says what and where.
 */

#include "base/addr.h"
#include "base/error.h"
#include "base/hold.h"
#include "base/reactor.h"
#include "codec/address.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TG_PACKET_BATCH 64     /**< most datagrams in one call of recv() */
#define TG_PACKET_MAX 65535u   /**< longest datagram in bytes */
#define TG_PACKET_HEADROOM 320 /**< what udp sockets leave in front of a datagram */

/** A peer: an IP address with port, or a name with port, or nothing. */
struct tg_peer {
    union {
        struct sockaddr any; /**< sa_family 0: no IP, see `name` */
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
    const char *name; /**< not NUL-terminated; meaningful when name_len > 0 */
    uint8_t name_len;
    uint16_t name_port; /**< host order; belongs to the name */
};

struct tg_datagram {
    uint8_t *data; /**< may be written to, and `headroom` bytes before it */
    uint32_t len;
    uint32_t headroom;
    /** recv: source, send: destination; from a proxy's client: the destination
     * it asks for.  Endpoints with one peer give none and look at none. */
    struct tg_peer peer;
};

struct tg_packet;

/** What a kind of endpoint implements. */
struct tg_packet_ops {
    const char *name; /**< "udp", "udp-tun": layer name in errors */
    /** Hand out at most `count` datagrams.  Their bytes and names hold until the
     * next call of any recv() of this thread.
     * @return how many (> 0), TG_AGAIN, TG_EOF, or another negative code */
    int (*recv)(struct tg_packet *p, struct tg_datagram *out, int count);
    /** @return how many were not dropped, or a negative code: the endpoint is broken */
    int (*send)(struct tg_packet *p, struct tg_datagram *in, int count);
    void (*want)(struct tg_packet *p, bool readable);
    void (*close)(struct tg_packet *p);
    /** Own address, or that of the peer.  @return 0, or a negative code: there is none */
    int (*name_of)(const struct tg_packet *p, bool peer, struct tg_addr *out);
};

/** Takes a batch that was pushed; as the array of recv(). */
typedef void (*tg_packet_sink)(void *arg, struct tg_datagram *in, int count);

/** Common part; first member of every kind's own struct. */
struct tg_packet {
    const struct tg_packet_ops *ops;
    struct tg_reactor *reactor;
    tg_ready_cb on_ready; /**< set by the user */
    void *ready_arg;
    /** Set by the user of an endpoint with `pushes`: gets datagrams as they
     * arrive.  recv() still delivers what arrived before, and the end. */
    tg_packet_sink sink;
    void *sink_arg;
    struct tg_hold *holds; /**< counters of open endpoints that it is one of; NULL: none */
    struct tg_error error;
    uint64_t rx, tx; /**< payload bytes received and sent */
    bool pushes;     /**< looks at `sink` */
    bool takes_names; /**< names are as good as addresses: somebody further on resolves them */
    bool any_peer;    /**< datagrams carry addresses; false: there is one peer */
    bool carried;     /**< in a stream, whose meters count its bytes already */
};

static inline int tg_packet_recv(struct tg_packet *p, struct tg_datagram *out, int count)
{
    return p->ops->recv(p, out, count < TG_PACKET_BATCH ? count : TG_PACKET_BATCH);
}

static inline int tg_packet_send(struct tg_packet *p, struct tg_datagram *in, int count)
{
    return p->ops->send(p, in, count);
}

static inline void tg_packet_want(struct tg_packet *p, bool readable)
{
    p->ops->want(p, readable);
}

static inline void tg_packet_close(struct tg_packet *p)
{
    if (p->holds != NULL)
        tg_hold_release(&p->holds);
    p->ops->close(p);
}

static inline int tg_packet_name(const struct tg_packet *p, bool peer, struct tg_addr *out)
{
    return p->ops->name_of != NULL ? p->ops->name_of(p, peer, out) : TG_INVALID;
}

/** Read "ip:port", "[ip]:port" or "name:port".  The name points into `text`.
 * @return false: none of these, or the name is longer than 255 bytes */
bool tg_peer_parse(struct tg_peer *peer, const char *text, size_t len);

#define TG_PEER_TEXT 280 /**< enough for every text form */

/** Write it as "host:port".  @return the length; cut to fit */
size_t tg_peer_format(const struct tg_peer *peer, char *out, size_t size);

/** IPv4-mapped IPv6 becomes IPv4. */
void tg_peer_unmap(struct tg_peer *peer);

/** Same address and port, or same name and port (bytes compared). */
bool tg_peer_equal(const struct tg_peer *a, const struct tg_peer *b);

/** The peer that a codec has read; no host at all becomes the unspecified IPv4 address.
 * @param name where the bytes of a name stay, which the peer will point to */
void tg_peer_from_target(struct tg_peer *peer, const struct tg_target *target, const uint8_t *name);

/** The other way round; nobody is 0.0.0.0:0. */
void tg_peer_to_target(const struct tg_peer *peer, struct tg_target *target);

static inline bool tg_peer_is_name(const struct tg_peer *peer)
{
    return peer->any.sa_family == 0 && peer->name_len > 0;
}

static inline bool tg_peer_is_none(const struct tg_peer *peer)
{
    return peer->any.sa_family == 0 && peer->name_len == 0;
}

static inline socklen_t tg_peer_len(const struct tg_peer *peer)
{
    return peer->any.sa_family == AF_INET ? sizeof(peer->in) : sizeof(peer->in6);
}
