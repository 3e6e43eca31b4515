#pragma once

/** @file
 * Certificates and keys: reading PEM, the names they are for, and making a
 * self-signed one.
 */

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

/** @return true when `text` is PEM itself and no path of a file */
bool tg_tls_is_pem(const char *text);

/** Open PEM text or the file at a path for reading.  @param what as messages
 * call it, "certificate".  @return NULL with words in `err` */
BIO *tg_tls_open_pem(const char *where, const char *what, char *err, size_t size);

/** Give `ctx` a certificate with its chain, and the key that belongs to it; both
 * are PEM text or paths.  @return false with words in `err` */
bool tg_tls_use_pair(SSL_CTX *ctx, const char *cert, const char *key, char *err, size_t size);

/** Trust the certificates in `ca` (PEM text or a path) and, with `ask`, name them to
 * clients.  @return false with words in `err` */
bool tg_tls_use_ca(SSL_CTX *ctx, const char *ca, bool ask, char *err, size_t size);

/** Call `each` for every name the certificate is for: its DNS names, or the common
 * name when it has none.  Lower case, "*.example.com" for wildcards. */
void tg_tls_each_name(const X509 *cert, void (*each)(void *arg, const char *name), void *arg);

/** A self-signed certificate, usable as its own authority. */
struct tg_tls_subject {
    const char *common_name;  /**< also its DNS name */
    const char *organization;
    long validity;            /**< seconds from now */
};

/** @return seconds until the certificate in `where` (PEM text or a path) expires, negative
 * when it has; LONG_MIN: there is none that can be read */
long tg_tls_seconds_left(const char *where);

/** Make an ECDSA P-256 key and its certificate.  `*cert` and `*key` (PKCS#8) are PEM
 * in memory BIOs for the caller to free.  @return false with words in `err` */
bool tg_tls_generate(const struct tg_tls_subject *subject, BIO **cert, BIO **key, char *err,
                     size_t size);
