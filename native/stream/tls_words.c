#include "stream/tls_words.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

static const char *words_of_reason(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
        return "the peer does not speak TLS here (no valid record)";
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return "the client speaks plain HTTP, not TLS";
    case SSL_R_NO_SHARED_CIPHER:
        return "no cipher suite in common";
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return "no TLS version in common";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the client gave no certificate";
    case SSL_R_NO_CERTIFICATE_SET:
        return "no certificate is configured";
    /* what the peer says before it leaves */
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return "the peer does not trust our certificate (alert unknown ca)";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        return "the peer does not accept our certificate; it may be for other names (alert bad certificate)";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        return "the peer does not accept our certificate (alert certificate unknown)";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        return "our certificate has expired, says the peer (alert certificate expired)";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "the server wants a certificate of ours (alert certificate required)";
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "no TLS version in common (alert protocol version)";
    case SSL_R_TLSV1_UNRECOGNIZED_NAME:
        return "the server does not serve this name (alert unrecognized name)";
    default:
        return NULL;
    }
}

/* What is wrong with the peer's certificate.  @param code X509_V_ERR_* */
static const char *words_of_verification(long code)
{
    switch (code) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return "no authority we trust vouches for the peer's certificate (self-signed certificate)";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "no authority we trust vouches for the peer's certificate (unable to get local issuer certificate)";
    case X509_V_ERR_HOSTNAME_MISMATCH:
        return "the server's certificate is for other names (hostname mismatch)";
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "the server's certificate is for other names (IP address mismatch)";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "the peer's certificate has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "the peer's certificate is not yet valid; the clocks may differ";
    default:
        return X509_verify_cert_error_string(code);
    }
}

const char *tg_tls_words(const SSL *ssl, const char *refused)
{
    if (refused != NULL)
        return refused;
    unsigned long error = ERR_peek_error();
    long verified = SSL_get_verify_result(ssl);
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
        return words_of_verification(verified);
    const char *words = reason != 0 ? words_of_reason(reason) : NULL;
    if (words == NULL && error != 0)
        words = ERR_reason_error_string(error);
    return words != NULL ? words : "failed";
}
