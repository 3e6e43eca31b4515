#pragma once

/** @file
 * Inside of the client of gost's SSH tunnels: what its session (ssh2.c) and the steps before there are channels
 * (ssh2_login.c) share.
 */

#include "session/ssh2.h"

#include <libssh2.h>

#define TG_SSH2_REASON_MAX 200

struct tg_ssh2_stream;
struct tg_ssh2_closing;

struct tg_ssh2_bytes {
    uint8_t *data; /* NULL: none */
    size_t len;
};

struct tg_ssh2 {
    struct tg_session base;
    struct tg_ssh2_options options;
    LIBSSH2_SESSION *ssh;
    int fd; /* stands for a socket; no byte goes through it */
    struct tg_ssh2_stream *first, **last;
    struct tg_ssh2_stream *open_first, **open_last; /* the first is being opened */
    struct tg_ssh2_closing *closing;
    struct tg_buf *in, *out;
    uint64_t heard_at, asked_at;
    size_t taken; /* bytes in this turn */
    struct tg_defer work, event;
    struct tg_timer timer;
    enum tg_ssh2_step step;
    int result;
    char *user, *secret, *passphrase, *methods;
    struct tg_ssh2_bytes key, signature, to_sign; /* of a login with an agent */
    uint32_t missed; /* questions in a row that had no answer */
    bool stepping, opening, abandoned, blocked, lower_ended, freeing;
    char reason[TG_SSH2_REASON_MAX];
};

/** Keep what the library said last. */
void tg_ssh2_note_reason(struct tg_ssh2 *m);
/** End the session; its user hears of it in another turn. */
void tg_ssh2_die(struct tg_ssh2 *m, enum tg_code code, const char *detail);
/** Go on with the step at hand, if there is one. */
void tg_ssh2_run_step(struct tg_ssh2 *m);
/** Wipe and free what logins need. */
void tg_ssh2_forget_login(struct tg_ssh2 *m);
