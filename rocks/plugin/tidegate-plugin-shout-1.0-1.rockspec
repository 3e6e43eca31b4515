package = "tidegate-plugin-shout"
version = "1.0-1"
-- A plugin to begin with: copy the folder, rename what is called "shout".
source = {
  url = "git+file://.",
}
description = {
  summary = "A template: a handler for tidegate that answers in capitals",
  license = "MIT",
}
dependencies = {
  "lua == 5.1",
}
build = {
  type = "builtin",
  modules = {
    ["shout"] = "shout.lua",
  },
}
