#include "codec/http1.h"

#include "codec/address.h"

#include <string.h>

/* What a byte may be part of. */
enum { TOKEN = 1, VALUE = 2, TARGET = 4 };

#define T (TOKEN | VALUE | TARGET)
#define V (VALUE | TARGET)
static const uint8_t classes[256] = {
    ['\t'] = VALUE, [' '] = VALUE, ['!'] = T, ['"'] = V, ['#' ... '\''] = T, ['(' ... ')'] = V,
    ['*' ... '+'] = T, [','] = V, ['-' ... '.'] = T, ['/'] = V, ['0' ... '9'] = T,
    [':' ... '@'] = V, ['A' ... 'Z'] = T, ['[' ... ']'] = V, ['^' ... 'z'] = T, ['{'] = V,
    ['|'] = T, ['}'] = V, ['~'] = T, [0x80 ... 0xff] = V,
};
#undef T
#undef V

#define LENGTH_DIGITS_MAX 16
#define LENGTH_MAX 9007199254740992 /* 2^53: what a Lua number holds exactly */

static int broken(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "http", "decode", TG_PROTOCOL, detail);
}

/* The bytes from `at` on that are of a class. */
static size_t run_of(const uint8_t *at, const uint8_t *end, uint8_t class)
{
    const uint8_t *begin = at;
    while (at < end && (classes[*at] & class) != 0)
        at++;
    return (size_t)(at - begin);
}

static struct tg_span trim(const uint8_t *begin, const uint8_t *end)
{
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct tg_span){ begin, (size_t)(end - begin) };
}

bool tg_http1_name_is(struct tg_span name, const char *lower, size_t len)
{
    if (name.len != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = name.data[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != (uint8_t)lower[i])
            return false;
    }
    return true;
}

#define IS(name, literal) tg_http1_name_is(name, literal, sizeof(literal) - 1)

bool tg_http1_list_next(struct tg_span *list, struct tg_span *item)
{
    while (list->len > 0) {
        const uint8_t *comma = memchr(list->data, ',', list->len);
        const uint8_t *end = comma != NULL ? comma : list->data + list->len;
        *item = trim(list->data, end);
        size_t used = (size_t)(end - list->data) + (comma != NULL);
        list->data += used;
        list->len -= used;
        if (item->len > 0)
            return true;
    }
    return false;
}

static bool list_has(struct tg_span list, const char *lower, size_t len)
{
    struct tg_span item;
    while (tg_http1_list_next(&list, &item))
        if (tg_http1_name_is(item, lower, len))
            return true;
    return false;
}

/* What was seen of the fields that decide where the message and the connection end. */
struct notes {
    bool coding, close, keep_alive, proxy_keep_alive;
};

static int note_length(struct tg_http1_head *h, struct tg_span value, struct tg_error *err)
{
    int64_t length = 0;
    if (value.len == 0 || value.len > LENGTH_DIGITS_MAX)
        return broken(err, "malformed Content-Length");
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return broken(err, "malformed Content-Length");
        length = length * 10 + (value.data[i] - '0');
    }
    if (length > LENGTH_MAX)
        return broken(err, "Content-Length too large");
    if (h->length >= 0 && h->length != length)
        return broken(err, "two lengths that differ");
    h->length = length;
    return 0;
}

static int note_coding(struct tg_http1_head *h, struct tg_span value, struct tg_error *err)
{
    struct tg_span item;
    while (tg_http1_list_next(&value, &item)) {
        if (h->chunked)
            return broken(err, "a transfer coding after chunked");
        if (IS(item, "chunked"))
            h->chunked = true;
        else
            h->coded = true;
    }
    return 0;
}

static int note_field(struct tg_http1_head *h, struct notes *n, const struct tg_http1_field *f,
                      struct tg_error *err)
{
    switch (f->name.len) {
    case 4:
        if (!IS(f->name, "host"))
            break;
        if (h->host.data != NULL)
            return broken(err, "more than one Host");
        h->host = f->value;
        break;
    case 6:
        if (IS(f->name, "expect"))
            h->expects = IS(f->value, "100-continue");
        break;
    case 10:
        if (!IS(f->name, "connection"))
            break;
        h->has_connection = true;
        n->close = n->close || list_has(f->value, "close", 5);
        n->keep_alive = n->keep_alive || list_has(f->value, "keep-alive", 10);
        break;
    case 14:
        if (IS(f->name, "content-length"))
            return note_length(h, f->value, err);
        break;
    case 16:
        if (IS(f->name, "proxy-connection"))
            n->proxy_keep_alive = n->proxy_keep_alive || list_has(f->value, "keep-alive", 10);
        break;
    case 17:
        if (!IS(f->name, "transfer-encoding"))
            break;
        n->coding = true;
        return note_coding(h, f->value, err);
    default:
        break;
    }
    return 0;
}

/* Take the line from `at` on: its end (before CR LF), NULL: not all there yet. */
static const uint8_t *line_end(const uint8_t *at, const uint8_t *end, struct tg_error *err)
{
    const uint8_t *lf = memchr(at, '\n', (size_t)(end - at));
    if (lf == NULL)
        return NULL;
    if (lf > at && lf[-1] == '\r')
        return lf - 1;
    broken(err, "line feed alone");
    return NULL;
}

static int read_field(const uint8_t *at, const uint8_t *end, struct tg_http1_field *f,
                      struct tg_error *err)
{
    f->name = (struct tg_span){ at, run_of(at, end, TOKEN) };
    at += f->name.len;
    if (f->name.len == 0 || at == end || *at != ':')
        return broken(err, "malformed field line");
    at++;
    if (run_of(at, end, VALUE) != (size_t)(end - at))
        return broken(err, "control character in a field");
    f->value = trim(at, end);
    return 0;
}

static int judge(struct tg_http1_head *h, const struct notes *n, bool request,
                 struct tg_error *err)
{
    if (n->coding && h->length >= 0)
        return broken(err, "both Content-Length and Transfer-Encoding");
    if (n->coding && h->minor == 0)
        return broken(err, "Transfer-Encoding in HTTP/1.0");
    if (n->coding && !h->chunked && (request || !h->coded))
        return broken(err, "the last transfer coding is not chunked");
    if (h->minor == 0)
        h->persistent = h->has_connection ? n->keep_alive && !n->close : n->proxy_keep_alive;
    else
        h->persistent = !n->close;
    return 0;
}

/* The field lines and the empty one.  @return bytes up to `end` of the head */
static ssize_t read_fields(const uint8_t *in, const uint8_t *at, const uint8_t *end, bool request,
                           struct tg_http1_head *h, struct tg_error *err)
{
    struct notes notes = { .coding = false };
    const uint8_t *begin = at;
    for (;;) {
        const uint8_t *stop = line_end(at, end, err);
        if (stop == NULL)
            return err->code != TG_OK ? (ssize_t)err->code : TG_AGAIN;
        if (stop == at)
            break;
        struct tg_http1_field field;
        int rc = read_field(at, stop, &field, err);
        if (rc == 0)
            rc = note_field(h, &notes, &field, err);
        if (rc < 0)
            return rc;
        if (h->count++ == TG_HTTP1_FIELDS_MAX)
            return tg_error_put(err, "http", "decode", TG_LIMIT, "too many fields");
        at = stop + 2;
    }
    h->fields = (struct tg_span){ begin, (size_t)(at - begin) };
    int rc = judge(h, &notes, request, err);
    return rc < 0 ? rc : at + 2 - in;
}

/* "HTTP/1.0" or "HTTP/1.1"; -1: neither. */
static int minor_of(const uint8_t *at, size_t len)
{
    if (len != 8 || memcmp(at, "HTTP/1.", 7) != 0 || (at[7] != '0' && at[7] != '1'))
        return -1;
    return at[7] - '0';
}

static int read_request_line(const uint8_t *at, const uint8_t *end, struct tg_http1_head *h,
                             struct tg_error *err)
{
    h->method = (struct tg_span){ at, run_of(at, end, TOKEN) };
    at += h->method.len;
    if (h->method.len == 0 || at == end || *at++ != ' ')
        return broken(err, "malformed request line");
    h->target = (struct tg_span){ at, run_of(at, end, TARGET) };
    at += h->target.len;
    if (at == end || *at++ != ' ')
        return broken(err, "malformed request line");
    int minor = minor_of(at, (size_t)(end - at));
    if (minor < 0 && h->method.len == 3 && memcmp(h->method.data, "PRI", 3) == 0 &&
        end - at == 8 && memcmp(at, "HTTP/2.0", 8) == 0)
        minor = 0;
    if (minor < 0)
        return broken(err, "neither HTTP/1.0 nor HTTP/1.1");
    h->minor = (uint8_t)minor;
    return 0;
}

static int read_status_line(const uint8_t *at, const uint8_t *end, struct tg_http1_head *h,
                            struct tg_error *err)
{
    int minor = end - at >= 12 && at[8] == ' ' ? minor_of(at, 8) : -1;
    if (minor < 0)
        return broken(err, "malformed status line");
    for (int i = 9; i < 12; i++) {
        if (at[i] < '0' || at[i] > '9')
            return broken(err, "malformed status line");
        h->status = (uint16_t)(h->status * 10 + (at[i] - '0'));
    }
    at += 12;
    if (h->status < 100 || (at < end && *at++ != ' ') ||
        run_of(at, end, VALUE) != (size_t)(end - at))
        return broken(err, "malformed status line");
    h->reason = (struct tg_span){ at, (size_t)(end - at) };
    h->minor = (uint8_t)minor;
    return 0;
}

/* Half a first line: does it still look like one?  Garbage is told from the
 * first byte on, not when a time-out passes. */
static int judge_start(const uint8_t *at, const uint8_t *end, bool request, struct tg_error *err)
{
    if (!request) {
        size_t n = (size_t)(end - at) < 7 ? (size_t)(end - at) : 7;
        return memcmp(at, "HTTP/1.", n) == 0 ? TG_AGAIN : broken(err, "malformed status line");
    }
    size_t n = run_of(at, end, TOKEN);
    bool fine = at + n == end || (n > 0 && at[n] == ' ');
    return fine ? TG_AGAIN : broken(err, "malformed request line");
}

static const uint8_t *skip_empty_lines(const uint8_t *at, const uint8_t *end)
{
    for (unsigned i = 0; i < TG_HTTP1_EMPTY_LINES_MAX; i++) {
        if (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
            at += 2;
        else if (end - at == 1 && at[0] == '\r')
            at++;
    }
    return at;
}

/* Whoever speaks something else is told by what: most often two ends with different transports. */
static const char *other_protocol(uint8_t first)
{
    if (first == 0x16)
        return "the peer speaks TLS, not HTTP";
    return (first < 0x20 && first != '\r' && first != '\n') || first >= 0x7f ? "the peer speaks no HTTP" : NULL;
}

static ssize_t decode(const uint8_t *in, size_t len, bool request, struct tg_http1_head *h,
                      struct tg_error *err)
{
    const uint8_t *end = in + (len < TG_HTTP1_HEAD_MAX ? len : TG_HTTP1_HEAD_MAX);
    const uint8_t *at = skip_empty_lines(in, end);
    *h = (struct tg_http1_head){ .length = -1 };
    err->code = TG_OK;
    const char *other = at < end ? other_protocol(*at) : NULL;
    if (other != NULL)
        return broken(err, other);
    const uint8_t *stop = line_end(at, end, err);
    ssize_t rc = TG_AGAIN;
    if (stop != NULL) {
        rc = request ? read_request_line(at, stop, h, err) : read_status_line(at, stop, h, err);
        if (rc == 0)
            rc = read_fields(in, stop + 2, end, request, h, err);
    } else if (err->code != TG_OK) {
        rc = err->code;
    } else if (at < end) {
        rc = judge_start(at, end, request, err);
    }
    if (rc == TG_AGAIN && len >= TG_HTTP1_HEAD_MAX)
        return tg_error_put(err, "http", "decode", TG_LIMIT, "the head is too long");
    return rc;
}

ssize_t tg_http1_request_decode(const uint8_t *in, size_t len, struct tg_http1_head *out,
                                struct tg_error *err)
{
    return decode(in, len, true, out, err);
}

ssize_t tg_http1_response_decode(const uint8_t *in, size_t len, struct tg_http1_head *out,
                                 struct tg_error *err)
{
    return decode(in, len, false, out, err);
}

bool tg_http1_field_next(struct tg_span fields, size_t *at, struct tg_http1_field *out)
{
    struct tg_error err = { .code = TG_OK };
    const uint8_t *begin = fields.data + *at;
    if (*at >= fields.len)
        return false;
    const uint8_t *stop = line_end(begin, fields.data + fields.len, &err);
    if (stop == NULL || read_field(begin, stop, out, &err) < 0)
        return false;
    *at += (size_t)(stop - begin) + 2;
    return true;
}

enum tg_http1_body tg_http1_request_body(const struct tg_http1_head *h)
{
    if (h->chunked)
        return TG_HTTP1_CHUNKED;
    return h->length > 0 ? TG_HTTP1_LENGTH : TG_HTTP1_NONE;
}

static bool span_is(struct tg_span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

enum tg_http1_body tg_http1_response_body(const struct tg_http1_head *h, struct tg_span method)
{
    if (h->status < 200 || h->status == 204 || h->status == 304 || span_is(method, "HEAD"))
        return TG_HTTP1_NONE;
    if (h->status < 300 && span_is(method, "CONNECT"))
        return TG_HTTP1_NONE;
    if (h->chunked)
        return TG_HTTP1_CHUNKED;
    if (h->length < 0)
        return TG_HTTP1_CLOSE;
    return h->length > 0 ? TG_HTTP1_LENGTH : TG_HTTP1_NONE;
}

static bool scheme_ok(const uint8_t *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = at[i] | 0x20;
        bool letter = c >= 'a' && c <= 'z';
        bool other = (at[i] >= '0' && at[i] <= '9') || at[i] == '+' || at[i] == '-' || at[i] == '.';
        if (!letter && !(i > 0 && other))
            return false;
    }
    return len > 0;
}

/* "host", "host:port", "[v6]:port"; a port may be empty (RFC 3986 3.2.3). */
static int split_authority(const uint8_t *at, size_t len, struct tg_http1_target *out)
{
    const char *detail;
    if (len > 0 && at[len - 1] == ':')
        len--;
    int port = 0x10000; /* none */
    if (tg_target_split((const char *)at, len, &out->host, &port, &detail) < 0)
        return TG_INVALID;
    out->port = port <= 65535 ? port : -1;
    for (size_t i = 0; i < out->host.len; i++)
        if (strchr("/?#@[]\\", out->host.data[i]) != NULL)
            return TG_INVALID;
    return 0;
}

int tg_http1_target_split(struct tg_span method, struct tg_span target,
                          struct tg_http1_target *out)
{
    *out = (struct tg_http1_target){ .port = -1 };
    const uint8_t *at = target.data, *end = target.data + target.len;
    if (span_is(method, "CONNECT")) {
        out->form = TG_HTTP1_AUTHORITY;
        return split_authority(at, target.len, out);
    }
    if (span_is(target, "*")) {
        out->form = TG_HTTP1_ASTERISK;
        out->path = target;
        return 0;
    }
    if (target.len > 0 && *at == '/') {
        out->form = TG_HTTP1_ORIGIN;
        out->path = target;
        return 0;
    }
    out->form = TG_HTTP1_ABSOLUTE;
    const uint8_t *colon = target.len > 0 ? memchr(at, ':', target.len) : NULL;
    if (colon == NULL || end - colon < 3 || colon[1] != '/' || colon[2] != '/' ||
        !scheme_ok(at, (size_t)(colon - at)))
        return TG_INVALID;
    out->scheme = (struct tg_span){ at, (size_t)(colon - at) };
    at = colon + 3;
    const uint8_t *slash = at;
    while (slash < end && *slash != '/' && *slash != '?' && *slash != '#')
        slash++;
    const uint8_t *fragment = memchr(slash, '#', (size_t)(end - slash));
    out->path = (struct tg_span){ slash, (size_t)((fragment != NULL ? fragment : end) - slash) };
    const uint8_t *user = memrchr(at, '@', (size_t)(slash - at));
    if (user != NULL)
        at = user + 1;
    return split_authority(at, (size_t)(slash - at), out);
}

bool tg_http1_name_ok(struct tg_span name)
{
    return name.len > 0 && run_of(name.data, name.data + name.len, TOKEN) == name.len;
}

bool tg_http1_value_ok(struct tg_span value)
{
    return run_of(value.data, value.data + value.len, VALUE) == value.len;
}
