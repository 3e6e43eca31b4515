#pragma once

/** @file
 * What tells an operator why TLS failed, and at which side to look.
 */

#include <openssl/ssl.h>

/** Why the library gave up, by its queue of errors and what it found of the peer's certificate.
 * @param refused what a callback of ours said instead; NULL: nothing
 * @return never NULL; static, or `refused` */
const char *tg_tls_words(const SSL *ssl, const char *refused);
