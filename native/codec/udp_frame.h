#pragma once

/** @file
 * Datagrams with and without addresses, in datagrams and on streams:
 *
 *   UDP-TUN frame   `LEN(2) FF ATYP ADDR PORT DATA`   gost, on streams
 *   u16 frame       `LEN(2) DATA`                     gost's relay, on streams
 *   SOCKS5 datagram `0000 FRAG ATYP ADDR PORT DATA`   RFC 1928 7, one a datagram
 */

#include "codec/address.h"

#define TG_UDP_DATA_MAX 65535u
#define TG_UDP_HEAD_MAX (3u + TG_SOCKS_ADDRESS_MAX) /**< bytes in front of the data, at most */

struct tg_udp_frame {
    struct tg_span data;
    uint8_t frag; /**< as received; gost sends FF in UDP-TUN frames */
    struct tg_target target;
};

/** Read a UDP-TUN frame.  @return the bytes of head and data */
ssize_t tg_udp_tun_decode(const uint8_t *in, size_t len, struct tg_udp_frame *out,
                          struct tg_error *err);

/** Read the head alone, so that data longer than a buffer can be stepped over.
 * @param out data.data is NULL, data.len what follows @return the bytes of the head */
ssize_t tg_udp_tun_head_decode(const uint8_t *in, size_t len, struct tg_udp_frame *out,
                               struct tg_error *err);

/** Write the head of a UDP-TUN frame with `data_len` bytes to follow.  Do not
 * send empty datagrams this way: gost takes the next bytes for their content. */
ssize_t tg_udp_tun_head_encode(const struct tg_target *target, size_t data_len, uint8_t *out,
                               size_t size);

/** Read a u16 frame.  @return 2 + the bytes of data */
ssize_t tg_udp_u16_decode(const uint8_t *in, size_t len, struct tg_span *data,
                          struct tg_error *err);

/** Read the length alone.  @return 2 or TG_AGAIN */
ssize_t tg_udp_u16_head_decode(const uint8_t *in, size_t len, uint32_t *data_len);

/** Write the length, at most TG_UDP_DATA_MAX.  @return 2 */
size_t tg_udp_u16_head_encode(size_t data_len, uint8_t *out);

/** Read a SOCKS5 datagram: all of `in` is one; so nothing is TG_AGAIN, a short one TG_PROTOCOL. */
ssize_t tg_udp_datagram_decode(const uint8_t *in, size_t len, struct tg_udp_frame *out,
                               struct tg_error *err);

/** Write the head of a SOCKS5 datagram. */
ssize_t tg_udp_datagram_head_encode(const struct tg_target *target, uint8_t *out, size_t size);
