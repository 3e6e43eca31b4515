-- A handler or connector at work on in-memory streams, with a context that tells what was asked of it.

local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local instance = require "tidegate.process.instance"
local relay = require "tidegate.native.relay"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}

local ctx_methods = {}
local ctx_mt = { __index = ctx_methods }

function ctx_methods:after(seconds) -- luacheck: ignore self
  if seconds and seconds > 0 then
    return task.now() + seconds * 1000
  end
end

function ctx_methods:own(thing)
  self[#self + 1] = thing
  return thing
end

function ctx_methods:needs_auth()
  return self.users ~= nil
end

function ctx_methods:authenticate(user, password)
  if self.users and self.users[user] ~= password then
    return nil, failure.new("auth", "refused")
  end
  self.user = user
  return true
end

function ctx_methods:allow(network, address)
  self.network, self.target = network, address
  if self.blocked then
    return nil, failure.new("blocked", "refused")
  end
  return true
end

function ctx_methods:connect(network, address)
  self.network, self.target = network, address
  if self.fails then
    return nil, failure.new(self.fails, "made to fail")
  end
  local near, far = stream.pair()
  self.far = far
  return self:own(near)
end

function ctx_methods:relay(a, b) -- luacheck: ignore self
  return relay.start(a, b, relay.options { linger = 1000 })
end

--- A context; `fields`: users = { name = password }, fails = code, blocked = true, …
function M.ctx(fields)
  fields = fields or {}
  fields.service = fields.service or {}
  return setmetatable(fields, ctx_mt)
end

--- An instance of a component with this metadata.
function M.instance(kind, name, metadata, fields)
  local config = { metadata = metadata or {} }
  for key, value in pairs(fields or {}) do
    config[key] = value
  end
  return assert(instance.new(kind, name, config, {}))
end

--- Run a handler on one end of a pair.
-- @return the client's end, the context, and a function that waits for what handle() returns
function M.serve(name, metadata, ctx, fields)
  local client, server = stream.pair()
  ctx = ctx or M.ctx()
  ctx.stream = server
  local handler = M.instance("handler", name, metadata, fields)
  local result = helpers.spawn(function()
    local ok, err = handler:handle(ctx, server)
    for i = #ctx, 1, -1 do
      ctx[i]:close()
    end
    server:close()
    return ok, err
  end)
  client:set_deadline(task.now() + 10000)
  return client, ctx, result
end

--- Run a connector against one end of a pair.
-- @return the server's end, and a function that waits for what connect() returns
function M.connect(name, metadata, fields, network, target, ctx)
  local near, far = stream.pair()
  ctx = ctx or M.ctx()
  ctx.target = target
  local connector = M.instance("connector", name, metadata, fields)
  local result = helpers.spawn(function()
    local top, err = near, nil
    if connector.handshake then
      top, err = connector:handshake(ctx, near, nil, nil)
    end
    if top then
      top, err = connector:connect(ctx, top, network, target, nil)
    end
    if not top then
      near:close()
    end
    return top, err
  end)
  far:set_deadline(task.now() + 10000)
  return far, result
end

return M
