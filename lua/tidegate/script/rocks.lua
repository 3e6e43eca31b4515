-- Where modules that luarocks installed are found: a tree that is named, the user's, then the system's,
-- which LuaJIT knows by itself.

local uv = require "luv"

local M = {}

local function trees()
  local list = {}
  local named = uv.os_getenv "TIDEGATE_ROCKS_TREE"
  for tree in (named or ""):gmatch "[^:]+" do
    list[#list + 1] = tree
  end
  local home = uv.os_getenv "HOME"
  if home and home ~= "" then
    list[#list + 1] = home .. "/.luarocks"
  end
  return list
end

local done = false

--- Add the trees to the search paths of this VM, once.
function M.use()
  if done then
    return
  end
  done = true
  local lua, native = {}, {}
  for _, tree in ipairs(trees()) do
    lua[#lua + 1] = ("%s/share/lua/5.1/?.lua;%s/share/lua/5.1/?/init.lua"):format(tree, tree)
    native[#native + 1] = tree .. "/lib/lua/5.1/?.so"
  end
  lua[#lua + 1], native[#native + 1] = package.path, package.cpath
  package.path, package.cpath = table.concat(lua, ";"), table.concat(native, ";")
end

return M
