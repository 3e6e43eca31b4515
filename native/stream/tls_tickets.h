#pragma once

/** @file
 * Session resumption: the ticket keys of the process (all servers, all threads,
 * across reloads of certificates), and what a client remembers of its servers.
 */

#include <openssl/ssl.h>
#include <pthread.h>

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
/** @return a reference for the caller, or NULL */
SSL_SESSION *tg_tls_sessions_find(struct tg_tls_sessions *s, const char *name);
/** Takes over the caller's reference to `session`. */
void tg_tls_sessions_keep(struct tg_tls_sessions *s, const char *name, SSL_SESSION *session);
