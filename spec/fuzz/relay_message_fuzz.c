/* Relay messages; what was decoded is encoded and decoded to the same. */
#include "codec_fuzz.h"

#include "codec/relay_message.h"

static struct tg_relay_message message, again;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_relay_message_decode(in, len, &message, err);
}

static bool same(struct tg_span a, struct tg_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static bool too_long(const struct tg_relay_message *m)
{
    for (unsigned i = 0; i < m->metadata_count; i++)
        if (m->metadata[i].key.len > 255 || m->metadata[i].value.len > 255)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[TG_RELAY_MESSAGE_MAX];
    struct tg_error err;
    fuzz_decoder(decode, data, size);
    if (decode(data, size, &err) <= 0)
        return 0;
    ssize_t n = tg_relay_message_encode(&message, out, sizeof(out));
    FUZZ_CHECK((n == TG_LIMIT) == too_long(&message));
    if (n < 0)
        return 0;
    FUZZ_CHECK(tg_relay_message_decode(out, (size_t)n, &again, &err) == n);
    FUZZ_CHECK(again.code == message.code && again.has_auth == message.has_auth);
    FUZZ_CHECK(again.has_network == message.has_network && again.network == message.network);
    FUZZ_CHECK(same(again.user, message.user) && same(again.pass, message.pass));
    FUZZ_CHECK(same(again.tunnel, message.tunnel));
    FUZZ_CHECK(again.address_count == message.address_count);
    for (unsigned i = 0; i < again.address_count; i++)
        FUZZ_CHECK(tg_target_equal(&again.addresses[i], &message.addresses[i]));
    FUZZ_CHECK(again.metadata_count == message.metadata_count);
    for (unsigned i = 0; i < again.metadata_count; i++)
        FUZZ_CHECK(same(again.metadata[i].key, message.metadata[i].key) &&
                   same(again.metadata[i].value, message.metadata[i].value));
    return 0;
}
