/* The frames of datagrams; the first byte chooses which. */
#include "codec_fuzz.h"

#include "codec/udp_frame.h"

static struct tg_udp_frame frame;
static struct tg_span span;

static ssize_t tun(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_udp_tun_decode(in, len, &frame, err);
}

static ssize_t u16(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_udp_u16_decode(in, len, &span, err);
}

static void check_tun(const uint8_t *in, size_t len)
{
    uint8_t out[TG_UDP_HEAD_MAX];
    struct tg_error err;
    fuzz_decoder(tun, in, len);
    ssize_t n = tun(in, len, &err);
    if (n < 0 || frame.target.kind == TG_HOST_EMPTY)
        return;
    ssize_t head = tg_udp_tun_head_encode(&frame.target, frame.data.len, out, sizeof(out));
    FUZZ_CHECK(head > 0 && head + (ssize_t)frame.data.len == n);
    FUZZ_CHECK(memcmp(out, in, 2) == 0 && memcmp(out + 3, in + 3, (size_t)head - 3) == 0);
    FUZZ_CHECK(frame.data.data == in + head);
}

static void check_datagram(const uint8_t *in, size_t len)
{
    uint8_t out[TG_UDP_HEAD_MAX];
    struct tg_error err;
    ssize_t n = tg_udp_datagram_decode(in, len, &frame, &err);
    FUZZ_CHECK(n == (ssize_t)len || n == TG_PROTOCOL);
    if (n < 0 || frame.target.kind == TG_HOST_EMPTY)
        return;
    ssize_t head = tg_udp_datagram_head_encode(&frame.target, out, sizeof(out));
    FUZZ_CHECK(head > 0 && frame.data.data == in + head && head + (ssize_t)frame.data.len == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    switch (data[0] % 3) {
    case 0:
        check_tun(data + 1, size - 1);
        break;
    case 1:
        fuzz_decoder(u16, data + 1, size - 1);
        break;
    default:
        check_datagram(data + 1, size - 1);
    }
    return 0;
}
