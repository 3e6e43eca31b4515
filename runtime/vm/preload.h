#pragma once

/** @file
 * The native modules of the executable.  CMake writes the table from the names
 * of the bindings: foo_lua.c in any folder is the module "tidegate.native.foo"
 * and exports luaopen_tidegate_native_foo().
 */

#include <lua.h>

struct tg_preload {
    const char *name; /**< as given to require(); NULL ends the table */
    int (*open)(lua_State *L);
};

/** Sorted by name. */
extern const struct tg_preload tg_native_modules[];
