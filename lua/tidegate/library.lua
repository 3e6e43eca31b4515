-- tidegate in a plain LuaJIT: dialing through chains and serving, from a script.
--
--   local tidegate = require "tidegate"
--   tidegate.run(function()
--     local stream, err = tidegate.dial("example.org:80", { "socks5://127.0.0.1:1080" })
--     …
--   end)
--
-- One thread, one VM: no control thread, no reload, no API.

local cli = require "tidegate.cli"
local component = require "tidegate.component"
local components = require "tidegate.process.components"
local core = require "tidegate.core"
local failure = require "tidegate.failure"
local listener = require "tidegate.native.listener"
local log = require "tidegate.process.log"
local packet = require "tidegate.native.packet"
local registry = require "tidegate.process.registry"
local relay = require "tidegate.native.relay"
local service = require "tidegate.process.service"
local serving = require "tidegate.process.serving"
local task = require "tidegate.native.task"
local url = require "tidegate.config.url"

local M = {}

M.failure, M.sleep, M.spawn = failure, task.sleep, task.spawn

components.use_embedded()
relay.on_end(serving.relay_ended)
packet.on_end(serving.relay_ended)

--- Run a function in a task, which may wait, until it returns.
-- @return what it returns; an error in it is raised here
function M.run(fn, ...)
  local results
  local args, count = { ... }, select("#", ...)
  core.run(function(finish)
    results = { xpcall(function()
      return fn(unpack(args, 1, count))
    end, debug.traceback) }
    finish()
  end)
  if not results[1] then
    error(results[2], 0)
  end
  return unpack(results, 2, table.maxn(results))
end

local function first_error(problems)
  for _, problem in ipairs(problems) do
    if type(problem) ~= "table" or problem.severity ~= "warning" then
      return failure.new("config", type(problem) == "table" and problem.message or tostring(problem))
    end
  end
end

local registries = {} -- text of the nodes → registry

local function chain_of(nodes)
  local key = table.concat(nodes, "\n")
  local known = registries[key]
  if known then
    return known
  end
  local config, problems = url.build({}, nodes)
  local err = first_error(problems)
  if err then
    return nil, err
  end
  local checked
  checked, problems = cli.check(config)
  if not checked then
    return nil, first_error(problems)
  end
  checked.log = { output = "none" }
  known, problems = registry.new(checked)
  if problems[1] then
    known:close()
    return nil, failure.wrap(problems[1])
  end
  known.users = 1
  registries[key] = known
  return known
end

--- Connect to a target.
-- @param address "host:port"
-- @param nodes list of URLs as -F takes them; nothing: directly
-- @return stream (read, write, close, set_deadline …) | nil, err
function M.dial(address, nodes)
  local known, err = chain_of(nodes or {})
  if not known then
    return nil, err
  end
  return known:connect("tcp", address, { chain = nodes and nodes[1] and "chain-0" or nil })
end

local function open_door(built, config)
  local item = component.find("listener", config.listener and config.listener.type or "tcp")
  local network, fds, err = item.network, nil, nil
  if not network then
    local acceptor
    acceptor, err = built:serve_alone()
    return acceptor and { acceptor = acceptor, address = config.addr }, err
  end
  local where = network == "unix" and "unix:" .. config.addr or config.addr
  fds, err = listener.open(where, network == "udp" and "datagram" or "stream", 1)
  if not fds then
    return nil, failure.wrap(err):during("listen on " .. tostring(config.addr))
  end
  local door = { fd = fds[1], address = listener.address(fds[1]) or config.addr }
  if item.serve then
    door.acceptor, err = built:serve_socket(door.fd)
  else
    door.acceptor, err = listener.accept(door.fd, function(stream)
      return built:serve(stream)
    end, function() end)
  end
  if not door.acceptor then
    listener.close_fd(door.fd)
    return nil, err
  end
  return door
end

local server = {}
local server_mt = { __name = "tidegate.library.server", __index = server }

--- Accept nothing more; connections that run go on.
function server:close()
  for _, door in ipairs(self.doors) do
    door.acceptor:close()
    if door.fd then
      listener.close_fd(door.fd)
    end
  end
  for _, built in pairs(self.built) do
    built:close()
  end
  self.doors, self.built = {}, {}
end

--- Serve.
-- @param options { services = list of URLs as -L takes them, nodes = list as of -F, configs = list of
--   files as of -C }
-- @return server with `addresses`, the list of where it listens, and close() | nil, err
function M.serve(options)
  local config, problems = cli.build {
    services = options.services or {}, nodes = options.nodes or {}, configs = options.configs or {},
  }
  if not config then
    return nil, first_error(problems)
  end
  config.log = config.log or { level = "warn" }
  log.configure(config.log)
  local self = setmetatable({ doors = {}, addresses = {} }, server_mt)
  self.built, problems = service.build_all(config)
  local err = first_error(problems)
  for _, one in ipairs(not err and config.services or {}) do
    local door
    door, err = open_door(self.built[one.name], one)
    if not door then
      break
    end
    self.doors[#self.doors + 1] = door
    self.addresses[#self.addresses + 1] = door.address
  end
  if err then
    self:close()
    return nil, err
  end
  return self
end

return M
