-- `tidegate top`: what a running process carries, and for whom, in a terminal or as text.

local cjson = require "cjson"
local link = require "tidegate.admin.repl.link"
local screen = require "tidegate.admin.top.screen"
local task = require "tidegate.native.task"
local terminal = require "tidegate.admin.top.terminal"

local M = {}

local SORTS = { "rate", "bytes", "input", "output", "age" }
local PRINTED = 20 -- connections
local WIDTH = 512 -- of a line that no terminal shows
local SIGNALS = { sigint = 130, sigterm = 143, sighup = 129 } -- → exit code

--- Read a filter: words like user=ann; one without a key is a part of the target.
-- @return filter | nil, what is wrong
function M.filter(text)
  local filter = {}
  for word in text:gmatch "%S+" do
    local key, value = word:match "^(%l+)=(.+)$"
    if not key then
      key, value = "host", word
    end
    if key ~= "service" and key ~= "client" and key ~= "user" and key ~= "host" then
      return nil, ("there is no filter %q; service=, client=, user= and host= are"):format(key)
    end
    filter[key] = value
  end
  return filter
end

-- One look.  @return answer | nil, why
local function look(s, view, limit)
  local answer, err = link.ask(s, { op = "figures", sort = view.sort, limit = limit, filter = view.filter })
  if answer and not answer.ok then
    return nil, answer.text or "the process does not know figures"
  end
  return answer, err
end

local function take_over(view, answer)
  view.figures = screen.compare(answer.figures, view.figures)
  view.nodes, view.connections = answer.nodes, answer.connections
end

-- Text --------------------------------------------------------------------------------------------

local function print_view(view, as_json, host)
  if as_json then
    return host.stdout(cjson.encode {
      figures = view.figures, nodes = view.nodes, connections = view.connections,
    } .. "\n")
  end
  local texts = {}
  for _, line in ipairs(screen.lines(view, WIDTH)) do
    texts[#texts + 1] = line.text:gsub("%s+$", "") .. "\n"
  end
  host.stdout(table.concat(texts))
end

-- The first look is only there to tell how fast things are at the next one.
local function print_all(s, view, options, host)
  local left, every = options.count or 1, options.every
  local answer, err = look(s, view, 0)
  while answer do
    take_over(view, answer)
    task.sleep(every)
    answer, err = look(s, view, PRINTED)
    if answer then
      take_over(view, answer)
      print_view(view, options.output == "json", host)
      left = left - 1
      if left <= 0 then
        return 0
      end
      if options.output ~= "json" then
        host.stdout "\n"
      end
    end
  end
  host.stderr(("tidegate: %s\n"):format(err))
  return 1
end

-- A terminal --------------------------------------------------------------------------------------

local session = {}
local session_mt = { __index = session }

function session:tell(kind, value)
  self.events[#self.events + 1] = { kind, value }
  self.alarm:wake(true)
end

-- Ask the process again and again, apart from the keys: one that does not answer can be left.
function session:watch()
  while true do
    local answer, err
    local sid = table.remove(self.doomed, 1)
    if sid then
      answer, err = link.ask(self.stream, { op = "command", text = ":kill " .. sid })
      self:tell("said", answer and (answer.ok and "closed" or answer.text))
    else
      answer, err = look(self.stream, self.view, self.room)
      if answer then
        self:tell("look", answer)
      end
    end
    if not answer then
      return self:tell("gone", err)
    end
    if not self.doomed[1] then
      self.hurry:wait(task.now() + self.every * 1000)
    end
  end
end

function session:draw()
  local width, height = self.terminal:size()
  self.room = screen.room(self.view, height)
  if not self.view.figures then
    return self.terminal:show { { text = "waiting for the process …" } }
  end
  self.terminal:show(screen.lines(self.view, width, height))
end

function session:select(step)
  local items, at = self.view.connections and self.view.connections.items or {}, nil
  for i, item in ipairs(items) do
    at = item.sid == self.view.selected and item.sid and i or at
  end
  at = at and at + step or step > 0 and 1 or #items
  local item = items[math.max(1, math.min(at, #items))]
  self.view.selected = item and item.sid
end

local keys = {}

function keys.p(self)
  self.view.paused = not self.view.paused
end
keys[" "] = keys.p

function keys.n(self)
  self.view.shows_nodes = not self.view.shows_nodes
end

function keys.s(self)
  local at = 1
  for i, name in ipairs(SORTS) do
    at = name == self.view.sort and i or at
  end
  self.view.sort = SORTS[at % #SORTS + 1]
  self.view.paused = false
  self.hurry:wake()
end

function keys.up(self)
  self:select(-1)
end

function keys.down(self)
  self:select(1)
end

function keys.escape(self)
  self.view.selected = nil
end

function keys.k(self)
  for _, item in ipairs(self.view.connections and self.view.connections.items or {}) do
    if item.sid and item.sid == self.view.selected then
      self.asking = { kind = "kill", sid = item.sid }
      self.view.prompt = ("close the connection of %s to %s? y/n"):format(item.client or "-", item.host or "-")
      return
    end
  end
  self.view.prompt = "choose a connection with ↑ and ↓ first"
end

keys["/"] = function(self)
  self.asking = { kind = "filter", text = self.view.filter_text }
  self.view.prompt = "filter: " .. self.view.filter_text .. "_"
end

-- While a question is open, keys answer it.
function session:answer(key)
  local asking = self.asking
  if asking.kind == "kill" then
    self.asking, self.view.prompt = nil, nil
    if key == "y" or key == "Y" then
      self.doomed[#self.doomed + 1] = asking.sid
      self.hurry:wake()
    end
    return
  end
  if key == "enter" then
    local filter, err = M.filter(asking.text)
    self.asking, self.view.prompt = nil, err
    if filter then
      self.view.filter, self.view.filter_text, self.view.paused = filter, asking.text, false
      self.hurry:wake()
    end
    return
  elseif key == "escape" then
    self.asking, self.view.prompt = nil, nil
    return
  elseif key == "erase" then
    asking.text = asking.text:gsub("[^\128-\191][\128-\191]*$", "")
  elseif key:byte() >= 32 and (#key == 1 or key:byte() >= 192) then
    asking.text = asking.text .. key
  end
  self.view.prompt = "filter: " .. asking.text .. "_"
end

-- @return whether to go on
function session:key(key)
  if key == "quit" then
    return false
  elseif self.asking then
    self:answer(key)
    return true
  elseif key == "q" then
    return false
  end
  self.view.prompt = nil
  if keys[key] then
    keys[key](self)
  end
  return true
end

local on = {}

-- @return exit code when it is over
function on.bytes(self, bytes)
  if not bytes then
    return 0
  end
  local list
  list, self.rest = terminal.keys(self.rest .. bytes)
  for _, key in ipairs(list) do
    if not self:key(key) then
      return 0
    end
  end
end

function on.look(self, answer)
  if not self.view.paused then
    take_over(self.view, answer)
  end
end

function on.said(self, text)
  self.view.prompt = text
end

function on.gone(self, err)
  self.err = err
  return 1
end

function on.signal(_, name)
  return SIGNALS[name]
end

function on.size() end

function session:talk()
  self:draw()
  while true do
    if #self.events == 0 then
      self.alarm:wait()
    end
    local event = table.remove(self.events, 1)
    local code = event and on[event[1]](self, event[2])
    if code then
      return code
    end
    self:draw()
  end
end

local function show(s, view, options, host)
  local self = setmetatable({
    stream = s, view = view, every = options.every, events = {}, alarm = task.waiter(), hurry = task.waiter(),
    doomed = {}, rest = "", room = 20,
  }, session_mt)
  self.terminal = terminal.open(host.stdout, function(kind, value)
    self:tell(kind, value)
  end)
  task.spawn(self.watch, self)
  local ok, code = xpcall(self.talk, debug.traceback, self)
  self.terminal:close()
  if not ok or self.err then
    host.stderr(("tidegate: %s\n"):format(self.err or code))
  end
  return ok and code or 1
end

--- Run it.  @return exit code
function M.run(options, host)
  local filter, err = M.filter(table.concat(options.rest, " "))
  local sorts = false
  for _, name in ipairs(SORTS) do
    sorts = sorts or name == (options.sort or "rate")
  end
  if not filter or not sorts then
    host.stderr(("tidegate: %s\n"):format(err or "sort is one of " .. table.concat(SORTS, ", ")))
    return 2
  end
  local s
  s, err = link.connect(options.socket)
  if not s then
    host.stderr("tidegate: " .. err .. "\n")
    return 1
  end
  local view = {
    sort = options.sort or "rate", filter = filter, filter_text = table.concat(options.rest, " "), shows_nodes = true,
  }
  options.every = math.max(options.every or 1, 0.1)
  options.count = options.once and 1 or options.count
  if options.count or options.output == "json" or not terminal.is_there() then
    return print_all(s, view, options, host)
  end
  return show(s, view, options, host)
end

return M
