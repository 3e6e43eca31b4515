-- The named stages a connection walks through, and the hooks scripts put around them.
--
-- A set holds one function per stage.  Without hooks it is the plain function, called directly; with
-- hooks it is a chain of closures made once, when the hook is added.  Every generation of the
-- configuration has a set of its own, so dropping the set removes what scripts hooked.

local failure = require "tidegate.failure"

local M = {}

--- The stages in the order a connection meets them.
M.NAMES = {
  "accept",
  "admit",
  "handshake",
  "authenticate",
  "request",
  "route",
  "resolve",
  "dial",
  "connect",
  "relay",
  "record",
}

local known = {}
for _, name in ipairs(M.NAMES) do
  known[name] = true
end

-- What each stage does by itself; filled by the modules that implement them.
local base = {}

--- Say what a stage does.  Called once per stage, when its module is loaded.
function M.define(name, fn)
  assert(known[name] and not base[name], name)
  base[name] = fn
end

--- @return whether there is a stage of this name
function M.is_stage(name)
  return known[name] == true
end

local function wrap(hook, next)
  return function(...)
    return hook(next, ...)
  end
end

--- A set of stage functions: `set.connect(ctx, …)` runs the stage.
-- `hooked` (stage → true) says which stages have hooks.
function M.set()
  return {
    hooked = {},
    accept = base.accept,
    admit = base.admit,
    handshake = base.handshake,
    authenticate = base.authenticate,
    request = base.request,
    route = base.route,
    resolve = base.resolve,
    dial = base.dial,
    connect = base.connect,
    relay = base.relay,
    record = base.record,
  }
end

--- Put a hook around a stage: `hook(next, ctx, …)` calls `next(ctx, …)` to go on.  Hooks added later
-- are outside of those added before.
function M.on(set, name, hook)
  assert(known[name], name)
  set[name] = wrap(hook, set[name])
  set.hooked[name] = true
end

--- What a stage answers when a hook raises: the connection ends.
function M.closed(what)
  return function()
    return nil, failure.new("io", what .. " raised an error")
  end
end

--- What it answers instead when the hook may fail: it goes on without the hook.
function M.open(next, ...)
  return next(...)
end

return M
