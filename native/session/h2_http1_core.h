#pragma once

/** @file
 * What the parts of h2_http1.h share; of nobody else's concern.
 */

#include "codec/chunks.h"
#include "codec/http1.h"
#include "session/h2_core.h"

/** Bytes that grow at one end and are taken from the other. */
struct tg_h2_text {
    char *data;
    size_t at, len, cap;
};

enum tg_h2_phase { /**< of what is written */
    TG_H2_HEAD,    /**< a head is awaited */
    TG_H2_RAW,     /**< a tunnel */
    TG_H2_LENGTH,  /**< `left` bytes of body */
    TG_H2_CHUNKED,
    TG_H2_CLOSE,   /**< body until it is closed */
    TG_H2_DONE,
};

struct tg_h2_http1 {
    struct tg_stream base;
    struct tg_buf *pending;    /**< HEAD: what there is of it; CHUNKED: data not taken yet */
    struct tg_h2_text text;    /**< to be read before anything else */
    struct tg_h2_text trailers; /**< lines behind the last chunk that was written */
    struct tg_chunks chunks;
    struct tg_h2_http1 *tied;  /**< the other side of a proxied exchange, or NULL */
    struct tg_defer defer;     /**< what is there already is told of */
    const char *scheme;        /**< client */
    uint64_t left;
    uint64_t due;              /**< client: bytes of the response that are to come, where `counted` */
    size_t owed;               /**< bytes offered that are in `pending` */
    unsigned wanted;
    uint8_t phase;
    bool client;
    bool connect, head;        /**< the request's method */
    bool upgrade;              /**< the request is a WebSocket's */
    bool awaits_head;          /**< client: the response's is still to come */
    bool chunk_input;          /**< the body that is read is to be chunked */
    bool input_over;
    bool counted;              /**< client: the response says how long it is */
    char accept[32];           /**< client: what answers the key of a WebSocket */
};

void tg_h2_text_add(struct tg_h2_text *t, const char *data, size_t len);
void tg_h2_text_free(struct tg_h2_text *t);

/** Put the request's head into `text`.  @return false: it has no shape in HTTP/1.1 */
bool tg_h2_http1_take_request(struct tg_h2_http1 *x);
/** Put the head of a response, an interim one too, into `text`. */
void tg_h2_http1_take_response(struct tg_h2_http1 *x, const struct tg_h2_block *b);
/** Put the last chunk into `text`, with the trailers that have come.  @return false: they are too long */
bool tg_h2_http1_take_end(struct tg_h2_http1 *x);

/** Send what is written.  @return 0 or a negative code; the lower stream may have failed */
int tg_h2_http1_send_request(struct tg_h2_http1 *x, const struct tg_http1_head *h);
int tg_h2_http1_send_response(struct tg_h2_http1 *x, const struct tg_http1_head *h);
/** The end of the body, with the trailers that were written. */
int tg_h2_http1_send_end(struct tg_h2_http1 *x);
