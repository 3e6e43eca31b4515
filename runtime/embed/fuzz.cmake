# One libFuzzer executable for each spec/fuzz/(name)_fuzz.c, over the parts that need no Lua.

if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "fuzz targets need clang: configure with -DCMAKE_C_COMPILER=clang")
endif()

file(GLOB_RECURSE fuzzed_sources CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/native/base/*.c ${CMAKE_SOURCE_DIR}/native/os/*.c
  ${CMAKE_SOURCE_DIR}/native/codec/*.c ${CMAKE_SOURCE_DIR}/native/session/*.c
  ${CMAKE_SOURCE_DIR}/native/match/*.c ${CMAKE_SOURCE_DIR}/native/crypto/*.c
  ${CMAKE_SOURCE_DIR}/native/stream/stream.c ${CMAKE_SOURCE_DIR}/native/stream/pair.c
  ${CMAKE_SOURCE_DIR}/native/stream/meter.c
  ${CMAKE_SOURCE_DIR}/native/packet/packet.c ${CMAKE_SOURCE_DIR}/native/packet/framed.c
  ${CMAKE_SOURCE_DIR}/native/packet/udp.c ${CMAKE_SOURCE_DIR}/native/packet/udp_sessions.c
  ${CMAKE_SOURCE_DIR}/native/stream/ss.c ${CMAKE_SOURCE_DIR}/native/stream/ss_send.c
  ${CMAKE_SOURCE_DIR}/native/stream/ss_receive.c ${CMAKE_SOURCE_DIR}/native/packet/ss_udp.c
  ${CMAKE_SOURCE_DIR}/native/stream/ws.c ${CMAKE_SOURCE_DIR}/native/stream/ws_deflate.c
  ${CMAKE_SOURCE_DIR}/native/stream/opener.c ${CMAKE_SOURCE_DIR}/native/stream/obfs_http.c
  ${CMAKE_SOURCE_DIR}/native/stream/obfs_tls.c ${CMAKE_SOURCE_DIR}/native/stream/sni_disguise.c
  ${CMAKE_SOURCE_DIR}/native/stream/lazy_reply.c ${CMAKE_SOURCE_DIR}/native/stream/tls.c
  ${CMAKE_SOURCE_DIR}/native/stream/tls_record.c ${CMAKE_SOURCE_DIR}/native/stream/tls_traffic.c
  ${CMAKE_SOURCE_DIR}/native/stream/tls_words.c
  ${CMAKE_SOURCE_DIR}/native/stream/tls_cert.c ${CMAKE_SOURCE_DIR}/native/stream/tls_context.c
  ${CMAKE_SOURCE_DIR}/native/stream/tls_options.c ${CMAKE_SOURCE_DIR}/native/stream/tls_tickets.c
  ${CMAKE_SOURCE_DIR}/native/relay/body.c ${CMAKE_SOURCE_DIR}/native/relay/gunzip.c
  ${CMAKE_SOURCE_DIR}/native/relay/pipes.c
  ${CMAKE_SOURCE_DIR}/native/packet/socks_udp.c)
list(FILTER fuzzed_sources EXCLUDE REGEX "_lua\\.c$")
file(GLOB target_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/spec/fuzz/*_fuzz.c)

add_library(fuzzed OBJECT ${fuzzed_sources})
target_link_libraries(fuzzed PUBLIC tidegate_flags tidegate_libraries)
target_compile_options(fuzzed PUBLIC -fsanitize=fuzzer-no-link)

foreach(source IN LISTS target_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  # libFuzzer's entry point has no header to be declared in.
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -Wno-missing-prototypes)
  target_link_libraries(${name} PRIVATE fuzzed)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endforeach()
