-- A gate before a real server, which stays as it is: what comes through the gate meets a server that is well,
-- dead, hanging, or talking garbage.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __index = methods }

local LIMIT_MS = 20000

local GARBAGE = "\255\0\17garbage \r\n\r\n" .. ("\128\1?"):rep(20)

-- Bytes of one side to the other; of a connection that has met a fault nothing passes any more.
local function pump(self, from, to, answers)
  while true do
    local bytes = from:read(65536)
    if not bytes then
      break
    elseif self.state == "well" and not self.ill[from] then
      to:write(bytes)
    else
      self.ill[from], self.ill[to] = true, true
      if answers and self.state == "garbage" then
        from:write(GARBAGE)
      end
    end
  end
  from:close()
  to:close()
end

local function serve(self, near)
  local far = assert(stream.dial(self.target, nil, task.now() + LIMIT_MS))
  self.streams[near], self.streams[far] = true, true
  if self.state ~= "well" then
    self.ill[near], self.ill[far] = true, true
  end
  if self.state == "garbage" then
    near:write(GARBAGE)
  end
  task.spawn(pump, self, far, near)
  pump(self, near, far, true)
end

local function serve_datagrams(self, endpoint)
  while true do
    local bytes, from = endpoint:recv()
    if not bytes then
      return
    elseif self.state == "well" then
      task.spawn(function()
        local far = assert(packet.udp { connect = self.target })
        far:set_deadline(task.now() + LIMIT_MS)
        far:send(bytes)
        local answer = far:recv()
        far:close()
        if answer and not endpoint:is_closed() then
          endpoint:send(answer, from)
        end
      end)
    elseif self.state == "garbage" then
      endpoint:send(bytes:sub(1, 2) .. GARBAGE, from)
    end
  end
end

local function open(self)
  local fds = assert(listener.open(self.address, "stream", 1))
  local acceptor = assert(listener.accept(fds[1], function(near)
    serve(self, near)
  end))
  local endpoint = assert(packet.udp { at = self.address })
  task.spawn(serve_datagrams, self, endpoint)
  self.shut = function()
    acceptor:close()
    listener.close_fd(fds[1])
    endpoint:close()
    for one in pairs(self.streams) do
      one:interrupt()
    end
    self.streams = {}
    helpers.pass()
  end
end

--- What is behind the gate from now on.
-- @param state "well", "dead" (nobody is there), "hang" (it takes everything and says nothing) or "garbage".
--   What has been opened while it hung hangs for ever.
function methods:be(state)
  self.state = state
  if (state == "dead") == (self.shut ~= nil) then
    if self.shut then
      self.shut()
      self.shut = nil
    else
      open(self)
    end
  end
end

--- Close it.
function methods:close()
  self:be "dead"
end

--- A gate for TCP and UDP before a server at 127.0.0.1.
-- @return gate with `address` and `port`
function M.before(port)
  local own = programs.free_port()
  local self = setmetatable({ target = "127.0.0.1:" .. port, port = own, address = "127.0.0.1:" .. own, streams = {},
    ill = setmetatable({}, { __mode = "k" }) }, mt)
  self:be "well"
  helpers.pass()
  return self
end

return M
