-- The plain HTTP tunnel, as listeners and dialers with and without TLS.

local addr = require "tidegate.net.addr"
local dial = require "tidegate.net.pht.dial"
local header = require "tidegate.net.http.header"
local native = require "tidegate.native.tls"
local obfs = require "tidegate.net.obfs"
local reload = require "tidegate.tls.reload"
local serve = require "tidegate.net.pht.serve"
local task = require "tidegate.native.task"
local tls = require "tidegate.tls"

local M = {}

local HANDSHAKE = 30000 -- ms
local DEFAULTS = { authorizePath = "/authorize", pushPath = "/push", pullPath = "/pull" }

-- A path that is none counts as not given.
local function path_of(md, key)
  local path = md[key]
  return path:sub(1, 1) == "/" and path or DEFAULTS[key]
end

local function with_paths(schema)
  for key, path in pairs(DEFAULTS) do
    schema[key] = { type = "string", default = path, doc = "path of a request" }
  end
  return schema
end

-- HTTP/2, which gost agrees on when it is configured, is not spoken here: it is not agreed on.
local function only_http1(config)
  local options = config and config.options
  if not options or not options.alpn then
    return config
  end
  local alpn = {}
  for _, name in ipairs(options.alpn) do
    alpn[#alpn + 1] = name ~= "h2" and name or nil
  end
  return setmetatable({ options = setmetatable({ alpn = alpn }, { __index = options }) }, { __index = config })
end

--- A listener; `secure`: over TLS.
function M.listener(doc, secure)
  return {
    doc = doc,
    network = "tcp",
    single = true, -- requests of one tunnel come over several connections: one worker has to see them all
    metadata = with_paths {
      backlog = { type = "int", default = 4096, doc = "connections the kernel keeps until they are accepted" },
      mptcp = { type = "bool", default = false, doc = "accept multipath TCP" },
    },

    open = function(self)
      local err
      if secure then
        local registry = self.service and self.service.registry
        self.context, err = tls.server(only_http1(self.tls), registry and registry.config.tls)
        return self.context ~= nil, err
      end
      return true
    end,

    serve = function(_, service, fd)
      return serve.start(service, fd)
    end,

    options = function(self)
      local md = self.md
      return {
        authorize = path_of(md, "authorizePath"), push = path_of(md, "pushPath"), pull = path_of(md, "pullPath"),
        upgrade = secure and function(stream)
          reload.check(self.context)
          return native.server(stream, self.context, task.now() + HANDSHAKE)
        end or nil,
      }
    end,
  }
end

--- A dialer.
function M.dialer(doc, secure)
  return {
    doc = doc,
    multiplex = true, -- it connects by itself, more than once
    metadata = with_paths {
      host = { type = "string", default = "", doc = "Host of the requests instead of the node's" },
      header = { type = "map", doc = "header fields added to every request" },
    },

    open = function(self)
      local err
      self.fields, err = obfs.fields(self.md.header)
      if self.fields then
        self.header_host, self.agent, self.fields = header.client(self.fields)
      end
      if self.fields and secure then
        self.context, err = tls.client(only_http1(self.tls), { "http/1.1" })
      end
      return not err, err
    end,

    dial = function(self, ctx, node, _, deadline)
      local md, via = self.md, ctx.via
      local host = md.host ~= "" and md.host or self.header_host
      host = host and addr.host(host) or node.host
      local first = true
      return dial.open {
        host = node.port and addr.join(host, node.port) or host,
        agent = self.agent,
        fields = self.fields,
        authorize = path_of(md, "authorizePath"), push = path_of(md, "pushPath"), pull = path_of(md, "pullPath"),
        connect = function()
          local limit = first and deadline or task.now() + HANDSHAKE
          first = false
          local stream, err = node:carrier(ctx, via, limit)
          if stream and secure then
            reload.check(self.context)
            return native.client(stream, self.context, self.tls and self.tls.serverName, limit)
          end
          return stream, err
        end,
      }
    end,
  }
end

return M
