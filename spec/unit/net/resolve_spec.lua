local helpers = require "spec.helpers"
local resolve = require "tidegate.net.resolve"
local task = require "tidegate.native.task"

describe("net.resolve", function()
  it("answers literals at once", function()
    assert.same({ "192.0.2.1" }, resolve.lookup "192.0.2.1")
    assert.same({ "::1" }, resolve.lookup "::1")
  end)

  it("asks the system", helpers.task(function()
    local ips = assert(resolve.lookup("localhost", task.now() + 20000))
    assert.is_truthy(ips[1] == "127.0.0.1" or ips[1] == "::1")
  end))

  it("shares one answer among those who ask together", helpers.task(function()
    local first = helpers.spawn(resolve.lookup, "localhost")
    local second = helpers.spawn(resolve.lookup, "localhost")
    assert.same(first(), second())
  end))

  it("says when a name has no address", helpers.task(function()
    local ips, err = resolve.lookup("no-such-host.invalid", task.now() + 15000)
    assert.is_nil(ips)
    assert.same("no-such-host.invalid", err.addr)
    assert.is_truthy(err.code == "resolve" or err.code == "timeout")
  end))
end)
