#pragma once

/** @file
 * A layer that changes the first bytes its user writes, and takes an answer off what comes back;
 * from then on it is out of the way (fd() included).
 */

#include "stream/stream.h"

#define TG_OPENER_MAX 65536u /**< bytes that are held until the opening can be made */

/** What the first bytes become. */
struct tg_opener {
    const char *name; /**< layer name in errors: "ohttp" */
    /** Make the opening of what has been written so far (`len` 0: nothing was, see `patience`) and
     * push it into *out, which is NULL before.
     * @return 0, or TG_AGAIN: more is needed.  With `last` no more will come, and it must be made */
    int (*open)(void *arg, struct tg_pool *pool, const uint8_t *in, size_t len, bool last,
                struct tg_buf **out);
    /** Take what belongs to the answer off the front.  NULL: there is none.
     * @return bytes taken with *over set when the answer ends there, or a negative code with `err` */
    ssize_t (*answer)(void *arg, const uint8_t *in, size_t len, bool *over, struct tg_error *err);
    void (*release)(void *arg); /**< NULL: nothing to do */
    /** ms after which the opening goes out without any bytes of the user, when only reading is wanted;
     * 0: never */
    unsigned patience;
};

/** What `open` does where the opening is `text`, then the user's first bytes. */
int tg_opener_prefix(struct tg_pool *pool, const void *text, size_t text_len, const uint8_t *in,
                     size_t len, bool last, struct tg_buf **out);

/** Put the layer on `lower`, which it owns from now on, as it does `arg`. */
struct tg_stream *tg_opener_start(struct tg_stream *lower, const struct tg_opener *kind, void *arg);

/** gost's disguise for the sni handler: another server name in a ClientHello, another Host in a
 * request, the true one encoded beside it.  `host` is copied. */
struct tg_stream *tg_sni_disguise(struct tg_stream *lower, const char *host, size_t len);

/** The client's end of simple-obfs' HTTP: `head` goes before the first bytes, a head that says 101
 * comes before the first of the answer.  `head` is copied. */
struct tg_stream *tg_obfs_http(struct tg_stream *lower, const char *head, size_t len);

/** A server's reply that goes out with the first bytes after it, or when writing ends: to a client that
 * did not wait for it, and may have left by now.  `bytes` are copied. */
struct tg_stream *tg_late_reply(struct tg_stream *lower, const char *bytes, size_t len);
