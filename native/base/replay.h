#pragma once

/** @file
 * What was received lately and must not be accepted twice, for all threads: salts of connections, and
 * numbers of packets of sessions.  Only what was authenticated is put in, so that strangers cannot fill it.
 * A shared object (base/shared.h, TG_SHARED_REPLAY).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_REPLAY_WINDOW 2048u /**< packets that may be late by so many */

struct tg_replay;

/** Remember a salt.  It is known for at least 60 s, and for as long as a quarter of a million later ones.
 * @return false: it is known already */
bool tg_replay_salt(struct tg_replay *r, const void *salt, size_t len, uint64_t now_ms);

/** Remember packet `id` of the session named by `len` bytes; a session that is silent for two minutes is
 * forgotten.  @return false: known already, or too old to tell */
bool tg_replay_packet(struct tg_replay *r, const void *session, size_t len, uint64_t id,
                      uint64_t now_ms);

/** The numbers of one session; all zero: none has come. */
struct tg_window {
    uint64_t last; /**< highest number + 1 */
    uint64_t bits[TG_REPLAY_WINDOW / 64];
};

/** @return false: `id` has come before, or is too old to tell */
bool tg_window_take(struct tg_window *w, uint64_t id);
