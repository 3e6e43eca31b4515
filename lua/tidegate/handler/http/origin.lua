-- Where the responses to forwarded requests come from.
--
-- An origin has open(engine, ctx, request, fresh) → stream, whether it was used before | nil, err;
-- keep(engine, ctx, request, stream) → whether it is kept for another request; and lasts(engine): are
-- connections to it meant to be used again?

local body = require "tidegate.native.body"

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

function fixed:open(_, ctx, _, fresh)
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

return M
