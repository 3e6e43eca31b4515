#pragma once

/** @file
 * Strings as log lines quote them: JSON, and the key=value form of Go's slog.
 */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/** A text that grows; all zero: empty.  Released with tg_text_close(). */
struct tg_text {
    char *data;
    size_t len, cap;
};

/** Room for `more` bytes after the content; aborts when memory is out.  @return where they go */
char *tg_text_room(struct tg_text *t, size_t more);
void tg_text_add(struct tg_text *t, const void *data, size_t len);
void tg_text_close(struct tg_text *t);

/** A JSON string with its quotes; what is not UTF-8 becomes U+FFFD. */
void tg_logline_json(struct tg_text *out, const char *s, size_t len);

/** The same as Go's encoding/json writes it: with <, > and & escaped. */
void tg_logline_html(struct tg_text *out, const char *s, size_t len);

/** A bare word where slog writes one, else a string in Go's syntax; what is not UTF-8 becomes \xNN.
 */
void tg_logline_text(struct tg_text *out, const char *s, size_t len);

/** A whole number. */
void tg_logline_count(struct tg_text *out, uint64_t n);

/** The time that was written last, but for its fraction.  All zero: none was. */
struct tg_stamp {
    time_t second;
    char head[24], zone[8];
};

/** RFC 3339 in the local zone, with as many digits of the second as matter (Go's RFC3339Nano). */
void tg_logline_time(struct tg_text *out, struct tg_stamp *last, const struct timespec *at);
