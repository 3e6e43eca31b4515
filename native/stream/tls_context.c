#include "stream/tls_context.h"

#include "base/mem.h"
#include "stream/tls_cert.h"
#include "stream/tls_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODERN_CIPHERS \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384:P-521"
#define HYBRID_GROUPS GROUPS ":X25519MLKEM768" /* from OpenSSL 3.5 on */

/* Bytes per connection: on average, from which on secrets pay off; supposed at first; counted at most; and how many
 * connections the average is over. */
#define WORTH (128u << 10)
#define SUPPOSED (1u << 20)
#define COUNTED (16u << 20)
#define MEMORY 16

/** What tells that a file has changed. */
struct stamp {
    struct timespec modified;
    ino_t inode;
    off_t size;
};

/** Which certificate is for a name. */
struct tg_tls_name {
    char *text; /* "*.example.com" for a wildcard */
    size_t index;
};

struct tg_tls_context {
    struct tg_tls_context *next; /* in the registry */
    atomic_uint refs;            /* never raised from 0 */
    struct tg_tls_options *options;
    BIO_METHOD *bio;
    bool ktls; /* the kernel has it */
    atomic_uint carried; /* bytes per connection, a moving average */
    atomic_bool broken; /* the files were no good when they were last looked at */
    pthread_mutex_t lock; /* of what follows */
    struct tg_tls_set *set;
    struct stamp *stamps; /* of the files, as seen at the last attempt */
};

/* All contexts of the process, so that workers with the same configuration share. */
static struct {
    pthread_mutex_t lock;
    struct tg_tls_context *first;
    X509_STORE *roots; /* the system's; some megabytes, hence once */
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

BIO_METHOD *tg_tls_bio_method(void); /* tls.c */

/* Files ---------------------------------------------------------------------------------------- */

/* The paths among the options, in a fixed order.  @return NULL after the last */
static const char *file_at(const struct tg_tls_options *o, size_t index)
{
    if (index == 0)
        return o->ca != NULL ? o->ca : "";
    index--;
    if (index >= 2 * o->pair_count)
        return NULL;
    return index % 2 == 0 ? o->pairs[index / 2].cert : o->pairs[index / 2].key;
}

static size_t file_count(const struct tg_tls_options *o)
{
    return 1 + 2 * o->pair_count;
}

static void take_stamps(const struct tg_tls_options *o, struct stamp *out)
{
    const char *path;
    for (size_t i = 0; (path = file_at(o, i)) != NULL; i++) {
        struct stat st;
        memset(&out[i], 0, sizeof(out[i]));
        if (*path == '\0' || tg_tls_is_pem(path) || stat(path, &st) < 0)
            continue;
        out[i].modified = st.st_mtim;
        out[i].inode = st.st_ino;
        out[i].size = st.st_size;
    }
}

/* Names ---------------------------------------------------------------------------------------- */

struct naming {
    struct tg_tls_set *set;
    size_t index;
};

static void add_name(void *arg, const char *text)
{
    struct naming *n = arg;
    struct tg_tls_set *set = n->set;
    struct tg_tls_name *grown =
        realloc(set->names, (set->name_count + 1) * sizeof(*set->names));
    if (grown == NULL)
        abort();
    set->names = grown;
    grown[set->name_count].text = strdup(text);
    if (grown[set->name_count].text == NULL)
        abort();
    grown[set->name_count++].index = n->index;
}

static int by_name(const void *a, const void *b)
{
    const struct tg_tls_name *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int find_name(const struct tg_tls_set *set, const char *text)
{
    size_t low = 0, high = set->name_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(set->names[middle].text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == set->name_count || strcmp(set->names[low].text, text) != 0)
        return -1;
    return (int)set->names[low].index;
}

/* The certificate for a name: exact, else a wildcard for its first label. */
static int find_certificate(const struct tg_tls_set *set, const char *name)
{
    char text[256];
    size_t len = strlen(name);
    if (len == 0 || len + 2 > sizeof(text))
        return -1;
    for (size_t i = 0; i <= len; i++)
        text[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    int index = find_name(set, text);
    char *dot = strchr(text, '.');
    if (index >= 0 || dot == NULL || dot == text)
        return index;
    dot[-1] = '*';
    return find_name(set, dot - 1);
}

static bool is_listed(const char *const *names, const char *name)
{
    if (names == NULL || *names == NULL)
        return true;
    for (; *names != NULL; names++)
        if (strcasecmp(*names, name) == 0)
            return true;
    return false;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    struct tg_tls_set *set = arg;
    const struct tg_tls_options *o = set->context->options;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (o->reject_unknown_sni && (name == NULL || !is_listed(o->server_names, name))) {
        *alert = SSL_AD_INTERNAL_ERROR;
        ((struct tg_tls_peer *)SSL_get_app_data(ssl))->refused =
            name == NULL ? "the client names no server" : "the client names an unknown server";
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    int index = set->ssl_count > 1 ? find_certificate(set, name) : -1;
    if (index > 0)
        SSL_set_SSL_CTX(ssl, (SSL_get_SSL_CTX(ssl) == set->keyed[0] ? set->keyed : set->ssl)[index]);
    return SSL_TLSEXT_ERR_OK;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    struct tg_tls_set *set = arg;
    /* SSL_select_next_proto() prefers its first list: ours. */
    if (SSL_select_next_proto((unsigned char **)out, out_len, set->alpn, set->alpn_len, in,
                              in_len) != OPENSSL_NPN_NEGOTIATED) {
        ((struct tg_tls_peer *)SSL_get_app_data(ssl))->refused =
            "the client offers no application protocol (alpn) that is in the list";
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    return SSL_TLSEXT_ERR_OK;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tg_tls_set *set = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const struct tg_tls_peer *peer = SSL_get_app_data(ssl);
    if (peer->session_name != NULL)
        tg_tls_sessions_keep(&set->sessions, peer->session_name, session,
                             SSL_session_reused(ssl));
    return 0; /* no reference was kept */
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @return the length, or 0 */
static uint8_t read_hex(const char *text, uint8_t *out, size_t size)
{
    size_t len = strlen(text) / 2;
    if (len > size || len * 2 != strlen(text))
        return 0;
    for (size_t i = 0; i < len; i++) {
        int high = hex(text[2 * i]), low = hex(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return 0;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return (uint8_t)len;
}

/* The one way in which the library gives secrets away: "LABEL random secret". */
static void on_secret(const SSL *ssl, const char *line)
{
    static const char client[] = "CLIENT_TRAFFIC_SECRET_0 ", server[] = "SERVER_TRAFFIC_SECRET_0 ";
    struct tg_tls_secrets *s = &((struct tg_tls_peer *)SSL_get_app_data(ssl))->secrets;
    const char *secret = strrchr(line, ' ');
    if (secret == NULL)
        return;
    if (strncmp(line, client, sizeof(client) - 1) == 0)
        s->client_len = read_hex(secret + 1, s->client, sizeof(s->client));
    else if (strncmp(line, server, sizeof(server) - 1) == 0)
        s->server_len = read_hex(secret + 1, s->server, sizeof(s->server));
}

/* A client's aim ------------------------------------------------------------------------------- */

char *tg_tls_clean_name(const char *name)
{
    size_t len = name != NULL ? strlen(name) : 0;
    if (len > 2 && name[0] == '[' && name[len - 1] == ']') {
        name++;
        len -= 2;
    }
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0)
        return NULL;
    char *copy = tg_zalloc(len + 1);
    memcpy(copy, name, len);
    return copy;
}

static bool is_ip(const char *name)
{
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || strchr(name, ':') != NULL;
}

bool tg_tls_set_aim(struct tg_tls_set *set, SSL *ssl, const char *name)
{
    const struct tg_tls_options *o = set->context->options;
    struct tg_tls_peer *peer = SSL_get_app_data(ssl);
    bool ip = name != NULL && is_ip(name);
    if (name != NULL && !ip)
        SSL_set_tlsext_host_name(ssl, name);
    if (o->verify == TG_TLS_VERIFY_FULL) {
        X509_VERIFY_PARAM *expected = SSL_get0_param(ssl);
        X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (name == NULL || (ip ? X509_VERIFY_PARAM_set1_ip_asc(expected, name)
                                : X509_VERIFY_PARAM_set1_host(expected, name, 0)) != 1)
            return false;
    }
    if (!o->sessions)
        return true;
    peer->session_name = name != NULL ? name : "";
    SSL_SESSION *session = tg_tls_sessions_find(&set->sessions, peer->session_name);
    if (session != NULL) {
        SSL_set_session(ssl, session);
        SSL_SESSION_free(session);
    }
    return true;
}

/* Building ------------------------------------------------------------------------------------- */

static bool set_versions(SSL_CTX *ctx, const struct tg_tls_options *o, char *err, size_t size)
{
    int min = o->min != 0 ? o->min : TLS1_2_VERSION, max = o->max != 0 ? o->max : TLS1_3_VERSION;
    if (o->min == 0 && max < min)
        min = max;
    if (min > max) {
        snprintf(err, size, "the lowest TLS version allowed is above the highest one");
        return false;
    }
    char list[4096];
    if (!tg_tls_cipher_list(ctx, o->ciphers, min, list, sizeof(list)) ||
        SSL_CTX_set_cipher_list(ctx, list) != 1) {
        snprintf(err, size, "none of the cipher suites in the list is available");
        return false;
    }
    return SSL_CTX_set_min_proto_version(ctx, min) == 1 &&
           SSL_CTX_set_max_proto_version(ctx, max) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, MODERN_CIPHERS) == 1;
}

static void use_system_roots(SSL_CTX *ctx)
{
    pthread_mutex_lock(&registry.lock);
    if (registry.roots == NULL) {
        registry.roots = X509_STORE_new();
        if (registry.roots == NULL)
            abort();
        X509_STORE_set_default_paths(registry.roots);
        ERR_clear_error();
    }
    SSL_CTX_set1_cert_store(ctx, registry.roots);
    pthread_mutex_unlock(&registry.lock);
}

static bool set_trust(SSL_CTX *ctx, const struct tg_tls_options *o, char *err, size_t size)
{
    if (o->verify == TG_TLS_VERIFY_NONE)
        return true;
    if (o->ca == NULL)
        use_system_roots(ctx);
    else if (!tg_tls_use_ca(ctx, o->ca, o->server, err, size))
        return false;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (o->server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       NULL);
    return true;
}

/* Tickets are shared by the process; a ticket of one server must not open another one that
 * asks for client certificates, nor stand for another certificate. */
static void set_session_id_context(SSL_CTX *ctx, const struct tg_tls_options *o,
                                   const struct stamp *stamps)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const char *path;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    EVP_DigestUpdate(md, &o->verify, sizeof(o->verify));
    for (size_t i = 0; (path = file_at(o, i)) != NULL; i++) {
        EVP_DigestUpdate(md, path, strlen(path) + 1);
        EVP_DigestUpdate(md, &stamps[i], sizeof(stamps[i]));
    }
    EVP_DigestFinal_ex(md, digest, &len);
    EVP_MD_CTX_free(md);
    SSL_CTX_set_session_id_context(ctx, digest, len);
}

static void set_server(SSL_CTX *ctx, struct tg_tls_set *set, const struct tg_tls_options *o,
                       const struct stamp *stamps)
{
    set_session_id_context(ctx, o, stamps);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets hold it all */
    if (o->sessions) {
        tg_tls_tickets_use(ctx);
        SSL_CTX_set_num_tickets(ctx, 1);
    } else {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
    }
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, set);
    if (set->alpn_len > 0)
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, set);
}

static void set_client(SSL_CTX *ctx, struct tg_tls_set *set, const struct tg_tls_options *o)
{
    if (o->sessions) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, on_session);
        SSL_CTX_set_app_data(ctx, set);
    } else {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    }
    if (set->alpn_len > 0)
        SSL_CTX_set_alpn_protos(ctx, set->alpn, set->alpn_len);
}

static void set_groups(SSL_CTX *ctx)
{
    if (SSL_CTX_set1_groups_list(ctx, HYBRID_GROUPS) != 1)
        SSL_CTX_set1_groups_list(ctx, GROUPS);
    ERR_clear_error();
}

static SSL_CTX *build_one(struct tg_tls_set *set, const struct tg_tls_options *o, size_t index,
                          const struct stamp *stamps, char *err, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(o->server ? TLS_server_method() : TLS_client_method());
    if (ctx == NULL)
        abort();
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* The end of input without close_notify must not end what we still have to send. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (set->context->ktls)
        SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
    bool ok = set_versions(ctx, o, err, size) && set_trust(ctx, o, err, size);
    set_groups(ctx);
    if (o->server)
        set_server(ctx, set, o, stamps);
    else
        set_client(ctx, set, o);
    if (ok && index < o->pair_count)
        ok = tg_tls_use_pair(ctx, o->pairs[index].cert, o->pairs[index].key, err, size);
    ERR_clear_error();
    if (ok)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

/* One without and one with secrets.  @return false: words are in `err` */
static bool build_both(struct tg_tls_set *set, const struct tg_tls_options *o, size_t index,
                       const struct stamp *stamps, char *err, size_t size)
{
    SSL_CTX *plain = build_one(set, o, index, stamps, err, size);
    SSL_CTX *keyed = plain != NULL ? build_one(set, o, index, stamps, err, size) : NULL;
    if (keyed == NULL) {
        SSL_CTX_free(plain);
        return false;
    }
    SSL_CTX_set1_cert_store(keyed, SSL_CTX_get_cert_store(plain)); /* may be large */
    if (!set->context->ktls)
        SSL_CTX_set_keylog_callback(keyed, on_secret);
    set->ssl[index] = plain;
    set->keyed[index] = keyed;
    return true;
}

static void free_set(struct tg_tls_set *set)
{
    tg_tls_sessions_close(&set->sessions);
    for (size_t i = 0; i < set->ssl_count; i++) {
        SSL_CTX_free(set->ssl[i]);
        SSL_CTX_free(set->keyed[i]);
    }
    free(set->keyed);
    for (size_t i = 0; i < set->name_count; i++)
        free(set->names[i].text);
    free(set->ssl);
    free(set->names);
    free(set->alpn);
    free(set);
}

static bool build_alpn(struct tg_tls_set *set, const struct tg_tls_options *o, char *err,
                       size_t size)
{
    unsigned char wire[1024];
    int len = tg_tls_alpn_wire(o->alpn, wire, sizeof(wire));
    if (len < 0) {
        snprintf(err, size,
                 "a name in the list of application protocols (alpn) is empty or too long");
        return false;
    }
    set->alpn = tg_zalloc((size_t)len + 1);
    memcpy(set->alpn, wire, (size_t)len);
    set->alpn_len = (unsigned)len;
    return true;
}

static struct tg_tls_set *build_set(struct tg_tls_context *c, const struct stamp *stamps, char *err,
                                    size_t size)
{
    const struct tg_tls_options *o = c->options;
    struct tg_tls_set *set = tg_zalloc(sizeof(*set));
    size_t count = o->pair_count > 0 && o->server ? o->pair_count : 1;
    set->refs = 1;
    set->context = c;
    tg_tls_sessions_open(&set->sessions);
    set->ssl = tg_zalloc(count * sizeof(*set->ssl));
    set->keyed = tg_zalloc(count * sizeof(*set->keyed));
    if (!build_alpn(set, o, err, size)) {
        free_set(set);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!build_both(set, o, i, stamps, err, size)) {
            free_set(set);
            return NULL;
        }
        set->ssl_count++;
        struct naming naming = { set, i };
        if (o->server && count > 1)
            tg_tls_each_name(SSL_CTX_get0_certificate(set->ssl[i]), add_name, &naming);
    }
    if (set->name_count > 1)
        qsort(set->names, set->name_count, sizeof(*set->names), by_name);
    return set;
}

/* Look at the files.  @return true when they differ from those seen last, which `now` is from
 * here on */
static bool files_changed(struct tg_tls_context *c, struct stamp *now)
{
    size_t size = file_count(c->options) * sizeof(*now);
    take_stamps(c->options, now);
    pthread_mutex_lock(&c->lock);
    bool changed = memcmp(now, c->stamps, size) != 0;
    memcpy(c->stamps, now, size);
    pthread_mutex_unlock(&c->lock);
    return changed;
}

/* Load the files when they have changed, or were no good and it is to be tried `again`.
 * @return 1: done, 0: no need, -1: they are no good, words in `err` */
static int renew(struct tg_tls_context *c, bool again, char *err, size_t size)
{
    struct stamp *now = tg_zalloc(file_count(c->options) * sizeof(*now));
    struct tg_tls_set *fresh = NULL;
    bool due = files_changed(c, now) || (again && c->broken);
    if (due) {
        fresh = build_set(c, now, err, size);
        c->broken = fresh == NULL;
    }
    free(now);
    if (fresh == NULL)
        return due ? -1 : 0;
    pthread_mutex_lock(&c->lock);
    struct tg_tls_set *old = c->set;
    c->set = fresh;
    pthread_mutex_unlock(&c->lock);
    tg_tls_set_put(old);
    return 1;
}

/* Asking for it on a socket that is not connected tells whether the kernel knows it. */
static bool kernel_has_tls(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int failed = setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"));
    bool has = failed == 0 || errno != ENOENT;
    close(fd);
    return has;
}

/* The registry -------------------------------------------------------------------------------- */

static void free_context(struct tg_tls_context *c)
{
    if (c->set != NULL)
        tg_tls_set_put(c->set);
    pthread_mutex_destroy(&c->lock);
    BIO_meth_free(c->bio);
    tg_tls_options_free(c->options);
    free(c->stamps);
    free(c);
}

static struct tg_tls_context *make(const struct tg_tls_options *o, char *err, size_t size)
{
    struct tg_tls_context *c = tg_zalloc(sizeof(*c));
    c->refs = 1;
    c->carried = SUPPOSED;
    c->options = tg_tls_options_copy(o);
    c->bio = tg_tls_bio_method();
    c->ktls = o->ktls && kernel_has_tls();
    c->stamps = tg_zalloc(file_count(o) * sizeof(*c->stamps));
    pthread_mutex_init(&c->lock, NULL);
    take_stamps(c->options, c->stamps);
    c->set = build_set(c, c->stamps, err, size);
    if (c->set != NULL)
        return c;
    free_context(c);
    return NULL;
}

/* @return false: the last reference has gone */
static bool ref_living(struct tg_tls_context *c)
{
    unsigned refs = atomic_load(&c->refs);
    while (refs > 0)
        if (atomic_compare_exchange_weak(&c->refs, &refs, refs + 1))
            return true;
    return false;
}

/* The lock is held. */
static struct tg_tls_context *find(const struct tg_tls_options *o)
{
    for (struct tg_tls_context *c = registry.first; c != NULL; c = c->next)
        if (tg_tls_options_equal(c->options, o) && ref_living(c))
            return c;
    return NULL;
}

struct tg_tls_context *tg_tls_context_get(const struct tg_tls_options *options, char *err,
                                          size_t size)
{
    snprintf(err, size, "out of memory");
    pthread_mutex_lock(&registry.lock);
    struct tg_tls_context *c = find(options);
    pthread_mutex_unlock(&registry.lock);
    if (c != NULL && renew(c, true, err, size) < 0) {
        tg_tls_context_put(c);
        return NULL;
    }
    if (c != NULL)
        return c;
    struct tg_tls_context *fresh = make(options, err, size);
    if (fresh == NULL)
        return NULL;
    pthread_mutex_lock(&registry.lock);
    c = find(options); /* another thread may have been as quick */
    if (c == NULL) {
        fresh->next = registry.first;
        registry.first = fresh;
    }
    pthread_mutex_unlock(&registry.lock);
    if (c == NULL)
        return fresh;
    free_context(fresh);
    return c;
}

struct tg_tls_context *tg_tls_context_ref(struct tg_tls_context *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void tg_tls_context_put(struct tg_tls_context *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_lock(&registry.lock);
    struct tg_tls_context **link = &registry.first;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    pthread_mutex_unlock(&registry.lock);
    free_context(c);
}

const struct tg_tls_options *tg_tls_context_options(const struct tg_tls_context *c)
{
    return c->options;
}

BIO_METHOD *tg_tls_context_bio(const struct tg_tls_context *c)
{
    return c->bio;
}

bool tg_tls_context_ktls(const struct tg_tls_context *c)
{
    return c->ktls;
}

struct tg_tls_set *tg_tls_set_take(struct tg_tls_context *c)
{
    pthread_mutex_lock(&c->lock);
    struct tg_tls_set *set = c->set;
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&c->lock);
    return set;
}

void tg_tls_set_put(struct tg_tls_set *set)
{
    if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1)
        free_set(set);
}

SSL *tg_tls_set_open(struct tg_tls_set *set)
{
    bool worth = atomic_load_explicit(&set->context->carried, memory_order_relaxed) >= WORTH;
    return SSL_new((worth ? set->keyed : set->ssl)[0]);
}

void tg_tls_context_learn(struct tg_tls_context *c, uint64_t bytes)
{
    unsigned counted = bytes < COUNTED ? (unsigned)bytes : COUNTED;
    /* What another thread adds at the same time may get lost. */
    unsigned before = atomic_load_explicit(&c->carried, memory_order_relaxed);
    atomic_store_explicit(&c->carried, before - before / MEMORY + counted / MEMORY, memory_order_relaxed);
}

int tg_tls_context_refresh(struct tg_tls_context *c, char *err, size_t size)
{
    return renew(c, false, err, size);
}
