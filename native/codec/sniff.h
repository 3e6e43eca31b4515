#pragma once

/** @file
 * Which protocol the first bytes of a connection belong to.  A verdict consumes
 * nothing.
 */

#include "codec/codec.h"

#include <stdbool.h>

#define TG_SNIFF_MAX 14u /**< bytes that always suffice */

enum tg_sniffed {
    TG_SNIFF_NONE,
    TG_SNIFF_TLS,
    TG_SNIFF_HTTP,
    TG_SNIFF_HTTP2, /**< "PRI * ": the preface of HTTP/2 in clear text */
    TG_SNIFF_SSH,
    TG_SNIFF_REDIS,
    TG_SNIFF_SOCKS4,
    TG_SNIFF_SOCKS5,
    TG_SNIFF_DNS, /**< a query with its length in front, as over TCP */
};

/** Classify.  Methods count with the blank after them, so that words that only begin
 * like one do not.  @return 0, or TG_AGAIN while the bytes could still be one of several */
ssize_t tg_sniff(const uint8_t *in, size_t len, enum tg_sniffed *out);

/** Whether a datagram is a DNS query with one question, as far as its head tells. */
bool tg_sniff_dns(const uint8_t *in, size_t len);

/** @return "tls", "http", …; "none" */
const char *tg_sniffed_word(enum tg_sniffed s);
