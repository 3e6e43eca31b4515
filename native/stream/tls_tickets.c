#include "stream/tls_tickets.h"

#include "base/mem.h"
#include "base/reactor.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define KEY_ROTATE_MS (TG_TLS_TICKET_LIFE * UINT64_C(1000))
#define KEYS 2 /* the one in use and the one before, whose tickets may still be valid */
#define SESSIONS_MAX 32
#define SEEN 1024 /* a power of two */
#define KEEP_S 600 /* a client asks for no newer session within this time */

struct ticket_key {
    unsigned char name[16], cipher[32], mac[32];
    uint64_t born; /* ms; 0: none yet */
};

/* The one thing of TLS that must be the same for every server of the process: a
 * ticket comes back to another worker, or after a reload. */
static struct {
    pthread_mutex_t lock;
    struct ticket_key keys[KEYS];
    uint64_t seen[SEEN]; /* tickets that came, by their nonces, for a while */
} tickets = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Make keys[0] young enough; the lock is held.  @return false: no random bytes */
static bool rotate(uint64_t now)
{
    struct ticket_key fresh;
    if (tickets.keys[0].born != 0 && now - tickets.keys[0].born < KEY_ROTATE_MS)
        return true;
    if (RAND_bytes(fresh.name, sizeof(fresh.name)) != 1 ||
        RAND_priv_bytes(fresh.cipher, sizeof(fresh.cipher)) != 1 ||
        RAND_priv_bytes(fresh.mac, sizeof(fresh.mac)) != 1)
        return false;
    fresh.born = now;
    tickets.keys[1] = tickets.keys[0];
    tickets.keys[0] = fresh;
    return true;
}

static bool newest_key(struct ticket_key *out)
{
    pthread_mutex_lock(&tickets.lock);
    bool ok = rotate(tg_clock_ms());
    *out = tickets.keys[0];
    pthread_mutex_unlock(&tickets.lock);
    return ok;
}

/* Note that a ticket came.  The lock is held.  @return true when it is not the first time */
static bool note_ticket(const unsigned char *iv)
{
    uint64_t nonce;
    memcpy(&nonce, iv, sizeof(nonce));
    uint64_t *place = &tickets.seen[nonce & (SEEN - 1)];
    bool again = *place == nonce;
    *place = nonce;
    return again;
}

/* @return its age: 0 the newest, -1 unknown */
static int named_key(const unsigned char *name, const unsigned char *iv, struct ticket_key *out,
                     bool *again)
{
    int found = -1;
    pthread_mutex_lock(&tickets.lock);
    *again = note_ticket(iv);
    for (int i = 0; i < KEYS && found < 0; i++)
        if (tickets.keys[i].born != 0 &&
            memcmp(tickets.keys[i].name, name, sizeof(out->name)) == 0) {
            *out = tickets.keys[i];
            found = i;
        }
    pthread_mutex_unlock(&tickets.lock);
    return found;
}

static bool start(const struct ticket_key *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
                  EVP_MAC_CTX *mac, int encrypt)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac, sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1 &&
           EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, encrypt) == 1;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt)
{
    struct ticket_key key;
    int result;
    if (encrypt) {
        if (!newest_key(&key) || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
            return -1;
        memcpy(name, key.name, sizeof(key.name));
        result = start(&key, iv, cipher, mac, 1) ? 1 : -1;
    } else {
        bool again;
        int age = named_key(name, iv, &key, &again);
        if (age < 0)
            return 0; /* a full handshake then */
        /* Many clients use a ticket of TLS 1.3 once only: the use earns them a new one.
         * Who comes again with the same one, as our own client, needs none. */
        bool renew = age > 0 || (SSL_version(ssl) >= TLS1_3_VERSION && !again);
        result = !start(&key, iv, cipher, mac, 0) ? -1 : renew ? 2 : 1;
    }
    OPENSSL_cleanse(&key, sizeof(key));
    return result;
}

void tg_tls_tickets_use(SSL_CTX *ctx)
{
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_timeout(ctx, TG_TLS_TICKET_LIFE);
}

struct tg_tls_session {
    struct tg_tls_session *next;
    SSL_SESSION *session;
    char name[];
};

void tg_tls_sessions_open(struct tg_tls_sessions *s)
{
    pthread_mutex_init(&s->lock, NULL);
    s->first = NULL;
    s->count = 0;
}

static void drop(struct tg_tls_session *item)
{
    SSL_SESSION_free(item->session);
    free(item);
}

void tg_tls_sessions_close(struct tg_tls_sessions *s)
{
    while (s->first != NULL) {
        struct tg_tls_session *item = s->first;
        s->first = item->next;
        drop(item);
    }
    pthread_mutex_destroy(&s->lock);
}

/* Unlink the session with `name`, or the oldest for NULL.  @return NULL: none */
static struct tg_tls_session *take_out(struct tg_tls_sessions *s, const char *name)
{
    struct tg_tls_session **link = &s->first;
    while (*link != NULL) {
        struct tg_tls_session *item = *link;
        if (name != NULL ? strcmp(item->name, name) == 0 : item->next == NULL) {
            *link = item->next;
            s->count--;
            return item;
        }
        link = &item->next;
    }
    return NULL;
}

static void put_first(struct tg_tls_sessions *s, struct tg_tls_session *item)
{
    item->next = s->first;
    s->first = item;
    s->count++;
}

SSL_SESSION *tg_tls_sessions_find(struct tg_tls_sessions *s, const char *name)
{
    SSL_SESSION *found = NULL;
    pthread_mutex_lock(&s->lock);
    struct tg_tls_session *item = take_out(s, name);
    if (item != NULL) {
        put_first(s, item);
        found = SSL_SESSION_dup(item->session);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* A ticket serves as often as one likes; the newest is not better than the one before. */
static bool is_fresh(struct tg_tls_sessions *s, const char *name, const SSL_SESSION *live)
{
    bool fresh = false;
    pthread_mutex_lock(&s->lock);
    for (struct tg_tls_session *item = s->first; item != NULL; item = item->next)
        if (strcmp(item->name, name) == 0)
            fresh = SSL_SESSION_get_time(live) < SSL_SESSION_get_time(item->session) + KEEP_S;
    pthread_mutex_unlock(&s->lock);
    return fresh;
}

void tg_tls_sessions_keep(struct tg_tls_sessions *s, const char *name, const SSL_SESSION *live,
                          bool resumed)
{
    struct tg_tls_session *gone = NULL;
    if (resumed && is_fresh(s, name, live))
        return;
    SSL_SESSION *session = SSL_SESSION_dup(live);
    if (session == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    struct tg_tls_session *item = take_out(s, name);
    SSL_SESSION *before = NULL;
    if (item != NULL) {
        before = item->session;
    } else {
        item = tg_zalloc(sizeof(*item) + strlen(name) + 1);
        memcpy(item->name, name, strlen(name) + 1);
        if (s->count == SESSIONS_MAX)
            gone = take_out(s, NULL);
    }
    item->session = session;
    put_first(s, item);
    pthread_mutex_unlock(&s->lock);
    SSL_SESSION_free(before);
    if (gone != NULL)
        drop(gone);
}
