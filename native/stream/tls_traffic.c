#include "stream/tls_traffic.h"

#include "base/mem.h"

#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <stdlib.h>
#include <string.h>

#define HOLLOW_MAX 32 /* as the library has it */
#define WARNING 1
#define FATAL 2
#define HEAD 4u /* of a message: type and length */

struct tg_tls_traffic *tg_tls_traffic_new(const struct tg_tls_start *start)
{
    struct tg_tls_traffic *t = tg_zalloc(sizeof(*t));
    t->server = start->server;
    if (!tg_tls_keys_open(&t->in, start->suite, start->in, start->len, start->received)) {
        free(t);
        return NULL;
    }
    tg_tls_keys_open(&t->out, start->suite, start->out, start->len, start->sent);
    return t;
}

void tg_tls_traffic_free(struct tg_tls_traffic *t)
{
    if (t == NULL)
        return;
    tg_tls_keys_close(&t->in);
    tg_tls_keys_close(&t->out);
    free(t);
}

static int bad(struct tg_tls_traffic *t, enum tg_tls_alert alert, int reason)
{
    t->alert = (uint8_t)alert;
    t->reason = reason;
    return t->state = TG_TLS_BAD;
}

/* What is wrong with a record itself.  @param code a negated alert */
static int bad_record(struct tg_tls_traffic *t, ssize_t code)
{
    switch (-code) {
    case TG_TLS_RECORD_OVERFLOW:
        return bad(t, TG_TLS_RECORD_OVERFLOW, SSL_R_DATA_LENGTH_TOO_LONG);
    case TG_TLS_BAD_RECORD_MAC:
        return bad(t, TG_TLS_BAD_RECORD_MAC, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC);
    default:
        return bad(t, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_BAD_RECORD_TYPE);
    }
}

/* Nothing may follow a KeyUpdate in its record: what does is under the next keys. */
static int take_update(struct tg_tls_traffic *t, size_t behind)
{
    static const uint8_t head[HEAD] = { SSL3_MT_KEY_UPDATE, 0, 0, 1 };
    uint8_t wish = t->message[HEAD];
    if (memcmp(t->message, head, HEAD) != 0)
        return bad(t, TG_TLS_DECODE_ERROR, SSL_R_BAD_KEY_UPDATE);
    if (behind > 0)
        return bad(t, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_NOT_ON_RECORD_BOUNDARY);
    if (wish > 1)
        return bad(t, TG_TLS_ILLEGAL_PARAMETER, SSL_R_BAD_KEY_UPDATE);
    tg_tls_keys_update(&t->in);
    t->asked |= wish == 1;
    t->have = 0;
    return TG_TLS_NOTHING;
}

/* A ticket that comes when our records are in use is not needed: earlier ones were kept. */
static int skip_ticket(struct tg_tls_traffic *t)
{
    if (t->server)
        return bad(t, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_UNEXPECTED_MESSAGE);
    t->late = (uint32_t)t->message[1] << 16 | (uint32_t)t->message[2] << 8 | t->message[3];
    t->have = 0;
    return t->late <= SSL3_RT_MAX_PLAIN_LENGTH * 8 ? TG_TLS_NOTHING
                                                   : bad(t, TG_TLS_ILLEGAL_PARAMETER, SSL_R_EXCESSIVE_MESSAGE_SIZE);
}

/* Messages of the handshake protocol, which may be cut anywhere. */
static int take_messages(struct tg_tls_traffic *t, const uint8_t *data, size_t len)
{
    int code = TG_TLS_NOTHING;
    if (len == 0)
        return bad(t, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_BAD_LENGTH);
    while (len > 0 && code == TG_TLS_NOTHING) {
        size_t n = t->late < len ? t->late : len;
        t->late -= (uint32_t)n;
        data += n;
        len -= n;
        if (len == 0)
            break;
        t->message[t->have++] = *data++;
        len--;
        if (t->message[0] == SSL3_MT_KEY_UPDATE)
            code = t->have > HEAD ? take_update(t, len) : TG_TLS_NOTHING;
        else if (t->message[0] != SSL3_MT_NEWSESSION_TICKET)
            code = bad(t, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_UNEXPECTED_MESSAGE);
        else if (t->have == HEAD)
            code = skip_ticket(t);
    }
    return code;
}

static int count_hollow(struct tg_tls_traffic *t)
{
    return ++t->hollow <= HOLLOW_MAX ? TG_TLS_NOTHING
                                     : bad(t, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_RECORD_TOO_SMALL);
}

static int take_alert(struct tg_tls_traffic *t, const uint8_t *data, size_t len)
{
    if (len != 2)
        return bad(t, TG_TLS_DECODE_ERROR, SSL_R_INVALID_ALERT);
    if (data[1] == TG_TLS_CLOSE_NOTIFY)
        return t->state = TG_TLS_END;
    if (data[1] == TG_TLS_USER_CANCELED) /* close_notify follows */
        return count_hollow(t);
    return bad(t, 0, SSL_AD_REASON_OFFSET + data[1]); /* of whatever level: all are fatal */
}

ssize_t tg_tls_traffic_take(struct tg_tls_traffic *t, const uint8_t *record, uint8_t *out)
{
    uint8_t type = 0;
    ssize_t len = t->state == TG_TLS_NOTHING ? tg_tls_open(&t->in, record, out, &type) : 0;
    if (t->state != TG_TLS_NOTHING)
        return t->state;
    if (len < 0)
        return bad_record(t, len);
    if (type == TG_TLS_HANDSHAKE)
        return take_messages(t, out, (size_t)len);
    if (t->have > 0 || t->late > 0) /* others may not come between the parts of a message */
        return bad(t, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_MIXED_HANDSHAKE_AND_NON_HANDSHAKE_DATA);
    if (type == TG_TLS_ALERT)
        return take_alert(t, out, (size_t)len);
    if (type != TG_TLS_DATA)
        return bad(t, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_UNEXPECTED_RECORD);
    if (len == 0)
        return count_hollow(t);
    t->hollow = 0;
    return len;
}

ssize_t tg_tls_traffic_measure(struct tg_tls_traffic *t, const uint8_t *record, size_t len)
{
    if (t->state != TG_TLS_NOTHING)
        return t->state;
    ssize_t whole = tg_tls_measure(record, len);
    return whole < 0 ? bad_record(t, whole) : whole;
}

bool tg_tls_traffic_due(const struct tg_tls_traffic *t)
{
    return t->asked || t->out.number >= TG_TLS_KEY_RECORDS;
}

size_t tg_tls_traffic_update(struct tg_tls_traffic *t, uint8_t *out)
{
    static const uint8_t message[HEAD + 1] = { SSL3_MT_KEY_UPDATE, 0, 0, 1, 0 };
    struct iovec part = { (void *)message, sizeof(message) };
    size_t len = tg_tls_seal(&t->out, TG_TLS_HANDSHAKE, &part, 1, out);
    tg_tls_keys_update(&t->out);
    t->asked = false;
    return len;
}

size_t tg_tls_traffic_alert(struct tg_tls_traffic *t, enum tg_tls_alert alert, uint8_t *out)
{
    uint8_t text[2] = { alert == TG_TLS_CLOSE_NOTIFY ? WARNING : FATAL, (uint8_t)alert };
    struct iovec part = { text, sizeof(text) };
    return tg_tls_seal(&t->out, TG_TLS_ALERT, &part, 1, out);
}
