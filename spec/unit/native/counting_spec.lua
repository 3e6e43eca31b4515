local helpers = require "spec.helpers"
local relay = require "tidegate.native.relay"
local shared = require "tidegate.native.shared"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local unique = 0

local function fresh(kind)
  unique = unique + 1
  return shared[kind]("counting-spec-" .. unique)
end

describe("stream:hold", function()
  it("counts a stream until it closes", helpers.task(function()
    local open = fresh "counter"
    local a, b = stream.pair()
    assert.is_true(a:hold(open))
    assert.is_true(b:hold(open))
    assert.same(2, open:get())
    a:close()
    assert.same(1, open:get())
    a:close()
    b:close()
    assert.same(0, open:get())
  end))

  it("counts for several at once", helpers.task(function()
    local one, two = fresh "counter", fresh "counter"
    local a, b = stream.pair()
    a:hold(one)
    a:hold(two)
    a:hold(two)
    assert.same({ 1, 2 }, { one:get(), two:get() })
    a:close()
    b:close()
    assert.same({ 0, 0 }, { one:get(), two:get() })
  end))

  it("goes on while a relay has the stream, and ends with it", helpers.task(function()
    local open = fresh "counter"
    local client, near = stream.pair()
    local far, server = stream.pair()
    far:hold(open)
    assert(relay.start(near, far))
    client:write "x"
    assert.same("x", server:read())
    assert.same(1, open:get())
    client:close()
    server:close()
    helpers.eventually(function()
      return open:get() == 0
    end)
  end))

  it("refuses a closed stream", helpers.task(function()
    local open = fresh "counter"
    local a, b = stream.pair()
    a:close()
    b:close()
    local ok, err = a:hold(open)
    assert.is_nil(ok)
    assert.same("closed", err.code)
    assert.same(0, open:get())
  end))
end)

describe("shared.latency", function()
  it("knows nothing at first", function()
    assert.same(0, fresh("latency"):get())
  end)

  it("jumps up at once and comes down slowly", function()
    local average = fresh "latency"
    average:note(0.01)
    assert.is_true(math.abs(average:get() - 0.01) < 0.001)
    average:note(0.5)
    assert.is_true(average:get() > 0.49)
    average:note(0.01)
    assert.is_true(average:get() > 0.4)
  end)

  it("is one for all who name it, and bounded", function()
    unique = unique + 1
    local name = "counting-spec-" .. unique
    shared.latency(name):note(1e9)
    local average = shared.latency(name)
    average:note(1e9)
    assert.is_true(average:get() <= 17)
  end)
end)

describe("task.cancelable", function()
  it("ends what a task waits for", helpers.task(function()
    local cancel
    local done = helpers.spawn(function()
      cancel = task.cancelable()
      local value, err = task.waiter():wait()
      cancel:close()
      return value == nil and err.code
    end)
    helpers.pass()
    cancel:cancel()
    assert.same("timeout", done(1000))
    cancel:cancel() -- nobody is there any more
  end))

  it("ends a dial, and a read", helpers.task(function()
    local a, b = stream.pair()
    local cancel
    local done = helpers.spawn(function()
      cancel = task.cancelable()
      local _, err = a:read()
      cancel:close()
      return err.code
    end)
    helpers.pass()
    cancel:cancel()
    assert.same("timeout", done(1000))
    a:close()
    b:close()
  end))

  it("does nothing to a task that runs, and leaves later waits alone", helpers.task(function()
    local cancel = task.cancelable()
    cancel:cancel()
    assert.is_true(task.sleep(0.001))
    cancel:close()
    cancel:cancel()
    assert.is_true(task.sleep(0.001))
  end))
end)
