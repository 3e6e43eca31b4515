#pragma once

/** @file
 * SSH (RFC 4253, 4254) by libssh, as server and as client: channels are streams.
 *
 * libssh works on a descriptor of its own, a copy of what lies beneath, which therefore must be a
 * stream whose bytes are a descriptor's (tg_stream_fd()); readiness comes from the reactor and
 * libssh never waits.  Each channel has the window that libssh gives it; a session whose streams
 * hold too much unread altogether stops reading.
 *
 * What a server is asked before and beside the channels (logins, listening) waits as a request
 * until it is answered, and nothing is read meanwhile.
 */

#include "session/session.h"

#include <libssh/libssh.h>
#include <libssh/server.h>

/** Where channels of the type direct-tcpip lead that stand for gost's tunnels: libssh opens none of a
 * foreign type.  A server of tunnels says by its banner that it takes them. */
#define TG_SSH_TUNNEL        "gost-tunnel"
#define TG_SSH_TUNNEL_BANNER "tidegate_tunnel"

#define TG_SSH_BACKLOG 256u /**< channels that wait to be accepted; more are refused */

struct tg_ssh_options {
    bool tunnel; /**< server: gost's channels of a type of their own instead of direct-tcpip */
    int methods; /**< server: SSH_AUTH_METHOD_* that are offered */
    uint32_t max_streams; /**< channels alive */
    uint32_t keepalive;   /**< ms between requests that the peer must answer; 0: none */
    uint32_t timeout;     /**< ms of silence after one that count as a miss */
    uint32_t retries;     /**< misses in a row that end the session */
};

#define TG_SSH_DEFAULTS                                                                            \
    {                                                                                              \
        .methods = SSH_AUTH_METHOD_PASSWORD, .max_streams = 1024, .timeout = 15000, .retries = 1,  \
    }

enum tg_ssh_kind {
    TG_SSH_NONE,     /**< a login without a secret */
    TG_SSH_PASSWORD, /**< also as the answer to a question (keyboard-interactive) */
    TG_SSH_OFFER,    /**< a public key: would it do? */
    TG_SSH_KEY,      /**< a public key, and the peer has its other half */
    TG_SSH_LISTEN,   /**< tcpip-forward */
    TG_SSH_UNLISTEN, /**< cancel-tcpip-forward */
};

/** What a server is asked; valid until it is answered. */
struct tg_ssh_request {
    enum tg_ssh_kind kind;
    const char *user;
    const char *secret; /**< password, or the public key in base64 */
    const char *host;
    int port;
};

/** Where a channel leads, and who asked for it. */
struct tg_ssh_target {
    char *host, *origin; /**< NULL: gost's tunnel */
    int port, origin_port;
};

/** What a client does one after the other; each ends with an event. */
enum tg_ssh_step {
    TG_SSH_LOGIN_NONE,
    TG_SSH_LOGIN_PASSWORD,
    TG_SSH_LOGIN_INTERACTIVE, /**< the password answers all questions */
    TG_SSH_LOGIN_KEY,
    TG_SSH_LOGIN_AGENT, /**< see tg_ssh_begin_agent() */
    TG_SSH_BIND,
};

/** Serve over `lower`, which the session owns from now on.
 * @param bind has the host key @return NULL: see `err`, and `lower` is closed */
struct tg_session *tg_ssh_server(struct tg_stream *lower, ssh_bind bind,
                                 const struct tg_ssh_options *options, struct tg_error *err);
/** Be the client over `lower`. */
struct tg_session *tg_ssh_client(struct tg_stream *lower, const char *user,
                                 const struct tg_ssh_options *options, struct tg_error *err);

/** The addresses that streams have, where those of what lies beneath say nothing. */
void tg_ssh_set_names(struct tg_session *s, const char *local, const char *remote);

/** @return whether keys have been exchanged */
bool tg_ssh_is_ready(const struct tg_session *s);
/** @return what waits for an answer, or NULL */
const struct tg_ssh_request *tg_ssh_request(const struct tg_session *s);
/** Answer it.  @param port where a server listens now, TG_SSH_LISTEN */
void tg_ssh_answer(struct tg_session *s, bool yes, int port);

/** Begin a step; `text` (password, address to listen on) and `key` are kept or copied. */
void tg_ssh_begin(struct tg_session *s, enum tg_ssh_step step, const char *text, int port,
                  ssh_key key);
/** Begin a login with an agent's key.  The library waits for agents, so it meets one that has said
 * all it will: `answers`, to what it asks one after the other; then that one has left.
 * @return 0 or TG_IO, and the step has not begun */
int tg_ssh_begin_agent(struct tg_session *s, const void *answers, size_t len);
/** @return the request for a signature that had no answer in the last such step, or NULL; valid
 * until the next */
const void *tg_ssh_agent_request(const struct tg_session *s, size_t *len);
/** @return SSH_AGAIN while it lasts, else its result: SSH_OK or SSH_AUTH_SUCCESS, or another */
int tg_ssh_result(const struct tg_session *s);
/** @return the port of TG_SSH_BIND */
int tg_ssh_bound(const struct tg_session *s);
/** The library's session, to ask for the host key and the methods of login. */
ssh_session tg_ssh_of(const struct tg_session *s);
/** @return what the library said when the session died, or "" */
const char *tg_ssh_reason(const struct tg_session *s);
/** @return ms since anything came from the peer */
uint64_t tg_ssh_silence(const struct tg_session *s);

/** Open a channel to `host`: direct-tcpip of a client, forwarded-tcpip of a server.
 * @return a stream that is OPENING; NULL: see `err` */
struct tg_stream *tg_ssh_open(struct tg_session *s, const char *host, int port, const char *origin,
                              int origin_port, struct tg_error *err);
/** @return where a channel leads; NULL: it is none of ours */
const struct tg_ssh_target *tg_ssh_target(const struct tg_stream *s);
