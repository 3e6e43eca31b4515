#pragma once

/** @file
 * Files beneath a folder: no path, link or mount of it leads out.
 */

#include "base/error.h"

/** Open a folder.  @return a descriptor, or a negative code with `err` */
int tg_folder_open(const char *path, struct tg_error *err);

/** Open what lies at `path` ("" or "." is the folder itself) as open(2) does.
 * @return a descriptor; TG_DENIED also where the path leads out; TG_IO with err->sys ENOENT,
 * ENOTDIR … */
int tg_folder_at(int folder, const char *path, int flags, struct tg_error *err);
