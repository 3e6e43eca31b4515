#pragma once

/** @file
 * MaxMind DB files: which country and which autonomous system an address belongs to.  A file is
 * opened once for all threads; its contents lie in memory of our own, so that nothing happens when
 * the file is cut short or written over.  tg_mmdb_refresh() takes over a changed one.
 */

#include "match/ipset.h"

struct tg_mmdb;

/** Open a file, or find it open.  @return with one reference; NULL: see `words` */
struct tg_mmdb *tg_mmdb_get(const char *path, char *words, size_t size);
/** Look whether the file has changed, and take it over.  May take some ms.
 * @return 1: taken over, 0: nothing to do, -1: see `words`, and what was open stays so.  A bad file
 *         is told once. */
int tg_mmdb_refresh(struct tg_mmdb *db, char *words, size_t size);
const char *tg_mmdb_path(const struct tg_mmdb *db);

/** @param code two upper-case letters, as ISO 3166 has them.  @return false: not known */
bool tg_mmdb_country(struct tg_mmdb *db, const struct tg_ip *ip, char code[2]);
/** @return false: not known */
bool tg_mmdb_system(struct tg_mmdb *db, const struct tg_ip *ip, uint32_t *number);

/** One more reference.  @return db */
struct tg_mmdb *tg_mmdb_ref(struct tg_mmdb *db);
/** NULL is allowed */
void tg_mmdb_put(struct tg_mmdb *db);
