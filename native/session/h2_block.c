#include "session/h2_core.h"

#include <stdlib.h>
#include <string.h>

#define FIELD_HEAD (2 * sizeof(uint32_t))
#define FIELD_COST 32u /* what a field counts besides its bytes: RFC 9113 6.5.2 */
#define FIRST_CAP 480u

bool tg_h2_block_next(const struct tg_h2_block *b, size_t *at, struct tg_h2_field *out)
{
    uint32_t lengths[2];
    if (b == NULL || *at >= b->used)
        return false;
    memcpy(lengths, b->data + *at, sizeof(lengths));
    out->name = b->data + *at + FIELD_HEAD;
    out->name_len = lengths[0];
    out->value = out->name + lengths[0];
    out->value_len = lengths[1];
    *at += FIELD_HEAD + lengths[0] + lengths[1];
    return true;
}

bool tg_h2_block_find(const struct tg_h2_block *b, const char *name, struct tg_h2_field *out)
{
    size_t at = 0, len = strlen(name);
    while (tg_h2_block_next(b, &at, out))
        if (out->name_len == len && memcmp(out->name, name, len) == 0)
            return true;
    return false;
}

static struct tg_h2_block *with_room(struct tg_h2_block *b, size_t more)
{
    size_t used = b == NULL ? 0 : b->used, cap = b == NULL ? FIRST_CAP : b->cap;
    if (b != NULL && used + more <= cap)
        return b;
    while (cap < used + more)
        cap *= 2;
    struct tg_h2_block *grown = realloc(b, sizeof(*b) + cap);
    if (grown == NULL)
        return NULL;
    if (b == NULL)
        memset(grown, 0, sizeof(*grown));
    grown->cap = (uint32_t)cap;
    return grown;
}

bool tg_h2_block_add(struct tg_h2_block **b, size_t limit, const struct tg_h2_field *field)
{
    uint32_t lengths[2] = { (uint32_t)field->name_len, (uint32_t)field->value_len };
    size_t size = FIELD_HEAD + field->name_len + field->value_len;
    size_t before = *b == NULL ? 0 : (*b)->used + (FIELD_COST - FIELD_HEAD) * (*b)->count;
    if (before + field->name_len + field->value_len + FIELD_COST > limit)
        return false;
    struct tg_h2_block *to = with_room(*b, size);
    if (to == NULL)
        return false;
    *b = to;
    memcpy(to->data + to->used, lengths, sizeof(lengths));
    memcpy(to->data + to->used + FIELD_HEAD, field->name, field->name_len);
    memcpy(to->data + to->used + FIELD_HEAD + field->name_len, field->value, field->value_len);
    to->used += (uint32_t)size;
    to->count++;
    return true;
}
