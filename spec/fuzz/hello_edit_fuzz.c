/* ClientHellos rewritten: what comes out is one, names whom it should, and gives its secret back. */
#include "codec_fuzz.h"

#include "codec/client_hello.h"
#include "codec/hello_edit.h"

static struct tg_client_hello before, after;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char cover[] = "cover.example";
    static uint8_t out[2 * TG_CLIENT_HELLO_MAX], back[2 * TG_CLIENT_HELLO_MAX];
    uint8_t hidden[TG_HIDDEN_MAX];
    char secret[TG_HIDDEN_MAX];
    struct tg_error err;
    ssize_t n = tg_client_hello_decode(data, size, &before, &err);
    tg_hello_hidden(data, size, hidden);
    struct tg_hello_edit edit = { .name = { (const uint8_t *)cover, sizeof(cover) - 1 } };
    if (n < 0) {
        FUZZ_CHECK(tg_hello_edit(data, size, &edit, out, sizeof(out), &err) < 0);
        return 0;
    }
    size_t len = tg_hidden_name((const uint8_t *)before.name, before.name_len, secret);
    edit.hidden = (struct tg_span){ (const uint8_t *)secret, len };
    ssize_t made = tg_hello_edit(data, size, &edit, out, sizeof(out), &err);
    if (made < 0)
        return 0;
    FUZZ_CHECK(tg_client_hello_decode(out, (size_t)made, &after, &err) == made);
    FUZZ_CHECK(after.alpn_count == before.alpn_count && after.version == before.version);
    if (before.name_len == 0)
        return 0;
    FUZZ_CHECK(strcmp(after.name, cover) == 0);
    FUZZ_CHECK(tg_hello_hidden(out, (size_t)made, hidden) == len && memcmp(hidden, secret, len) == 0);
    edit = (struct tg_hello_edit){ .name = { (const uint8_t *)before.name, before.name_len } };
    made = tg_hello_edit(out, (size_t)made, &edit, back, sizeof(back), &err);
    FUZZ_CHECK(made > 0 && tg_client_hello_decode(back, (size_t)made, &after, &err) == made);
    FUZZ_CHECK(strcmp(after.name, before.name) == 0);
    FUZZ_CHECK(tg_hello_hidden(back, (size_t)made, hidden) == 0);
    return 0;
}
