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
 * @param control owned from now on, also on failure; NULL: none
 * @return NULL: see `err` */
struct tg_packet *tg_socks_udp_server(struct tg_reactor *r, const struct tg_addr *at,
                                      const struct tg_addr *client, struct tg_stream *control,
                                      uint32_t limit, struct tg_error *err);

/** The client's side: a socket connected to `to`, the address in the proxy's reply.
 * @param control owned from now on, also on failure; NULL: none
 * @param fixed the one destination, copied; NULL: datagrams carry addresses
 * @return NULL: see `err` */
struct tg_packet *tg_socks_udp_client(struct tg_reactor *r, const struct tg_addr *to,
                                      const struct tg_socket_options *options,
                                      struct tg_stream *control, const struct tg_peer *fixed,
                                      uint32_t limit, struct tg_error *err);
