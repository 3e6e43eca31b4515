# tidegate/core.so: everything native and every Lua module, for a plain LuaJIT.  The Lua API is taken
# from the interpreter that loads it.

add_library(tidegate_core MODULE runtime/rock/rock.c)
target_link_libraries(tidegate_core PRIVATE tidegate_native tidegate_runtime)
set_target_properties(tidegate_core PROPERTIES PREFIX "" OUTPUT_NAME core)
target_link_options(tidegate_core PRIVATE -Wl,-Bsymbolic)

install(TARGETS tidegate_core DESTINATION ${INST_LIBDIR}/tidegate)
install(FILES lua/tidegate/init.lua DESTINATION ${INST_LUADIR}/tidegate)
