-- Looks at the first byte and hands over to socks4, socks5 or http; TLS goes on to the name it asks for.

local component = require "tidegate.component"
local instance = require "tidegate.process.instance"
local sni = require "tidegate.handler.auto.sni"

local string_byte = string.byte

local SOCKS4, SOCKS5, TLS_HANDSHAKE = 4, 5, 22

-- A handler with the service's metadata, made when it is first needed.
local function sub_handler(self, name)
  local made = self.handlers[name]
  if not made then
    local err
    made, err = instance.new("handler", name, self.config, {
      service = self.service,
      tls = self.tls,
    })
    if not made then
      return nil, err
    end
    self.handlers[name] = made
  end
  return made
end

local function open(self)
  self.handlers = {}
  for _, name in ipairs { "socks5", "http" } do
    local made, err = sub_handler(self, name)
    if not made then
      return nil, err
    end
  end
  return true
end

local function close(self)
  for _, handler in pairs(self.handlers) do
    if handler.close then
      handler:close()
    end
  end
end

local function handle(self, ctx, stream)
  -- Each handler has a limit of its own on what follows.
  stream:set_deadline(ctx:after(self.md.headTimeout))
  local seen, err = stream:peek(1)
  if not seen then
    err = err:during "sniff"
    err.level = err.code == "timeout" and "debug" or nil -- browsers connect before they have anything to say
    return nil, err
  end
  stream:set_deadline(nil)
  local first = string_byte(seen)
  if first == TLS_HANDSHAKE then
    return sni(self.handlers.http.sniffer, ctx, stream)
  end
  local name = first == SOCKS5 and "socks5" or first == SOCKS4 and "socks4" or "http"
  local handler
  handler, err = sub_handler(self, name)
  if not handler then
    return nil, err
  end
  return handler:handle(ctx, stream)
end

-- The three know different keys; each takes what is its own.
local function merged_metadata()
  local keys = {}
  for _, name in ipairs { "http", "socks4", "socks5" } do
    for key, spec in pairs(assert(component.find("handler", name)).metadata) do
      keys[key] = keys[key] or spec
    end
  end
  return keys
end

return component.handler "auto" {
  doc = "http, socks4 and socks5 on one port, told apart by the first byte",
  metadata = merged_metadata(),
  open = open,
  close = close,
  handle = handle,
}
