rockspec_format = "1.0"
package = "tidegate"
version = "0.1.0-1"
-- `luarocks make rocks/tidegate-0.1.0-1.rockspec` in a checkout; nothing is fetched.
source = {
  url = "git+file://.",
}
description = {
  summary = "A programmable tunnel as a library: dial through chains of proxies, and serve",
  detailed = "The native modules and the Lua library of tidegate for a plain LuaJIT.  See docs/rocks.md.",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
  "lua == 5.1",
}
build = {
  type = "cmake",
  variables = {
    TIDEGATE_ROCK = "ON",
    CMAKE_BUILD_TYPE = "Release",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    INST_LIBDIR = "$(LIBDIR)",
    INST_LUADIR = "$(LUADIR)",
  },
}
