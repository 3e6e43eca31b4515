#pragma once

/** @file
 * The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt), as gost
 * reads and writes it.
 */

#include "codec/address.h"

#define TG_PROXY_V1_MAX 107u
#define TG_PROXY_V2_MAX 4096u /**< with its TLVs; more is TG_LIMIT */
#define TG_PROXY_ENCODED_MAX 128u

enum tg_proxy_kind {
    TG_PROXY_NONE,  /**< the first bytes are no header: use the real addresses */
    TG_PROXY_LOCAL, /**< LOCAL, UNKNOWN or a family without IP addresses: the same */
    TG_PROXY_PROXY, /**< src and dst are there */
};

struct tg_proxy_header {
    uint8_t kind;    /**< enum tg_proxy_kind */
    uint8_t version; /**< 1 or 2; for writing 1, anything else is 2 */
    bool udp;        /**< both addresses are of datagrams */
    struct tg_span tlvs; /**< version 2: what follows the addresses, unread */
    struct tg_target src, dst;
};

/** Read a header.  @return 0 with TG_PROXY_NONE as soon as the bytes cannot be one */
ssize_t tg_proxy_header_decode(const uint8_t *in, size_t len, struct tg_proxy_header *out,
                               struct tg_error *err);

/** Write a header without TLVs.  Names and empty hosts count as 0.0.0.0, and so does
 * "::".  The family is that of src: an IPv4 dst beside an IPv6 src is written as
 * IPv4-mapped.  Version 1 over UDP is "PROXY UNKNOWN".
 * @return the bytes, or TG_INVALID: an IPv4 src with an IPv6 dst cannot be written */
ssize_t tg_proxy_header_encode(const struct tg_proxy_header *h, uint8_t *out, size_t size);
