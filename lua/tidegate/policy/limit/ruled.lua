-- What limiters have in common whose limits are lines "KEY VALUE …": read once in the control thread, which
-- says what makes no sense, and again in each worker.

local log = require "tidegate.process.log"

local M = {}

--- Give a kind prepare(), new() and scripted(), and its objects load().
-- @param kind the module, with `kind`
-- @param mt the metatable of its objects, whose __index is a table
-- @param read function(self, loaded, tell) sets `self.rules`; tell(text) hears of lines without sense, or is nil
-- @param loaded nil or function(self), told when there are new rules
function M.define(kind, mt, read, loaded)
  local function set(self, data)
    read(self, data or {}, self.log and function(text)
      self.log:warn(kind.kind .. ": " .. text)
    end)
  end

  --- Say in the control thread, once for all workers, which lines make no sense.
  function kind.prepare(config, data)
    local fields = { "kind", kind.kind, kind.kind, config.name or "" }
    set({ config = config, log = log.default():with(fields) }, data)
    return data
  end

  --- New items of its sources.
  function mt.__index:load(data)
    set(self, data)
    if loaded then
      loaded(self)
    end
  end

  --- A limiter of the configuration.
  function kind.new(config, env)
    local self = setmetatable({ name = config.name, config = config, log = not env.data and env.log or nil }, mt)
    set(self, env.data)
    return self
  end

  --- A limiter of a script has the methods of one.
  function kind.scripted(object)
    return object
  end
end

return M
