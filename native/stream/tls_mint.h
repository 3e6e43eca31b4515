#pragma once

/** @file
 * Certificates made on the fly for names that an authority of ours is to vouch for.
 */

#include <openssl/bio.h>
#include <stdbool.h>
#include <stddef.h>

struct tg_tls_mint {
    const char *ca_cert, *ca_key; /**< the authority: PEM text or paths; RSA or ECDSA */
    const char *key;              /**< of the certificate: PEM text or a path */
    const char *name;             /**< a DNS name or an IP address */
    long validity;                /**< seconds before and after now */
};

/** Make a certificate for a server of this name.  `*cert` is PEM in a memory BIO for the caller to free.
 * @return false with words in `err` */
bool tg_tls_mint(const struct tg_tls_mint *m, BIO **cert, char *err, size_t size);
