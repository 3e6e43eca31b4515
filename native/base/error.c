#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const words[] = {
    [TG_IX_OK] = "ok",
#define XX(name, word) [TG_IX_##name] = word,
    TG_CODE_MAP(XX)
#undef XX
};

static enum tg_code code_of_errno(int sys)
{
    switch (sys) {
    case EAGAIN:
    case EINPROGRESS:
        return TG_AGAIN;
    case ECONNREFUSED:
    case ENOENT: /* connect() to a unix socket that is not there */
        return TG_REFUSED;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return TG_RESET;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case EADDRNOTAVAIL:
        return TG_UNREACHABLE;
    case ETIMEDOUT:
        return TG_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return TG_BUSY;
    case EADDRINUSE:
        return TG_INUSE;
    case EACCES:
    case EPERM:
        return TG_DENIED;
    default:
        return TG_IO;
    }
}

int tg_error_set(struct tg_error *e, const char *layer, const char *op, int sys)
{
    enum tg_code code = code_of_errno(sys);
    if (code != TG_AGAIN)
        *e = (struct tg_error){ .code = code, .sys = sys, .layer = layer, .op = op };
    return code;
}

int tg_error_put(struct tg_error *e, const char *layer, const char *op, enum tg_code code,
                 const char *detail)
{
    *e = (struct tg_error){ .code = code, .layer = layer, .op = op, .detail = detail };
    return code;
}

const char *tg_code_word(enum tg_code code)
{
    size_t index = (size_t)-(int)code;
    return index < sizeof(words) / sizeof(words[0]) ? words[index] : "unknown";
}

size_t tg_error_text(const struct tg_error *e, char *out, size_t size)
{
    const char *why = e->detail != NULL ? e->detail
                      : e->sys != 0     ? strerror(e->sys)
                                        : tg_code_word(e->code);
    int n = snprintf(out, size, "%s %s: %s", e->layer != NULL ? e->layer : "?",
                     e->op != NULL ? e->op : "?", why);
    if (n < 0)
        return 0;
    return (size_t)n < size ? (size_t)n : size - 1;
}
