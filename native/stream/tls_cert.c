#include "stream/tls_cert.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define SERIAL_BITS 128
#define NAME_MAX_LEN 255

bool tg_tls_is_pem(const char *text)
{
    return strstr(text, "-----BEGIN ") != NULL;
}

/* How messages call the place something came from. */
static const char *place(const char *where)
{
    return tg_tls_is_pem(where) ? "(given as text)" : where;
}

static const char *library_reason(void)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    return why != NULL ? why : "unknown error";
}

BIO *tg_tls_open_pem(const char *where, const char *what, char *err, size_t size)
{
    BIO *in = tg_tls_is_pem(where) ? BIO_new_mem_buf(where, -1) : BIO_new_file(where, "r");
    if (in == NULL)
        snprintf(err, size, "cannot read the %s file %s: %s", what, where, strerror(errno));
    ERR_clear_error();
    return in;
}

static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing;
    *(bool *)arg = true;
    return -1;
}

static bool use_certificate(SSL_CTX *ctx, const char *where, char *err, size_t size)
{
    BIO *in = tg_tls_open_pem(where, "certificate", err, size);
    if (in == NULL)
        return false;
    X509 *cert = PEM_read_bio_X509_AUX(in, NULL, NULL, NULL);
    bool ok = cert != NULL;
    if (!ok)
        snprintf(err, size, "no certificate in %s: a PEM file is needed that begins with "
                 "\"-----BEGIN CERTIFICATE-----\"", place(where));
    else if (SSL_CTX_use_certificate(ctx, cert) != 1) {
        snprintf(err, size, "the certificate in %s cannot be used: %s", place(where),
                 library_reason());
        ok = false;
    }
    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            break;
        }
    BIO_free(in);
    ERR_clear_error();
    return ok;
}

static bool use_key(SSL_CTX *ctx, const char *cert, const char *where, char *err, size_t size)
{
    BIO *in = tg_tls_open_pem(where, "key", err, size);
    if (in == NULL)
        return false;
    bool locked = false, ok = false;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, &locked);
    if (key == NULL && locked)
        snprintf(err, size, "the key in %s is encrypted: write it without a passphrase with "
                 "\"openssl pkey -in FILE -out NEW\"", place(where));
    else if (key == NULL)
        snprintf(err, size, "no private key in %s: a PEM file is needed that holds "
                 "\"-----BEGIN PRIVATE KEY-----\"", place(where));
    /* A key of another kind goes into a slot of its own, and is only missed later. */
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        snprintf(err, size, "the key in %s does not belong to the certificate in %s",
                 place(where), place(cert));
    else
        ok = true;
    EVP_PKEY_free(key);
    BIO_free(in);
    ERR_clear_error();
    return ok;
}

bool tg_tls_use_pair(SSL_CTX *ctx, const char *cert, const char *key, char *err, size_t size)
{
    return use_certificate(ctx, cert, err, size) && use_key(ctx, cert, key, err, size);
}

bool tg_tls_use_ca(SSL_CTX *ctx, const char *ca, bool ask, char *err, size_t size)
{
    BIO *in = tg_tls_open_pem(ca, "CA", err, size);
    if (in == NULL)
        return false;
    X509_STORE *store = X509_STORE_new();
    X509 *cert;
    int count = 0;
    while ((cert = PEM_read_bio_X509_AUX(in, NULL, NULL, NULL)) != NULL) {
        count += X509_STORE_add_cert(store, cert);
        if (ask)
            SSL_CTX_add_client_CA(ctx, cert);
        X509_free(cert);
    }
    BIO_free(in);
    ERR_clear_error();
    if (count == 0) {
        snprintf(err, size, "no certificate in the CA file %s: a PEM file is needed that begins "
                 "with \"-----BEGIN CERTIFICATE-----\"", place(ca));
        X509_STORE_free(store);
        return false;
    }
    /* Whatever the user lists is trusted as it is, also without being an authority. */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_cert_store(ctx, store);
    return true;
}

static void report_name(const char *data, int len, void (*each)(void *arg, const char *name),
                        void *arg)
{
    char name[NAME_MAX_LEN + 1];
    if (len <= 0 || len > NAME_MAX_LEN || memchr(data, '\0', (size_t)len) != NULL)
        return;
    for (int i = 0; i < len; i++)
        name[i] = (char)tolower((unsigned char)data[i]);
    name[len] = '\0';
    each(arg, name);
}

void tg_tls_each_name(const X509 *cert, void (*each)(void *arg, const char *name), void *arg)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false;
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        if (g->type != GEN_DNS)
            continue;
        found = true;
        report_name((const char *)ASN1_STRING_get0_data(g->d.dNSName),
                    ASN1_STRING_length(g->d.dNSName), each, arg);
    }
    GENERAL_NAMES_free(names);
    if (found)
        return;
    char cn[NAME_MAX_LEN + 1];
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn,
                                        sizeof(cn));
    report_name(cn, len, each, arg);
}

long tg_tls_seconds_left(const char *where)
{
    char err[256];
    int days = 0, seconds = 0;
    BIO *in = tg_tls_open_pem(where, "certificate", err, sizeof(err));
    X509 *cert = in != NULL ? PEM_read_bio_X509_AUX(in, NULL, NULL, NULL) : NULL;
    bool ok = cert != NULL && ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) == 1;
    X509_free(cert);
    BIO_free(in);
    ERR_clear_error();
    return ok ? days * 86400L + seconds : LONG_MIN;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX v3;
    X509V3_set_ctx_nodb(&v3);
    X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    bool ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

/* Not by X509V3_EXT_conf_nid(): commas in the name would be taken for syntax. */
static bool add_dns_name(X509 *cert, const char *name)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, name, -1);
    GENERAL_NAME_set0_value(g, GEN_DNS, text);
    sk_GENERAL_NAME_push(names, g);
    bool ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static bool set_serial(X509 *cert)
{
    BIGNUM *n = BN_new();
    bool ok = n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
    BN_free(n);
    return ok;
}

static bool fill_certificate(X509 *cert, EVP_PKEY *key, const struct tg_tls_subject *s)
{
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
           X509_gmtime_adj(X509_getm_notBefore(cert), 0) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(cert), s->validity) != NULL &&
           X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8,
                                      (const unsigned char *)s->organization, -1, -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                      (const unsigned char *)s->common_name, -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, name) == 1 && X509_set_pubkey(cert, key) == 1 &&
           add_extension(cert, NID_key_usage, "critical,digitalSignature,keyCertSign") &&
           add_extension(cert, NID_ext_key_usage, "clientAuth,serverAuth") &&
           add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(cert, NID_subject_key_identifier, "hash") &&
           add_dns_name(cert, s->common_name) && X509_sign(cert, key, EVP_sha256()) > 0;
}

bool tg_tls_generate(const struct tg_tls_subject *subject, BIO **cert, BIO **key, char *err,
                     size_t size)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    *cert = BIO_new(BIO_s_mem());
    *key = BIO_new(BIO_s_mem());
    bool ok = pkey != NULL && x != NULL && fill_certificate(x, pkey, subject) &&
              PEM_write_bio_X509(*cert, x) == 1 &&
              PEM_write_bio_PKCS8PrivateKey(*key, pkey, NULL, NULL, 0, NULL, NULL) == 1;
    if (!ok) {
        snprintf(err, size, "cannot make a certificate for \"%s\": %s", subject->common_name,
                 library_reason());
        BIO_free(*cert);
        BIO_free(*key);
        *cert = *key = NULL;
    }
    X509_free(x);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return ok;
}
