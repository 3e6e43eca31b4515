-- Listeners that find one connection at a time without a socket: a serial port, standard input and output.

local process = require "tidegate.native.process"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __name = "tidegate.alone", __index = methods }

local PAUSES = { 1, 2, 4, 5 } -- seconds between attempts to open; the last one from then on
local BETWEEN = 1 -- seconds between connections

local function pause(self, seconds)
  self.sleeper:wait(task.now() + seconds * 1000)
end

-- Serve one connection, and wait until it is gone.  @return whether it was served | nil, err
local function serve_one(self)
  local gone = task.waiter()
  local stream, handle = self.how.open(self.service, function()
    gone:wake(true)
  end)
  if not stream then
    return nil, handle
  end
  self.handle = handle
  if self.closed and not self.how.stays then
    handle:cut()
  end
  local address = self.service.addr
  local served = self.service:serve(stream, { remote = "@", local_address = address ~= "" and address or "@" })
  gone:wait()
  self.handle = nil
  return served
end

local function again(self)
  local failures, said = 0, nil
  while not self.closed do
    local served, err = serve_one(self)
    if served == nil and err then
      failures = failures + 1
      if tostring(err) ~= said then
        said = tostring(err)
        self.service.log:error(("%s; trying again every few seconds"):format(said))
      end
      pause(self, PAUSES[math.min(failures, #PAUSES)])
    else
      failures, said = 0, nil
      pause(self, BETWEEN)
    end
  end
end

local function once(self)
  local served, err = serve_one(self)
  if served == nil and err then
    self.service.log:error(tostring(err))
  end
  if not self.closed then
    self.how.over(served)
  end
end

--- Stop.  What runs ends, unless it stays.
function methods:close()
  if self.closed then
    return
  end
  self.closed = true
  if self.handle and not self.how.stays then
    self.handle:cut()
  end
  self.sleeper:wake(true)
end

--- Let another service have what comes.  What runs ends for it, unless it stays.
function methods:adopt(service)
  self.service = service
  if self.handle and not self.how.stays then
    self.handle:cut()
  end
end

--- Serve, in one worker, what `how.open` finds, until the acceptor returned is closed.
-- @param how { open = function(service, closed) → stream, handle | nil, err; stays = what runs is left alone;
--   over = function(served): there is one connection only, and this is done after it }
function M.serve(service, how)
  local self = setmetatable({ service = service, how = how, sleeper = task.waiter() }, mt)
  if process.id() == 1 then
    task.spawn(how.over and once or again, self)
  end
  return self
end

return M
