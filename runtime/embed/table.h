#pragma once

/** @file
 * The generated table behind embed.h; nobody else includes it.
 */

#include <stddef.h>

struct tg_embed_row {
    const char *name; /**< "tidegate.config.url" */
    size_t offset;    /**< into tg_embed_data */
    size_t size;
};

extern const struct tg_embed_row tg_embed_rows[]; /**< sorted by name */
extern const size_t tg_embed_count;
extern const unsigned char tg_embed_data[];
