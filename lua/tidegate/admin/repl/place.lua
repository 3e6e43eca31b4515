-- Where the sockets of REPLs are: one a process, in a folder that only its user may enter.

local luv = require "luv"

local M = {}

--- The folder of this user's sockets.
function M.folder()
  local uid = luv.getuid()
  local runtime = luv.os_getenv "XDG_RUNTIME_DIR"
  if uid == 0 then
    return "/run/tidegate"
  elseif runtime and runtime ~= "" then
    return runtime .. "/tidegate"
  end
  return "/tmp/tidegate-" .. uid
end

--- The path for a process, its folder made.
-- @return path | nil, why not
function M.path(pid)
  local folder = M.folder()
  luv.fs_mkdir(folder, 448) -- 0700
  local stat = luv.fs_lstat(folder)
  if not stat or stat.type ~= "directory" or stat.uid ~= luv.getuid() or stat.mode % 64 ~= 0 then
    return nil, folder .. " is not a folder of this user's own"
  end
  return ("%s/%d.sock"):format(folder, pid)
end

--- The sockets of this user's processes, the youngest first.
function M.list()
  local folder, found = M.folder(), {}
  local scan = luv.fs_scandir(folder)
  local name = scan and luv.fs_scandir_next(scan)
  while name do
    local path = folder .. "/" .. name
    local stat = name:find "^%d+%.sock$" and luv.fs_stat(path)
    found[#found + 1] = stat and { path = path, made = stat.ctime.sec + stat.ctime.nsec / 1e9 } or nil
    name = luv.fs_scandir_next(scan)
  end
  table.sort(found, function(a, b)
    return a.made > b.made
  end)
  local paths = {}
  for i, one in ipairs(found) do
    paths[i] = one.path
  end
  return paths
end

return M
