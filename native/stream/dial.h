#pragma once

/** @file
 * Connecting to the first of several addresses that answers: Happy Eyeballs,
 * RFC 8305.  Attempts start TG_DIAL_STAGGER_MS apart, the families taking turns,
 * or at once when the one before has failed.
 */

#include "base/socket.h"
#include "stream/stream.h"

#define TG_DIAL_STAGGER_MS 250
#define TG_DIAL_MAX 16 /**< addresses looked at; the rest is ignored */

struct tg_dial;

/** Called once, from the reactor: the stream, OPEN and the callee's; or NULL and the
 * error of the first attempt. */
typedef void (*tg_dial_done)(void *arg, struct tg_stream *s, const struct tg_error *err);

/** `to` is copied; `options` must live until `done`. */
struct tg_dial *tg_dial_start(struct tg_reactor *r, const struct tg_addr *to, size_t count,
                              const struct tg_socket_options *options, tg_dial_done done,
                              void *arg);

/** Give up; `done` stays silent. */
void tg_dial_cancel(struct tg_dial *d);
