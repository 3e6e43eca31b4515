-- The examples about limits, run as their first lines say.

local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local task = require "tidegate.native.task"

-- The status of a request with credentials; nil: the connection was closed.
local function status(p, where, credentials)
  local s = examples.dial(p:port(1))
  s:write(("GET http://%s/ HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\nConnection: close\r\n\r\n"):format(
    where, where, credentials))
  local head = s:read_until("\r\n\r\n", 65536)
  s:close()
  return head and head:match "^HTTP/1.1 (%d+)"
end

local ALICE, WRONG = "YWxpY2U6d29uZGVybGFuZA==", "YWxpY2U6d3Jvbmc="

describe("examples", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    plane.cleanup()
  end))

  it("limits.yml has limits of every kind", helpers.task(function()
    local folder = programs.folder()
    local text = examples.read("examples/limits.yml"):gsub("addr: :8080", "addr: 127.0.0.1:0")
      :gsub("quota.json", folder .. "/quota.json")
    text = text:gsub("2026%-1%d%-01T", { ["2026-11-01T"] = "2020-01-01T", ["2026-12-01T"] = "2199-01-01T" })
    local p = proxy.start({ "-C", programs.file(folder, "limits.yml", text) }, { services = 1 })
    assert.equal("200", status(p, examples.web "hello", ALICE))
    local open = {}
    helpers.eventually(function() -- three at once of one address, no more
      local one = examples.dial(p:port(1))
      one:set_deadline(task.now() + 1000)
      local _, err = one:read()
      if err.code == "timeout" then
        open[#open + 1] = one
        return false
      end
      one:close()
      return #open == 3
    end)
    for _, s in ipairs(open) do
      s:close()
    end
    p:stop()
    assert.is_true(tonumber(examples.read(folder .. "/quota.json"):match '"used": (%d+)') > 100)
  end))

  it("abuse-limiter.lua slows down, and turns away", helpers.task(function()
    local p = proxy.start({ "-C", "examples/abuse-limiter.lua" }, {
      env = { LISTEN = "127.0.0.1:0" }, services = 1,
    })
    local target = examples.web(("x"):rep(100000))
    assert.equal("200", status(p, target, ALICE))
    for _ = 1, 3 do
      assert.equal("407", status(p, target, WRONG))
    end
    local began, s = task.now(), examples.dial(p:port(1))
    s:write(("GET http://%s/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n"):format(target, ALICE))
    s:read_until("\r\n\r\n", 65536)
    s:read_exact(40000)
    assert.is_true(task.now() - began >= 1300, "40000 bytes at 16 KB/s with a burst of as much")
    s:close()
    for _ = 1, 3 do
      status(p, target, WRONG)
    end
    assert.is_nil(status(p, target, ALICE))
  end))
end)
