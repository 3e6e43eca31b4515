-- Where clients of an SSH server may have it listen.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"

local M = {}
local methods = {}
local mt = { __name = "tidegate.ssh.bind", __index = methods }

local PRIVILEGED = 1024 -- ports below this one have to be named
local ALL = { [""] = true, ["*"] = true, ["0.0.0.0"] = true, ["::"] = true }
local LOCAL = { "127.0.0.1", "::1" }

local function ports_of(text)
  if text == nil or text == "*" then
    return PRIVILEGED, 65535, true
  end
  local first, last = text:match "^(%d+)%-(%d+)$"
  first = tonumber(first or text:match "^%d+$")
  last = tonumber(last) or first
  if first and first >= 1 and first <= last and last <= 65535 then
    return first, last, false
  end
end

-- "host", "host:port", "host:from-to"; an IPv6 address with ports is in brackets.
local function rule_of(item)
  local host, ports = item:match "^%[(.+)%]:([%d%-*]+)$"
  if not host and not addr.is_ip(item) then
    host, ports = item:match "^([^:]*):([%d%-*]+)$"
  end
  host = host or item:match "^%[(.+)%]$" or item
  local first, last, any = ports_of(ports)
  local net = host:match "^([^/]+)/%d+$"
  local all, here = ALL[host] or host == "any", host == "localhost"
  if not first or not (all or here or addr.is_ip(net or host)) then
    return nil
  end
  return { all = all, first = first, last = last, any = any, set = addr.ip_set(here and LOCAL or { host }) }
end

--- @param items list of addresses, with ports or without; nil: any address where clients log in, else none
-- @param logins whether clients have to log in
-- @return policy | nil, err
function M.new(items, logins)
  local self = setmetatable({ logins = logins }, mt)
  if not items then
    self.rules = logins and { rule_of "any" } or {}
    return self
  end
  self.rules, self.named = {}, true
  for _, item in ipairs(items) do
    if item ~= "none" then
      local rule = rule_of(item)
      if not rule then
        return nil, failure.new("config", ("bind: %q is no address to listen on; known are any, none, localhost, "
          .. "ADDRESS, NETWORK/BITS, each with :PORT or :FROM-TO"):format(item))
      end
      self.rules[#self.rules + 1] = rule
    end
  end
  return self
end

local function fits(rule, host, port)
  local number = port == 0 and rule.any or port >= rule.first and port <= rule.last
  if not number or rule.all then
    return number
  end
  return not ALL[host] and rule.set(host == "localhost" and LOCAL[1] or host)
end

--- May a client have us listen here?
-- @param host as it asked: an address, "localhost", or "" for all
-- @return true | nil, err
function methods:allows(host, port)
  for _, rule in ipairs(self.rules) do
    if fits(rule, host, port) then
      return true
    end
  end
  local why = "the metadata bind does not have it"
  if not self.named then
    why = self.logins and ("ports below %d have to be named in the metadata bind"):format(PRIVILEGED)
      or "clients that need no login may not listen unless the metadata bind says where"
  end
  return nil, failure.new("blocked", why)
end

return M
