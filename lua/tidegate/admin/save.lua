-- Where the running configuration may be written, and writing it.

local luv = require "luv"

local M = {}

-- Sources that are files; others are URLs, text, or standard input.
local function is_file(text)
  local stat = text ~= "-" and luv.fs_stat(text)
  return stat and stat.type == "file"
end

--- The file that was read last, or nil.
function M.last_file(configs)
  for i = #configs, 1, -1 do
    if is_file(configs[i]) then
      return configs[i]
    end
  end
end

local function folder_of(path)
  return path:match "^(.*)/[^/]*$" or "."
end

--- The folders that the loaded files are in; without any, the working directory.
-- @return real path → true
function M.folders(configs)
  local found = {}
  for _, text in ipairs(configs) do
    local real = is_file(text) and luv.fs_realpath(folder_of(luv.fs_realpath(text) or text))
    if real then
      found[real] = true
    end
  end
  if not next(found) then
    found[luv.fs_realpath "." or "."] = true
  end
  return found
end

--- May a file be written?  Links are followed first.
-- @param folders of folders()
-- @return true | nil, why not
function M.allowed(path, folders)
  if path:find "%z" or path:match "[^/]*$" == "" then
    return nil, "it is no name of a file"
  end
  local real = luv.fs_realpath(path)
  if not real and luv.fs_lstat(path) then
    return nil, "it is a link that leads nowhere"
  elseif real and luv.fs_stat(real).type ~= "file" then
    return nil, "it is no plain file"
  end
  local folder = real and folder_of(real) or luv.fs_realpath(folder_of(path))
  if not folder then
    return nil, "there is no such folder"
  elseif not folders[folder] then
    return nil, "it is outside the folders that the configuration was read from"
  end
  return true
end

--- Write a file: whole, or not at all.  A new one is its owner's alone, since it holds passwords.
-- @return true | nil, err
function M.write(path, text)
  path = luv.fs_realpath(path) or path
  local stat = luv.fs_stat(path)
  local fresh = ("%s.%d.new"):format(path, luv.os_getpid())
  local fd, err = luv.fs_open(fresh, "wx", stat and stat.mode % 512 or 384)
  if not fd then
    return nil, "create file: " .. tostring(err)
  end
  local ok
  ok, err = luv.fs_write(fd, text, 0)
  ok = ok == #text and luv.fs_fsync(fd)
  luv.fs_close(fd)
  if ok then
    ok, err = luv.fs_rename(fresh, path)
  end
  if not ok then
    luv.fs_unlink(fresh)
    return nil, "save config: " .. tostring(err)
  end
  return true
end

return M
