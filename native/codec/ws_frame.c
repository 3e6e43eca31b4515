#include "codec/ws_frame.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define FIN 0x80u
#define RSV1 0x40u
#define RESERVED 0x30u
#define OPCODE 0x0fu
#define MASKED 0x80u
#define LEN_16 126u
#define LEN_64 127u

static uint64_t read_number(const uint8_t *in, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

static ssize_t wrong(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "websocket", "decode", TG_PROTOCOL, detail);
}

/* What the first two bytes can say wrongly. */
static const char *fault_of(const uint8_t *in)
{
    unsigned opcode = in[0] & OPCODE;
    if (in[0] & RESERVED)
        return "a frame with a reserved bit";
    if ((opcode & 7) > 2)
        return "a frame of an unknown kind";
    if (opcode < 8)
        return NULL;
    if (!(in[0] & FIN) || (in[0] & RSV1))
        return "a control frame in parts, or compressed";
    return (in[1] & ~MASKED) > TG_WS_CONTROL_MAX ? "a control frame that is too long" : NULL;
}

ssize_t tg_ws_head_decode(const uint8_t *in, size_t len, struct tg_ws_head *out,
                          struct tg_error *err)
{
    if (len < 2)
        return TG_AGAIN;
    const char *fault = fault_of(in);
    if (fault != NULL)
        return wrong(err, fault);
    unsigned code = in[1] & ~MASKED, extra = code == LEN_16 ? 2 : code == LEN_64 ? 8 : 0;
    bool masked = (in[1] & MASKED) != 0;
    size_t need = 2 + extra + (masked ? 4 : 0);
    if (len > 2 && code == LEN_64 && (in[2] & 0x80))
        return wrong(err, "a frame of more than 2^63 bytes");
    if (len < need)
        return TG_AGAIN;
    *out = (struct tg_ws_head){
        .len = extra > 0 ? read_number(in + 2, extra) : code,
        .opcode = in[0] & OPCODE,
        .fin = (in[0] & FIN) != 0,
        .packed = (in[0] & RSV1) != 0,
        .masked = masked,
    };
    if (masked)
        memcpy(out->mask, in + 2 + extra, 4);
    return (ssize_t)need;
}

size_t tg_ws_head_encode(const struct tg_ws_head *h, uint8_t *out)
{
    unsigned extra = h->len <= TG_WS_CONTROL_MAX ? 0 : h->len <= UINT16_MAX ? 2 : 8;
    unsigned code = extra == 0 ? (unsigned)h->len : extra == 2 ? LEN_16 : LEN_64;
    out[0] = (uint8_t)((h->fin ? FIN : 0) | (h->packed ? RSV1 : 0) | h->opcode);
    out[1] = (uint8_t)((h->masked ? MASKED : 0) | code);
    for (unsigned i = 0; i < extra; i++)
        out[2 + i] = (uint8_t)(h->len >> (8 * (extra - 1 - i)));
    size_t n = 2 + extra;
    if (h->masked) {
        memcpy(out + n, h->mask, 4);
        n += 4;
    }
    return n;
}

/* Words are read before what they may overlap is written, since `out` is not behind `in`. */
void tg_ws_mask(uint8_t *out, const uint8_t *in, size_t len, const uint8_t mask[4], uint64_t at)
{
    uint8_t turned[8];
    uint64_t key, a, b;
    for (unsigned i = 0; i < 8; i++)
        turned[i] = mask[(at + i) & 3];
    memcpy(&key, turned, 8);
    size_t i = 0;
    for (; i + 16 <= len; i += 16) {
        memcpy(&a, in + i, 8);
        memcpy(&b, in + i + 8, 8);
        a ^= key;
        b ^= key;
        memcpy(out + i, &a, 8);
        memcpy(out + i + 8, &b, 8);
    }
    for (; i < len; i++)
        out[i] = in[i] ^ turned[i & 7];
}

void tg_ws_accept(const char *key, size_t len, char out[TG_WS_ACCEPT_LEN + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha1(), NULL) != 1 ||
        EVP_DigestUpdate(md, key, len) != 1 ||
        EVP_DigestUpdate(md, guid, sizeof(guid) - 1) != 1 ||
        EVP_DigestFinal_ex(md, digest, NULL) != 1)
        abort();
    EVP_MD_CTX_free(md);
    EVP_EncodeBlock((unsigned char *)out, digest, 20);
}
