#pragma once

/** @file
 * TLS 1.3 after the handshake, without the library: data, alerts, KeyUpdate, and the tickets that come late
 * (RFC 8446, 4.6, 5 and 6).  Knows no sockets and no buffers: whole records in, whole records out.
 *
 * A new generation of keys is asked for by the peer, or due after so many records that AES-GCM begins to wear out
 * (RFC 8446, 5.5): tg_tls_traffic_due() tells, and what the next record is has to wait for it.
 */

#include "stream/tls_record.h"

#define TG_TLS_KEY_RECORDS (1u << 24) /**< under one key; 2^24.5 are the most that is safe */
#define TG_TLS_UPDATE_SIZE (TG_TLS_AROUND + 5u)
#define TG_TLS_ALERT_SIZE (TG_TLS_AROUND + 2u)

/** What a record can be that has no data. */
enum tg_tls_news {
    TG_TLS_NOTHING = 0,
    TG_TLS_END = -1, /**< the peer has said that it sends no more */
    TG_TLS_BAD = -2, /**< see `reason` and `alert` */
};

struct tg_tls_traffic {
    struct tg_tls_keys in, out;
    uint32_t late;       /**< bytes of a message still to come that nobody needs */
    uint8_t message[5];  /**< the beginning of a message of the handshake protocol */
    uint8_t have;        /**< bytes in it */
    uint8_t hollow;      /**< records in a row that had nothing in them, or a warning */
    bool server;
    bool asked;          /**< the peer waits for new keys of ours */
    int8_t state;        /**< enum tg_tls_news: END and BAD stay */
    uint8_t alert;       /**< what the peer should hear when it is BAD; 0: nothing, it said so itself */
    int reason;          /**< why it is BAD: SSL_R_* */
};

/** What both directions begin with. */
struct tg_tls_start {
    uint16_t suite; /**< of IANA */
    bool server;
    const uint8_t *in, *out;      /**< traffic secrets */
    size_t len;
    uint64_t received, sent; /**< records that the library has taken and made under them */
};

/** @return NULL: a suite we do not know */
struct tg_tls_traffic *tg_tls_traffic_new(const struct tg_tls_start *start);
/** NULL is allowed */
void tg_tls_traffic_free(struct tg_tls_traffic *t);

/** Take a record, which tg_tls_traffic_measure() has measured.
 * @param out tg_tls_room() bytes, or the record's own content
 * @return > 0: so many bytes of data in `out`; or enum tg_tls_news */
ssize_t tg_tls_traffic_take(struct tg_tls_traffic *t, const uint8_t *record, uint8_t *out);
/** @return the length of the whole record, 0: unknown yet, or TG_TLS_BAD */
ssize_t tg_tls_traffic_measure(struct tg_tls_traffic *t, const uint8_t *record, size_t len);

/** @return true when tg_tls_traffic_update() has to come before the next record of data */
bool tg_tls_traffic_due(const struct tg_tls_traffic *t);
/** Put a KeyUpdate into `out` (TG_TLS_UPDATE_SIZE) and go on with new keys.  @return its length */
size_t tg_tls_traffic_update(struct tg_tls_traffic *t, uint8_t *out);
/** Put an alert into `out` (TG_TLS_ALERT_SIZE): a fatal one, but for TG_TLS_CLOSE_NOTIFY.  @return its length */
size_t tg_tls_traffic_alert(struct tg_tls_traffic *t, enum tg_tls_alert alert, uint8_t *out);
