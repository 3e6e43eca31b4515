-- `tidegate top` in a real terminal (tmux), and as text.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local luv = require "luv"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local terminals = require "spec.helpers.terminal"

local p, socket, folder, target

local function tunnel(bytes)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
  s:set_deadline(task.now() + 20000)
  s:write(("CONNECT %s HTTP/1.1\r\n\r\n"):format(target))
  s:read_until("\r\n\r\n", 4096)
  s:write(("x"):rep(bytes or 5))
  s:read_exact(bytes or 5)
  return s
end

-- Top in a shell that tells how the terminal was before and after.
local function top(env, ...)
  local words = { ... }
  return terminals.start(folder, ([[stty -a > '%s/before'; '%s' top -every 100ms -socket '%s' %s 2> '%s/said'
    echo "ended with $?"; stty -a > '%s/after'; exec cat]]):format(folder, proxy.executable, socket,
    table.concat(words, " "), folder, folder), env)
end

local function text_of(name)
  local f = assert(io.open(folder .. "/" .. name))
  local text = f:read "*a"
  f:close()
  return (text:gsub("rows %d+; columns %d+", ""))
end

-- The terminal is as it was.
local function left(t, code)
  t.shows("ended with " .. code)
  helpers.eventually(function()
    return luv.fs_stat(folder .. "/after") and text_of "after" == text_of "before"
  end, "the terminal is not as it was")
  assert.equal("0", t.ask "alternate_on")
  assert.equal("1", t.ask "cursor_flag")
end

describe("top", function()
  before_each(function()
    folder = programs.folder()
    socket = folder .. "/repl.sock"
    p = proxy.start { "-L", "http://127.0.0.1:0", "-repl", socket }
    target = plane.echo()
    helpers.eventually(function()
      return luv.fs_stat(socket)
    end, "there is no REPL")
  end)

  after_each(function()
    terminals.stop_all()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("shows what goes on, and does what keys say", function()
    if not terminals.is_there() then
      return pending "tmux is not installed"
    end
    local t = top()
    t.shows "service-0  127.0.0.1:"
    t.shows "connections: 0 of 0, by rate"
    assert.equal("1", t.ask "alternate_on")
    assert.equal("0", t.ask "cursor_flag")
    local small, big = tunnel(), tunnel(50000)
    t.shows "connections: 2 of 2"
    t.shows(target)
    t.shows "49K"
    t.keys "s"
    t.shows "by bytes"
    helpers.eventually(function() -- the biggest first
      return t.screen():find " 49K +49K .* %d+B +%d+B "
    end, "not in order")

    t.keys "p"
    t.shows "PAUSED"
    local third = tunnel()
    t.keys "p"
    t.lacks "PAUSED"
    t.shows "connections: 3 of 3"
    third:close()
    t.shows "connections: 2 of 2"

    t.keys("/", "nowhere")
    t.shows "filter: nowhere_"
    t.keys("BSpace", "x", "Enter")
    t.shows "connections: 0 of 0, by bytes, nowherx"
    t.keys("/", "C-c") -- nobody is asked again
    left(t, 0)
    assert.is_false(small.closed or big.closed or false)
    small:close()
    big:close()
  end)

  it("closes a connection once that is confirmed", function()
    if not terminals.is_there() then
      return pending "tmux is not installed"
    end
    local t = top(nil, "-sort bytes")
    local small, big = tunnel(), tunnel(50000)
    t.shows "connections: 2 of 2"
    t.keys "k"
    t.shows "choose a connection"
    t.keys "Down"
    t.shows " > "
    t.keys "k"
    t.shows(("to %s? y/n"):format(target))
    t.keys "n"
    t.shows "q quit"
    t.keys("k", "y")
    assert.is_nil((big:read()))
    t.shows "connections: 1 of 1"
    small:write "there"
    assert.equal("there", small:read_exact(5))
    t.keys "q"
    left(t, 0)
    small:close()
  end)

  it("follows the size of the terminal, and keeps to it", function()
    if not terminals.is_there() then
      return pending "tmux is not installed"
    end
    local t = top()
    local held = {}
    for i = 1, 30 do
      held[i] = tunnel()
    end
    t.shows "of 30"
    for _, size in ipairs { { 60, 12 }, { 20, 4 }, { 150, 50 } } do
      t.resize(size[1], size[2])
      t.shows "q quit"
      helpers.eventually(function()
        local first, count = t.screen():match "^([^\n]*)", select(2, t.screen():gsub("\n", ""))
        return first:find "^tidegate 0" and count == size[2]
      end, "it does not fit")
    end
    t.shows "connections: 30 of 30"
    t.keys "q"
    left(t, 0)
    for i = 1, 30 do
      held[i]:close()
    end
  end)

  it("leaves the terminal as it was, whatever ends it", function()
    if not terminals.is_there() then
      return pending "tmux is not installed"
    end
    for signal, code in pairs { INT = 130, TERM = 143, HUP = 129 } do
      local t = top()
      t.shows "service-0"
      local pid = programs.output("pgrep", { "-P", t.ask "pane_pid", "tidegate" })
      luv.kill(tonumber(pid), "sig" .. signal:lower())
      left(t, code)
    end
    local t = top()
    t.shows "service-0"
    p:kill "sigstop" -- no answer is no reason to stay
    t.keys "q"
    left(t, 0)
    p:kill "sigcont"
    t = top()
    t.shows "service-0"
    p:kill "sigkill"
    left(t, 1)
    assert.matches("the process has closed the connection", text_of "said")
  end)

  it("has colours unless somebody wants none", function()
    if not terminals.is_there() then
      return pending "tmux is not installed"
    end
    local t = top { NO_COLOR = "" }
    t.shows "service-0"
    assert.matches("\27%[[%d;]*3%dm", t.screen(true))
    t.keys "q"
    t = top { NO_COLOR = "1" }
    t.shows "service-0"
    assert.is_nil(t.screen(true):find "\27%[")
    t.keys "q"
  end)

  it("prints for scripts", function()
    local held = tunnel(50000)
    local function run(...)
      return proxy.run { "top", "-socket", socket, "-every", "100ms", ... }
    end
    local result = run "-once"
    assert.equal(0, result.code, result.stderr)
    assert.matches("^tidegate %S+  process " .. p.process.pid, result.stdout)
    assert.is_nil(result.stdout:find "\27")
    assert.is_nil(result.stdout:find "q quit")
    local other = tunnel(1000)
    result = run("-n", "2", "-sort", "bytes", "service=service-0", "host=" .. target)
    assert.equal(2, select(2, result.stdout:gsub("connections: 2 of 2, by bytes, service=service%-0", "")))
    other:close()
    result = run("-n", "1", "-O", "json")
    local answer = cjson.decode(result.stdout)
    assert.equal("service-0", answer.figures.services[1].name)
    assert.is_true(answer.connections.total >= 1)
    assert.equal(2, run("what=ever").code)
    assert.equal(2, run("-sort", "colour").code)
    assert.equal(1, proxy.run({ "top", "-once", "-socket", socket .. ".gone" }).code)
    held:close()
  end)
end)
