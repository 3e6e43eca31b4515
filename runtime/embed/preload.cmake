# TIDEGATE_PRELOAD_C: the table of vm/preload.h, from file names alone.  A binding foo_lua.c is the
# module tidegate.native.foo; adding the file is all there is to do.

set(names "")
foreach(source IN LISTS native_sources runtime_sources)
  if(source MATCHES "/([a-z0-9_]+)_lua\\.c$")
    list(APPEND names ${CMAKE_MATCH_1})
  endif()
endforeach()
list(SORT names)

set(declarations "")
set(rows "")
set(previous "")
foreach(name IN LISTS names)
  if(name STREQUAL previous)
    message(FATAL_ERROR "two bindings are called ${name}_lua.c: modules are named by file alone")
  endif()
  string(APPEND declarations "int luaopen_tidegate_native_${name}(lua_State *L);\n")
  string(APPEND rows
    "    { \"tidegate.native.${name}\", luaopen_tidegate_native_${name} },\n")
  set(previous ${name})
endforeach()

set(TIDEGATE_PRELOAD_C ${CMAKE_BINARY_DIR}/generated/preload.c)
file(CONFIGURE OUTPUT ${TIDEGATE_PRELOAD_C} @ONLY CONTENT
"/* Generated from the names of *_lua.c files. */
#include \"vm/preload.h\"

#include <stddef.h>

@declarations@
const struct tg_preload tg_native_modules[] = {
@rows@    { NULL, NULL },
};
")
