-- The other side of the REPL's socket: finding it, and asking over it.

local cjson = require "cjson"
local place = require "tidegate.admin.repl.place"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}

local LINE_MAX = 4 * 1024 * 1024
local CONNECT_MS = 3000

--- @param path of the socket; nil for that of the process started last
-- @return stream | nil, why
function M.connect(path)
  local paths = path and { path } or place.list()
  local err
  for _, one in ipairs(paths) do
    local s
    s, err = stream.dial("unix:" .. one, nil, task.now() + CONNECT_MS)
    if s then
      return s
    end
  end
  if #paths == 0 then
    return nil, ("no running tidegate of this user has a REPL in %s; start one, or name its socket by -socket"):format(
      place.folder())
  end
  return nil, ("no tidegate answers at %s (%s); start one, or name its socket with -socket"):format(paths[1],
    err.message or tostring(err))
end

--- @param request see tidegate.admin.repl.server
-- @return answer | nil, why
function M.ask(s, request)
  local ok, err = s:write(cjson.encode(request), "\n")
  local line
  if ok then
    line, err = s:read_until("\n", LINE_MAX)
  end
  if not line then
    return nil, "the process has closed the connection: " .. tostring(err)
  end
  return cjson.decode(line)
end

return M
