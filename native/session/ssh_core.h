#pragma once

/** @file
 * What the parts of session/ssh share; of no interest to others.
 */

#include "base/addr.h"
#include "session/ssh.h"

#include <libssh/callbacks.h>

#define TG_SSH_REASON_MAX 200

struct tg_ssh;

struct tg_ssh_stream {
    struct tg_stream base;
    struct tg_ssh *session; /* NULL: it is gone, and so is the channel */
    struct tg_ssh_stream *next, **link;
    struct tg_ssh_stream *accept_next;
    ssh_channel channel;
    struct ssh_channel_callbacks_struct callbacks;
    struct tg_ssh_target target;
    struct tg_bufs in;
    uint32_t held; /* bytes in `in` */
    uint32_t left; /* bytes in libssh's own buffer */
    struct tg_defer defer;
    uint8_t wanted;
    bool ended, closed, end_sent;
};

/* What stands in for an agent while a step lasts: the two ends of a socket. */
struct tg_ssh_agent {
    int theirs, ours; /* -1: none */
    uint8_t *request;
    size_t request_len;
};

/* A channel that its user gave up before the peer had said anything about it. */
struct tg_ssh_abandoned {
    struct tg_ssh_abandoned *next;
    ssh_channel channel;
};

struct tg_ssh {
    struct tg_session base;
    struct tg_ssh_options options;
    ssh_session ssh;
    int fd;                            /* the library's copy of what lies beneath */
    struct ssh_counter_struct counter; /* bytes of the socket */
    struct tg_ssh_stream *first, **last;
    struct tg_ssh_stream *accept_first, **accept_last;
    unsigned backlog, opening;
    unsigned tried; /* of those opening, from the first on, in the round that goes on */
    bool trying, try_again;
    struct tg_ssh_abandoned *abandoned;
    unsigned abandoned_count;
    ssh_message pending;
    struct tg_ssh_request request;
    char *secret;
    char *questioned; /* the user who was asked a question; the answer does not tell */
    uint64_t held;            /* bytes unread */
    uint64_t heard, heard_at; /* bytes and time of the last news */
    uint64_t asked;           /* bytes when the last keepalive left */
    struct tg_defer work, event;
    struct tg_timer timer;
    enum tg_ssh_step step;
    uint32_t missed;   /* keepalives in a row that had no answer */
    unsigned rounds;   /* of questions in this step */
    int result, bound, step_port;
    char *step_text;
    ssh_key step_key;
    struct tg_ssh_agent agent;
    bool fd_taken; /* by the library, which closes it then */
    bool server, kexed, trusted, blocked, stepping, probing;
    bool starved; /* some stream waits for its window; libssh does not tell when it opens */
    struct tg_addr
        names[2]; /* ours and the peer's, where what lies beneath has none; len 0: it has */
    struct ssh_counter_struct traffic; /* packets of the connection */
    uint64_t packets;                  /* sent up to this turn */
    bool busy, corked, uncorkable;     /* packets of one turn leave together */
    bool stalled; /* the library takes nothing now, whatever the windows: keys are exchanged anew */
    uint64_t blocked_at; /* bytes heard when the socket took no more */
    char reason[TG_SSH_REASON_MAX];
};

/** Packets are about to be made: they leave together when the session's work is done. */
void tg_ssh_cork(struct tg_ssh *m);

/** Close a channel that the peer may be asked to close; libssh frees it when the peer has. */
void tg_ssh_close_channel(struct tg_ssh *m, ssh_channel channel);

bool tg_ssh_is_opening(const struct tg_ssh_stream *st);
/** Tell the user of a stream what has become possible. */
void tg_ssh_check(struct tg_ssh_stream *st);
/** Streams that wait for their windows look at them again. */
void tg_ssh_check_windows(struct tg_ssh *m);
/** The session ends before the peer has said yes to a channel. */
void tg_ssh_give_up_opening(struct tg_ssh_stream *st);
/** @return whether anything may be read from the socket now */
bool tg_ssh_may_read(const struct tg_ssh *m);
void tg_ssh_update_wants(struct tg_ssh *m);
/** Find out whether the socket takes all that the library has for it. */
void tg_ssh_note_blocked(struct tg_ssh *m);
/** An agent's step is over: keep what the library asked. */
void tg_ssh_leave_agent(struct tg_ssh *m);
void tg_ssh_die(struct tg_ssh *m, enum tg_code code, const char *detail);

struct tg_ssh_stream *tg_ssh_make_stream(struct tg_ssh *m, ssh_channel channel,
                                         enum tg_stream_state state);
/** Take a stream out of its session; its channel is closed. */
void tg_ssh_part(struct tg_ssh_stream *st);
