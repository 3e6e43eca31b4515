-- The plain HTTP tunnel, as listeners and dialers with and without TLS.

local addr = require "tidegate.net.addr"
local dial = require "tidegate.net.pht.dial"
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
        self.context, err = tls.server(self.tls, registry and registry.config.tls)
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
      if self.fields and secure then
        self.context, err = tls.client(self.tls, { "http/1.1" })
      end
      return not err, err
    end,

    dial = function(self, ctx, node, _, deadline)
      local md, via = self.md, ctx.via
      local host = md.host ~= "" and addr.host(md.host) or node.host
      local first = true
      return dial.open {
        host = node.port and addr.join(host, node.port) or host,
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
