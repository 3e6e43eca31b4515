#include "crypto/password.h"

#include <argon2.h>
#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#define BCRYPT_LEN 60u
#define SALT_MAX 16u

static bool is_crypt64(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '.' && c <= '9');
}

/* Are these all letters of crypt's alphabet? */
static bool all_crypt64(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_crypt64(text[i]))
            return false;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "$2b$12$" and 53 letters */
static bool is_bcrypt(const char *s, size_t len)
{
    return len == BCRYPT_LEN && s[0] == '$' && s[1] == '2' && strchr("abxy", s[2]) != NULL &&
           s[3] == '$' && is_digit(s[4]) && is_digit(s[5]) && s[6] == '$' &&
           all_crypt64(s + 7, len - 7);
}

/* The number after "rounds=", which begins at s[3].  @return offset of what follows, 0: malformed */
static size_t read_rounds(const char *s, size_t len, unsigned long *rounds)
{
    size_t at = 3;
    *rounds = 0;
    if (len < 10 || memcmp(s + at, "rounds=", 7) != 0)
        return at;
    for (at += 7; at < len && is_digit(s[at]) && *rounds < 1000000000ul; at++)
        *rounds = *rounds * 10 + (unsigned long)(s[at] - '0');
    return at < len && s[at] == '$' ? at + 1 : 0;
}

/* "$6$", maybe "rounds=5000$", salt, "$", 86 letters; "$5$" has 43 */
static bool is_shacrypt(const char *s, size_t len)
{
    unsigned long rounds;
    if (len < 8 || s[0] != '$' || (s[1] != '5' && s[1] != '6') || s[2] != '$')
        return false;
    size_t at = read_rounds(s, len, &rounds), digest = s[1] == '5' ? 43 : 86;
    if (at == 0 || len < at + digest + 1)
        return false;
    size_t salt = len - at - digest - 1;
    return salt <= SALT_MAX && s[at + salt] == '$' && all_crypt64(s + at + salt + 1, digest) &&
           memchr(s + at, '$', salt) == NULL && memchr(s + at, ':', salt) == NULL;
}

static int argon2_kind(const char *s, argon2_type *type)
{
    static const struct {
        const char *prefix;
        argon2_type type;
    } kinds[] = {
        { "$argon2id$", Argon2_id }, { "$argon2i$", Argon2_i }, { "$argon2d$", Argon2_d },
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = strlen(kinds[i].prefix);
        if (strncmp(s, kinds[i].prefix, len) == 0) {
            *type = kinds[i].type;
            return (int)len;
        }
    }
    return 0;
}

struct argon2_costs {
    unsigned memory, passes, lanes;
};

/* "m=65536,": a key, a number of at most nine digits, an end.  @return what follows, NULL: it is not there */
static const char *read_cost(const char *s, const char *key, char end, unsigned *value)
{
    size_t len = strlen(key), digits = 0;
    if (s == NULL || strncmp(s, key, len) != 0)
        return NULL;
    *value = 0;
    for (s += len; is_digit(*s) && digits < 9; s++, digits++)
        *value = *value * 10 + (unsigned)(*s - '0');
    return digits > 0 && *s == end ? s + 1 : NULL;
}

/* @return whether the costs can be read; the version may be missing, as in old hashes */
static bool argon2_costs(const char *s, struct argon2_costs *c)
{
    unsigned version;
    argon2_type type;
    int at = argon2_kind(s, &type);
    if (at == 0)
        return false;
    const char *costs = read_cost(s + at, "v=", '$', &version);
    costs = read_cost(costs != NULL ? costs : s + at, "m=", ',', &c->memory);
    costs = read_cost(costs, "t=", ',', &c->passes);
    return read_cost(costs, "p=", '$', &c->lanes) != NULL;
}

bool tg_password_is_hash(const char *stored, size_t len)
{
    struct argon2_costs costs;
    if (len < 8 || len > TG_PASSWORD_HASH_MAX || stored[0] != '$' || strlen(stored) != len)
        return false;
    return is_bcrypt(stored, len) || is_shacrypt(stored, len) || argon2_costs(stored, &costs);
}

static int verify_argon2(const char *password, size_t len, const char *stored)
{
    struct argon2_costs costs;
    argon2_type type = Argon2_id;
    argon2_kind(stored, &type);
    if (!argon2_costs(stored, &costs))
        return TG_INVALID;
    if (costs.memory > TG_ARGON2_KIB_MAX || costs.passes > TG_ARGON2_PASSES_MAX ||
        costs.lanes > TG_ARGON2_LANES_MAX)
        return TG_LIMIT;
    switch (argon2_verify(stored, password, len, type)) {
    case ARGON2_OK:
        return 1;
    case ARGON2_VERIFY_MISMATCH:
        return 0;
    case ARGON2_MEMORY_ALLOCATION_ERROR:
        return TG_BUSY;
    default:
        return TG_INVALID;
    }
}

/* Within what we spend? */
static bool crypt_is_affordable(const char *stored)
{
    unsigned long rounds = 0;
    if (stored[1] == '2')
        return (unsigned)((stored[4] - '0') * 10 + stored[5] - '0') <= TG_BCRYPT_COST_MAX;
    read_rounds(stored, strlen(stored), &rounds);
    return rounds <= TG_SHACRYPT_ROUNDS_MAX;
}

static int verify_crypt(const char *password, const char *stored)
{
    if (!crypt_is_affordable(stored))
        return TG_LIMIT;
    struct crypt_data *data = calloc(1, sizeof(*data));
    if (data == NULL)
        return TG_BUSY;
    const char *made = crypt_r(password, stored, data);
    size_t len = strlen(stored);
    int code = TG_INVALID;
    if (made != NULL && made[0] == '$')
        code = strlen(made) == len && CRYPTO_memcmp(made, stored, len) == 0;
    OPENSSL_cleanse(data, sizeof(*data));
    free(data);
    return code;
}

int tg_password_verify(const char *password, size_t len, const char *stored)
{
    char copy[TG_PASSWORD_MAX + 1];
    if (!tg_password_is_hash(stored, strlen(stored)))
        return TG_INVALID;
    if (len > TG_PASSWORD_MAX || memchr(password, 0, len) != NULL) /* crypt() would stop there */
        return 0;
    memcpy(copy, password, len);
    copy[len] = 0;
    int code = stored[1] == 'a' ? verify_argon2(copy, len, stored) : verify_crypt(copy, stored);
    OPENSSL_cleanse(copy, sizeof(copy));
    return code;
}

void tg_password_digest(const uint8_t *key, const char *stored, size_t stored_len,
                        const char *password, size_t len, uint8_t *out)
{
    /* Two rounds: what is joined must not be able to shift from one to the other. */
    uint8_t inner[TG_PASSWORD_DIGEST];
    HMAC(EVP_sha256(), key, TG_PASSWORD_DIGEST, (const unsigned char *)stored, stored_len, inner,
         NULL);
    HMAC(EVP_sha256(), inner, sizeof(inner), (const unsigned char *)password, len, out, NULL);
    OPENSSL_cleanse(inner, sizeof(inner));
}
