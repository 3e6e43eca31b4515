#pragma once

/** @file
 * Descriptors that are no sockets of ours as a stream: a serial port, standard input and output.  Terminals, pipes,
 * sockets, files and devices will do; one to read from and one to write to.
 */

#include "stream/stream.h"

enum tg_device_kind {
    TG_DEVICE_SERIAL, /**< has no half-close: after shutdown() input ends when the line is silent for a second */
    TG_DEVICE_STDIO,  /**< shutdown() closes the output */
};

struct tg_device_options {
    enum tg_device_kind kind;
    uint32_t silence; /**< ms without input which end it; 0: none */
    /** Closes a descriptor whose close() may wait; NULL: close() does it. */
    void (*release)(void *arg, int fd);
    void (*closed)(void *arg); /**< the stream is gone; may be NULL */
    void *arg;
};

/** Take over both descriptors, which do not block; they may not be the same number.
 * @return NULL: see `err`; the descriptors are still the caller's */
struct tg_stream *tg_device_stream(struct tg_reactor *r, int in, int out, const struct tg_device_options *options,
                                   struct tg_error *err);

/** The stream's input ends now, whatever comes. */
void tg_device_cut(struct tg_stream *s);

/** Call none of the functions in its options from now on: who they belong to is going. */
void tg_device_forget(struct tg_stream *s);

/** Standard input and output for a stream, once in a process: what they were is /dev/null from then on.
 * @return 0, or a negative code with `err` */
int tg_device_take_stdio(int *in, int *out, struct tg_error *err);
