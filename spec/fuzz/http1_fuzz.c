/* HTTP/1.x heads; the first byte chooses request or response. */
#include "codec_fuzz.h"

#include "codec/http1.h"

static struct tg_http1_head head;

static ssize_t request(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_http1_request_decode(in, len, &head, err);
}

static ssize_t response(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_http1_response_decode(in, len, &head, err);
}

static void check_fields(void)
{
    struct tg_http1_field field;
    size_t at = 0;
    unsigned count = 0, hosts = 0;
    for (; tg_http1_field_next(head.fields, &at, &field); count++) {
        FUZZ_CHECK(tg_http1_name_ok(field.name) && tg_http1_value_ok(field.value));
        hosts += tg_http1_name_is(field.name, "host", 4);
        struct tg_span list = field.value, item;
        while (tg_http1_list_next(&list, &item))
            FUZZ_CHECK(item.len > 0 && memchr(item.data, ',', item.len) == NULL);
    }
    FUZZ_CHECK(at == head.fields.len && count == head.count && count <= TG_HTTP1_FIELDS_MAX);
    FUZZ_CHECK(hosts == (head.host.data != NULL));
    FUZZ_CHECK(!head.chunked || head.length < 0);
}

static void check_target(void)
{
    struct tg_http1_target t;
    if (tg_http1_target_split(head.method, head.target, &t) < 0)
        return;
    FUZZ_CHECK(t.port >= -1 && t.port <= 65535);
    FUZZ_CHECK(t.scheme.len + t.host.len + t.path.len <= head.target.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool is_request = data[0] % 2 == 0;
    struct tg_error err;
    fuzz_decode decode = is_request ? request : response;
    fuzz_decoder(decode, data + 1, size - 1);
    ssize_t n = decode(data + 1, size - 1, &err);
    if (n < 0)
        return 0;
    check_fields();
    if (is_request) {
        FUZZ_CHECK(tg_http1_name_ok(head.method) && tg_http1_value_ok(head.target));
        FUZZ_CHECK(tg_http1_request_body(&head) != TG_HTTP1_CLOSE);
        check_target();
    } else {
        FUZZ_CHECK(head.status >= 100 && head.status <= 999);
        FUZZ_CHECK(tg_http1_value_ok(head.reason));
        tg_http1_response_body(&head, (struct tg_span){ (const uint8_t *)"GET", 3 });
    }
    return 0;
}
