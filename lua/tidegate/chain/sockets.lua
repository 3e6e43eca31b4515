-- Outgoing sockets of a service or a node: which interface, mark and namespace they use.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local stream = require "tidegate.native.stream"

local M = {}
local methods = {}
local mt = { __name = "tidegate.sockets", __index = methods }

local function split_interfaces(text)
  local items = {}
  for item in (text or ""):gmatch("[^,%s]+") do
    items[#items + 1] = { name = item:gsub("!$", ""), strict = item:sub(-1) == "!" }
  end
  return items
end

local function options_for(self, item)
  local host = item and item.name
  local ip = host and addr.is_ip(host)
  return stream.options {
    mark = self.mark,
    netns = self.netns,
    keepalive = self.keepalive,
    bind = ip and host or nil,
    interface = not ip and host or nil,
  }
end

--- Read `interface` (a comma list), `so_mark`, `netns` and `keepalive` of a metadata table.
-- @return the sockets, or nil when nothing is special | nil, err
function M.new(md)
  local items = split_interfaces(md.interface)
  local mark = md.so_mark and md.so_mark ~= 0 and md.so_mark or nil
  local netns = md.netns and md.netns ~= "" and md.netns or nil
  if #items == 0 and not mark and not netns and not md.keepalive then
    return nil
  end

  local self = setmetatable({ mark = mark, netns = netns, keepalive = md.keepalive, items = items }, mt)
  if #items == 0 then
    items[1] = { strict = true }
  end
  for _, item in ipairs(items) do
    if item.name ~= "auto" then
      local err
      item.options, err = options_for(self, item)
      if not item.options then
        return nil, err
      end
    end
  end
  return self
end

-- "auto" is the address on which the client was accepted.
local function auto_options(self, ctx)
  local ip = ctx and addr.host(ctx.local_address or "")
  if not ip or not addr.is_ip(ip) or ip == "0.0.0.0" or ip == "::" then
    return nil
  end
  return options_for(self, { name = ip })
end

--- @return the first usable options userdata
function methods:options(ctx)
  for i = 1, #self.items do
    local options = self.items[i].options or auto_options(self, ctx)
    if options then
      return options
    end
  end
end

--- Connect to an address or the first to answer of a list ("ip:port", "unix:path").
-- Interfaces are tried in order; a strict one ("eth0!") is the last.
-- @return stream | nil, err
function methods:dial(ctx, where, deadline)
  local result, err
  for i = 1, #self.items do
    local item = self.items[i]
    local options = item.options or auto_options(self, ctx)
    if options or #self.items == 1 then
      result, err = stream.dial(where, options, deadline)
      if err and err.op == "bind to interface" then
        err = err:during("interface " .. item.name)
      end
      if result or item.strict or err.code == "timeout" then
        return result, err
      end
    end
  end
  return nil, err or failure.new("unreachable", "no interface to dial from")
end

--- The same for sockets that may be nil.
function M.dial(sockets, ctx, where, deadline)
  if sockets then
    return sockets:dial(ctx, where, deadline)
  end
  return stream.dial(where, nil, deadline)
end

return M
