#include "relay/records.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OVERHEAD 64u /* what a record counts beyond its bytes */
#define KEPT_MAX (512u * 1024u) /* bytes of room kept while nothing waits */
#define NS_PER_MS 1000000ll
#define NS_PER_S 1000000000ll

struct tg_record {
    struct tg_records *store;
    uint64_t started, up, down;
    uint32_t head_len, id_len;
    char text[]; /* head, id */
};

struct tg_records *tg_records_new(const char *separator, size_t separator_len, size_t most,
                                  size_t most_bytes, struct tg_counter *records,
                                  struct tg_counter *dropped)
{
    struct tg_records *r = tg_zalloc(sizeof(*r));
    r->holders = 1;
    r->most = most;
    r->most_bytes = most_bytes;
    r->separator = tg_zalloc(separator_len + 1);
    memcpy(r->separator, separator, separator_len);
    r->separator_len = separator_len;
    r->records = records;
    r->dropped = dropped;
    tg_shared_ref(records);
    tg_shared_ref(dropped);
    return r;
}

void tg_records_drop(struct tg_records *r)
{
    if (--r->holders > 0)
        return;
    tg_shared_put(r->records);
    tg_shared_put(r->dropped);
    tg_text_close(&r->text);
    free(r->separator);
    free(r->sizes);
    free(r);
}

static size_t waiting_bytes(const struct tg_records *r)
{
    return r->text.len - r->start;
}

/* Make the store begin where what waits does. */
static void compact(struct tg_records *r)
{
    size_t len = waiting_bytes(r);
    if (r->start == 0 || (len > 0 && r->start < r->text.cap / 2))
        return;
    memmove(r->text.data, r->text.data + r->start, len);
    r->text.len = len;
    r->start = 0;
    if (len == 0 && r->text.cap > KEPT_MAX)
        tg_text_close(&r->text);
}

/* One more record, of `len` bytes, is to come.  @return false: there is no room */
static bool admit(struct tg_records *r, size_t len)
{
    tg_counter_add(r->records, 1);
    if (r->count < r->most &&
        waiting_bytes(r) + len + OVERHEAD * (r->count + 1) <= r->most_bytes) {
        compact(r);
        return true;
    }
    tg_counter_add(r->dropped, 1);
    if (!r->full) {
        r->full = true;
        r->tell(r->arg);
    }
    return false;
}

/* A record was written behind what waits; it begins at `from`. */
static void arrived(struct tg_records *r, size_t from)
{
    tg_text_add(&r->text, r->separator, r->separator_len);
    if (r->taken + r->count == r->cap) {
        r->cap = r->cap > 0 ? r->cap * 2 : 64;
        r->sizes = realloc(r->sizes, r->cap * sizeof(*r->sizes));
        if (r->sizes == NULL)
            abort();
    }
    r->sizes[r->taken + r->count++] = (uint32_t)(r->text.len - from);
    if (!r->busy) {
        r->busy = true;
        r->tell(r->arg);
    }
}

bool tg_records_put(struct tg_records *r, const char *data, size_t len)
{
    if (!admit(r, len))
        return false;
    size_t from = r->text.len;
    tg_text_add(&r->text, data, len);
    arrived(r, from);
    return true;
}

size_t tg_records_take(struct tg_records *r, size_t most, size_t bytes, const char **data,
                       size_t *len)
{
    if (r->taken > 0 && r->count > 0)
        memmove(r->sizes, r->sizes + r->taken, r->count * sizeof(*r->sizes));
    size_t count = 0, sum = 0;
    while (count < r->count && count < most && sum < bytes)
        sum += r->sizes[count++];
    r->taken = count;
    r->count -= count;
    r->full = false;
    *data = r->text.data + r->start;
    *len = sum;
    r->start += sum;
    return count;
}

size_t tg_records_begun(const struct tg_records *r, size_t bytes)
{
    size_t count = 0, sum = 0;
    while (count < r->taken && sum < bytes)
        sum += r->sizes[count++];
    return count;
}

/* Of connections --------------------------------------------------------------------------------- */

struct tg_record *tg_record_open(struct tg_records *r, const struct tg_text *head,
                                 const struct tg_text *id, uint64_t started, uint64_t up,
                                 uint64_t down)
{
    struct tg_record *record = tg_zalloc(sizeof(*record) + head->len + id->len);
    *record = (struct tg_record){
        .store = r,
        .started = started,
        .up = up,
        .down = down,
        .head_len = (uint32_t)head->len,
        .id_len = (uint32_t)id->len,
    };
    memcpy(record->text, head->data, head->len);
    memcpy(record->text + head->len, id->data, id->len);
    r->holders++;
    if (r->open++ == 0)
        r->hold(r->arg, true);
    return record;
}

static void add_text(struct tg_text *t, const char *text)
{
    tg_text_add(t, text, strlen(text));
}

/* As the failures of Lua are written. */
static void add_error(struct tg_text *t, const struct tg_error *error)
{
    if (error->code == TG_OK || error->code == TG_EOF)
        return;
    char text[256];
    size_t len = tg_error_text(error, text, sizeof(text));
    add_text(t, ",\"err\":");
    tg_logline_html(t, text, len);
}

/* The moment `ms` before now. */
static void add_time_ago(struct tg_text *t, struct tg_stamp *stamp, uint64_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    long long ns = (long long)at.tv_sec * NS_PER_S + at.tv_nsec - (long long)ms * NS_PER_MS;
    at.tv_sec = (time_t)(ns / NS_PER_S);
    at.tv_nsec = (long)(ns % NS_PER_S);
    tg_logline_time(t, stamp, &at);
}

static void write_record(struct tg_text *t, const struct tg_record *record,
                         const struct tg_relay_result *result, uint64_t lasted)
{
    tg_text_add(t, record->text, record->head_len);
    t->data[t->len - record->head_len] = '{'; /* in the place of a comma */
    add_text(t, ",\"inputBytes\":");
    tg_logline_count(t, record->up + result->up);
    add_text(t, ",\"outputBytes\":");
    tg_logline_count(t, record->down + result->down);
    add_error(t, &result->error);
    tg_text_add(t, record->text + record->head_len, record->id_len);
    add_text(t, ",\"duration\":");
    tg_logline_count(t, lasted * (uint64_t)NS_PER_MS);
    add_text(t, ",\"time\":\"");
    add_time_ago(t, &record->store->stamp, lasted);
    add_text(t, "\"}");
}

#define TAIL_MAX 1024u /* bytes of what write_record() adds to head and id */

void tg_record_close(struct tg_record *record, const struct tg_relay_result *result)
{
    struct tg_records *r = record->store;
    if (admit(r, record->head_len + record->id_len + TAIL_MAX)) {
        size_t from = r->text.len;
        write_record(&r->text, record, result, r->reactor->now - record->started);
        arrived(r, from);
    }
    if (--r->open == 0)
        r->hold(r->arg, false);
    tg_records_drop(r);
    free(record);
}
