-- Where the runtime finds components: among the modules of the executable, and in the folder that
-- overrides them while developing.

local component = require "tidegate.component"
local embedded = require "tidegate.native.embed"
local uv = require "luv"

local M = {}

local function list_modules()
  local names = embedded.modules()
  local dir = os.getenv "TIDEGATE_LUA_DIR"
  for _, kind in ipairs(dir and component.KINDS or {}) do
    local scan = uv.fs_scandir(dir .. "/tidegate/" .. kind)
    local name = scan and uv.fs_scandir_next(scan)
    while name do
      if name:match "%.lua$" then
        names[#names + 1] = ("tidegate.%s.%s"):format(kind, name:sub(1, -5))
      end
      name = uv.fs_scandir_next(scan)
    end
  end
  return names
end

--- Let tidegate.component look there.
function M.use_embedded()
  component.set_listing(list_modules)
end

return M
