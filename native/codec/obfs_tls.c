#include "codec/obfs_tls.h"

#include "codec/address.h"

#include <string.h>

#define TICKET 0x0023u
#define SERVER_NAME 0u

static const uint8_t suites[] = {
    0xc0, 0x2c, 0xc0, 0x30, 0x00, 0x9f, 0xcc, 0xa9, 0xcc, 0xa8, 0xcc, 0xaa, 0xc0, 0x2b, 0xc0,
    0x2f, 0x00, 0x9e, 0xc0, 0x24, 0xc0, 0x28, 0x00, 0x6b, 0xc0, 0x23, 0xc0, 0x27, 0x00, 0x67,
    0xc0, 0x0a, 0xc0, 0x14, 0x00, 0x39, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x33, 0x00, 0x9d, 0x00,
    0x9c, 0x00, 0x3d, 0x00, 0x3c, 0x00, 0x35, 0x00, 0x2f, 0x00, 0xff,
};

/* Point formats, groups, signature algorithms, encrypt-then-MAC, extended master secret. */
static const uint8_t other_extensions[] = {
    0x00, 0x0b, 0x00, 0x04, 0x03, 0x01, 0x00, 0x02, 0x00, 0x0a, 0x00, 0x0a, 0x00, 0x08, 0x00, 0x1d,
    0x00, 0x17, 0x00, 0x19, 0x00, 0x18, 0x00, 0x0d, 0x00, 0x20, 0x00, 0x1e, 0x06, 0x01, 0x06, 0x02,
    0x06, 0x03, 0x05, 0x01, 0x05, 0x02, 0x05, 0x03, 0x04, 0x01, 0x04, 0x02, 0x04, 0x03, 0x03, 0x01,
    0x03, 0x02, 0x03, 0x03, 0x02, 0x01, 0x02, 0x02, 0x02, 0x03, 0x00, 0x16, 0x00, 0x00, 0x00, 0x17,
    0x00, 0x00,
};

static int broken(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "otls", "decode", TG_PROTOCOL, detail);
}

static ssize_t read_extensions(const uint8_t *at, const uint8_t *end, struct tg_obfs_hello *out,
                               struct tg_error *err)
{
    while (end - at >= 4) {
        unsigned type = tg_u16(at);
        size_t n = tg_u16(at + 2);
        at += 4;
        if (n > (size_t)(end - at))
            return broken(err, "an extension is longer than the hello");
        if (type == TICKET)
            out->payload = (struct tg_span){ at, n };
        else if (type == SERVER_NAME && n >= 5 && tg_u16(at + 3) <= n - 5)
            out->host = (struct tg_span){ at + 5, tg_u16(at + 3) };
        at += n;
    }
    return at == end ? 0 : broken(err, "an extension is cut short");
}

ssize_t tg_obfs_hello_decode(const uint8_t *in, size_t len, struct tg_obfs_hello *out,
                             struct tg_error *err)
{
    static const uint8_t start[] = { 0x16, 0x03 };
    *out = (struct tg_obfs_hello){ .payload = { in, 0 }, .host = { in, 0 } };
    if (memcmp(in, start, len < 2 ? len : 2) != 0)
        return broken(err, "the client does not begin with a TLS record; it is no otls client");
    if (len < 5)
        return TG_AGAIN;
    size_t body = tg_u16(in + 3); /* gost's clients make it longer than TLS lets them */
    if (body < 4 + 2 + 32 + 1)
        return broken(err, "the client's first record is too short");
    if (len < 5 + body)
        return TG_AGAIN;
    const uint8_t *at = in + 5, *end = at + body;
    if (at[0] != 1 || (((size_t)at[1] << 16) | tg_u16(at + 2)) != body - 4)
        return broken(err, "the client's first record is no ClientHello");
    at += 4 + 2 + 32;
    size_t n = *at++;
    if (n > TG_OBFS_ID_LEN || n > (size_t)(end - at))
        return broken(err, "the session id is too long");
    memcpy(out->id, at, n);
    at += n;
    if (end - at < 2 || (n = tg_u16(at)) > (size_t)(end - at) - 2)
        return broken(err, "the cipher suites are longer than the hello");
    at += 2 + n;
    if (end == at || (n = *at) > (size_t)(end - at) - 1)
        return broken(err, "the compression methods are longer than the hello");
    at += 1 + n;
    if (end - at < 2 || tg_u16(at) != end - at - 2)
        return broken(err, "the extensions do not fill the hello");
    ssize_t code = read_extensions(at + 2, end, out, err);
    return code < 0 ? code : (ssize_t)(5 + body);
}

static uint8_t *put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
    if (len > 0)
        memcpy(at, data, len);
    return at + len;
}

static uint8_t *put_random(uint8_t *at, uint32_t time, const uint8_t *random)
{
    at = put16(put16(at, time >> 16), time & 0xffff);
    return put(at, random, 28);
}

ssize_t tg_obfs_hello_encode(const struct tg_obfs_hello *h, uint32_t time, const uint8_t *random,
                             uint8_t *out, size_t size)
{
    size_t payload = h->payload.len, host = h->host.len;
    size_t body = TG_OBFS_HELLO_FIXED - 5 + payload + host;
    if (host > TG_OBFS_HOST_MAX || body > TG_OBFS_RECORD_MAX || 5 + body > size)
        return TG_LIMIT;
    uint8_t *at = put16(put(out, "\x16\x03\x01", 3), body);
    at = put16(put(at, "\x01\x00", 2), body - 4);
    at = put_random(put(at, "\x03\x03", 2), time, random);
    at = put(put(at, "\x20", 1), h->id, TG_OBFS_ID_LEN);
    at = put(put16(at, sizeof(suites)), suites, sizeof(suites));
    at = put(at, "\x01\x00", 2);
    at = put16(at, body - (size_t)(at - out - 5) - 2);
    at = put(put16(put16(at, TICKET), payload), h->payload.data, payload);
    at = put16(put16(put16(at, SERVER_NAME), host + 5), host + 3);
    at = put(put16(put(at, "\x00", 1), host), h->host.data, host);
    at = put(at, other_extensions, sizeof(other_extensions));
    return at - out;
}

void tg_obfs_answer_encode(const uint8_t id[TG_OBFS_ID_LEN], uint32_t time, const uint8_t *random,
                           size_t len, uint8_t *out)
{
    static const uint8_t head[] = { 0x16, 3, 1, 0, 0x5b, 2, 0, 0, 0x57, 3, 3 };
    static const uint8_t tail[] = { 0xcc, 0xa8, 0, 0, 0x0f, 0xff, 1, 0, 1, 0, 0, 0x17, 0, 0, 0,
                                    0x0b, 0, 2, 1, 0, 0x14, 3, 3, 0, 1, 1, 0x16, 3, 3 };
    uint8_t *at = put_random(put(out, head, sizeof(head)), time, random);
    at = put(put(at, "\x20", 1), id, TG_OBFS_ID_LEN);
    at = put(at, tail, sizeof(tail));
    put16(at, len);
}
