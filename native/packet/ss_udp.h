#pragma once

/** @file
 * Datagrams of Shadowsocks, either side, over another endpoint.
 *
 * A client's endpoint carries destinations and sources, or has one fixed destination; a server's carries the
 * destinations its client asks for.  What does not authenticate, comes twice or is too old is dropped.
 *
 * The server's side of 2022 answers in the client's newest session; numbers of packets are remembered for the
 * whole process, so that a packet is of no use to who sends it again from elsewhere.
 */

#include "crypto/ss_key.h"
#include "packet/packet.h"

/** Put a client on `lower`, which it owns from now on; the key is held.
 * @param fixed the one destination, or NULL
 * @param gost the server is a gost up to 3.3: answers of AEAD methods have no address, and come from the last
 *        destination therefore; with 2022 the session's name goes backwards into its key */
struct tg_packet *tg_ss_udp_client(struct tg_packet *lower, struct tg_ss_key *key, const struct tg_peer *fixed,
                                   bool gost);

/** The same for a server: `lower` has one peer.
 * @param gost the client is such a gost, which takes an address for data (2022 is recognized) */
struct tg_packet *tg_ss_udp_server(struct tg_packet *lower, struct tg_ss_key *key, bool gost);

/** Look at what has come to a server already; good datagrams are kept for recv().
 * @return how many there are */
int tg_ss_udp_verify(struct tg_packet *p);

/** @return the user whose key a server's client has; NULL: there are no users, or nothing came yet */
const char *tg_ss_udp_user(const struct tg_packet *p);
