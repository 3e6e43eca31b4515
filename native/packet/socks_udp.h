#pragma once

/** @file
 * Datagrams of SOCKS5 UDP ASSOCIATE (RFC 1928 7): each carries
 * `RSV 00 00 | FRAG | ATYP ADDR PORT` in front.  FRAG is written as 0 and
 * ignored, as gost does.  The association lives as long as its control
 * connection, whose input is discarded.
 */

#include "base/socket.h"
#include "packet/packet.h"
#include "stream/stream.h"

/** The proxy's side: a socket bound to `at`.  Only datagrams from `client`'s IP
 * are taken (NULL: from anybody); answers go to whoever sent last.
 * @return NULL: see `err` */
struct tg_packet *tg_socks_udp_server(struct tg_reactor *r, const struct tg_addr *at,
                                      const struct tg_addr *client, uint32_t limit,
                                      struct tg_error *err);

/** The client's side: a socket connected to `to`, the address in the proxy's reply.
 * @param fixed the one destination, copied; NULL: datagrams carry addresses
 * @return NULL: see `err` */
struct tg_packet *tg_socks_udp_client(struct tg_reactor *r, const struct tg_addr *to,
                                      const struct tg_socket_options *options,
                                      const struct tg_peer *fixed, uint32_t limit,
                                      struct tg_error *err);

/** Give an endpoint made here its control connection; owned from now on. */
void tg_socks_udp_attach(struct tg_packet *p, struct tg_stream *control);

/** @return whether an endpoint was made here */
bool tg_socks_udp_is(const struct tg_packet *p);
