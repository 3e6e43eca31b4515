#pragma once

/** @file
 * The TLS ClientHello (RFC 8446 4.1.2), as far as it tells where a connection
 * wants to go: server name, application protocols, versions.
 *
 * A hello may be spread over several records (RFC 8446 5.1).  Nothing is
 * copied: the message is read through its record headers.
 */

#include "codec/codec.h"

#define TG_CLIENT_HELLO_MAX 65536u /**< bytes of records; more is TG_LIMIT */
#define TG_HELLO_NAME_MAX 255u
#define TG_HELLO_ALPN_MAX 16u      /**< further ones are left out */
#define TG_HELLO_VERSIONS_MAX 16u  /**< further ones are left out */
#define TG_HELLO_TEXT_MAX 1024u

struct tg_client_hello {
    uint16_t version; /**< legacy_version: at most 0x0303 in practice */
    uint8_t name_len; /**< 0: no server name */
    uint8_t alpn_count;
    uint8_t version_count; /**< supported_versions; 0: the extension is absent */
    uint16_t versions[TG_HELLO_VERSIONS_MAX]; /**< in the order offered; GREASE left out */
    struct tg_span alpn[TG_HELLO_ALPN_MAX];   /**< into `text`; GREASE stays */
    uint16_t text_used;
    char name[TG_HELLO_NAME_MAX + 1];    /**< NUL-terminated; letters as sent */
    uint8_t text[TG_HELLO_TEXT_MAX]; /**< where `alpn` points */
};

/** @return the bytes of all records the message lies in */
ssize_t tg_client_hello_decode(const uint8_t *in, size_t len, struct tg_client_hello *out,
                               struct tg_error *err);
