#include "codec/client_hello.h"

#include "codec/address.h"

#include <string.h>

enum { RECORD_HEAD = 5, RECORD_MAX = 16384, HANDSHAKE = 22, CLIENT_HELLO = 1, MESSAGE_HEAD = 4 };
enum { SERVER_NAME = 0, ALPN = 16, SUPPORTED_VERSIONS = 43 };

static int broken(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "tls", "decode", TG_PROTOCOL, detail);
}

/* The handshake message seen through its records. */
struct reader {
    const uint8_t *at, *end;
    size_t record; /* bytes from `at` on that belong to the record, there or not */
    struct tg_error *err;
    int failed; /* 0, TG_AGAIN or a refusal */
};

/* Step to the next record.  @return false: `failed` is set */
static bool next_record(struct reader *r)
{
    size_t have = (size_t)(r->end - r->at);
    if (have >= 1 && r->at[0] != HANDSHAKE)
        r->failed = broken(r->err, "not a handshake record");
    else if (have >= 2 && r->at[1] != 3)
        r->failed = broken(r->err, "not a version of TLS");
    else if (have < RECORD_HEAD)
        r->failed = TG_AGAIN;
    if (r->failed != 0)
        return false;
    size_t size = tg_u16(r->at + 3);
    if (size == 0 || size > RECORD_MAX) {
        r->failed = broken(r->err, "a record of a forbidden length");
        return false;
    }
    r->at += RECORD_HEAD;
    r->record = size;
    return true;
}

/* How much can be taken at once: at most `n`, at least 1 (or `failed` is set and it is 0). */
static size_t available(struct reader *r, size_t n)
{
    if (r->failed != 0 || (r->record == 0 && !next_record(r)))
        return 0;
    size_t have = (size_t)(r->end - r->at);
    if (have == 0)
        r->failed = TG_AGAIN;
    if (n > r->record)
        n = r->record;
    return n < have ? n : have;
}

static void take(struct reader *r, size_t n, void *out)
{
    uint8_t *to = out;
    while (n > 0) {
        size_t some = available(r, n);
        if (some == 0)
            return;
        if (to != NULL) {
            memcpy(to, r->at, some);
            to += some;
        }
        r->at += some;
        r->record -= some;
        n -= some;
    }
}

/* An unsigned number of `size` bytes that is the length of what follows it, within
 * *room; *room shrinks by both. */
static size_t take_length(struct reader *r, size_t size, size_t *room)
{
    uint8_t bytes[4] = { 0 };
    if (*room < size) {
        if (r->failed == 0)
            r->failed = broken(r->err, "a length goes beyond what holds it");
        return 0;
    }
    take(r, size, bytes + 4 - size);
    *room -= size;
    size_t n = (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
    if (r->failed != 0)
        return 0;
    if (n > *room) {
        r->failed = broken(r->err, "a length goes beyond what holds it");
        return 0;
    }
    *room -= n;
    return n;
}

static uint16_t take_u16(struct reader *r)
{
    uint8_t bytes[2] = { 0 };
    take(r, 2, bytes);
    return tg_u16(bytes);
}

static void read_server_name(struct reader *r, size_t size, struct tg_client_hello *out)
{
    size_t list = take_length(r, 2, &size);
    while (list > 0 && r->failed == 0) {
        uint8_t type = 0;
        take(r, 1, &type);
        list--;
        size_t n = take_length(r, 2, &list);
        if (r->failed != 0)
            return;
        if (type != 0 || n == 0 || n > TG_HELLO_NAME_MAX || out->name_len > 0) {
            r->failed = broken(r->err, "malformed server name");
            return;
        }
        take(r, n, out->name);
        if (r->failed != 0)
            return;
        out->name[n] = 0;
        out->name_len = (uint8_t)n;
        if (!tg_name_is_clean((const uint8_t *)out->name, n) || memchr(out->name, ' ', n) != NULL)
            r->failed = broken(r->err, "malformed server name");
    }
    take(r, size, NULL);
}

static void read_alpn(struct reader *r, size_t size, struct tg_client_hello *out)
{
    size_t list = take_length(r, 2, &size);
    while (list > 0 && r->failed == 0) {
        size_t n = take_length(r, 1, &list);
        bool kept = out->alpn_count < TG_HELLO_ALPN_MAX && n > 0 &&
                    n <= (size_t)(TG_HELLO_TEXT_MAX - out->text_used);
        uint8_t *to = kept ? out->text + out->text_used : NULL;
        take(r, n, to);
        if (!kept || r->failed != 0)
            continue;
        out->alpn[out->alpn_count++] = (struct tg_span){ to, n };
        out->text_used = (uint16_t)(out->text_used + n);
    }
    take(r, size, NULL);
}

static void read_versions(struct reader *r, size_t size, struct tg_client_hello *out)
{
    size_t list = take_length(r, 1, &size);
    for (; list >= 2 && r->failed == 0; list -= 2) {
        uint16_t version = take_u16(r);
        bool grease = (version & 0x0f0f) == 0x0a0a && version >> 8 == (version & 0xff);
        if (!grease && out->version_count < TG_HELLO_VERSIONS_MAX)
            out->versions[out->version_count++] = version;
    }
    take(r, list + size, NULL);
}

static void read_extensions(struct reader *r, size_t size, struct tg_client_hello *out)
{
    unsigned seen = 0;
    while (size > 0 && r->failed == 0) {
        if (size < 4) {
            r->failed = broken(r->err, "a length goes beyond what holds it");
            return;
        }
        uint16_t type = take_u16(r);
        size -= 2;
        size_t n = take_length(r, 2, &size);
        unsigned bit = type == SERVER_NAME ? 1 : type == ALPN ? 2 : type == SUPPORTED_VERSIONS ? 4 : 0;
        if ((seen & bit) != 0 && r->failed == 0)
            r->failed = broken(r->err, "an extension comes twice");
        if (r->failed != 0)
            return;
        seen |= bit;
        if (bit == 1)
            read_server_name(r, n, out);
        else if (bit == 2)
            read_alpn(r, n, out);
        else if (bit == 4)
            read_versions(r, n, out);
        else
            take(r, n, NULL);
    }
}

static void read_hello(struct reader *r, struct tg_client_hello *out)
{
    uint8_t type = 0;
    size_t room = 3 + TG_CLIENT_HELLO_MAX;
    take(r, 1, &type);
    if (r->failed == 0 && type != CLIENT_HELLO)
        r->failed = broken(r->err, "not a ClientHello");
    room = take_length(r, 3, &room);
    if (r->failed != 0)
        return;
    if (room < 2 + 32) {
        r->failed = broken(r->err, "the ClientHello is too short");
        return;
    }
    out->version = take_u16(r);
    take(r, 32, NULL);
    room -= 34;
    take(r, take_length(r, 1, &room), NULL); /* session id */
    take(r, take_length(r, 2, &room), NULL); /* cipher suites */
    take(r, take_length(r, 1, &room), NULL); /* compression methods */
    if (r->failed == 0 && room > 0)
        read_extensions(r, take_length(r, 2, &room), out);
    take(r, room, NULL);
}

ssize_t tg_client_hello_decode(const uint8_t *in, size_t len, struct tg_client_hello *out,
                               struct tg_error *err)
{
    struct reader r = { .at = in, .end = in + len, .err = err };
    out->version = 0;
    out->name_len = out->alpn_count = out->version_count = 0;
    out->text_used = 0;
    out->name[0] = 0;
    read_hello(&r, out);
    if (r.failed == TG_AGAIN && len >= TG_CLIENT_HELLO_MAX)
        return tg_error_put(err, "tls", "decode", TG_LIMIT, "the ClientHello is too long");
    if (r.failed != 0)
        return r.failed;
    /* Whatever else its last record holds belongs to it. */
    return r.record <= (size_t)(r.end - r.at) ? r.at + r.record - in : TG_AGAIN;
}
