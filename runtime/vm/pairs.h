#pragma once

#include <lua.h>

/** Keep the compiler of LuaJIT away from next() where it translates it wrongly: versions called beta, on x86-64,
 * take 32 bits of the address that it returns when registers are short (LuaJIT issue 829, mended in April 2022),
 * and end the process.  pairs() and next() become functions of C there, which are not compiled.  Call it before
 * scripts load. */
void tg_pairs_mend(lua_State *L);
