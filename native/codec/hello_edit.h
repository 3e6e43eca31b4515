#pragma once

/** @file
 * A TLS ClientHello with another server name, and the true one hidden in an extension of gost's
 * (0xFFFE), or back again.
 */

#include "codec/codec.h"

#include <stdbool.h>

#define TG_HIDDEN_MAX 512u /**< longest content of the extension that is understood */

struct tg_hello_edit {
    struct tg_span name;   /**< instead of the server name, if there is one; len 0: it stays */
    struct tg_span hidden; /**< content of a hidden extension, put last; len 0: none */
};

/** Rewrite the ClientHello at the start of `in`.  A hidden extension that it has goes away.
 * `out` has room for TG_HELLO_EDIT_ROOM more than `len`.
 * @return the bytes written, or a negative code with `err` */
ssize_t tg_hello_edit(const uint8_t *in, size_t len, const struct tg_hello_edit *edit, uint8_t *out,
                      size_t size, struct tg_error *err);

#define TG_HELLO_EDIT_ROOM 1024u

/** The content of the hidden extension.  @return its length, 0: there is none */
size_t tg_hello_hidden(const uint8_t *in, size_t len, uint8_t out[TG_HIDDEN_MAX]);

/** gost's encoding of a name (base64url of a checksum and of base64url of the name);
 * `out` has room for TG_HIDDEN_MAX.  @return its length; 0: the name is longer than 255 */
size_t tg_hidden_name(const uint8_t *name, size_t len, char *out);
