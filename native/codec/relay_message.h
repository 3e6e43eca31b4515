#pragma once

/** @file
 * Messages of gost's relay protocol.
 *
 * Request `01 CMD|FLAGS FEALEN(2)` and response `01 STATUS FEALEN(2)`, each
 * followed by FEALEN bytes of features `TYPE LEN(2) DATA`.  Of features of one
 * kind the last one counts, unknown kinds are passed over.
 */

#include "codec/address.h"

#define TG_RELAY_MESSAGE_MAX (4u + 65535u)
#define TG_RELAY_OURS_MAX 1024u /**< room for every message we write */

enum tg_relay_command {
    TG_RELAY_CONNECT = 1,
    TG_RELAY_BIND = 2,
    TG_RELAY_ASSOCIATE = 3,
};

#define TG_RELAY_UDP 0x80u /**< flag beside the command */

enum tg_relay_network {
    TG_RELAY_NET_TCP = 0,
    TG_RELAY_NET_UDP = 1,
    TG_RELAY_NET_IP = 2,
    TG_RELAY_NET_UNIX = 0x10,
    TG_RELAY_NET_SERIAL = 0x11,
};

/** Both kinds of message.  Spans point into the input. */
struct tg_relay_message {
    uint8_t code; /**< command with flags, or status */
    bool has_user, has_network, has_target, has_second;
    uint16_t network;
    struct tg_span user, pass;
    struct tg_target target; /**< the first address */
    struct tg_target second; /**< in responses of a tunnel: the host that was asked for */
};

ssize_t tg_relay_message_decode(const uint8_t *in, size_t len, struct tg_relay_message *out,
                                struct tg_error *err);

/** Features in gost's order: of a bind request user, network, target; else network, user,
 * target. */
ssize_t tg_relay_message_encode(const struct tg_relay_message *m, uint8_t *out, size_t size);
