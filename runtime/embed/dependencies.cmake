# tidegate_libraries: everything outside the repository that is linked.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(LUAJIT REQUIRED IMPORTED_TARGET luajit)
pkg_check_modules(LIBUV REQUIRED IMPORTED_TARGET libuv>=1.44)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl>=3.0)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(BROTLI REQUIRED IMPORTED_TARGET libbrotlienc libbrotlidec)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(ARGON2 REQUIRED IMPORTED_TARGET libargon2)
pkg_check_modules(CRYPT REQUIRED IMPORTED_TARGET libcrypt)
pkg_check_modules(LDNS REQUIRED IMPORTED_TARGET ldns>=1.8)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8>=10.40)
pkg_check_modules(MAXMINDDB REQUIRED IMPORTED_TARGET libmaxminddb>=1.5)
pkg_check_modules(NGHTTP2 REQUIRED IMPORTED_TARGET libnghttp2>=1.52)
pkg_check_modules(LIBSSH REQUIRED IMPORTED_TARGET libssh>=0.10)
pkg_check_modules(LIBSSH2 REQUIRED IMPORTED_TARGET libssh2>=1.10)

# luv's own pkg-config file asks for the headers of PUC Lua 5.1, which must stay out of sight:
# hence found by hand, and its folder (which may hold another lua.h) searched last.
# The archive where there is one: the library's name changes from release to release, and a package
# built on the older one is to run on the newer one too.  A rock shares what `require "luv"` loads.
if(TIDEGATE_ROCK)
  find_library(LUV_LIBRARY lua5.1-luv REQUIRED)
else()
  find_library(LUV_LIBRARY NAMES liblua5.1-luv.a lua5.1-luv REQUIRED)
endif()
find_path(LUV_INCLUDE luv/luv.h PATH_SUFFIXES lua5.1 REQUIRED)

find_program(LUAJIT_EXECUTABLE luajit REQUIRED)

add_library(tidegate_libraries INTERFACE)
target_include_directories(tidegate_libraries BEFORE INTERFACE ${LUAJIT_INCLUDE_DIRS})
target_compile_options(tidegate_libraries INTERFACE SHELL:-idirafter\ ${LUV_INCLUDE})
target_link_libraries(tidegate_libraries INTERFACE
  ${LUV_LIBRARY} $<$<NOT:$<BOOL:${TIDEGATE_ROCK}>>:PkgConfig::LUAJIT> PkgConfig::LIBUV PkgConfig::OPENSSL PkgConfig::ZLIB
  PkgConfig::BROTLI PkgConfig::ZSTD PkgConfig::LDNS PkgConfig::PCRE2 PkgConfig::MAXMINDDB PkgConfig::NGHTTP2
  PkgConfig::ARGON2 PkgConfig::CRYPT PkgConfig::LIBSSH PkgConfig::LIBSSH2
  Threads::Threads ${CMAKE_DL_LIBS} m)
