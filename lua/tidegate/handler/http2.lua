-- HTTP proxy on the listener http2: what the handler http does, with the keys and defaults of http2.

local component = require "tidegate.component"
local instance = require "tidegate.process.instance"

local READ_TIMEOUT = { readtimeout = true, ["read.timeout"] = true }

-- Keys of the handler http, but for the one that means something else here.
local function metadata()
  local keys = {}
  for key, spec in pairs(assert(component.find("handler", "http")).metadata) do
    keys[key] = spec
  end
  keys.readTimeout = {
    type = "duration",
    default = 0,
    aliases = { "read.timeout" },
    doc = "silence that ends a tunnel; 0: none",
  }
  return keys
end

-- The same configuration as the handler http understands it.
local function translated(self)
  local config, keys = {}, {}
  for field, value in pairs(self.config) do
    config[field] = value
  end
  for key, value in pairs(self.config.metadata or {}) do
    if not READ_TIMEOUT[key:lower()] then
      keys[key] = value
    end
  end
  if self.md.readTimeout > 0 then
    keys.idleTimeout = self.md.readTimeout
  end
  config.metadata = keys
  return config
end

return component.handler "http2" {
  doc = "HTTP proxy for the listener http2",
  metadata = metadata(),

  open = function(self)
    local err
    self.inner, err = instance.new("handler", "http", translated(self), {
      service = self.service,
      tls = self.tls,
      over_h2 = true,
    })
    return self.inner ~= nil, err
  end,

  close = function(self)
    if self.inner and self.inner.close then
      self.inner:close()
    end
  end,

  handle = function(self, ctx, stream)
    return self.inner:handle(ctx, stream)
  end,
}
