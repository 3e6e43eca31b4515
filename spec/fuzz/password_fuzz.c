/* Stored passwords: which are hashes, and what those that are cheap to refuse say. */
#include "crypto/password.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *stored = malloc(size + 1);
    if (stored == NULL)
        return 0;
    memcpy(stored, data, size);
    stored[size] = 0;
    bool is_hash = tg_password_is_hash(stored, size);
    if (is_hash && (size > TG_PASSWORD_HASH_MAX || strlen(stored) != size))
        abort();
    /* No password that long is hashed: the answer must not take time. */
    static const char endless[TG_PASSWORD_MAX + 1];
    int code = tg_password_verify(endless, sizeof(endless), stored);
    if (code != (tg_password_is_hash(stored, strlen(stored)) ? 0 : TG_INVALID))
        abort();
    free(stored);
    return 0;
}
