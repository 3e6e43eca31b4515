-- What can be wrong with addresses: of services, of what is dialed, of the admin plane.

local addr = require "tidegate.net.addr"
local metadata = require "tidegate.metadata"
local uri = require "tidegate.config.uri"

local M = {}

local function set_of(words)
  local set = {}
  for word in words:gmatch "%S+" do
    set[word] = true
  end
  return set
end

--- Types whose addresses have no port.
M.NO_PORT = set_of "unix runix serial stdio tun tungo tap icmp icmp6 direct virtual"

local DATAGRAM = set_of "udp dtls quic kcp http3 h3 wt tun tungo"
local ELSEWHERE = set_of "rtcp rudp runix stdio tap"
local ADMIN = { "api", "metrics", "profiling" }

-- @return what is wrong with host:port, or nil; whether nothing but a port is missing
local function problem(address)
  local host, port = uri.split_host_port(address)
  if not host then
    if address:find(":", 1, true) then
      return ("%q is no address; an IPv6 address needs brackets: [::1]:8080"):format(address)
    elseif address:find("^%d+$") then
      return ("%q has no port; write %q"):format(address, ":" .. address), true
    end
    return ("%q has no port; write %q"):format(address, address .. ":8080"), true
  end
  local number = port:find("^%d+$") and tonumber(port)
  if number and number > 65535 or not number and not port:find("^%a[%w-]*$") then
    return ("%q is no port; 0 to 65535 is"):format(port)
  end
end

--- Check `addr` of a node or target.
function M.dialed(report, object, path)
  local message, only_port = problem(object.addr)
  if message then
    report[only_port and "warning" or "error"](report, object, "addr", path, message)
  end
end

-- @return what is wrong with an address to listen on, or nil
local function listening_problem(address)
  local message = problem(address)
  local host, port = uri.split_host_port(address)
  if message then
    return message
  elseif not port:find "^%d+$" then
    return ("%q is no port; 0 to 65535 is"):format(port)
  elseif host:find "^[%d.]+$" and not addr.is_ip(host) then
    return ("%q is no IP address"):format(host)
  end
end

--- Check where a service listens.
-- @param kind its listener's type
function M.service(report, service, kind, path)
  local address = service.addr or ""
  if kind == "unix" and address == "" then
    report:error(service, nil, path, "a unix listener needs a path as address")
  elseif address ~= "" and not M.NO_PORT[kind] then
    local message = listening_problem(address)
    if message then
      report:error(service, "addr", path, message)
    end
  end
end

--- Report a service on the address of another: they would share its connections at random.
-- @param seen one table for all services
function M.shared(report, service, kind, path, seen)
  local address = service.addr or ""
  if address == "" or address:find(":0$") or ELSEWHERE[kind] then
    return
  end
  local network = kind == "unix" and "unix" or DATAGRAM[kind] and "udp" or "tcp"
  local md = metadata.parse({ netns = { type = "string" } }, service.metadata)
  local id = ("%s %s %s"):format(network, address, md.netns or "")
  local other = seen[id]
  if other and other.name ~= service.name then
    report:error(service, "addr", path, "%s is the address of service %q already", address, tostring(other.name))
  end
  seen[id] = other or service
end

--- Check where the admin plane listens.
-- @param seen the table that shared() has filled
function M.admin(report, config, seen)
  for _, key in ipairs(ADMIN) do
    local object = config[key]
    local address = object and object.addr or ""
    if address ~= "" and not address:find "^unix://" then
      local message = listening_problem(address)
      local other = seen[("tcp %s "):format(address)]
      if message then
        report:error(object, "addr", key, message)
      elseif other then
        report:error(object, "addr", key, "%s is the address of service %q already", address, tostring(other.name))
      end
    end
  end
end

return M
