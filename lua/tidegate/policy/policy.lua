-- How an object of any kind of policy comes to be: from the configuration, a plugin or a script.

local failure = require "tidegate.failure"
local guard = require "tidegate.script.guard"
local signature = require "tidegate.process.signature"

local M = {}

--- What tells one object with its sources from any other, across reloads: whoever has the same key may
-- use the same loaded data.
function M.key(list, config)
  return ("%s/%s/%s"):format(list, config.name or "", signature.of(config))
end

--- Make an object from the configuration.
-- @param env { name, registry, data, log }
-- @return object | nil, err
function M.make(kind, config, env)
  local made, err
  if config.plugin then
    local plugin = require "tidegate.policy.plugin"
    made, err = plugin.object(kind.kind, config, env)
  else
    made, err = kind.new(config, env)
  end
  if not made then
    return nil, failure.wrap(err, "config"):during(("%s %s"):format(kind.kind, config.name or "?"))
  end
  return made
end

-- What a kind answers when its script raises: a value, or function(…) → values.
local function default_of(kind, options)
  local on_error = options and options.on_error
  if on_error == "open" or on_error == "closed" then
    local both = kind.on_errors
    if both then
      return both[on_error]
    end
  elseif on_error ~= nil then
    return on_error
  end
  return kind.on_error
end

--- Make an object of what a script gave: a function (the main method, without self) or methods.
-- @param options nil or { on_error = "open", "closed" or a value of its own }
function M.scripted(kind, name, spec, options, env)
  local methods = {}
  if type(spec) == "function" then
    local fn = guard.expect(spec, kind.answer)
    methods[kind.main] = guard.method(fn, ("%s %q"):format(kind.kind, name), default_of(kind, options), env.log)
  else
    for key, value in pairs(spec) do
      if type(value) == "function" then
        value = key == kind.main and guard.expect(value, kind.answer) or value
        local what = ("%s %q (%s)"):format(kind.kind, name, key)
        value = guard.new(value, what, key == kind.main and default_of(kind, options) or nil, env.log)
      end
      methods[key] = value
    end
  end
  methods.name = name
  return kind.scripted and kind.scripted(methods, env) or methods
end

--- Put a script's function around the main method of an object: `fn(next, …)`.
function M.wrapped(kind, object, name, fn, options, env)
  local main = kind.main
  local inner = object[main]
  local function next_one(...)
    return inner(object, ...)
  end
  fn = guard.expect(fn, kind.answer)
  local safe = guard.new(fn, ("%s %q (wrapped)"):format(kind.kind, name), default_of(kind, options), env.log)
  return setmetatable({
    [main] = function(_, ...)
      return safe(next_one, ...)
    end,
    close = function()
      if object.close then
        object:close()
      end
    end,
  }, { __index = object })
end

return M
