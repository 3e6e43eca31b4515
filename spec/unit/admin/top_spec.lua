local screen = require "tidegate.admin.top.screen"
local terminal = require "tidegate.admin.top.terminal"
local top = require "tidegate.admin.top"

local function figures(time, bytes)
  return {
    time = time,
    total = { totalConns = 1, currentConns = 1, inputBytes = bytes, outputBytes = 0, totalErrs = 0 },
    services = { {
      name = "a", addr = ":1", handler = "http", listener = "tcp", state = "ready", totalConns = 1, currentConns = 1,
      inputBytes = bytes, outputBytes = 0, totalErrs = 0,
    } },
    process = {
      pid = 1, version = "0", uptime = 90061, cpu = time / 2, memory = 1048576, lua = 0, workers = 1, sessions = 0,
    },
  }
end

local function view(item)
  return {
    figures = screen.compare(figures(12, 3000), figures(10, 1000)), nodes = {}, sort = "rate", filter_text = "",
    connections = { total = 1, items = { item } },
  }
end

local function text(lines)
  local out = {}
  for i, line in ipairs(lines) do
    out[i] = line.text
  end
  return table.concat(out, "\n")
end

local ITEM = { sid = "s", client = "c", inputBytes = 1, outputBytes = 1023, age = 3725 }

describe("the screen of top", function()
  it("says how fast things go", function()
    local shown = text(screen.lines(view(ITEM), 200))
    assert.matches("up 1d01h  CPU 50%%", shown)
    assert.matches("in 1000B/s  out %-", (shown:gsub("1%.0K/s", "1000B/s")))
    assert.matches("1h02m", shown)
    local anew = screen.compare(figures(14, 10), figures(12, 3000)) -- counters that began anew
    assert.equal(0, anew.total.inputRate)
  end)

  it("lets nobody write to the terminal", function()
    local item = {
      sid = "s", client = "\27]0;x\7", user = "a\nb\194\155c", host = "\r", inputBytes = 0, outputBytes = 0, age = 0,
    }
    local shown = text(screen.lines(view(item), 200))
    assert.is_nil(shown:gsub("\n", ""):find "%c")
    assert.is_nil(shown:find("\194\155", 1, true))
  end)

  it("keeps to its size", function()
    for height = 1, 30 do
      local lines = screen.lines(view(ITEM), 10, height)
      assert.equal(height, #lines)
      for _, line in ipairs(lines) do
        assert.is_true(select(2, line.text:gsub("[^\128-\191]", "")) <= 10)
      end
    end
    assert.equal("aä", screen.cut("aäö", 2))
    assert.equal("aäö", screen.cut("aäö", 3))
    assert.equal("", screen.cut("ä", 0))
  end)
end)

describe("keys", function()
  it("are taken apart", function()
    assert.same({ "a", "up", "down", "enter", "erase", "quit", "ä" }, (terminal.keys "a\27[A\27OB\r\127\3ä"))
    assert.same({ "escape" }, (terminal.keys "\27"))
    local list, rest = terminal.keys "x\27["
    assert.same({ { "x" }, "\27[" }, { list, rest })
    assert.same({ "other", "b" }, (terminal.keys "\27[5~b"))
  end)
end)

describe("a filter of top", function()
  it("is words", function()
    assert.same({ user = "ann", host = "example" }, top.filter "user=ann example")
    assert.same({}, top.filter "")
    assert.is_nil(top.filter "colour=red")
  end)
end)
