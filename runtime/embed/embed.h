#pragma once

/** @file
 * The Lua library inside the executable: every lua/(path).lua of the source tree as
 * LuaJIT bytecode with line numbers, chunk name "@path.lua".  Constant data, safe
 * from any thread.
 */

#include <stddef.h>

/**
 * Find a module by the name given to require(): "tidegate.config.url"; a file
 * .../init.lua goes by the name of its folder.
 * @param data,size receive the bytecode, valid for ever
 * @return 1, or 0 when there is no such module
 */
int tg_embed_find(const char *module, const void **data, size_t *size);

/** @return number of modules */
size_t tg_embed_modules(void);

/** @return name of the module at `index` < tg_embed_modules(), in order of names */
const char *tg_embed_name(size_t index);
