-- The servers of the admin plane in the control thread: which are to listen where, and that they do.

local lazy = require "tidegate.lazy"
local failure = require "tidegate.failure"
local http = lazy "tidegate.admin.http"
local listener = require "tidegate.native.listener"
local luv = require "luv"
local signature = require "tidegate.process.signature"
local sockets = require "tidegate.process.sockets"

local M = {}

local PROFILING = ":6060" -- where nobody says where
local CONNECTIONS_MAX = 512 -- of one server

-- Key of the configuration → what answers its requests: new(settings, control) → site of
-- tidegate.admin.http
local SERVERS = {
  api = lazy "tidegate.admin.api",
  metrics = lazy "tidegate.admin.metrics",
  profiling = lazy "tidegate.admin.profiling",
}

local running = {} -- key → { signature, acceptor, fd, path, streams, count }

local function address_of(addr)
  if addr:find "^unix://" then
    return "unix:" .. addr:sub(8), addr:sub(8)
  end
  return addr
end

-- A socket that somebody left behind; nothing else is removed.
local function remove_socket(path)
  local stat = path:sub(1, 1) ~= "@" and luv.fs_lstat(path)
  if stat and stat.type == "socket" then
    os.remove(path)
  end
end

local function serve(one, key, site, stream, control)
  if one.count >= CONNECTIONS_MAX then
    return stream:close()
  end
  one.count = one.count + 1
  one.streams[stream] = true
  http.serve(stream, site, {
    client = stream:remote_address() or "@",
    on_error = function(text)
      control.log:error("raised: " .. text, { "kind", key })
    end,
  })
  one.streams[stream] = nil
  one.count = one.count - 1
  stream:close()
end

-- Profiles tell much and ask nobody who they are: unless a host is named, only this machine is served.
local function default_host(key, addr)
  if key == "profiling" and addr:find "^:%d+$" then
    return "127.0.0.1" .. addr
  end
  return addr
end

local function open(key, settings, control)
  local where, path = address_of(default_host(key, settings.addr))
  local inherited, fds, err = sockets.inherit("@" .. key), nil, nil
  if inherited and (listener.address(inherited) == where:gsub("^unix:", ""):gsub("^:", "[::]:")) then
    fds = { inherited }
  else
    if inherited then
      listener.close_fd(inherited)
    end
    if path then
      remove_socket(path)
    end
    fds, err = listener.open(where, "stream", 1, nil)
  end
  if not fds then
    err = failure.wrap(err, "io"):during(("listen on %s for the %s"):format(settings.addr or "", key))
    return nil, sockets.with_remedy(err, path and "unix")
  end
  local site = SERVERS[key].new(settings, control)
  local one = { signature = signature.of(settings), fd = fds[1], path = path, streams = {}, count = 0 }
  one.acceptor, err = listener.accept(fds[1], function(stream)
    serve(one, key, site, stream, control)
  end, function() end)
  if not one.acceptor then
    listener.close_fd(fds[1])
    return nil, err
  end
  control.log:info("listening on " .. (listener.address(fds[1]) or settings.addr), {
    "kind", "service", "service", "@" .. key,
  })
  return one
end

local function close(key)
  local one = running[key]
  running[key] = nil
  one.acceptor:close(true)
  listener.close_fd(one.fd)
  for stream in pairs(one.streams) do
    stream:close()
  end
  if one.path then
    remove_socket(one.path)
  end
end

--- Put what a successor of this process is to get behind a list of { name, fd }.  @return the list
function M.offers(list)
  for key, one in pairs(running) do
    list[#list + 1] = { name = "%40" .. key, fd = one.fd }
  end
  return list
end

--- The paths of sockets belong to a successor now.
function M.hand_over()
  for _, one in pairs(running) do
    one.path = nil
  end
end

--- Have the servers run that a configuration asks for; those that are as they were go on.
-- @return true | nil, a list of problems (the others run)
function M.settle(config, control)
  local problems = {}
  for key in pairs(SERVERS) do
    local settings = config[key]
    if key == "profiling" and settings and (settings.addr or "") == "" then
      settings = { addr = PROFILING }
    end
    local wanted = settings and settings.addr and settings.addr ~= ""
    if running[key] and not (wanted and running[key].signature == signature.of(settings)) then
      close(key)
    end
    if wanted and not running[key] then
      local err
      running[key], err = open(key, settings, control)
      problems[#problems + 1] = err
    end
  end
  return #problems == 0 or nil, problems
end

--- Close all of them.
function M.close()
  for key in pairs(SERVERS) do
    if running[key] then
      close(key)
    end
  end
end

return M
