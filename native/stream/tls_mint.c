#include "stream/tls_mint.h"

#include "stream/tls_cert.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define SERIAL_BITS 128
#define COMMON_NAME_MAX 64u /* ub-common-name; longer names are in the extension only */

static EVP_PKEY *read_key(const char *where, char *err, size_t size)
{
    BIO *in = tg_tls_open_pem(where, "key", err, size);
    if (in == NULL)
        return NULL;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)"");
    if (key == NULL)
        snprintf(err, size, "no private key that can be read");
    BIO_free(in);
    return key;
}

static X509 *read_cert(const char *where, char *err, size_t size)
{
    BIO *in = tg_tls_open_pem(where, "certificate", err, size);
    if (in == NULL)
        return NULL;
    X509 *cert = PEM_read_bio_X509_AUX(in, NULL, NULL, NULL);
    if (cert == NULL)
        snprintf(err, size, "no certificate that can be read");
    BIO_free(in);
    return cert;
}

static bool set_serial(X509 *cert)
{
    BIGNUM *n = BN_new();
    bool ok = n != NULL && BN_rand(n, SERIAL_BITS - 1, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
    BN_free(n);
    return ok;
}

static bool set_subject(X509 *cert, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    bool ok = X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"GOST", -1,
                                         -1, 0) == 1;
    if (strlen(name) <= COMMON_NAME_MAX)
        ok = ok && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                              (const unsigned char *)name, -1, -1, 0) == 1;
    return ok;
}

/* Not by X509V3_EXT_conf_nid(): what is in the name would be taken for syntax. */
static bool add_name(X509 *cert, const char *name)
{
    unsigned char ip[16];
    int ip_len = inet_pton(AF_INET, name, ip) == 1 ? 4 : inet_pton(AF_INET6, name, ip) == 1 ? 16 : 0;
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *g = GENERAL_NAME_new();
    if (names == NULL || g == NULL) {
        GENERAL_NAMES_free(names);
        GENERAL_NAME_free(g);
        return false;
    }
    if (ip_len > 0) {
        ASN1_OCTET_STRING *text = ASN1_OCTET_STRING_new();
        ASN1_OCTET_STRING_set(text, ip, ip_len);
        GENERAL_NAME_set0_value(g, GEN_IPADD, text);
    } else {
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        ASN1_STRING_set(text, name, -1);
        GENERAL_NAME_set0_value(g, GEN_DNS, text);
    }
    sk_GENERAL_NAME_push(names, g);
    bool ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX v3;
    X509V3_set_ctx_nodb(&v3);
    X509V3_set_ctx(&v3, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    bool ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool fill(X509 *cert, X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const struct tg_tls_mint *m)
{
    bool ok = X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
              X509_gmtime_adj(X509_getm_notBefore(cert), -m->validity) != NULL &&
              X509_gmtime_adj(X509_getm_notAfter(cert), m->validity) != NULL &&
              set_subject(cert, m->name) &&
              X509_set_issuer_name(cert, X509_get_subject_name(ca)) == 1 &&
              X509_set_pubkey(cert, key) == 1 &&
              add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") &&
              add_extension(cert, ca, NID_ext_key_usage, "serverAuth") &&
              add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
              add_extension(cert, ca, NID_subject_key_identifier, "hash") && add_name(cert, m->name);
    /* the key identifier of the authority is of use only where it has one */
    if (ok && X509_get0_subject_key_id(ca) != NULL)
        ok = add_extension(cert, ca, NID_authority_key_identifier, "keyid");
    int type = EVP_PKEY_get_base_id(ca_key);
    const EVP_MD *digest = type == EVP_PKEY_ED25519 || type == EVP_PKEY_ED448 ? NULL : EVP_sha256();
    return ok && X509_sign(cert, ca_key, digest) > 0;
}

bool tg_tls_mint(const struct tg_tls_mint *m, BIO **cert, char *err, size_t size)
{
    snprintf(err, size, "out of memory");
    X509 *ca = read_cert(m->ca_cert, err, size);
    EVP_PKEY *ca_key = ca != NULL ? read_key(m->ca_key, err, size) : NULL;
    EVP_PKEY *key = ca_key != NULL ? read_key(m->key, err, size) : NULL;
    X509 *x = key != NULL ? X509_new() : NULL;
    *cert = BIO_new(BIO_s_mem());
    bool ok = x != NULL && *cert != NULL;
    if (ok && (!fill(x, ca, ca_key, key, m) || PEM_write_bio_X509(*cert, x) != 1)) {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        snprintf(err, size, "cannot make a certificate for \"%s\": %s", m->name,
                 why != NULL ? why : "unknown error");
        ok = false;
    }
    if (!ok) {
        BIO_free(*cert);
        *cert = NULL;
    }
    X509_free(x);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    X509_free(ca);
    ERR_clear_error();
    return ok;
}
