#include "codec/udp_frame.h"

/* RSV(2) FRAG(1), then the address. */
static ssize_t decode_head(const uint8_t *in, size_t len, struct tg_udp_frame *out,
                           struct tg_error *err)
{
    if (len < 4)
        return TG_AGAIN;
    out->frag = in[2];
    ssize_t n = tg_socks_address_decode(in + 3, len - 3, &out->target, err);
    if (n == TG_PROTOCOL)
        err->layer = "udp frame";
    return n > 0 ? n + 3 : n;
}

static ssize_t encode_head(const struct tg_target *target, unsigned reserved, uint8_t frag,
                           uint8_t *out, size_t size)
{
    if (size < 3)
        return TG_LIMIT;
    ssize_t n = tg_socks_address_encode(target, TG_EMPTY_AS_IPV4, out + 3, size - 3);
    if (n < 0)
        return n;
    tg_put_u16(out, reserved);
    out[2] = frag;
    return n + 3;
}

ssize_t tg_udp_tun_head_decode(const uint8_t *in, size_t len, struct tg_udp_frame *out,
                               struct tg_error *err)
{
    ssize_t n = decode_head(in, len, out, err);
    if (n > 0)
        out->data = (struct tg_span){ NULL, tg_u16(in) };
    return n;
}

ssize_t tg_udp_tun_decode(const uint8_t *in, size_t len, struct tg_udp_frame *out,
                          struct tg_error *err)
{
    ssize_t n = tg_udp_tun_head_decode(in, len, out, err);
    if (n < 0)
        return n;
    if (len - (size_t)n < out->data.len)
        return TG_AGAIN;
    out->data.data = in + n;
    return n + (ssize_t)out->data.len;
}

ssize_t tg_udp_tun_head_encode(const struct tg_target *target, size_t data_len, uint8_t *out,
                               size_t size)
{
    if (data_len > TG_UDP_DATA_MAX)
        return TG_LIMIT;
    return encode_head(target, (unsigned)data_len, 0xff, out, size);
}

ssize_t tg_udp_u16_head_decode(const uint8_t *in, size_t len, uint32_t *data_len)
{
    if (len < 2)
        return TG_AGAIN;
    *data_len = tg_u16(in);
    return 2;
}

ssize_t tg_udp_u16_decode(const uint8_t *in, size_t len, struct tg_span *data,
                          struct tg_error *err)
{
    uint32_t data_len;
    (void)err;
    ssize_t n = tg_udp_u16_head_decode(in, len, &data_len);
    if (n < 0 || len - (size_t)n < data_len)
        return TG_AGAIN;
    *data = (struct tg_span){ in + n, data_len };
    return n + (ssize_t)data_len;
}

size_t tg_udp_u16_head_encode(size_t data_len, uint8_t *out)
{
    tg_put_u16(out, (unsigned)data_len);
    return 2;
}

ssize_t tg_udp_datagram_decode(const uint8_t *in, size_t len, struct tg_udp_frame *out,
                               struct tg_error *err)
{
    ssize_t n = decode_head(in, len, out, err);
    if (n == TG_AGAIN)
        return tg_error_put(err, "udp frame", "decode", TG_PROTOCOL, "a datagram is cut short");
    if (n < 0)
        return n;
    out->data = (struct tg_span){ in + n, len - (size_t)n };
    return (ssize_t)len;
}

ssize_t tg_udp_datagram_head_encode(const struct tg_target *target, uint8_t *out, size_t size)
{
    return encode_head(target, 0, 0, out, size);
}
