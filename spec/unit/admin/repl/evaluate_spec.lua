local evaluate = require "tidegate.admin.repl.evaluate"
local helpers = require "spec.helpers"
local task = require "tidegate.native.task"

local function text(code, options)
  local answer = evaluate.run(code, options or { budget = 20 })
  return answer.text, answer.ok
end

describe("evaluating what people type", function()
  it("answers, prints and keeps names", function()
    assert.equal("3", text "1 + 2")
    assert.equal("a\tnil\n5", text "print('a', nil) return 5")
    assert.is_true(evaluate.run "for i = 1, 2 do".more)
    text "kept = 7 function say() print('said', kept) end"
    assert.equal("said\t7", text "say()") -- by a function of another line
    assert.equal("in\tside", text "coroutine.wrap(function() print('in', 'side') end)()")
    assert.equal("waited", text("print('waited')", { wait = true }))
  end)

  it("stops whatever has no end, wherever it hides", function()
    for _, code in ipairs {
      "while true do end",
      "while true do pcall(function() while true do end end) end",
      "local function f() while true do xpcall(f, f) end end f()",
      "table.sort({ 3, 2, 1 }, function() while true do end end)",
      "while true do pcall(table.sort, { 3, 2, 1 }, function() while true do end end) end",
      "('x'):gsub('x', function() while true do end end)",
      "coroutine.wrap(function() while true do end end)()",
      "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
      "return setmetatable({}, { __tostring = function() while true do end end })",
      "error(setmetatable({}, { __tostring = function() while true do end end }))",
      "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
      "repeat local ok = pcall(error) until false",
      "local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end",
      "local s = 'x' while true do s = s .. s end",
      "for i = 1, 1e9 do print(('x'):rep(1e4)) end",
      "local function deep() return 1 + deep() end deep()",
      "('x'):rep(2e9)",
    } do
      local before = collectgarbage "count"
      local said, ok = text(code)
      assert.is_false(ok, code)
      assert.is_true(#said < 300000, code)
      assert.is_true(collectgarbage "count" - before < 40 * 1024, code)
      collectgarbage()
    end
    assert.equal("3", text "1 + 2")
    assert.equal(50000000, #("x"):rep(50000000)) -- the limit is theirs alone
  end)

  it("lets others have their turns meanwhile", function()
    local over, turns, quick = false, 0, nil
    task.spawn(function()
      text("while true do end", { budget = 200 })
      over = quick or "nothing yet" -- the other one did not have to wait for this end
    end)
    task.spawn(function()
      quick = text "2 + 2"
    end)
    while not over do
      turns = turns + 1
      task.sleep(0.001)
    end
    assert.equal("4", over)
    assert.is_true(turns > 1, turns .. " turns")
    local left = 20
    for i = 1, 20 do
      task.spawn(function()
        text(i % 2 == 0 and "while true do end" or "print(" .. i .. ")")
        left = left - 1
      end)
    end
    helpers.eventually(function()
      return left == 0
    end, "not all had an end", 60)
  end)

  it("does not mix up what is printed", function()
    local texts, left = {}, 4
    for i = 1, 4 do
      task.spawn(function()
        texts[i] = text(("for j = 1, 2000 do if j %% 500 == 0 then print(%d) end kept = ('y'):rep(200) end"):format(i))
        left = left - 1
      end)
    end
    helpers.eventually(function()
      return left == 0
    end, "no end", 30)
    for i = 1, 4 do
      assert.equal(("%d\n%d\n%d\n%d"):format(i, i, i, i), texts[i])
    end
  end)

  it("completes without being held up", function()
    text "trap = setmetatable({}, { __index = function() while true do end end })"
    local _, list = evaluate.complete "trap.x."
    assert.same({}, list)
    _, list = evaluate.complete "string.rever"
    assert.same({ "string.reverse" }, list)
  end)

  it("completes names, fields and what stands in brackets", function()
    text 'world = { ["front-door"] = { handler = { kind = 1 }, ["end"] = 2 }, { other = 3 }, back = {} }'
    local function completed(line)
      local word, list = evaluate.complete(line)
      return word .. " > " .. table.concat(list, " ")
    end
    assert.equal("wor > world", completed "x = wor")
    assert.equal('world. > world.back world["front-door"]', completed "print(world.")
    assert.equal("world.b > world.back", completed "world.b")
    assert.equal('world["f > world["front-door"]', completed 'world["f')
    assert.equal("world['f > world['front-door']", completed "world['f")
    assert.equal('world[ > world["back"] world["front-door"] world[1]', completed "world[")
    assert.equal('world["front-door"].h > world["front-door"].handler', completed '1 + world["front-door"].h')
    assert.equal('world["front-door"]. > world["front-door"].handler world["front-door"]["end"]',
      completed 'world["front-door"].')
    assert.equal('world["front-door"].handler.k > world["front-door"].handler.kind',
      completed 'world["front-door"].handler.k')
    assert.equal("world[1].o > world[1].other", completed "world[1].o")
    assert.equal("world.none. > ", completed "world.none.")
    assert.equal(" > ", completed "f(1).x")
    assert.equal(" > ", completed 'print("wor')
  end)
end)
