#include "codec/socks.h"

#include <string.h>

static int broken5(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "socks5", "decode", TG_PROTOCOL, detail);
}

static int broken4(struct tg_error *err, enum tg_code code, const char *detail)
{
    return tg_error_put(err, "socks4", "decode", code, detail);
}

ssize_t tg_socks5_greeting_decode(const uint8_t *in, size_t len, struct tg_span *methods,
                                  struct tg_error *err)
{
    if (len < 1)
        return TG_AGAIN;
    if (in[0] != 5)
        return broken5(err, "the version is not 5");
    if (len < 2 || len < 2u + in[1])
        return TG_AGAIN;
    *methods = (struct tg_span){ in + 2, in[1] };
    return 2 + in[1];
}

ssize_t tg_socks5_greeting_encode(struct tg_span methods, uint8_t *out, size_t size)
{
    if (methods.len > 255 || size < 2 + methods.len)
        return TG_LIMIT;
    out[0] = 5;
    out[1] = (uint8_t)methods.len;
    if (methods.len > 0)
        memcpy(out + 2, methods.data, methods.len);
    return (ssize_t)(2 + methods.len);
}

ssize_t tg_socks5_choice_decode(const uint8_t *in, size_t len, uint8_t *method,
                                struct tg_error *err)
{
    if (len >= 1 && in[0] != 5)
        return broken5(err, "the version is not 5");
    if (len < 2)
        return TG_AGAIN;
    *method = in[1];
    return 2;
}

ssize_t tg_socks5_auth_decode(const uint8_t *in, size_t len, struct tg_socks5_auth *out,
                              struct tg_error *err)
{
    if (len < 1)
        return TG_AGAIN;
    if (in[0] != 1)
        return broken5(err, "the version of the authentication is not 1");
    if (len < 2 || len < 3u + in[1])
        return TG_AGAIN;
    size_t user = in[1], pass = in[2 + user];
    if (len < 3 + user + pass)
        return TG_AGAIN;
    out->user = (struct tg_span){ in + 2, user };
    out->pass = (struct tg_span){ in + 3 + user, pass };
    return (ssize_t)(3 + user + pass);
}

ssize_t tg_socks5_auth_encode(const struct tg_socks5_auth *a, uint8_t *out, size_t size)
{
    size_t user = a->user.len, pass = a->pass.len;
    if (user > 255 || pass > 255 || size < 3 + user + pass)
        return TG_LIMIT;
    out[0] = 1;
    out[1] = (uint8_t)user;
    if (user > 0)
        memcpy(out + 2, a->user.data, user);
    out[2 + user] = (uint8_t)pass;
    if (pass > 0)
        memcpy(out + 3 + user, a->pass.data, pass);
    return (ssize_t)(3 + user + pass);
}

ssize_t tg_socks5_auth_reply_decode(const uint8_t *in, size_t len, uint8_t *status,
                                    struct tg_error *err)
{
    (void)err;
    if (len < 2)
        return TG_AGAIN;
    *status = in[1];
    return 2;
}

/* VER CODE RSV; then the address. */
static ssize_t decode_head(const uint8_t *in, size_t len, uint8_t *code, struct tg_error *err)
{
    if (len >= 1 && in[0] != 5)
        return broken5(err, "the version is not 5");
    if (len < 4)
        return TG_AGAIN;
    *code = in[1];
    return 3;
}

static ssize_t decode_address(const uint8_t *in, size_t len, struct tg_target *target,
                              struct tg_error *err)
{
    ssize_t n = tg_socks_address_decode(in + 3, len - 3, target, err);
    if (n == TG_PROTOCOL)
        err->layer = "socks5";
    return n > 0 ? n + 3 : n;
}

ssize_t tg_socks5_request_decode(const uint8_t *in, size_t len, struct tg_socks5_message *out,
                                 struct tg_error *err)
{
    ssize_t n = decode_head(in, len, &out->code, err);
    return n < 0 ? n : decode_address(in, len, &out->target, err);
}

ssize_t tg_socks5_reply_decode(const uint8_t *in, size_t len, struct tg_socks5_message *out,
                               struct tg_error *err)
{
    ssize_t n = decode_head(in, len, &out->code, err);
    if (n < 0)
        return n;
    if (out->code != 0 && in[3] != 1 && in[3] != 3 && in[3] != 4) {
        out->target = (struct tg_target){ .kind = TG_HOST_EMPTY };
        return 4;
    }
    return decode_address(in, len, &out->target, err);
}

ssize_t tg_socks5_message_encode(const struct tg_socks5_message *m, uint8_t *out, size_t size)
{
    if (size < 3)
        return TG_LIMIT;
    ssize_t n = tg_socks_address_encode(&m->target, TG_EMPTY_AS_IPV4, out + 3, size - 3);
    if (n < 0)
        return n;
    out[0] = 5;
    out[1] = m->code;
    out[2] = 0;
    return n + 3;
}

/* A string of at most 255 bytes before a NUL, from *at on; *at moves behind the NUL. */
static int read_string(const uint8_t *in, size_t len, size_t *at, struct tg_span *out,
                       struct tg_error *err)
{
    size_t rest = len - *at;
    const uint8_t *begin = in + *at;
    const uint8_t *end = rest > 0 ? memchr(begin, 0, rest < 256 ? rest : 256) : NULL;
    if (end == NULL)
        return rest < 256 ? TG_AGAIN
                          : broken4(err, TG_LIMIT, "a user or host is longer than 255 bytes");
    *out = (struct tg_span){ begin, (size_t)(end - begin) };
    *at += out->len + 1;
    return 0;
}

ssize_t tg_socks4_request_decode(const uint8_t *in, size_t len, struct tg_socks4_request *out,
                                 struct tg_error *err)
{
    if (len >= 1 && in[0] != 4)
        return broken4(err, TG_PROTOCOL, "the version is not 4");
    if (len < 8)
        return TG_AGAIN;
    size_t at = 8;
    int rc = read_string(in, len, &at, &out->user, err);
    if (rc < 0)
        return rc;
    out->command = in[1];
    out->target.port = tg_u16(in + 2);
    if (in[4] != 0 || in[5] != 0 || in[6] != 0 || in[7] == 0) {
        out->target.kind = TG_HOST_IPV4;
        out->target.len = 4;
        memcpy(out->target.ip, in + 4, 4);
        return (ssize_t)at;
    }
    struct tg_span host;
    rc = read_string(in, len, &at, &host, err);
    if (rc < 0)
        return rc;
    if (host.len == 0 || !tg_name_is_clean(host.data, host.len))
        return broken4(err, TG_PROTOCOL, "a host name that is empty or has control characters");
    out->target.kind = TG_HOST_NAME;
    out->target.len = (uint8_t)host.len;
    memcpy(out->target.name, host.data, host.len);
    return (ssize_t)at;
}

ssize_t tg_socks4_request_encode(const struct tg_socks4_request *r, bool by_name, uint8_t *out,
                                 size_t size)
{
    char host[TG_HOST_TEXT];
    size_t user = r->user.len, host_len = 0;
    uint8_t kind = r->target.kind;
    bool named = kind == TG_HOST_NAME || kind == TG_HOST_IPV6 ||
                 (by_name && kind == TG_HOST_IPV4);
    if (named)
        host_len = tg_target_host_text(&r->target, host);
    size_t total = 9 + user + (named ? host_len + 1 : 0);
    if (user > 255 || total > size)
        return TG_LIMIT;
    if ((user > 0 && memchr(r->user.data, 0, user) != NULL) ||
        (named && memchr(host, 0, host_len) != NULL))
        return TG_INVALID;
    out[0] = 4;
    out[1] = r->command;
    tg_put_u16(out + 2, r->target.port);
    memset(out + 4, 0, 4);
    if (named)
        out[7] = 1;
    else if (kind == TG_HOST_IPV4)
        memcpy(out + 4, r->target.ip, 4);
    if (user > 0)
        memcpy(out + 8, r->user.data, user);
    out[8 + user] = 0;
    if (named) {
        memcpy(out + 9 + user, host, host_len);
        out[total - 1] = 0;
    }
    return (ssize_t)total;
}

ssize_t tg_socks4_reply_decode(const uint8_t *in, size_t len, uint8_t *code, struct tg_error *err)
{
    if (len < TG_SOCKS4_REPLY_SIZE)
        return TG_AGAIN;
    if (in[1] < TG_SOCKS4_GRANTED || in[1] > TG_SOCKS4_USER_REJECTED)
        return broken4(err, TG_PROTOCOL, "an unknown reply code");
    *code = in[1];
    return TG_SOCKS4_REPLY_SIZE;
}
