-- Ways of tunnels: to one place that is known, or to whatever name the client's first bytes tell.

local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local origin = require "tidegate.handler.http.origin"
local recording = require "tidegate.handler.http.record"

local M = {}

local ORIGINS_MAX = 8 -- names of one client whose connections are kept
local disown = origin.disown

local known = {}
local known_mt = { __index = known }

--- The way to where a proxy's client is connected already.
function M.new(ctx, upstream)
  local self = setmetatable({ upstream = upstream, owner = ctx }, known_mt)
  local network, address = ctx.asked_network or ctx.network or "tcp", rawget(ctx, "asked") or ctx.target
  self.redial = function(other)
    return other:connect(network, address)
  end
  return self
end

--- The same with another way to get further connections.
-- @param owner the context whose end is the tunnel's
-- @param redial function(ctx) → stream, its protocol | nil, err
-- @param dial_plain nil, or the same for HTTP/1.1 where `upstream` has agreed on HTTP/2
function M.to(owner, upstream, redial, dial_plain)
  return setmetatable({ upstream = upstream, owner = owner, redial = redial, dial_plain = dial_plain }, known_mt)
end

-- The open stream first, then others like it.
function known:connect(ctx)
  local upstream = self.upstream
  if upstream then
    self.upstream = nil
    return upstream
  end
  return self.redial(ctx)
end

function known:origin(ctx, request, stream)
  if request.rec then
    recording.names_host(request.rec, request.address)
  end
  if self.prepare then
    local ok, err, status = self.prepare(ctx, request, stream)
    if not ok then
      return nil, err, status
    end
  end
  if not self.all then
    self.all = self.owner:own(self.dial_plain and origin.shared(self.upstream, self.redial, self.dial_plain)
      or origin.fixed(self.upstream, self.redial))
  end
  return self.all
end

local told = {}
local told_mt = { __index = told }

--- The way to the name that the client tells.
-- @param owner the context whose end is the tunnel's
-- @param otherwise nil or function(ctx) → stream: where connections go that tell none, or whose name
--   cannot be reached
-- @param options nil or { always = go there always, fallback = also when the name cannot be reached,
--   port = where TLS goes, instead of 443 }
function M.by_name(owner, otherwise, options)
  return setmetatable({
    owner = owner, otherwise = otherwise, options = options or {}, origins = {}, count = 0,
  }, told_mt)
end

function told:connect(ctx, found)
  local otherwise, options = self.otherwise, self.options
  if otherwise and (options.always or not found.host) then
    return otherwise(ctx)
  elseif not found.host then
    return nil, failure.new("protocol", "the client names no host: nowhere to go")
  end
  local address = found.host
  if found.proto == "tls" and options.port then
    address = addr.join(addr.host(address), options.port)
  end
  local stream, err = ctx:connect("tcp", address)
  if not stream and err.code ~= "blocked" and otherwise and options.fallback then
    ctx.log:debug(("%s: going to the original destination"):format(tostring(err)))
    return otherwise(ctx)
  end
  return stream, err
end

-- A client that goes from name to name keeps few connections.
function told:forget()
  if self.count >= ORIGINS_MAX then
    for _, made in pairs(self.origins) do
      disown(self.owner, made)
      made:close()
    end
    self.origins, self.count = {}, 0
  end
end

function told:origin(_, request)
  local host = request.address
  if not host and not self.otherwise then
    return nil, failure.new("protocol", "the request names no host: nowhere to go"), 400
  end
  local key = host or ""
  local made = self.origins[key]
  if not made then
    self:forget()
    made = self.owner:own(origin.fixed(nil, function(ctx)
      return self:connect(ctx, { proto = "http", host = host })
    end))
    self.origins[key], self.count = made, self.count + 1
  end
  return made
end

return M
