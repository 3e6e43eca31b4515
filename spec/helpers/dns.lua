-- Name servers of our own for tests: they say what the test wants, by UDP, TCP and TLS.

local dns = require "tidegate.net.dns"
local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local log = require "tidegate.process.log"
local native = require "tidegate.native.dns"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local tls = require "tidegate.native.tls"
local task = require "tidegate.native.task"

local M = {}

local open = {}

local function framed(bytes)
  return string.char(math.floor(#bytes / 256), #bytes % 256) .. bytes
end

-- The bytes to send back for a query, or nil for silence.
local function answer(self, bytes, transport)
  local query = native.parse(bytes)
  self.queries[#self.queries + 1] = query
  if query then
    query.bytes, query.transport = bytes, transport
    self.asked[#self.asked + 1] = ("%s %s"):format(query.questions[1].name, query.questions[1].type)
  end
  local reply = self.fn(query, transport)
  return type(reply) == "table" and dns.reply(query, reply) or reply or nil
end

local function serve_udp(self, endpoint)
  while true do
    local bytes, from = endpoint:recv()
    if not bytes then
      return
    end
    task.spawn(function()
      local reply = answer(self, bytes, "udp")
      if reply and not endpoint:is_closed() then
        endpoint:send(reply, from)
      end
    end)
  end
end

local function serve_stream(self, stream, transport)
  self.connections = self.connections + 1
  self.streams[stream] = true
  while true do
    local length = stream:read_exact(2)
    local bytes = length and stream:read_exact(length:byte(1) * 256 + length:byte(2))
    local reply = bytes and answer(self, bytes, transport)
    if not reply or not stream:write(framed(reply)) then
      break
    end
  end
  self.streams[stream] = nil
  stream:close()
end

local function accept(self, port, handle)
  local fds = assert(listener.open(port and "127.0.0.1:" .. port or "127.0.0.1:0", "stream", 1))
  local acceptor = assert(listener.accept(fds[1], handle))
  self.closers[#self.closers + 1] = function()
    acceptor:close()
    listener.close_fd(fds[1])
    for stream in pairs(self.streams) do
      stream:close()
    end
  end
  return listener.address(fds[1])
end

--- Start a server for UDP and TCP on one port.
-- @param fn function(query, transport) → { rcode, answers … } or bytes; nil: no answer
-- @return server with `address`, `queries`, `asked` (list of "name. TYPE"), close()
function M.server(fn)
  local self = { fn = fn, queries = {}, asked = {}, connections = 0, streams = {}, closers = {} }
  local port = programs.free_port()
  self.address = "127.0.0.1:" .. port
  local endpoint = assert(packet.udp { at = self.address })
  task.spawn(serve_udp, self, endpoint)
  accept(self, port, function(stream)
    serve_stream(self, stream, "tcp")
  end)
  self.closers[#self.closers + 1] = function()
    endpoint:close()
  end
  function self.close()
    for _, close in ipairs(self.closers) do
      close()
    end
    self.closers = {}
  end
  open[#open + 1] = self
  return self
end

--- Serve TLS as well.  @param context of tls.context(), @return address
function M.serve_tls(self, context)
  return accept(self, nil, function(stream)
    local secure = tls.server(stream, context, task.now() + 20000)
    if secure then
      serve_stream(self, secure, "tls")
    end
  end)
end

--- Records of one name: records("a.example.", { "192.0.2.1", "2001:db8::1" }, 60).
function M.records(name, ips, ttl)
  local list = {}
  for i, ip in ipairs(ips) do
    list[i] = { name = name, type = ip:find(":", 1, true) and "AAAA" or "A", ttl = ttl or 60, data = ip }
  end
  return list
end

--- A server that answers from a table: name without final dot → list of IPs.
function M.zone(names, ttl)
  return M.server(function(query)
    local question = query.questions[1]
    local ips = names[question.name:gsub("%.$", "")]
    if not ips then
      return { rcode = "NXDOMAIN" }
    end
    local answers = {}
    for _, record in ipairs(M.records(question.name, ips, ttl)) do
      answers[#answers + 1] = record.type == question.type and record or nil
    end
    return { answers = answers }
  end)
end

--- A port where nobody is.
function M.nobody()
  return "127.0.0.1:" .. programs.free_port()
end

--- A logger that remembers.  @return logger, list of "level message"
function M.log()
  local lines, logger = {}, setmetatable({}, { __index = log.new { output = "none" } })
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    logger[level] = function(_, message)
      lines[#lines + 1] = level .. " " .. message
    end
  end
  function logger.enabled()
    return true
  end
  return logger, lines
end

--- Close the servers.
function M.cleanup()
  for _, one in ipairs(open) do
    one.close()
  end
  open = {}
  dns.forget()
  require("tidegate.net.http").close_idle()
  helpers.pass()
end

--- The body of a test that waits; what it opened is closed with it.
function M.test(fn, seconds)
  return helpers.task(function(...)
    local ok, err = xpcall(fn, function(why)
      return type(why) == "string" and debug.traceback(why, 2) or why
    end, ...)
    M.cleanup()
    if not ok then
      error(err, 0)
    end
  end, seconds)
end

return M
