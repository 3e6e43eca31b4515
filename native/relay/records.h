#pragma once

/** @file
 * Records of connections as JSON texts, gathered for whoever writes them: a relay that ends writes its
 * own record, without Lua.
 *
 * A store keeps whole texts, each with a separator behind it, until they are taken in batches.  It is
 * bounded; what does not fit is dropped and counted.  It belongs to one thread.
 */

#include "base/logline.h"
#include "base/reactor.h"
#include "base/shared.h"
#include "relay/result.h"

#include <stdbool.h>

struct tg_records {
    unsigned holders;
    unsigned open;         /**< records of connections that go on */
    struct tg_text text;   /**< what waits begins at `start` */
    size_t start;
    uint32_t *sizes;       /**< of those in the batch that was taken last, then of those that wait */
    size_t taken, count, cap;
    size_t most, most_bytes;
    char *separator;
    size_t separator_len;
    struct tg_counter *records, *dropped; /**< held */
    const struct tg_reactor *reactor; /**< its clock */
    struct tg_stamp stamp;
    bool busy; /**< somebody takes what comes: nobody is told */
    bool full; /**< something was dropped since the last batch was taken */
    /** Something came while nobody was busy (who is told is, from now on), or was dropped. */
    void (*tell)(void *arg);
    /** The first record of a connection was opened, or the last has ended. */
    void (*hold)(void *arg, bool on);
    void *arg;
};

/** @param most records that may wait, and bytes of them (each counts 64 more)
 * @param records how many there were, @param dropped how many did not fit; both in all threads; a reference
 *   of each is taken
 * @return an empty store with one holder */
struct tg_records *tg_records_new(const char *separator, size_t separator_len, size_t most,
                                  size_t most_bytes, struct tg_counter *records,
                                  struct tg_counter *dropped);
void tg_records_drop(struct tg_records *r);

/** @return whether there was room */
bool tg_records_put(struct tg_records *r, const char *data, size_t len);

/** Take at most `most` records, none beyond the one with which they are `bytes` long: their
 * texts are what the store's text begins with until something is put.
 * @return how many; 0: none waits */
size_t tg_records_take(struct tg_records *r, size_t most, size_t bytes, const char **data,
                       size_t *len);

/** @return how many records of the batch taken last begin within its first `bytes` */
size_t tg_records_begun(const struct tg_records *r, size_t bytes);

/** The record of a connection that goes on. */
struct tg_record;

/** What it begins with is known already.
 * @param head members, each with a comma before it; @param id members to follow the counts likewise
 * @param started ms on the reactor's clock
 * @param up, down bytes carried so far */
struct tg_record *tg_record_open(struct tg_records *r, const struct tg_text *head,
                                 const struct tg_text *id, uint64_t started, uint64_t up,
                                 uint64_t down);

/** The connection is over: its record is put into the store. */
void tg_record_close(struct tg_record *record, const struct tg_relay_result *result);
