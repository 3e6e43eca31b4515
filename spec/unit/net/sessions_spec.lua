local helpers = require "spec.helpers"
local sessions = require "tidegate.net.sessions"
local task = require "tidegate.native.task"

-- A session of no protocol: streams are counted by hand.
local function fake(room)
  local self = { streams = 0, alive = true, limit = room or 100 }
  function self.count() return self.streams end
  function self.room() return self.limit - self.streams end
  function self.is_alive() return self.alive end
  function self.close() self.closed = true end
  function self.drain() self.alive = false end
  return self
end

describe("sessions to one place", function()
  local made

  local function open()
    made[#made + 1] = fake(2)
    task.sleep(0.005)
    return made[#made]
  end

  before_each(function()
    made = {}
  end)

  it("are opened by one task while the others wait", helpers.task(function()
    local pool = sessions.new { idle = 0.01 }
    local waits = {}
    for i = 1, 5 do
      waits[i] = helpers.spawn(function()
        return pool:take(open)
      end)
    end
    local first, used = waits[1]()
    assert.is_false(used)
    for i = 2, 5 do
      local other
      other, used = waits[i]()
      assert.equal(first, other)
      assert.is_true(used)
    end
    assert.equal(1, #made)
    pool:close()
  end))

  it("are joined by another when there is no room, and left when they die", helpers.task(function()
    local pool = sessions.new { idle = 0.01 }
    local a = pool:take(open)
    a.streams = 2
    local b = pool:take(open)
    assert.are_not.equal(a, b)
    a.streams = 1
    assert.equal(a, (pool:take(open)))
    a.alive = false
    assert.equal(b, (pool:take(open)))
    a.streams = 0
    pool:close()
    helpers.eventually(function()
      return a.closed and b.closed
    end)
  end))

  it("tell all who wait why none could be opened, each trying for itself", helpers.task(function()
    local pool, tries = sessions.new(), 0
    local function failing()
      tries = tries + 1
      task.sleep(0.002)
      return nil, { code = "refused" }
    end
    local first = helpers.spawn(function() return pool:take(failing) end)
    local second = helpers.spawn(function() return pool:take(failing) end)
    local none, err = first()
    assert.is_nil(none)
    assert.equal("refused", err.code)
    none, err = second()
    assert.is_nil(none)
    assert.equal("refused", err.code)
    assert.equal(2, tries)
  end))

  it("are closed when idle, but not before their last stream when forgotten", helpers.task(function()
    local pool = sessions.new { idle = 0.02 }
    local a = pool:take(open)
    helpers.eventually(function()
      return a.closed
    end)
    local b = pool:take(open)
    b.streams = 1
    pool:forget(b)
    assert.are_not.equal(b, (pool:take(open)))
    assert.is_nil(b.closed)
    b.streams = 0
    helpers.eventually(function()
      return b.closed
    end)
    pool:close()
  end))
end)
