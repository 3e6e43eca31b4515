#pragma once

/** @file
 * Messages of gost's relay protocol: `01 CODE FEALEN(2)` and so many bytes of
 * features, each `TYPE LEN(2) DATA`.  Requests and responses differ in what CODE
 * means.  Features of unknown types are stepped over.
 */

#include "codec/address.h"

#define TG_RELAY_HEAD 4u
#define TG_RELAY_MESSAGE_MAX (TG_RELAY_HEAD + 65535u)
#define TG_RELAY_ADDRESSES_MAX 4u
#define TG_RELAY_METADATA_MAX 20u
#define TG_RELAY_UDP 0x80u /**< flag of a request's code */
#define TG_RELAY_TUNNEL_MAX 20u
#define TG_RELAY_TUNNEL_MIN 16u /**< what old peers send */

enum tg_relay_command {
    TG_RELAY_CONNECT = 1,
    TG_RELAY_BIND = 2,
    TG_RELAY_ASSOCIATE = 3,
};

enum tg_relay_status {
    TG_RELAY_OK,
    TG_RELAY_BAD_REQUEST,
    TG_RELAY_UNAUTHORIZED,
    TG_RELAY_FORBIDDEN,
    TG_RELAY_TIMEOUT,
    TG_RELAY_SERVICE_UNAVAILABLE,
    TG_RELAY_HOST_UNREACHABLE,
    TG_RELAY_NETWORK_UNREACHABLE,
    TG_RELAY_INTERNAL_ERROR,
};

enum tg_relay_network {
    TG_RELAY_TCP = 0,
    TG_RELAY_NET_UDP = 1,
    TG_RELAY_IP = 2,
    TG_RELAY_UNIX = 0x10,
    TG_RELAY_SERIAL = 0x11,
};

/** Spans point into what was decoded; data NULL: the feature is absent.  Of
 * features that come more than once the last counts, but addresses are all kept. */
struct tg_relay_message {
    uint8_t code;          /**< command with its flags, or status */
    uint8_t address_count;
    uint8_t metadata_count;
    bool has_auth;
    bool has_network;
    uint16_t network;      /**< enum tg_relay_network, or an unknown one */
    struct tg_span user, pass;
    struct tg_span tunnel; /**< 16 to 20 bytes, wire-handlers 8.1 */
    struct tg_target addresses[TG_RELAY_ADDRESSES_MAX];
    struct {
        struct tg_span key, value;
    } metadata[TG_RELAY_METADATA_MAX];
};

/** Only what `out` counts is filled in.  Too many addresses or pairs are TG_LIMIT. */
ssize_t tg_relay_message_decode(const uint8_t *in, size_t len, struct tg_relay_message *out,
                                struct tg_error *err);

/** Order of features: network, user, addresses, tunnel, metadata; all but CONNECT
 * (as gost does) the user first.  An empty host is a name of no bytes. */
ssize_t tg_relay_message_encode(const struct tg_relay_message *m, uint8_t *out, size_t size);
