#include "embed/embed.h"

#include "embed/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *name, const void *row)
{
    return strcmp(name, ((const struct tg_embed_row *)row)->name);
}

int tg_embed_find(const char *module, const void **data, size_t *size)
{
    const struct tg_embed_row *row =
        bsearch(module, tg_embed_rows, tg_embed_count, sizeof(*row), compare);
    if (row == NULL)
        return 0;
    *data = tg_embed_data + row->offset;
    *size = row->size;
    return 1;
}

size_t tg_embed_modules(void)
{
    return tg_embed_count;
}

const char *tg_embed_name(size_t index)
{
    assert(index < tg_embed_count);
    return tg_embed_rows[index].name;
}
