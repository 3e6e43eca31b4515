-- What the matrix of components runs in: targets, whole tidegates from generated configurations, and traffic.

local certificates = require "spec.helpers.tls"
local cjson = require "cjson"
local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.native.tls"

local M = {}

M.BANNER = "220 tide\r\n"

local PATIENCE = os.getenv "TIDEGATE_SANITIZED" and 60000 or 20000 -- ms
local AT_ONCE = 32 -- jobs
local BULK = 300 * 1024 + 7

local data

-- Bytes that nothing compresses.
local function bulk()
  if not data then
    local file = assert(io.open("/dev/urandom", "rb"))
    data = file:read(BULK)
    file:close()
  end
  return data
end

-- Targets ----------------------------------------------------------------------------------------

-- One request.  @return whether another one may follow
local function answer(s, head)
  local mode, size = head:match "^POST /(%w+) .*\r\nContent%-Length: (%d+)\r\n"
  local left = tonumber(size)
  if mode == "cut" then
    return false
  elseif mode == "echo" then
    while left > 0 do
      local bytes = s:read()
      if not bytes or not s:write(bytes) then
        return false
      end
      left = left - #bytes
    end
    return true
  end
  local body = left > 0 and s:read_exact(left) or ""
  if mode == "half" then
    local more, err = s:read()
    if more or err.code ~= "eof" then
      return false
    end
  end
  s:write(("%s %d\r\n%s"):format(mode, #(body or ""), (body or ""):reverse()))
  return mode ~= "half" and mode ~= "last"
end

local function serve(self, s)
  self.live = self.live + 1
  s:set_deadline(task.now() + PATIENCE * 2)
  s:write(M.BANNER)
  repeat
    local head = s:read_until("\r\n\r\n", 4096)
  until not head or not answer(s, head)
  s:close()
  self.live = self.live - 1
end

-- HTTP as it should be: what is posted comes back, backwards.
local function serve_web(s)
  s:set_deadline(task.now() + PATIENCE * 2)
  local head = s:read_until("\r\n\r\n", 4096)
  while head do
    local body = s:read_exact(tonumber(head:match "[Cc]ontent%-[Ll]ength: (%d+)"))
    if not body then
      break
    end
    s:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body:reverse()))
    head = s:read_until("\r\n\r\n", 4096)
  end
  s:close()
end

local function serve_secure_web(s)
  local up = tls.server(s, certificates.server_context { alpn = { "http/1.1" } }, task.now() + PATIENCE)
  if up then
    serve_web(up)
  end
end

local function listen(self, where, work)
  local fds = assert(listener.open(where, "stream", 1))
  local acceptor = listener.accept(fds[1], work or function(s)
    serve(self, s)
  end)
  self.closers[#self.closers + 1] = function()
    acceptor:close()
    listener.close_fd(fds[1])
  end
  return listener.address(fds[1])
end

local target = {}
target.__index = target

--- Start what everything leads to.
-- @return { tcp, unix, udp, web, secure_web (addresses), live = connections there are }
function M.target()
  local self = setmetatable({ live = 0, closers = {} }, target)
  self.tcp = listen(self, "127.0.0.1:0")
  self.unix = programs.folder() .. "/target"
  listen(self, "unix:" .. self.unix)
  self.web = listen(self, "127.0.0.1:0", serve_web)
  self.secure_web = listen(self, "127.0.0.1:0", serve_secure_web)
  self.socket = packet.udp { at = "127.0.0.1:0" }
  self.udp = self.socket:local_address()
  self.echo = helpers.spawn(function()
    local bytes, from = self.socket:recv()
    while bytes do
      self.socket:send(">" .. bytes, from)
      bytes, from = self.socket:recv()
    end
  end)
  return self
end

function target:close()
  for _, close in ipairs(self.closers) do
    close()
  end
  self.socket:close()
  self.echo()
end

--- Wrap a test body: fn(target), in a task.  Afterwards no connection to the target may be left.
function M.with(fn)
  return helpers.task(function()
    local self = M.target()
    local ok, err = xpcall(fn, debug.traceback, self)
    local left = ok and not pcall(helpers.eventually, function()
      return self.live == 0
    end, "connections are left", PATIENCE / 1000)
    self:close()
    if not ok then
      error(err, 0)
    elseif left then
      error(("%d connections to the target are left"):format(self.live), 0)
    end
  end, PATIENCE / 1000 * 6)
end

-- Whole tidegates --------------------------------------------------------------------------------

-- service → where it can be reached
local function addresses(log)
  local found = {}
  for line in log:gmatch '[^\n]*msg":"[lb][io][su][tn][^\n]*' do
    local ok, entry = pcall(cjson.decode, line)
    local where, network = tostring(ok and entry.msg):match "^%l+ ?%l* (%S-)/(%l+)%f[,%z]"
    if where and network ~= "none" and entry.service then
      found[entry.service] = where
    end
  end
  return found
end

--- @return the path of a file with this configuration
function M.write(config)
  return programs.file(programs.folder(), "matrix.json", cjson.encode(config))
end

--- Start a tidegate and wait until all its services can be reached.
-- @param config the configuration, as a table
-- @return the process, service → address
function M.start(config)
  config.log = { level = "info" }
  local p = proxy.start({ "-C", M.write(config) }, { services = #config.services })
  local found, missing
  local ok = pcall(helpers.eventually, function()
    found, missing = addresses(p:log()), {}
    for _, service in ipairs(config.services) do
      missing[#missing + 1] = not found[service.name] and service.name or nil
    end
    return #missing == 0
  end, "", PATIENCE / 1000 * 3) -- those that listen elsewhere begin again after as many seconds
  if not ok then
    local names = {}
    for _, name in ipairs(missing) do
      names[name] = true
    end
    error(("%d services do not listen: %s\n%s"):format(#missing, table.concat(missing, ", "),
      M.complaints({ p }, names)), 0)
  end
  return p, found
end

-- Traffic ----------------------------------------------------------------------------------------

local function check(value, err, during)
  if not value then
    error(("%s: %s"):format(during or "traffic", tostring(err)), 0)
  end
  return value
end

local function same(got, want, during)
  if got ~= want then
    error(("%s: %d bytes came, which are not the %d that were sent"):format(during, #got, #want), 0)
  end
end

local function request(address, mode, size)
  return ("POST /%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n"):format(mode, address, size)
end

local function expect_end(s)
  local bytes, err = s:read()
  if bytes or err.code ~= "eof" then
    error(("end: %s came instead"):format(bytes and #bytes .. " bytes" or tostring(err)), 0)
  end
end

local tls_context

--- TLS over a stream.  @return stream
function M.secure(s)
  tls_context = tls_context or assert(tls.context { role = "client" })
  local up, err = tls.client(s, tls_context, "localhost", task.now() + PATIENCE)
  check(up, err, "tls"):set_deadline(task.now() + PATIENCE)
  return up
end

--- Connect to "ip:port" or a path.
-- @param layer "tls", or nothing
-- @return stream
function M.dial(address, layer)
  local s = check(stream.dial(address:find "^/" and "unix:" .. address or address, nil, task.now() + PATIENCE))
  s:set_deadline(task.now() + PATIENCE)
  return layer == "tls" and M.secure(s) or s
end

local function banner(s)
  same(check(s:read_exact(#M.BANNER), nil, "banner"), M.BANNER, "banner")
end

local function ask(s, address, mode, body)
  check(s:write(request(address, mode, #body) .. body))
end

local function reply(s, mode, body)
  local want = ("%s %d\r\n%s"):format(mode, #body, body:reverse())
  local got, err = s:read_exact(#want)
  same(check(got, err, mode), want, mode)
end

--- All that a way to the target must carry: what it says first, a small request, much in both directions at once,
-- the end of one direction, the end.
-- @param address the target's
-- @param can { speaks_first, half_close }
function M.exchange(s, address, can)
  if can.speaks_first then
    banner(s)
  end
  ask(s, address, "small", "tide")
  if not can.speaks_first then
    banner(s)
  end
  reply(s, "small", "tide")
  local body = bulk()
  local writing = helpers.spawn(s.write, s, request(address, "echo", #body) .. body)
  local got, err = s:read_exact(#body)
  same(check(got, err, "bulk"), body, "bulk")
  check(writing())
  local mode = can.half_close and "half" or "last"
  ask(s, address, mode, "gate")
  if can.half_close then
    check(s:shutdown())
  end
  reply(s, mode, "gate")
  expect_end(s)
  s:close()
end

--- A client that leaves in the midst of much, and a target that does.
-- @param dial function: → stream
-- @param waits whether the client waits for the target's first words
function M.leave(dial, address, waits)
  local body = bulk()
  local s = dial()
  if waits then
    banner(s)
  end
  local writing = helpers.spawn(s.write, s, request(address, "echo", #body) .. body)
  if not waits then
    banner(s)
  end
  check(s:read_exact(10000))
  s:interrupt()
  writing()
  s:close()
  s = dial()
  if waits then
    banner(s)
  end
  writing = helpers.spawn(s.write, s, request(address, "cut", #body) .. body)
  repeat
    local bytes, err = s:read()
    if err and err.code ~= "eof" and err.code ~= "reset" then
      error(("cut: %s came instead of the end"):format(tostring(err)), 0)
    end
  until not bytes
  s:interrupt()
  writing()
  s:close()
end

--- A page that the other end serves itself.
function M.page(s, path)
  check(s:write(("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):format(path)))
  local text, err = s:read_until("\r\n\r\n", 4096)
  if not tostring(text):find "^HTTP/1.1 200 " then
    error(("page: %s"):format(tostring(text or err)), 0)
  end
  s:close()
end

-- An answer of a server of the web.
local function web_answer(s, body)
  local head, err = s:read_until("\r\n\r\n", 4096)
  if not tostring(head):find "^HTTP/1.1 200 " then
    error(("web: %s"):format(tostring(head or err)), 0)
  end
  local got
  got, err = s:read_exact(#body)
  same(check(got, err, "web"), body:reverse(), "web")
end

--- Two requests to a server of the web, over one connection.
-- @param layer "tls", or nothing
function M.web(s, address, layer)
  if layer then
    s = M.secure(s)
  end
  for _, body in ipairs { "tide", bulk():sub(1, 100000) } do
    check(s:write(request(address, "there", #body) .. body))
    web_answer(s, body)
  end
  s:close()
end

--- Datagrams, there and back.
function M.datagrams(address)
  local c = packet.udp { connect = address }
  c:set_deadline(task.now() + PATIENCE)
  for i = 1, 10 do
    local text = ("%d "):format(i):rep(i * 100)
    check(c:send(text))
    local got, err = c:recv()
    same(check(got, err, "datagram " .. i), ">" .. text, "datagram " .. i)
  end
  c:close()
end

--- The way ends before the target has said anything.
function M.refused(s)
  s:write "POST /small HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
  local bytes, err = s:read()
  s:close()
  if bytes then
    error(("it was not refused: %q"):format(bytes), 0)
  elseif err.code ~= "eof" and err.code ~= "reset" then
    error("it was not refused: " .. tostring(err), 0)
  end
end

--- What the services named have complained of.
-- @param names name → true
function M.complaints(processes, names)
  local found = {}
  for _, p in ipairs(processes) do
    for line in p:log():gmatch "[^\n]+" do
      local service = line:match '"service":"([^"]*)"'
      if not line:find('"level":"info"', 1, true) and (not service or names[service]) then
        found[#found + 1] = line
      end
    end
  end
  return table.concat(found, "\n")
end

--- Do many jobs at once; fails with all that went wrong, and what the processes said about it.
-- @param jobs a list of { name, function, names of services }
function M.all(jobs, processes)
  local waiting, failures, names, next_job = {}, {}, {}, 0
  local function work()
    while next_job < #jobs do
      next_job = next_job + 1
      local job = jobs[next_job]
      local ok, err = pcall(job[2])
      if not ok then
        failures[#failures + 1] = job[1] .. ": " .. tostring(err)
        for _, name in ipairs(job[3]) do
          names[name] = true
        end
      end
    end
  end
  for i = 1, AT_ONCE do
    waiting[i] = helpers.spawn(work)
  end
  for i = 1, AT_ONCE do
    waiting[i](PATIENCE * 5)
  end
  for _, p in ipairs(processes) do
    local log = p:log()
    local at = log:find('"msg":"raised', 1, true)
    failures[#failures + 1] = at and log:sub(at, at + 500)
  end
  if #failures > 0 then
    error(("%d of %d went wrong:\n%s\n%s"):format(#failures, #jobs, table.concat(failures, "\n"),
      M.complaints(processes, names)), 0)
  end
end

return M
