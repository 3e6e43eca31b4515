/* Patterns of users: translated, compiled and run over texts of peers. */
#include "codec_fuzz.h"

#include "base/error.h"
#include "match/regex.h"

/* The input is a pattern, a NUL, and a text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, 0, size);
    size_t pattern_len = nul != NULL ? (size_t)(nul - data) : size;
    const char *text = nul != NULL ? (const char *)nul + 1 : "";
    size_t len = nul != NULL ? size - pattern_len - 1 : 0;
    struct tg_regex_error err = { .offset = SIZE_MAX };
    struct tg_regex *re = tg_regex_compile((const char *)data, pattern_len, &err);
    if (re == NULL) {
        FUZZ_CHECK(err.offset <= pattern_len && err.message[0] != '\0');
        return 0;
    }
    struct tg_regex_context *c = tg_regex_context_new();
    for (size_t from = 0; from <= len;) {
        const size_t *spans = NULL;
        tg_regex_begin(c);
        int found = tg_regex_match(re, c, text, len, from, &spans);
        FUZZ_CHECK(found == 1 || found == 0 || found == TG_LIMIT);
        if (found != 1)
            break;
        FUZZ_CHECK(spans[0] >= from && spans[0] <= spans[1] && spans[1] <= len);
        for (unsigned i = 1; i <= tg_regex_groups(re); i++)
            FUZZ_CHECK(spans[2 * i] == SIZE_MAX || (spans[2 * i] <= spans[2 * i + 1] && spans[2 * i + 1] <= len));
        from = spans[1] > from ? spans[1] : from + 1;
    }
    tg_regex_context_free(c);
    tg_regex_free(re);
    return 0;
}
