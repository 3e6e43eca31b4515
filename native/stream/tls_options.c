#include "stream/tls_options.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What Go's library offers for TLS 1.2, hardware AES first. */
static const char default_ciphers[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:"
    "ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA";

static char *copy_text(const char *text)
{
    if (text == NULL)
        return NULL;
    size_t size = strlen(text) + 1;
    return memcpy(tg_zalloc(size), text, size);
}

static size_t list_len(const char *const *list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

static const char *const *copy_list(const char *const *list)
{
    size_t n = list_len(list);
    char **copy = tg_zalloc((n + 1) * sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = copy_text(list[i]);
    return (const char *const *)copy;
}

static void free_list(const char *const *list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        free((char *)list[i]);
    free((void *)list);
}

struct tg_tls_options *tg_tls_options_copy(const struct tg_tls_options *o)
{
    struct tg_tls_options *copy = tg_zalloc(sizeof(*copy));
    *copy = *o;
    struct tg_tls_pair *pairs = tg_zalloc((o->pair_count + 1) * sizeof(*pairs));
    for (size_t i = 0; i < o->pair_count; i++) {
        pairs[i].cert = copy_text(o->pairs[i].cert);
        pairs[i].key = copy_text(o->pairs[i].key);
    }
    copy->pairs = pairs;
    copy->ca = copy_text(o->ca);
    copy->alpn = copy_list(o->alpn);
    copy->ciphers = copy_list(o->ciphers);
    copy->server_names = copy_list(o->server_names);
    return copy;
}

void tg_tls_options_free(struct tg_tls_options *o)
{
    for (size_t i = 0; i < o->pair_count; i++) {
        free((char *)o->pairs[i].cert);
        free((char *)o->pairs[i].key);
    }
    free((void *)o->pairs);
    free((char *)o->ca);
    free_list(o->alpn);
    free_list(o->ciphers);
    free_list(o->server_names);
    free(o);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_list(const char *const *a, const char *const *b)
{
    size_t n = list_len(a);
    if (n != list_len(b))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return true;
}

bool tg_tls_options_equal(const struct tg_tls_options *a, const struct tg_tls_options *b)
{
    if (a->server != b->server || a->reject_unknown_sni != b->reject_unknown_sni ||
        a->sessions != b->sessions || a->ktls != b->ktls || a->verify != b->verify ||
        a->min != b->min || a->max != b->max || a->pair_count != b->pair_count)
        return false;
    for (size_t i = 0; i < a->pair_count; i++)
        if (!same_text(a->pairs[i].cert, b->pairs[i].cert) ||
            !same_text(a->pairs[i].key, b->pairs[i].key))
            return false;
    return same_text(a->ca, b->ca) && same_list(a->alpn, b->alpn) &&
           same_list(a->ciphers, b->ciphers) && same_list(a->server_names, b->server_names);
}

static bool same_cipher(const char *given, const char *standard)
{
    /* Go leaves the hash out of the names of the ChaCha20 suites. */
    size_t len = strlen(given), full = strlen(standard);
    if (strncasecmp(given, standard, len) != 0)
        return false;
    return len == full ||
           (strcasecmp(standard + len, "_SHA256") == 0 && strcasestr(given, "CHACHA20") != NULL);
}

/* @return OpenSSL's name, or NULL */
static const char *library_name(STACK_OF(SSL_CIPHER) *all, const char *given, bool *modern)
{
    *modern = strncasecmp(given, "TLS_AES_", 8) == 0 ||
              strncasecmp(given, "TLS_CHACHA20_POLY1305", 21) == 0;
    for (int i = 0; !*modern && i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(all, i);
        const char *standard = SSL_CIPHER_standard_name(cipher);
        if (standard != NULL && same_cipher(given, standard))
            return SSL_CIPHER_get_name(cipher);
    }
    return NULL;
}

bool tg_tls_cipher_list(SSL_CTX *ctx, const char *const *names, int min, char *out, size_t size)
{
    /* TLS 1.1 and older sign with SHA-1, which only level 0 allows. */
    const char *level = min < TLS1_2_VERSION ? ":@SECLEVEL=0" : ":@SECLEVEL=1";
    size_t used = 0, wanted = 0;
    if (SSL_CTX_set_cipher_list(ctx, "ALL:COMPLEMENTOFALL:@SECLEVEL=0") != 1)
        return false;
    STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);
    for (; names != NULL && *names != NULL; names++) {
        bool modern;
        const char *name = library_name(all, *names, &modern);
        wanted += !modern;
        if (name == NULL || used + strlen(name) + 16 > size)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? ":" : "", name);
    }
    if (used == 0 && wanted > 0)
        return false;
    if (used == 0)
        used = (size_t)snprintf(out, size, "%s", default_ciphers);
    snprintf(out + used, size - used, "%s", level);
    return true;
}

int tg_tls_alpn_wire(const char *const *names, unsigned char *out, size_t size)
{
    size_t used = 0;
    for (; names != NULL && *names != NULL; names++) {
        size_t len = strlen(*names);
        if (len == 0 || len > 255 || used + 1 + len > size)
            return -1;
        out[used++] = (unsigned char)len;
        memcpy(out + used, *names, len);
        used += len;
    }
    return (int)used;
}
