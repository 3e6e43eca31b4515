-- `tidegate repl`, `tidegate eval` and `tidegate upgrade`: what talks over the REPL's socket.

local editor = require "tidegate.admin.repl.editor"
local link = require "tidegate.admin.repl.link"
local luv = require "luv"
local task = require "tidegate.native.task"

local M = {}

local HISTORY = "/.tidegate_history"

-- What a line typed by the user asks for.
local function request_of(line, where)
  local waiting = line:match "^:wait%s+(.*)$"
  if waiting then
    return { op = "eval", text = waiting, worker = where, wait = true }
  elseif line:find "^:" then
    return { op = "command", text = line }
  end
  return { op = "eval", text = line, worker = where }
end

local function worker_of(text)
  return tonumber(text) or text
end

-- Ask for one thing and print the answer.  @return exit code
local function ask_once(options, host, request)
  local s, err = link.connect(options.socket)
  if not s then
    host.stderr("tidegate: " .. err .. "\n")
    return 1
  end
  local answer
  answer, err = link.ask(s, request)
  s:close()
  if not answer or answer.more then
    host.stderr("tidegate: " .. (err or "the expression is not complete") .. "\n")
    return 1
  end
  local write = answer.ok and host.stdout or host.stderr
  if answer.text and answer.text ~= "" then
    write(answer.text .. "\n")
  end
  return answer.ok and 0 or 1
end

--- Evaluate one expression.  @return exit code
function M.eval(options, host)
  if not options.rest[1] then
    host.stderr "tidegate: eval needs an expression or a command, such as :connections; :help lists those\n"
    return 2
  end
  return ask_once(options, host, request_of(table.concat(options.rest, " "), worker_of(options.worker or "control")))
end

--- Have the process hand over to the executable as it is now.  @return exit code
function M.upgrade(options, host)
  return ask_once(options, host, { op = "command", text = ":upgrade" })
end

--- Show what goes on, as a terminal sees it.  @return exit code
function M.top(options, host)
  return require("tidegate.admin.top").run(options, host)
end

-- Where lines come from and answers go: a terminal, or files and pipes.
local function open_input(on_bytes)
  local terminal = luv.guess_handle(0) == "tty"
  local handle
  if terminal then
    handle = luv.new_tty(0, true)
    luv.tty_set_mode(handle, 1)
  else
    handle = luv.new_pipe(false)
    if luv.guess_handle(0) == "file" then
      local text = io.read "*a"
      task.spawn(function()
        on_bytes(text)
        on_bytes(nil)
      end)
      return terminal
    end
    handle:open(0)
  end
  handle:read_start(function(_, bytes)
    on_bytes(bytes)
  end)
  return terminal, handle
end

-- The width of the terminal as it is now.
local function columns()
  local ok, width = pcall(function()
    local out = luv.new_tty(1, false)
    local found = out:get_winsize()
    out:close()
    return found
  end)
  return ok and tonumber(width) or 80
end

local function read_history(ed)
  local home = luv.os_getenv "HOME"
  local file = home and io.open(home .. HISTORY)
  for line in file and file:lines() or function() end do
    ed:remember(line)
  end
  if file then
    file:close()
  end
end

local function add_history(line)
  local home = luv.os_getenv "HOME"
  local file = home and line:find "%S" and io.open(home .. HISTORY, "a")
  if file then
    file:write((line:gsub("\n", " ")), "\n")
    file:close()
    luv.fs_chmod(home .. HISTORY, 384)
  end
end

local session = {}
local session_mt = { __index = session }

-- Have what follows evaluated elsewhere, if there is such a place.
function session:move(where)
  local answer, err = link.ask(self.stream, { op = "eval", text = "nil", worker = where })
  if not answer then
    self.say(err)
    return false
  elseif not answer.ok then
    self.say("error: " .. answer.text)
  else
    self.where = where
  end
  self.failed = not answer.ok
  return true
end

-- Handle one whole line.  @return whether to go on
function session:line(line)
  if line:match "^:q%w*%s*$" or line:match "^:exit%s*$" then
    return false
  end
  local where = line:match "^:worker%s+(%S+)%s*$"
  if where then
    return self:move(worker_of(where))
  end
  local text = self.pending and self.pending .. "\n" .. line or line
  if not text:find "%S" then
    return true
  end
  local answer, err = link.ask(self.stream, request_of(text, self.where))
  if not answer then
    self.say(err)
    self.failed = true
    return false
  end
  self.pending = answer.more and text or nil
  if answer.text and answer.text ~= "" then
    self.say(answer.ok and answer.text or "error: " .. answer.text)
  end
  self.failed = not answer.more and not answer.ok
  return true
end

function session:prompt()
  if self.pending then
    return "...> "
  end
  return self.where == "control" and "tidegate> " or ("worker %s> "):format(self.where)
end

local function next_bytes(self)
  if #self.input == 0 and not self.ended then
    self.waiter:wait()
  end
  return table.remove(self.input, 1)
end

local function talk_terminal(self, ed)
  ed:ask(self:prompt())
  local bytes = next_bytes(self)
  while bytes do
    local what, line = ed:feed(bytes)
    while what do
      if what == "end" then
        return
      elseif what == "cancel" then
        self.pending = nil
      else
        add_history(line)
        if not self:line(line) then
          return
        end
      end
      ed:ask(self:prompt())
      what, line = ed:feed ""
    end
    bytes = next_bytes(self)
  end
end

local function talk_lines(self)
  local rest, bytes = "", next_bytes(self)
  while bytes do
    rest = rest .. bytes
    for line in rest:gmatch "([^\n]*)\n" do
      if not self:line(line) then
        return
      end
    end
    rest = rest:match "[^\n]*$"
    bytes = next_bytes(self)
  end
  if rest ~= "" then
    self:line(rest)
  end
end

--- Talk until the user has enough.  @return exit code
function M.repl(options, host)
  local s, err = link.connect(options.socket)
  if not s then
    host.stderr("tidegate: " .. err .. "\n")
    return 1
  end
  local self = setmetatable({
    stream = s,
    where = worker_of(options.worker or "control"),
    input = {},
    waiter = task.waiter(),
    say = function(text)
      host.stdout(text .. "\n")
    end,
  }, session_mt)
  local terminal = open_input(function(bytes)
    self.input[#self.input + 1] = bytes
    self.ended = self.ended or bytes == nil
    self.waiter:wake(true)
  end)
  if terminal then
    local ed = editor.new(host.stdout, function(line)
      local answer = link.ask(s, { op = "complete", text = line, worker = self.where })
      return answer and answer.word, answer and answer.list
    end, columns)
    self.say = function(text)
      ed:say(text)
    end
    read_history(ed)
    ed:say "tidegate REPL; :help shows what there is"
    talk_terminal(self, ed)
    luv.tty_reset_mode()
  else
    talk_lines(self)
  end
  s:close()
  return self.failed and 1 or 0
end

return M
