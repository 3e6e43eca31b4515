#pragma once

/** @file
 * Records of TLS 1.3 after the handshake, one direction (RFC 8446, 5 and 7.3).  Bytes in, bytes out: what the records
 * mean is tls_traffic.h's.
 */

#include "crypto/aead.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define TG_TLS_HEAD 5u
#define TG_TLS_PLAIN_MAX 16384u                       /**< content of one record */
#define TG_TLS_AROUND (TG_TLS_HEAD + 1u + TG_AEAD_TAG) /**< what a record of ours has around its content */
#define TG_TLS_WIRE_MAX (TG_TLS_HEAD + TG_TLS_PLAIN_MAX + 256u) /**< the longest that a peer may send */
#define TG_TLS_SECRET_MAX 48u

enum tg_tls_type {
    TG_TLS_ALERT = 21,
    TG_TLS_HANDSHAKE = 22,
    TG_TLS_DATA = 23,
};

enum tg_tls_alert {
    TG_TLS_CLOSE_NOTIFY = 0,
    TG_TLS_UNEXPECTED_MESSAGE = 10,
    TG_TLS_BAD_RECORD_MAC = 20,
    TG_TLS_RECORD_OVERFLOW = 22,
    TG_TLS_ILLEGAL_PARAMETER = 47,
    TG_TLS_DECODE_ERROR = 50,
    TG_TLS_USER_CANCELED = 90,
};

/** Counts records as their bytes pass.  All zero to begin. */
struct tg_tls_tally {
    uint64_t records; /**< whole ones */
    uint32_t left;    /**< bytes still to come of one */
    uint8_t have;     /**< bytes of its head */
    uint8_t head[TG_TLS_HEAD];
};

void tg_tls_count(struct tg_tls_tally *y, const uint8_t *data, size_t len);

/** @return true between two records */
static inline bool tg_tls_is_even(const struct tg_tls_tally *y)
{
    return y->left == 0 && y->have == 0;
}

/** Keys of one direction, and the number of the next record under them. */
struct tg_tls_keys {
    struct tg_aead *aead;
    uint64_t number;
    uint8_t secret[TG_TLS_SECRET_MAX], iv[12];
    uint8_t secret_len, kind;
};

/** Begin with a traffic secret.
 * @param suite of IANA: 0x1301, 0x1302 or 0x1303
 * @param number of the first record; others went under these keys before
 * @return false: not a suite we know, or a secret of another length; there is nothing to close */
bool tg_tls_keys_open(struct tg_tls_keys *k, uint16_t suite, const uint8_t *secret, size_t len, uint64_t number);
/** Go on with the next generation of keys (RFC 8446, 7.2). */
void tg_tls_keys_update(struct tg_tls_keys *k);
/** Wipes them. */
void tg_tls_keys_close(struct tg_tls_keys *k);

/** Put a record of the parts, TG_TLS_PLAIN_MAX bytes or less, into `out`.
 * @param count TG_TLS_PARTS_MAX at the most
 * @return its length: that of the content and TG_TLS_AROUND */
size_t tg_tls_seal(struct tg_tls_keys *k, enum tg_tls_type type, const struct iovec *parts, int count, uint8_t *out);
#define TG_TLS_PARTS_MAX 64

/** Look at the head of a record.
 * @return the length of the whole, 0 when the head is not complete, or a negated enum tg_tls_alert */
ssize_t tg_tls_measure(const uint8_t *record, size_t len);

/** @return the room that tg_tls_open() needs for a record of so many bytes */
static inline size_t tg_tls_room(size_t whole)
{
    return whole - TG_TLS_AROUND;
}

/** Open a record that tg_tls_measure() has accepted.
 * @param out elsewhere, or the record's own content (`record` + TG_TLS_HEAD)
 * @return the length of its content, or a negated enum tg_tls_alert; then `out` holds garbage */
ssize_t tg_tls_open(struct tg_tls_keys *k, const uint8_t *record, uint8_t *out, uint8_t *type);
