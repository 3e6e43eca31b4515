-- Decision-plane tests: registries and services of small configurations, and components that note
-- what happens to them.

local component = require "tidegate.component"
local listener = require "tidegate.native.listener"
local log = require "tidegate.process.log"
local server = require "spec.helpers.server"
local service = require "tidegate.process.service"
local stream = require "tidegate.native.stream"

local M = {}

local QUIET = { output = "none" }
local open = {}

--- Build the services of a configuration that logs nothing unless it says so.
-- @return name → service; problems
function M.build(config)
  config.log = config.log or QUIET
  local built, problems = service.build_all(config)
  for _, one in pairs(built) do
    open[#open + 1] = one
  end
  return built, problems
end

--- An acceptor on a free port; `fn(stream)` runs in a task.  @return address
function M.accept(fn)
  local address, stop = server.accept(fn)
  open[#open + 1] = { close = stop }
  return address
end

--- An echo server.  @return address
function M.echo()
  local address, stop = server.echo()
  open[#open + 1] = { close = stop }
  return address
end

--- An address where nobody listens.
function M.nobody()
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  local address = listener.address(fds[1])
  listener.close_fd(fds[1])
  return address
end

--- Serve one end of a pair.  @return the client's end
function M.client(built)
  local near, far = stream.pair()
  require("tidegate.native.task").spawn(function()
    built:serve(far)
  end)
  return near
end

local declared = {}

--- Declare a component for the time of a test.
function M.declare(kind, name, item)
  declared[#declared + 1] = component.register(kind, name, item)
end

--- Close what was opened.
function M.cleanup()
  for i = #open, 1, -1 do
    open[i]:close()
  end
  for i = #declared, 1, -1 do
    component.remove(declared[i])
  end
  open, declared = {}, {}
  log.flush()
end

return M
