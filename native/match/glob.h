#pragma once

/** @file
 * Globs as gobwas/glob v0.2.3 reads them, without separators: "*" and "**" any run, "?" one
 * character, "[abc]" "[!abc]" "[a-z]" "[!a-z]" classes, "{x,y}" alternatives, which nest, "\"
 * escapes.  Characters are those of UTF-8.  Matching takes at most length × length steps.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TG_GLOB_MAX          1024u /**< bytes of a pattern */
#define TG_GLOB_ALTERNATIVES 1024  /**< that one pattern may have */

/** A compiled pattern without alternatives; immutable. */
struct tg_glob;

/** Told each pattern without alternatives.  @return false: go no further */
typedef bool (*tg_glob_cb)(void *arg, const char *pattern, size_t len);

/** Write out the alternatives of a pattern.
 * @return 0, TG_INVALID (it is no glob), TG_LIMIT (too long, or too many), TG_BUSY (out of memory),
 *         or TG_CLOSED when `each` answered false */
int tg_glob_expand(const char *pattern, size_t len, tg_glob_cb each, void *arg);

/** @param pattern one that tg_glob_expand() told.  @return NULL: out of memory */
struct tg_glob *tg_glob_compile(const char *pattern, size_t len);
bool tg_glob_match(const struct tg_glob *g, const char *text, size_t len);
size_t tg_glob_bytes(const struct tg_glob *g);
void tg_glob_free(struct tg_glob *g);

/** What a pattern amounts to where a table can answer it. */
enum tg_glob_shape {
    TG_GLOB_PLAIN, /**< a text */
    TG_GLOB_BELOW, /**< "*." and a text */
    TG_GLOB_OTHER,
};

/** @param out the text, of as many bytes as the pattern.  @return its shape */
enum tg_glob_shape tg_glob_shape_of(const char *pattern, size_t len, char *out, size_t *out_len);
