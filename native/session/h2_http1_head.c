#include "session/h2_http1_core.h"

#include "base/mem.h"
#include "codec/base64.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define KEY_SIZE 16u /* RFC 6455 4.1 */
#define KEY_TEXT 24u
#define WEBSOCKET_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

void tg_h2_text_add(struct tg_h2_text *t, const char *data, size_t len)
{
    if (len == 0)
        return;
    if (t->at == t->len)
        t->at = t->len = 0;
    while (t->cap < t->len + len) {
        t->cap = t->cap == 0 ? 1024 : t->cap * 2;
        t->data = realloc(t->data, t->cap);
        if (t->data == NULL)
            abort(); /* headers are bounded when they come */
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
}

void tg_h2_text_free(struct tg_h2_text *t)
{
    free(t->data);
    *t = (struct tg_h2_text){ 0 };
}

static void add_text(struct tg_h2_text *t, const char *s)
{
    tg_h2_text_add(t, s, strlen(s));
}

static void add_value(struct tg_h2_text *t, const struct tg_h2_field *f)
{
    tg_h2_text_add(t, f->value, f->value_len);
}

static void add_line(struct tg_h2_text *t, const char *name, size_t name_len,
                     const struct tg_h2_field *value)
{
    tg_h2_text_add(t, name, name_len);
    add_text(t, ": ");
    add_value(t, value);
    add_text(t, "\r\n");
}

/* Names of fields, in lower case. */
struct names {
    unsigned count;
    const char *list[16];
};

static bool is_one_of(const char *name, size_t len, const struct names *names)
{
    for (unsigned i = 0; i < names->count; i++)
        if (strlen(names->list[i]) == len && strncasecmp(names->list[i], name, len) == 0)
            return true;
    return false;
}

static bool is(const struct tg_h2_field *f, const char *name)
{
    return strlen(name) == f->name_len && memcmp(f->name, name, f->name_len) == 0;
}

/* What is between two neighbours only, in any version. */
static const struct names hop_by_hop = { 7, { "connection", "keep-alive", "proxy-connection",
                                              "transfer-encoding", "upgrade", "te",
                                              "http2-settings" } };
/* What no trailer may say: RFC 9110 6.5.1. */
static const struct names no_trailers = { 10, { "connection", "keep-alive", "proxy-connection",
                                                "transfer-encoding", "upgrade", "te", "host",
                                                "content-length", "trailer", "content-encoding" } };

/* --- from HTTP/2 ---------------------------------------------------------------------------------- */

/* No blanks or control characters: it would end where we do not mean it to. */
static bool is_word(const struct tg_h2_field *f)
{
    for (size_t i = 0; i < f->value_len; i++)
        if ((unsigned char)f->value[i] <= ' ' || f->value[i] == 0x7f)
            return false;
    return f->value_len > 0;
}

static bool find_word(const struct tg_h2_block *b, const char *name, struct tg_h2_field *out)
{
    return tg_h2_block_find(b, name, out) && is_word(out);
}

static bool has_value(const struct tg_h2_field *f, const char *lower)
{
    return f->value_len == strlen(lower) && strncasecmp(f->value, lower, f->value_len) == 0;
}

/* Will trailers follow?  Then a length cannot frame the body: HTTP/1.1 would have no place for them. */
static bool announces_trailers(const struct tg_h2_block *b)
{
    static const char grpc[] = "application/grpc";
    struct tg_h2_field f;
    if (tg_h2_block_find(b, "trailer", &f))
        return true;
    return tg_h2_block_find(b, "content-type", &f) && f.value_len >= sizeof(grpc) - 1 &&
           strncasecmp(f.value, grpc, sizeof(grpc) - 1) == 0;
}

/* The lines of ordinary fields.  @return whether one of them is the length */
static bool add_fields(struct tg_h2_text *t, const struct tg_h2_block *b, const struct names *without,
                       bool with_length)
{
    struct tg_h2_field f;
    size_t at = 0;
    bool has_length = false, cookie = false;
    while (tg_h2_block_next(b, &at, &f)) {
        if (f.name_len == 0 || f.name[0] == ':' || is(&f, "host") || is(&f, "cookie"))
            continue;
        if (is(&f, "te") && has_value(&f, "trailers")) {
            add_text(t, "te: trailers\r\n");
            continue;
        }
        bool length = is(&f, "content-length");
        if (is_one_of(f.name, f.name_len, without) || (length && !with_length))
            continue;
        has_length |= length;
        add_line(t, f.name, f.name_len, &f);
    }
    /* crumbs of a cookie are one again: RFC 9113 8.2.3 */
    for (at = 0; tg_h2_block_next(b, &at, &f);) {
        if (!is(&f, "cookie"))
            continue;
        add_text(t, cookie ? "; " : "cookie: ");
        add_value(t, &f);
        cookie = true;
    }
    if (cookie)
        add_text(t, "\r\n");
    return has_length;
}

static bool has_port(const struct tg_h2_field *authority)
{
    const char *colon = memrchr(authority->value, ':', authority->value_len);
    return colon != NULL && memchr(colon, ']', (size_t)(authority->value + authority->value_len -
                                                        colon)) == NULL;
}

/* What begins a WebSocket in HTTP/1.1, of which HTTP/2 has no key. */
static void add_upgrade(struct tg_h2_text *t)
{
    uint8_t key[KEY_SIZE];
    char text[KEY_TEXT];
    if (RAND_bytes(key, sizeof(key)) != 1)
        abort();
    add_text(t, "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ");
    tg_h2_text_add(t, text, tg_base64_encode(key, sizeof(key), false, text));
    add_text(t, "\r\n");
}

/* The first line and Host.  @return false: it has no shape in HTTP/1.1 */
static bool add_request_line(struct tg_h2_http1 *x, const struct tg_h2_block *b)
{
    struct tg_h2_text *t = &x->text;
    struct tg_h2_field method, authority, scheme, path, protocol;
    if (!find_word(b, ":method", &method))
        return false;
    if (!(tg_h2_block_find(b, ":authority", &authority) || tg_h2_block_find(b, "host", &authority)) ||
        !is_word(&authority))
        return false;
    bool connect = method.value_len == 7 && memcmp(method.value, "CONNECT", 7) == 0;
    x->head = method.value_len == 4 && memcmp(method.value, "HEAD", 4) == 0;
    if (tg_h2_block_find(b, ":protocol", &protocol)) {
        x->upgrade = connect && has_value(&protocol, "websocket");
        if (!x->upgrade)
            return false;
        method.value = "GET";
        method.value_len = 3;
    }
    x->connect = connect && !x->upgrade;
    add_value(t, &method);
    add_text(t, " ");
    if (x->connect) {
        add_value(t, &authority);
        if (!has_port(&authority))
            add_text(t, ":443");
    } else {
        if (!find_word(b, ":scheme", &scheme) || !find_word(b, ":path", &path))
            return false;
        add_value(t, &scheme);
        add_text(t, "://");
        add_value(t, &authority);
        tg_h2_text_add(t, path.value, path.value[0] == '*' ? 0 : path.value_len);
    }
    add_text(t, " HTTP/1.1\r\n");
    add_line(t, "host", 4, &authority);
    return true;
}

bool tg_h2_http1_take_request(struct tg_h2_http1 *x)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)x->base.lower;
    const struct tg_h2_block *b = tg_h2_headers(x->base.lower);
    if (b == NULL || !add_request_line(x, b))
        return false;
    bool raw = x->connect || x->upgrade;
    bool has_length = add_fields(&x->text, b, &hop_by_hop, !raw && !announces_trailers(b));
    if (x->upgrade)
        add_upgrade(&x->text);
    x->input_over = st->fin_received && st->in.first == NULL && !raw;
    x->chunk_input = !raw && !has_length && !x->input_over;
    add_text(&x->text, x->chunk_input ? "transfer-encoding: chunked\r\n\r\n" : "\r\n");
    return true;
}

/* nghttp2 has seen to it that the length is a number, and that the body is as long. */
static uint64_t length_of(const struct tg_h2_block *b)
{
    struct tg_h2_field f;
    uint64_t length = 0;
    if (tg_h2_block_find(b, "content-length", &f))
        for (size_t i = 0; i < f.value_len; i++)
            length = length * 10 + (uint64_t)(f.value[i] - '0');
    return length;
}

/* How the body of a final response is framed. */
static void add_framing(struct tg_h2_http1 *x, const struct tg_h2_block *b, unsigned status)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)x->base.lower;
    bool ended = st->fin_received && st->in.first == NULL;
    bool bare = x->head || status == 204 || status == 304;
    bool has_length = add_fields(&x->text, b, &hop_by_hop, bare || ended || !announces_trailers(b));
    x->input_over = bare || ended;
    x->counted = has_length && !bare && !ended;
    if (x->counted)
        x->due = length_of(b);
    if (bare || has_length)
        return;
    x->chunk_input = !ended;
    add_text(&x->text, ended ? "content-length: 0\r\n" : "transfer-encoding: chunked\r\n");
}

void tg_h2_http1_take_response(struct tg_h2_http1 *x, const struct tg_h2_block *b)
{
    struct tg_h2_text *t = &x->text;
    struct tg_h2_field field;
    unsigned status = 0;
    if (tg_h2_block_find(b, ":status", &field) && field.value_len == 3)
        for (unsigned i = 0; i < 3; i++)
            status = status * 10 + (unsigned)(field.value[i] - '0'); /* nghttp2 has seen to digits */
    bool switches = x->upgrade && status >= 200 && status < 300;
    char line[64];
    tg_h2_text_add(t, line, (size_t)snprintf(line, sizeof(line), "HTTP/1.1 %03u \r\n",
                                             switches ? 101 : status % 1000));
    x->awaits_head = status < 200;
    if (switches) {
        add_fields(t, b, &hop_by_hop, false);
        add_text(t, "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ");
        add_text(t, x->accept);
        add_text(t, "\r\n");
    } else if (x->awaits_head) {
        add_fields(t, b, &hop_by_hop, false);
    } else {
        x->upgrade = false;
        add_framing(x, b, status);
    }
    add_text(t, "\r\n");
}

bool tg_h2_http1_take_end(struct tg_h2_http1 *x)
{
    const struct tg_h2_block *b = tg_h2_trailers(x->base.lower);
    struct tg_h2_text *t = &x->text;
    struct tg_h2_field f;
    size_t at = 0, before;
    add_text(t, "0\r\n");
    before = t->len;
    while (tg_h2_block_next(b, &at, &f))
        if (f.name_len > 0 && f.name[0] != ':' && !is_one_of(f.name, f.name_len, &no_trailers))
            add_line(t, f.name, f.name_len, &f);
    add_text(t, "\r\n");
    return t->len - before <= TG_CHUNK_TRAILERS_MAX;
}

/* --- to HTTP/2 ------------------------------------------------------------------------------------ */

static struct tg_h2_field text_field(const char *name, const char *value)
{
    return (struct tg_h2_field){ name, value, strlen(name), strlen(value) };
}

static struct tg_h2_field span_field(const char *name, struct tg_span value)
{
    return (struct tg_h2_field){ name, (const char *)value.data, strlen(name), value.len };
}

/* @param count fields there are already @return number of fields */
static unsigned copy_fields(struct tg_span lines, const struct names *without,
                            struct tg_h2_field *fields, unsigned count)
{
    struct tg_http1_field f;
    size_t at = 0;
    while (count < TG_H2_FIELDS && tg_http1_field_next(lines, &at, &f))
        if (!is_one_of((const char *)f.name.data, f.name.len, without))
            fields[count++] = (struct tg_h2_field){ (const char *)f.name.data,
                                                    (const char *)f.value.data, f.name.len,
                                                    f.value.len };
    return count;
}

static bool find_span(struct tg_span lines, const char *name, struct tg_span *value)
{
    struct tg_http1_field f;
    for (size_t at = 0; tg_http1_field_next(lines, &at, &f);)
        if (tg_http1_name_is(f.name, name, strlen(name))) {
            *value = f.value;
            return true;
        }
    return false;
}

static bool list_has(struct tg_span lines, const char *name, const char *word)
{
    struct tg_span list, item;
    if (!find_span(lines, name, &list))
        return false;
    while (tg_http1_list_next(&list, &item))
        if (tg_http1_name_is(item, word, strlen(word)))
            return true;
    return false;
}

/* The answer to a key, RFC 6455 4.2.2. */
static void answer_key(struct tg_h2_http1 *x, struct tg_span lines)
{
    struct tg_span key;
    uint8_t digest[EVP_MAX_MD_SIZE];
    char text[KEY_TEXT + sizeof(WEBSOCKET_GUID)];
    unsigned len = 0;
    if (!find_span(lines, "sec-websocket-key", &key) || key.len > KEY_TEXT)
        key.len = 0;
    if (key.len > 0)
        memcpy(text, key.data, key.len);
    memcpy(text + key.len, WEBSOCKET_GUID, sizeof(WEBSOCKET_GUID) - 1);
    if (EVP_Digest(text, key.len + sizeof(WEBSOCKET_GUID) - 1, digest, &len, EVP_sha1(), NULL) != 1)
        abort();
    x->accept[tg_base64_encode(digest, len, false, x->accept)] = 0;
}

static void begin_request_body(struct tg_h2_http1 *x, const struct tg_http1_head *h)
{
    enum tg_http1_body body = tg_http1_request_body(h);
    x->left = h->length > 0 ? (uint64_t)h->length : 0;
    if (x->upgrade)
        x->phase = TG_H2_RAW;
    else if (body == TG_HTTP1_CHUNKED)
        x->phase = TG_H2_CHUNKED;
    else
        x->phase = body == TG_HTTP1_LENGTH && x->left > 0 ? TG_H2_LENGTH : TG_H2_DONE;
}

/* @return the path of a target in any form, "/" for none */
static struct tg_span path_of(const struct tg_http1_head *h)
{
    static const struct tg_span root = { (const uint8_t *)"/", 1 };
    struct tg_http1_target t;
    if (h->target.len > 0 && (h->target.data[0] == '/' || h->target.data[0] == '*'))
        return h->target;
    if (tg_http1_target_split(h->method, h->target, &t) != 0 || t.path.len == 0 ||
        t.path.data[0] != '/')
        return root;
    return t.path;
}

int tg_h2_http1_send_request(struct tg_h2_http1 *x, const struct tg_http1_head *h)
{
    static const struct names dropped = { 9, { "connection", "keep-alive", "proxy-connection",
                                               "transfer-encoding", "upgrade", "te", "host",
                                               "http2-settings", "sec-websocket-key" } };
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)x->base.lower;
    struct tg_h2_field fields[TG_H2_FIELDS];
    unsigned count = 0;
    x->head = h->method.len == 4 && memcmp(h->method.data, "HEAD", 4) == 0;
    x->upgrade = list_has(h->fields, "connection", "upgrade") &&
                 list_has(h->fields, "upgrade", "websocket") && st->session != NULL &&
                 tg_h2_takes_connect_protocol(&st->session->base);
    begin_request_body(x, h);
    if (x->upgrade) {
        answer_key(x, h->fields);
        fields[count++] = text_field(":method", "CONNECT");
        fields[count++] = text_field(":protocol", "websocket");
    } else {
        fields[count++] = span_field(":method", h->method);
    }
    fields[count++] = text_field(":scheme", x->scheme);
    fields[count++] = span_field(":authority", h->host);
    fields[count++] = span_field(":path", path_of(h));
    if (list_has(h->fields, "te", "trailers"))
        fields[count++] = text_field("te", "trailers");
    count = copy_fields(h->fields, &dropped, fields, count);
    return tg_h2_begin(x->base.lower, fields, count, x->phase == TG_H2_DONE);
}

static void begin_response_body(struct tg_h2_http1 *x, const struct tg_http1_head *h)
{
    static const uint8_t phases[] = {
        [TG_HTTP1_NONE] = TG_H2_DONE,
        [TG_HTTP1_LENGTH] = TG_H2_LENGTH,
        [TG_HTTP1_CHUNKED] = TG_H2_CHUNKED,
        [TG_HTTP1_CLOSE] = TG_H2_CLOSE,
    };
    struct tg_span method = x->head ? (struct tg_span){ (const uint8_t *)"HEAD", 4 }
                                    : (struct tg_span){ (const uint8_t *)"GET", 3 };
    x->left = h->length > 0 ? (uint64_t)h->length : 0;
    if ((x->connect && h->status < 300) || (x->upgrade && h->status == 101))
        x->phase = TG_H2_RAW;
    else
        x->phase = phases[tg_http1_response_body(h, method)];
    if (x->phase == TG_H2_LENGTH && x->left == 0)
        x->phase = TG_H2_DONE;
}

static size_t put_date(char *out, size_t size)
{
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    return strftime(out, size, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

int tg_h2_http1_send_response(struct tg_h2_http1 *x, const struct tg_http1_head *h)
{
    static const struct names dropped = { 9, { "connection", "keep-alive", "proxy-connection",
                                               "transfer-encoding", "upgrade", "te",
                                               "proxy-agent", "http2-settings",
                                               "sec-websocket-accept" } };
    struct tg_h2_field fields[TG_H2_FIELDS];
    struct tg_span there;
    char status[8], date[40];
    bool switches = h->status == 101 && x->upgrade;
    unsigned number = switches ? 200 : h->status % 1000u;
    snprintf(status, sizeof(status), "%03u", number);
    fields[0] = text_field(":status", status);
    if (number < 200) {
        if (number == 101)
            return 0; /* means nothing here */
        return tg_h2_inform(x->base.lower, fields, copy_fields(h->fields, &dropped, fields, 1));
    }
    unsigned count = 1;
    if (!find_span(h->fields, "date", &there)) {
        date[put_date(date, sizeof(date))] = 0;
        fields[count++] = text_field("date", date);
    }
    count = copy_fields(h->fields, &dropped, fields, count);
    begin_response_body(x, h);
    return tg_h2_respond(x->base.lower, fields, count, x->phase == TG_H2_DONE);
}

int tg_h2_http1_send_end(struct tg_h2_http1 *x)
{
    struct tg_h2_field fields[TG_H2_FIELDS];
    struct tg_span lines = { (const uint8_t *)x->trailers.data, x->trailers.len };
    unsigned count = lines.len > 0 ? copy_fields(lines, &no_trailers, fields, 0) : 0;
    return count > 0 ? tg_h2_finish(x->base.lower, fields, count)
                     : tg_stream_shutdown(x->base.lower);
}
