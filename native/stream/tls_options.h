#pragma once

/** @file
 * The options of a TLS context as one owned value that can be compared.
 */

#include "stream/tls_context.h"

/** Copy options with all they point to; free with tg_tls_options_free(). */
struct tg_tls_options *tg_tls_options_copy(const struct tg_tls_options *o);
void tg_tls_options_free(struct tg_tls_options *o);
bool tg_tls_options_equal(const struct tg_tls_options *a, const struct tg_tls_options *b);

/** Translate IANA or Go names into OpenSSL's list for TLS 1.2 and older, with the
 * security level that `min` needs.  Names the library does not have are left out.
 * @return false: none is left of a list that has names for TLS 1.2 */
bool tg_tls_cipher_list(SSL_CTX *ctx, const char *const *names, int min, char *out, size_t size);

/** @return the length of the list as on the wire, written to `out`, or -1: a name is empty or
 * too long, or all are too long for `size` */
int tg_tls_alpn_wire(const char *const *names, unsigned char *out, size_t size);
