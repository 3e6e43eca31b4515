-- A hundred at the REPL and one that means harm: traffic goes on, what runs away is stopped, memory has an
-- end.  How long it takes is measured by spec/bench/admin.lua.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local SECONDS = 2
local GROWTH_KIB = 160 * 1024

local p, socket

local function client()
  local s = assert(stream.dial("unix:" .. socket, nil, task.now() + 20000))
  s:set_deadline(task.now() + 60000)
  return s, function(request)
    assert(s:write(cjson.encode(request) .. "\n"))
    local line = s:read_until("\n", 4194304)
    return line and cjson.decode(line)
  end
end

local stopped, harmless = 0, 0

local function runs_away(text, worker)
  local s, ask = client()
  local answer = ask { op = "eval", text = text, worker = worker }
  assert.is_false(answer.ok)
  stopped = stopped + 1
  s:close()
end

local ATTACKS = {
  function()
    runs_away("while true do end", 1)
  end,
  function()
    runs_away("while true do pcall(function() while true do end end) end", 2)
  end,
  function()
    runs_away("local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end", "all")
  end,
  function()
    runs_away("return setmetatable({}, { __tostring = function() while true do end end })", "control")
  end,
  function() -- neither a request nor a line
    local s = client()
    s:write(("\0garbage\255"):rep(300000))
    s:close()
    harmless = harmless + 1
  end,
  function() -- asks for much and reads nothing
    local s = client()
    s:set_deadline(task.now() + 300)
    for _ = 1, 100 do
      if not s:write '{"op":"eval","text":"(\'x\'):rep(250000)"}\n' then
        break
      end
    end
    s:close()
    harmless = harmless + 1
  end,
  function() -- leaves in the middle
    local s = client()
    s:write '{"op":"eval","text":"while true do end","worker":"all"}\n{"op":"ev'
    s:close()
    harmless = harmless + 1
  end,
}

describe("the REPL beside traffic", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("harms nothing, whoever is at it", function()
    socket = programs.folder() .. "/repl.sock"
    p = proxy.start { "-L", "http://127.0.0.1:0", "-repl", socket }
    local target = plane.echo()
    local function tunnel()
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
      s:set_deadline(task.now() + 60000)
      s:write(("CONNECT %s HTTP/1.1\r\n\r\n"):format(target))
      assert(s:read_until("\r\n\r\n", 4096))
      return s
    end
    local before, over, left, asked = p:rss(), false, 0, 0
    local function beside(fn)
      left = left + 1
      task.spawn(function()
        local whole, why = xpcall(fn, debug.traceback)
        assert(whole, why)
        left = left - 1
      end)
    end
    for i = 1, 100 do
      beside(function()
        local s, ask = client()
        while not over do
          local answer = ask { op = "eval", text = i .. " * 2", worker = i % 3 > 0 and i % 3 or nil }
          assert.equal(tostring(i * 2), answer.text)
          asked = asked + 1
          task.sleep(0.1)
        end
        s:close()
      end)
    end
    beside(function()
      local at = 0
      while not over or at < #ATTACKS do
        at = at + 1
        ATTACKS[(at - 1) % #ATTACKS + 1]()
      end
    end)
    local rounds, kept, limit = 0, tunnel(), task.now() + SECONDS * 1000
    while task.now() < limit or (rounds <= 10 or asked < 100) and task.now() < limit + 20000 do
      local s = tunnel()
      for _, one in ipairs { s, kept } do
        one:write "ping"
        assert.equal("ping", one:read_exact(4))
      end
      s:close()
      rounds = rounds + 1
      task.sleep(0.01)
    end
    over = true
    helpers.eventually(function()
      return left == 0
    end, "not all were served", 60)
    assert.is_true(rounds > 10, rounds .. " rounds")
    assert.is_true(asked >= 100, asked .. " answers")
    assert.is_true(stopped >= 4 and harmless >= 3)
    if not proxy.executable:find "asan" then
      assert.is_true(p:rss() - before < GROWTH_KIB, ("from %d to %d KiB"):format(before, p:rss()))
    end
    kept:set_deadline(task.now() + 20000)
    kept:write "still"
    assert.equal("still", kept:read_exact(5))
    assert.is_nil(p:log():find "raised")
  end)
end)
