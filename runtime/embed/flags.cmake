# tidegate_flags: how every C file of ours is compiled and linked.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# assert() stays in what ships: a bug stops here and not three layers on.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(tidegate_flags INTERFACE)
target_include_directories(tidegate_flags INTERFACE
  ${CMAKE_SOURCE_DIR}/native ${CMAKE_SOURCE_DIR}/runtime)
target_compile_definitions(tidegate_flags INTERFACE
  _GNU_SOURCE TIDEGATE_VERSION="${PROJECT_VERSION}"
  # The API we write to: what OpenSSL deprecates later is no warning of ours.
  OPENSSL_API_COMPAT=30000)
target_compile_options(tidegate_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  $<$<BOOL:${TIDEGATE_WERROR}>:-Werror>
  # All of it ends in executables: PIE, not PIC, so that calls within stay direct.
  $<IF:$<BOOL:${TIDEGATE_ROCK}>,-fPIC,-fPIE>
  # Tracebacks and assertions name files as the repository does.
  -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
if(NOT TIDEGATE_ROCK)
  target_link_options(tidegate_flags INTERFACE -pie)
endif()

if(TIDEGATE_FUZZ)
  set(TIDEGATE_SANITIZE address,undefined)
endif()
if(TIDEGATE_SANITIZE)
  target_compile_options(tidegate_flags INTERFACE
    -O1 -g -fno-omit-frame-pointer
    -fsanitize=${TIDEGATE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(tidegate_flags INTERFACE -fsanitize=${TIDEGATE_SANITIZE})
else()
  target_compile_options(tidegate_flags INTERFACE
    -fno-plt -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  target_link_options(tidegate_flags INTERFACE -Wl,-z,relro -Wl,-z,now)
endif()
