# TIDEGATE_EMBED_C: every Lua file of ours, as bytecode inside the executable.

file(GLOB_RECURSE lua_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/lua/*.lua)
list(SORT lua_sources)

set(TIDEGATE_EMBED_C ${CMAKE_BINARY_DIR}/generated/embed_data.c)
set(TIDEGATE_EMBED_BIN ${CMAKE_BINARY_DIR}/generated/embed_data.bin)

# The list goes through a file, rewritten only when it differs: no limit on its length, and a
# deleted or renamed source is noticed.
list(JOIN lua_sources "\n" lua_list)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/embed_list.txt @ONLY CONTENT "@lua_list@\n")

add_custom_command(
  OUTPUT ${TIDEGATE_EMBED_C} ${TIDEGATE_EMBED_BIN}
  COMMAND ${LUAJIT_EXECUTABLE} ${CMAKE_SOURCE_DIR}/runtime/embed/generate.lua
    ${CMAKE_SOURCE_DIR}/lua ${CMAKE_BINARY_DIR}/generated/embed_list.txt
    ${TIDEGATE_EMBED_C} ${TIDEGATE_EMBED_BIN}
  DEPENDS runtime/embed/generate.lua ${CMAKE_BINARY_DIR}/generated/embed_list.txt ${lua_sources}
  COMMENT "Embedding Lua sources"
  VERBATIM)
set_source_files_properties(${TIDEGATE_EMBED_C} PROPERTIES OBJECT_DEPENDS ${TIDEGATE_EMBED_BIN})
