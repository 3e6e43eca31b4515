-- A real Redis server beside the test.

local programs = require "spec.helpers.programs"

local M = {}

--- Start one.  options: port, args
-- @return { port, addr, process }
function M.start(options)
  options = options or {}
  local port = options.port or programs.free_port()
  local args = {
    "--port", tostring(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no",
    "--dir", programs.folder(), unpack(options.args or {}),
  }
  local process = programs.start("redis-server", args, { port = port })
  return { port = port, addr = "127.0.0.1:" .. port, process = process }
end

return M
