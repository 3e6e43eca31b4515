-- A client of SOCKS5 for specs.

local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}

--- A tunnel through a proxy on this machine.
-- @param target "a.b.c.d:port"
-- @return stream
function M.connect(port, target)
  local s = assert(stream.dial("127.0.0.1:" .. port, nil, task.now() + 10000))
  s:set_deadline(task.now() + 20000)
  assert(s:write("\5\1\0"))
  assert(s:read_exact(2) == "\5\0")
  local a, b, c, d, p = target:match "^(%d+)%.(%d+)%.(%d+)%.(%d+):(%d+)$"
  assert(s:write("\5\1\0\1", string.char(a, b, c, d, math.floor(p / 256), p % 256)))
  assert(s:read_exact(10):sub(1, 2) == "\5\0", "the proxy refuses")
  return s
end

return M
