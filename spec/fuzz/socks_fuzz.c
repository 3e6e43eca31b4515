/* All messages of SOCKS; the first byte chooses which. */
#include "codec_fuzz.h"

#include "codec/socks.h"

static struct tg_span methods;
static struct tg_socks5_auth auth;
static struct tg_socks5_message message;
static struct tg_socks4_request request4;
static uint8_t byte;

static ssize_t greeting(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_greeting_decode(in, len, &methods, err);
}

static ssize_t choice(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_choice_decode(in, len, &byte, err);
}

static ssize_t authentication(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_auth_decode(in, len, &auth, err);
}

static ssize_t auth_reply(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_auth_reply_decode(in, len, &byte, err);
}

static ssize_t request(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_request_decode(in, len, &message, err);
}

static ssize_t reply(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_reply_decode(in, len, &message, err);
}

static ssize_t old_request(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks4_request_decode(in, len, &request4, err);
}

static ssize_t old_reply(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks4_reply_decode(in, len, &byte, err);
}

static const fuzz_decode decoders[] = { greeting, choice, authentication, auth_reply,
                                        request,  reply,  old_request,    old_reply };

/* What was decoded is written as it came. */
static void check_encoding(fuzz_decode decode, const uint8_t *in, ssize_t n)
{
    uint8_t out[TG_SOCKS4_REQUEST_MAX];
    struct tg_target before;
    if (decode == greeting) {
        FUZZ_CHECK(tg_socks5_greeting_encode(methods, out, sizeof(out)) == n);
        FUZZ_CHECK(memcmp(out, in, (size_t)n) == 0);
    } else if (decode == authentication) {
        FUZZ_CHECK(tg_socks5_auth_encode(&auth, out, sizeof(out)) == n);
        FUZZ_CHECK(memcmp(out, in, (size_t)n) == 0);
    } else if (decode == request && message.target.kind != TG_HOST_EMPTY) {
        FUZZ_CHECK(tg_socks5_message_encode(&message, out, sizeof(out)) == n);
        FUZZ_CHECK(memcmp(out + 3, in + 3, (size_t)n - 3) == 0);
    } else if (decode == old_request) {
        struct tg_error err;
        before = request4.target;
        ssize_t m = tg_socks4_request_encode(&request4, false, out, sizeof(out));
        FUZZ_CHECK(m == n);
        FUZZ_CHECK(tg_socks4_request_decode(out, (size_t)m, &request4, &err) == m);
        FUZZ_CHECK(tg_target_equal(&before, &request4.target));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    fuzz_decode decode = decoders[data[0] % (sizeof(decoders) / sizeof(decoders[0]))];
    struct tg_error err;
    fuzz_decoder(decode, data + 1, size - 1);
    ssize_t n = decode(data + 1, size - 1, &err);
    if (n > 0)
        check_encoding(decode, data + 1, n);
    return 0;
}
