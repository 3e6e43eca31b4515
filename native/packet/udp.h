#pragma once

/** @file
 * UDP sockets: batches in (recvmmsg), batches out (sendmmsg, GSO).
 *
 * A connected socket has one peer; an unconnected one, opened for both families
 * when the kernel has them, talks to anybody.  ICMP errors end nothing: they
 * belong to one datagram, which is lost.
 */

#include "base/socket.h"
#include "packet/packet.h"

/** How many datagrams to ask for: twice what came last time, since asking costs a
 * little for each. */
struct tg_udp_guess {
    uint8_t last;
};

/** Read what waits in the socket.  Sources are filled in when `sources` is set.
 * Datagrams longer than `limit` are cut to it.
 * @return datagrams (> 0), TG_AGAIN (nothing, and *drained is set), or a code that
 * concerns one datagram only.  *drained: the socket is empty, an edge will follow */
int tg_udp_recv(struct tg_reactor *r, int fd, bool sources, uint32_t limit,
                struct tg_udp_guess *guess, struct tg_datagram *out, int count, bool *drained);

#define TG_UDP_NO_GSO 1u /**< the way out cannot do it; found out when it fails */
#define TG_UDP_V6 2u     /**< the socket is of AF_INET6: IPv4 destinations are mapped */

/** Send each datagram to its peer, or all to `to` when that is not NULL; on
 * connected sockets `to` is a peer without address.  Datagrams whose peer is a
 * name are dropped.  Runs of equal destination and length leave as one (UDP_SEGMENT).
 * @return how many the kernel took */
int tg_udp_send(int fd, unsigned *flags, const struct tg_peer *to, struct tg_datagram *in,
                int count);

/** Larger kernel buffers. */
void tg_udp_tune(int fd, int bytes);

/** A socket connected to `to`.  `options` NULL: defaults.  @return NULL: see `err` */
struct tg_packet *tg_udp_connect(struct tg_reactor *r, const struct tg_addr *to,
                                 const struct tg_socket_options *options, uint32_t limit,
                                 struct tg_error *err);

/** What the network says of a connected socket (nobody listens there) then ends recv() as an error;
 * otherwise it is a lost datagram like any other. */
void tg_udp_be_strict(struct tg_packet *p);

/** A socket that talks to anybody.  `family` AF_INET, AF_INET6 or 0 (both);
 * `at` NULL: any port.  `limit`: longer datagrams are cut to it.  @return NULL: see `err` */
struct tg_packet *tg_udp_open(struct tg_reactor *r, int family, const struct tg_addr *at,
                              const struct tg_socket_options *options, uint32_t limit,
                              struct tg_error *err);

/** The socket of an endpoint made here. */
int tg_udp_fd(const struct tg_packet *p);
