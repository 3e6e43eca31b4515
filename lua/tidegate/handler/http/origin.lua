-- Where the responses to forwarded requests come from.
--
-- An origin has open(engine, ctx, request, fresh) → stream, whether it was used before | nil, err;
-- keep(engine, ctx, request, stream) → whether it is kept for another request; and lasts(engine): are
-- connections to it meant to be used again?

local body = require "tidegate.native.body"
local sessions = require "tidegate.net.http.sessions"

local M = {}

local IDLE_MAX = 32 -- connections that are kept for one client's to one place

--- The connection closes its upstreams itself at its end, but this one goes, or is kept, now.
function M.disown(ctx, upstream)
  for i = #ctx, 1, -1 do
    if ctx[i] == upstream then
      table.remove(ctx, i)
      return
    end
  end
end

function M.drop(ctx, upstream)
  M.disown(ctx, upstream)
  upstream:close()
end

-- Whoever the request names ------------------------------------------------------------------------

local named = {}

local function key_of(ctx, request)
  return request.address .. "\0" .. tostring(ctx.user)
end

function named.open(_, engine, ctx, request, fresh)
  request.multiplexed = false
  if engine.pool and not fresh then
    local upstream = engine.pool:take(key_of(ctx, request))
    if upstream then
      return ctx:own(upstream), true
    end
  end
  return ctx:connect("tcp", request.address)
end

function named.keep(_, engine, ctx, request, stream)
  if not engine.pool then
    return false
  end
  M.disown(ctx, stream)
  engine.pool:put(key_of(ctx, request), stream)
  return true
end

function named.lasts(_, engine)
  return engine.pool ~= nil
end

--- What a proxy is asked for.
M.NAMED = named

-- Always the same place ----------------------------------------------------------------------------

local fixed = {}
local fixed_mt = { __index = fixed }

--- The other end of one connection: whatever is asked for goes there.
-- @param first a stream that leads there, not used yet, or nil
-- @param dial function(ctx) → another one | nil, err
function M.fixed(first, dial)
  return setmetatable({ first = first, dial = dial, idle = {} }, fixed_mt)
end

function fixed:open(_, ctx, request, fresh)
  request.multiplexed = false
  local first = self.first
  if first then
    self.first = nil
    return first, false
  end
  while not fresh and #self.idle > 0 do
    local upstream = table.remove(self.idle)
    if body.quiet(upstream) then
      return ctx:own(upstream), true
    end
    upstream:close()
  end
  return self.dial(ctx)
end

function fixed:keep(_, ctx, _, stream)
  if self.closed or #self.idle >= IDLE_MAX then
    return false
  end
  M.disown(ctx, stream)
  self.idle[#self.idle + 1] = stream
  return true
end

function fixed:lasts() -- luacheck: ignore self
  return true
end

function fixed:close()
  self.closed = true
  if self.first then
    self.first:close()
  end
  for _, stream in ipairs(self.idle) do
    stream:close()
  end
  self.idle = {}
end

-- One place that speaks HTTP/2 ---------------------------------------------------------------------

local shared = {}
local shared_mt = { __index = shared }

--- The same for an end that has chosen HTTP/2: its sessions are shared by the requests that go there.
-- @param first a stream that leads there, not used yet
-- @param dial function(ctx) → another one, its protocol | nil, err
-- @param dial_plain function(ctx) → one for HTTP/1.1 | nil, err: for what HTTP/2 cannot carry
function M.shared(first, dial, dial_plain)
  return setmetatable({
    first = first, dial = dial, plain = M.fixed(nil, dial_plain), sessions = sessions.new(),
  }, shared_mt)
end

function shared:open(engine, ctx, request, fresh)
  local upgrade = request.upgrade
  local upstream, used, other
  if not upgrade or upgrade:lower() == "websocket" then
    upstream, used, other = self.sessions:open("", {
      scheme = "https", websocket = upgrade ~= nil, except = fresh and request.session or nil,
    }, function()
      local first = self.first
      if first then
        self.first = nil
        return first, "h2"
      end
      return self.dial(ctx)
    end)
  end
  request.multiplexed = upstream ~= nil
  if upstream then
    request.session = other
    return ctx:own(upstream), used
  elseif used or other then
    return other, used
  end
  return self.plain:open(engine, ctx, request, fresh)
end

function shared:keep(engine, ctx, request, stream)
  return not request.multiplexed and self.plain:keep(engine, ctx, request, stream)
end

function shared:lasts() -- luacheck: ignore self
  return true
end

function shared:close()
  if self.first then
    self.first:close()
  end
  self.sessions:close()
  self.plain:close()
end

return M
