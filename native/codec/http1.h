#pragma once

/** @file
 * Heads of HTTP/1.x messages (RFC 9112), read strictly: what two parsers could
 * take differently (section 11) is TG_PROTOCOL, never repaired.  So lines end
 * with CR LF, nothing is folded, no blank comes before a colon, lengths and
 * codings must agree, Host comes once.
 */

#include "codec/codec.h"

#include <stdbool.h>

#define TG_HTTP1_HEAD_MAX 65536u /**< bytes of a head with its empty line; more is TG_LIMIT */
#define TG_HTTP1_FIELDS_MAX 256u /**< field lines; more is TG_LIMIT */
#define TG_HTTP1_EMPTY_LINES_MAX 4u /**< skipped in front of a message */

struct tg_http1_field {
    struct tg_span name, value; /**< the value without blanks around it */
};

/** Spans point into what was decoded. */
struct tg_http1_head {
    struct tg_span method, target; /**< requests; the target may be empty (gost's UDP over HTTP) */
    struct tg_span reason;         /**< responses; may be empty */
    struct tg_span fields;         /**< all field lines, each with its CR LF */
    struct tg_span host;           /**< data NULL: none */
    int64_t length;                /**< Content-Length; -1: none */
    uint16_t status;               /**< responses: 100 to 999 */
    uint16_t count;                /**< field lines */
    uint8_t minor;                 /**< HTTP/1.0 or 1.1; 0 for "PRI * HTTP/2.0" */
    bool chunked;                  /**< the last transfer coding is chunked */
    bool coded;                    /**< there are other transfer codings */
    bool has_connection;
    bool persistent;               /**< neither side said that the connection ends (9.3) */
    bool expects;                  /**< Expect: 100-continue */
};

/** Read a request head.  "PRI * HTTP/2.0" (RFC 9113 3.4) is the only other version let through. */
ssize_t tg_http1_request_decode(const uint8_t *in, size_t len, struct tg_http1_head *out,
                                struct tg_error *err);

/** Read a response head. */
ssize_t tg_http1_response_decode(const uint8_t *in, size_t len, struct tg_http1_head *out,
                                 struct tg_error *err);

/** Step through the lines of head.fields.  @param at offset, 0 to begin
 * @return false: there are no more (or, in lines that were not decoded here, no proper one) */
bool tg_http1_field_next(struct tg_span fields, size_t *at, struct tg_http1_field *out);

/** @return whether the names are the same in any case; `lower` is in lower case */
bool tg_http1_name_is(struct tg_span name, const char *lower, size_t len);

/** Step through the members of a list ("close, Upgrade").  @param list shrinks from the front
 * @return false: there are no more */
bool tg_http1_list_next(struct tg_span *list, struct tg_span *item);

enum tg_http1_body {
    TG_HTTP1_NONE,
    TG_HTTP1_LENGTH,  /**< head.length bytes */
    TG_HTTP1_CHUNKED,
    TG_HTTP1_CLOSE,   /**< all until the end of input */
};

/** How the body is framed (6.3). */
enum tg_http1_body tg_http1_request_body(const struct tg_http1_head *h);
/** @param method of the request answered */
enum tg_http1_body tg_http1_response_body(const struct tg_http1_head *h, struct tg_span method);

/** The forms of a target (3.2). */
enum tg_http1_form {
    TG_HTTP1_ORIGIN,    /**< "/path?query" */
    TG_HTTP1_ABSOLUTE,  /**< "http://host/path" */
    TG_HTTP1_AUTHORITY, /**< "host:port", of CONNECT */
    TG_HTTP1_ASTERISK,  /**< "*" */
};

struct tg_http1_target {
    enum tg_http1_form form;
    struct tg_span scheme; /**< as written */
    struct tg_span host;   /**< brackets taken off */
    struct tg_span path;   /**< with the query, without a fragment; may be empty */
    int port;              /**< -1: none */
};

/** @return 0, or TG_INVALID: none of the forms, or a bad host or port */
int tg_http1_target_split(struct tg_span method, struct tg_span target,
                          struct tg_http1_target *out);

/** @return whether a field may be written: a token, and a value without control characters */
bool tg_http1_name_ok(struct tg_span name);
bool tg_http1_value_ok(struct tg_span value);
