-- The listening sockets of all services, kept by the control thread.
--
-- They are opened for all workers at once, before anything is applied, so that an address in use is
-- found while the old configuration still runs; and they outlive the services that use them, so that
-- an unchanged listener keeps its sockets through a reload.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local listener = require "tidegate.native.listener"
local metadata = require "tidegate.metadata"
local process = require "tidegate.native.process"
local stream = require "tidegate.native.stream"
local systemd = require "tidegate.process.systemd"

local M = {}

--- Metadata that shapes the socket itself; read from the listener, and from the service.
local LISTENER_KEYS = {
  mptcp = { type = "bool", default = false },
  reuseport = { type = "bool", default = false },
  fastopen = { type = "bool", default = false },
  tproxy = { type = "bool", default = false },
  mode = { type = "string" },
  keepalive = { type = "bool", default = false, aliases = { "tcp.keepalive" } },
  ["keepalive.idle"] = { type = "duration", default = 0, aliases = { "tcp.keepalive.idle" } },
  ["keepalive.interval"] = { type = "duration", default = 0, aliases = { "tcp.keepalive.interval" } },
  ["keepalive.count"] = { type = "int", default = 0, aliases = { "tcp.keepalive.count" } },
}
local SERVICE_KEYS = { netns = { type = "string" } }

local open = {} -- key → { fds, address, network }
local inherited

--- Turn an address of a configuration into one that can be bound: a missing host means all, of both
-- families; a name is looked up.  @return text | nil, err
local function bindable(service, network)
  local addr = service.addr or ""
  if network == "unix" then
    return "unix:" .. addr
  end
  if addr == "" then
    return ":0"
  end
  local host, port = addr:match "^%[?(.-)%]?:(%w*)$"
  if not host then
    return nil, failure.new("invalid", ("address %q has no port; write %q"):format(addr, ":" .. addr))
  end
  if not port:find "^%d+$" or tonumber(port) > 65535 then
    return nil, failure.new("invalid", ("%q is not a port"):format(port))
  end
  if host == "" or host:find ":" or host:find "^%d+%.%d+%.%d+%.%d+$" then
    return addr
  end
  local ips, err = require("tidegate.net.resolve").lookup(host)
  if not ips then
    return nil, err
  end
  for _, ip in ipairs(ips) do
    if not ip:find ":" then
      return ip .. ":" .. port
    end
  end
  return ("[%s]:%s"):format(ips[1], port)
end

local function options_of(md, netns)
  local keepalive
  if md.keepalive then
    keepalive = {
      idle = md["keepalive.idle"] > 0 and md["keepalive.idle"] or 15,
      interval = md["keepalive.interval"] > 0 and md["keepalive.interval"] or 15,
      count = md["keepalive.count"] > 0 and md["keepalive.count"] or 9,
    }
  end
  return stream.options {
    mptcp = md.mptcp,
    reuseport = md.reuseport,
    fastopen = md.fastopen,
    transparent = md.tproxy,
    keepalive = keepalive,
    netns = netns,
  }
end

local function describe(service)
  local kind = service.listener and service.listener.type or "tcp"
  local item, err = component.find("listener", kind)
  if not item then
    return nil, err or failure.new("config", ("unknown listener: %s"):format(kind))
  end
  if not item.network then
    return { key = ("none %s %s"):format(kind, service.name), network = "none" }
  end
  local md = metadata.parse(LISTENER_KEYS, service.listener and service.listener.metadata or {})
  local netns = metadata.parse(SERVICE_KEYS, service.metadata or {}).netns
  local address
  address, err = bindable(service, item.network)
  if not address then
    return nil, err
  end
  local key = table.concat({
    item.network, address, tostring(md.mptcp), tostring(md.reuseport), tostring(md.fastopen),
    tostring(md.tproxy), tostring(md.keepalive), md["keepalive.idle"], md["keepalive.interval"],
    md["keepalive.count"], netns or "", address:find ":0$" and service.name or "",
  }, " ")
  return {
    key = key, network = item.network, address = address, md = md, netns = netns,
    count = item.single and 1 or process.workers(),
  }
end

-- Keys as names of LISTEN_FDNAMES.
local function name_of(key)
  return (key:gsub("[^%w._-]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

-- Inherited sockets, one of each name: a predecessor hands over as many as it had workers.
local function take(matches, most)
  inherited = inherited or systemd.inherited()
  local fds = {}
  for _, one in ipairs(inherited) do
    if not one.used and #fds < most and matches(one) then
      one.used = true
      fds[#fds + 1] = one.fd
    end
  end
  return fds
end

local function from_service_manager(wanted)
  local name = name_of(wanted.key)
  local fds = take(function(one)
    return one.name == name
  end, wanted.count)
  if #fds == 0 then
    local kind = wanted.network == "udp" and "datagram" or "stream"
    local plain = wanted.address:gsub("^unix:", ""):gsub("^:", "[::]:")
    fds = take(function(one)
      return one.kind == kind and (one.address == plain or one.address == wanted.address)
    end, wanted.count)
  end
  local got = #fds
  for i = got + 1, got > 0 and wanted.count or 0 do
    fds[i] = listener.duplicate(fds[(i - 1) % got + 1])
  end
  return got > 0 and fds or nil
end

--- The socket of a server that is no service, as a predecessor handed it over.  @return fd | nil
function M.inherit(name)
  local found = false
  return take(function(one)
    local mine = not found and one.name == name_of(name)
    found = found or mine
    return mine
  end, 1)[1]
end

--- Close what a predecessor handed over and nobody wants: connections would wait there for ever.
function M.settle_inherited()
  for _, one in ipairs(systemd.is_successor() and inherited or {}) do
    if not one.used then
      one.used = true
      listener.close_fd(one.fd)
    end
  end
end

--- What a successor is to get: list of { name, fd }.
function M.offers()
  local list = {}
  for key, known in pairs(open) do
    for _, fd in ipairs(known.fds) do
      list[#list + 1] = { name = name_of(key), fd = fd }
    end
  end
  return list
end

--- The paths of sockets belong to a successor now.
function M.hand_over()
  for _, known in pairs(open) do
    known.path = nil
  end
end

local function open_fresh(wanted)
  local options, err = options_of(wanted.md, wanted.netns)
  if not options then
    return nil, err
  end
  local kind = wanted.network == "udp" and "datagram" or "stream"
  local fds
  fds, err = listener.open(wanted.address, kind, wanted.count, options)
  if fds and wanted.network == "unix" and wanted.md.mode then
    local mode = tonumber(wanted.md.mode, wanted.md.mode:find "^0" and 8 or 10)
    if mode then
      require("luv").fs_chmod(wanted.address:sub(6), mode)
    end
  end
  return fds, err
end

local REMEDIES = {
  inuse = "somebody else listens there, ss -lntup shows who",
  denied = "ports below 1024 take root or CAP_NET_BIND_SERVICE",
  unreachable = "this machine has no such address, ip addr lists those it has",
}
local UNIX_REMEDIES = {
  inuse = "something else of that name is there; what is no socket is left alone",
  refused = "the folder is not there",
}

--- Say what can be done about a socket that cannot be opened.
-- @param network "unix", or anything else
function M.with_remedy(err, network)
  local remedy = (network == "unix" and UNIX_REMEDIES or REMEDIES)[err.code]
  return remedy and failure.new(err.code, ("%s; %s"):format(tostring(err), remedy)) or err
end

--- Find or open the sockets of a service.
-- @return { key, fds, address, network, fresh } | nil, err
function M.obtain(service)
  local wanted, err = describe(service)
  if not wanted then
    return nil, err
  end
  if wanted.network == "none" then
    return { key = wanted.key, fds = {}, address = service.addr or "", network = "none" }
  end
  local known = open[wanted.key]
  if known then
    return { key = wanted.key, fds = known.fds, address = known.address, network = known.network }
  end
  local fds = from_service_manager(wanted)
  if not fds then
    fds, err = open_fresh(wanted)
    if not fds then
      return nil, M.with_remedy(err:during("listen on " .. (service.addr or ":0")), wanted.network)
    end
  end
  local address = listener.address(fds[1]) or wanted.address
  open[wanted.key] = {
    fds = fds, address = address, network = wanted.network,
    path = wanted.network == "unix" and wanted.address:sub(6) or nil,
  }
  return { key = wanted.key, fds = fds, address = address, network = wanted.network, fresh = true }
end

--- Close the sockets of a key.
function M.release(key)
  local known = open[key]
  if not known then
    return
  end
  open[key] = nil
  for _, fd in ipairs(known.fds) do
    listener.close_fd(fd)
  end
  if known.path and known.path:sub(1, 1) ~= "@" then
    os.remove(known.path)
  end
end

--- @param network nil for any
-- @return the keys of all sockets that are open
function M.keys(network)
  local keys = {}
  for key, known in pairs(open) do
    if network == nil or known.network == network then
      keys[#keys + 1] = key
    end
  end
  return keys
end

return M
