/* DNS messages: taken apart, described, built again, aged. */
#include "codec_fuzz.h"

#include "codec/dns.h"

/* Texts of records come from our own configuration, and ldns leaks where it refuses those of the odder
 * types: only the plain ones are written again. */
static bool is_plain(uint16_t type)
{
    return type == 1 || type == 5 || type == 28;
}

static void copy_records(struct tg_dns_message *from, struct tg_dns_message *to)
{
    struct tg_error err;
    for (int s = 0; s < TG_DNS_SECTIONS; s++) {
        for (size_t i = 0; i < tg_dns_count(from, (enum tg_dns_section)s); i++) {
            struct tg_dns_record r;
            if (tg_dns_get(from, (enum tg_dns_section)s, i, &r, &err) < 0)
                continue;
            char word[TG_DNS_WORD];
            uint16_t type;
            tg_dns_type_word(r.type, word);
            FUZZ_CHECK(strlen(word) < TG_DNS_WORD);
            FUZZ_CHECK(r.type == 0 || (tg_dns_type_of(word, &type) && type == r.type));
            if (s == TG_DNS_QUESTION || is_plain(r.type))
                tg_dns_add(to, (enum tg_dns_section)s, &r, &err); /* may be refused */
        }
    }
}

/* What we write, we can read. */
static void check_built(struct tg_dns_message *m)
{
    struct tg_error err;
    size_t len;
    uint8_t *bytes = tg_dns_build(m, TG_DNS_MESSAGE_MAX, &len, &err);
    if (bytes != NULL)
        FUZZ_CHECK(tg_dns_check(bytes, len, &err) == 0);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tg_error err = { .code = TG_OK };
    uint8_t *exact = malloc(size > 0 ? size : 1);
    memcpy(exact, data, size);
    int checked = tg_dns_check(exact, size, &err);
    struct tg_dns_message *m = tg_dns_parse(exact, size, &err);
    FUZZ_CHECK(m == NULL || checked == 0);
    FUZZ_CHECK(m != NULL || ((err.code == TG_PROTOCOL || err.code == TG_LIMIT) && err.detail != NULL));
    struct tg_dns_ages ages = { .fixed = -1, .passed = 7, .minimum = 1 };
    int aged = tg_dns_age(exact, size, &ages, &err);
    FUZZ_CHECK(aged == checked || (checked == 0 && aged == TG_PROTOCOL)); /* a name in a ttl */
    if (m != NULL) {
        struct tg_dns_head head;
        struct tg_dns_edns edns;
        struct tg_dns_message *copy = tg_dns_new();
        tg_dns_get_head(m, &head);
        tg_dns_get_edns(m, &edns);
        tg_dns_set_head(copy, &head);
        tg_dns_set_edns(copy, &edns, &err);
        copy_records(m, copy);
        check_built(copy);
        tg_dns_free(copy);
    }
    tg_dns_free(m);
    free(exact);
    return 0;
}
