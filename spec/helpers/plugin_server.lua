-- A plugin of every kind beside the test (spec/interop/peers/plugin_server.py).

local cjson = require "cjson"
local programs = require "spec.helpers.programs"

local M = {}
local methods = {}
local mt = { __index = methods }

local PYTHON = "/usr/bin/python3" -- Debian's, which has gRPC

--- Start one.
-- @param protocol "http" or "grpc"
-- @param options port, token, fault, cert, key
function M.start(protocol, options)
  local args = { "spec/interop/peers/plugin_server.py", protocol }
  for key, value in pairs(options or {}) do
    args[#args + 1] = "--" .. key
    args[#args + 1] = tostring(value)
  end
  local process = programs.start(PYTHON, args, { ready = "ready %d+" })
  return setmetatable({
    protocol = protocol,
    process = process,
    port = tonumber(process.stdout:match "ready (%d+)"),
    scheme = options and options.cert and "https" or "http",
  }, mt)
end

--- The `plugin` object of a configuration that asks it.
function methods:config(kind, more)
  local addr = "127.0.0.1:" .. self.port
  local config = {
    type = self.protocol,
    addr = self.protocol == "http" and ("%s://%s/%s"):format(self.scheme, addr, kind) or addr,
  }
  for key, value in pairs(more or {}) do
    config[key] = value
  end
  return config
end

--- What it has been asked: { call, request, token, peer, verb, type, raw }, in order.
function methods:calls()
  local list = {}
  for line in self.process.stdout:gmatch "({[^\n]*})\n" do
    list[#list + 1] = cjson.decode(line)
  end
  return list
end

return M
