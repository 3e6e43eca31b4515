#pragma once

/** @file
 * Session resumption: the ticket keys of the process (all servers, all threads,
 * across reloads of certificates), and what a client remembers of its servers.
 */

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>

#define TG_TLS_TICKET_LIFE 14400 /**< seconds a ticket is valid */

/** Encrypt and decrypt the tickets of a server with the keys of the process. */
void tg_tls_tickets_use(SSL_CTX *ctx);

/** The newest session with each server name. */
struct tg_tls_sessions {
    pthread_mutex_t lock;
    struct tg_tls_session *first; /* most recently used first */
    unsigned count;
};

void tg_tls_sessions_open(struct tg_tls_sessions *s);
void tg_tls_sessions_close(struct tg_tls_sessions *s);
/** @return a copy for the caller, or NULL.  A copy, because the library makes a session
 * useless once a connection has used it or has ended badly. */
SSL_SESSION *tg_tls_sessions_find(struct tg_tls_sessions *s, const char *name);
/** Copies the session of a living connection, unless that was `resumed` from one that is young
 * enough to be used on. */
void tg_tls_sessions_keep(struct tg_tls_sessions *s, const char *name, const SSL_SESSION *live,
                          bool resumed);
