-- The REPL in a real terminal (tmux), with many at it at once, and with one that means harm.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local luv = require "luv"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local terminals = require "spec.helpers.terminal"

local p, socket, folder

local function start()
  folder = programs.folder()
  socket = folder .. "/repl.sock"
  p = proxy.start { "-L", "http://127.0.0.1:0", "-repl", socket }
  helpers.eventually(function()
    return luv.fs_stat(socket)
  end, "there is no REPL")
end

local function terminal()
  return terminals.start(folder, ("exec '%s' repl -socket '%s'"):format(proxy.executable, socket))
end

-- A client of the socket.  @return function(request) → answer
local function client()
  local s = assert(stream.dial("unix:" .. socket, nil, task.now() + 20000))
  s:set_deadline(task.now() + 60000)
  return function(request)
    assert(s:write(type(request) == "table" and cjson.encode(request) .. "\n" or request))
    local line = s:read_until("\n", 1048576)
    return line and cjson.decode(line)
  end, s
end

describe("the REPL", function()
  after_each(function()
    terminals.stop_all()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("edits, recalls and completes lines in a terminal", function()
    if not terminals.is_there() then
      return pending "tmux is not installed"
    end
    start()
    local t = terminal()
    t.shows "tidegate>"
    t.keys("1 + 4", "Enter")
    t.shows "\n5\n"
    -- editing: the beginning, a letter in the middle, a word deleted
    t.keys("2 * 1", "Home", "10", "Right", "Right", "Right", "Delete", "7", "C-e", "0", "Enter")
    t.shows "tidegate> 102 *710"
    t.shows "\n72420\n"
    t.keys("oops oops", "C-w", "C-u", "6 * 7", "Enter")
    t.shows "\n42\n"
    -- recalling
    t.keys("Up", "Up", "Up", "C-e", " + 1000", "Enter")
    t.shows "\n1005\n"
    -- completing names, fields and commands
    t.keys("string.rev", "Tab")
    t.shows "string.reverse"
    t.keys("C-u", "string.gma", "Tab", "Enter")
    t.shows "tidegate> string.gmatch"
    t.keys(":conn", "Tab", "Enter")
    t.shows "SID  SERVICE"
    -- several lines, and giving up in the middle
    t.keys("for i = 1, 2 do", "Enter")
    t.shows "...>"
    t.keys("print('line', i)", "Enter", " end", "Enter") -- "end" would be the key
    t.shows "line    2"
    t.keys("function f(", "Enter")
    t.shows "...>"
    t.keys "C-c"
    t.keys("'after' .. ' that'", "Enter")
    t.shows '"after that"'
    t.keys(":worker 2", "Enter")
    t.shows "worker 2>"
    t.keys("C-d")
    helpers.eventually(t.over, "Ctrl-D does not end it")
    -- another session knows the lines of this one
    t = terminal()
    t.shows "tidegate>"
    t.keys("Up", "Up", "Enter")
    t.shows '"after that"'
    t.keys("Escape", "[", "Z", "C-u", ":quit", "Enter")
    helpers.eventually(t.over, ":quit does not end it")
  end)

  it("shows connections and nodes, and closes one", function()
    start()
    local target = plane.echo()
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
    s:write(("CONNECT %s HTTP/1.1\r\n\r\n"):format(target))
    s:read_until("\r\n\r\n", 4096)
    local ask = client()
    local text = ask { op = "command", text = ":connections host=" .. target }.text
    local sid = text:match "\n(%w+)  service%-0  127%.0%.0%.1:%d+"
    assert.equal(20, #(sid or ""), text)
    assert.matches("1 of 1$", text)
    assert.is_false(ask { op = "command", text = ":connections what=1" }.ok)
    assert.is_true(ask { op = "command", text = ":kill " .. sid }.ok)
    assert.is_nil(s:read_until("\n", 10))
    assert.matches("^OF +NODE", ask { op = "command", text = ":nodes" }.text)
    assert.is_true(ask { op = "command", text = ":profile 0.2 1" }.ok)
  end)

  it("serves a hundred at once, and is not harmed by one", function()
    start()
    local target = plane.accept(function(s)
      s:write(s:read_until("\n", 100) or "")
      s:close()
    end)
    local over, slowest, rounds = false, 0, 0
    task.spawn(function()
      while not over do
        local began = task.now()
        local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
        s:set_deadline(task.now() + 20000)
        s:write(("CONNECT %s HTTP/1.1\r\n\r\n"):format(target))
        s:read_until("\r\n\r\n", 4096)
        s:write "x\n"
        assert.equal("x\n", s:read_until("\n", 10))
        s:close()
        rounds, slowest = rounds + 1, math.max(slowest, task.now() - began)
        task.sleep(0.01)
      end
      over = nil
    end)
    local hostile, hs = client()
    assert.is_false(hostile "{\n" .ok)
    assert.is_false(hostile "[1,2]\n" .ok)
    assert.is_false(hostile { op = "eval", text = "while true do end", worker = 1 } .ok)
    assert.is_false(hostile { op = "eval", text = "error(setmetatable({}, {__tostring = error}))" } .ok)
    assert.is_true(#hostile { op = "eval", text = "('x'):rep(3e6)" } .text < 300000)
    assert.is_true(hostile { op = "eval", text = "(function() local t = {} t.t = t return t end)()" } .ok)
    hs:write(("x"):rep(2 * 1024 * 1024)) -- a line without an end
    hs:close()
    local left = 100
    for i = 1, left do
      task.spawn(function()
        local ask, s = client()
        for j = 1, 5 do
          local where = j % 2 == 0 and 1 or "control"
          assert.equal(tostring(i * j), ask { op = "eval", text = i .. "*" .. j, worker = where } .text)
        end
        s:close()
        left = left - 1
      end)
    end
    helpers.eventually(function()
      return left == 0
    end, "not all of the hundred were served", 60)
    over = true
    helpers.eventually(function()
      return over == nil
    end, "the traffic does not end")
    assert.is_true(rounds > 1, rounds .. " rounds")
    assert.is_true(slowest < 5000, slowest .. " ms")
    assert.is_nil(p:log():find "raised")
  end)
end)
