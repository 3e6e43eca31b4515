-- The dialer's end of the plain HTTP tunnel, towards a server as gost's: what it is told of the user's end.

local dial = require "tidegate.net.pht.dial"
local helpers = require "spec.helpers"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local EMPTY = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

-- @return address, a waiter that hears of each push's body, function that stops it
local function gost()
  local pushes, pulls = task.waiter(), {}
  local where, stop = server.accept(function(s)
    local text = s:read_until("\r\n\r\n", 4096)
    while text do
      if text:find "^GET /authorize" then
        s:write "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ntoken=ab"
      elseif text:find "^GET /pull" then
        s:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n"
        pulls[#pulls + 1] = s
      else
        local length = tonumber(text:match "Content%-Length: (%d+)")
        local body = length > 0 and s:read_exact(length) or ""
        s:write(EMPTY)
        pushes:wake(body)
        if body == "" then
          for _, pull in ipairs(pulls) do
            pull:close()
          end
        end
      end
      text = s:read_until("\r\n\r\n", 4096)
    end
    s:close()
  end)
  return where, pushes, stop
end

describe("net.pht", function()
  local function open(where)
    return assert(dial.open {
      host = "a", agent = "b", fields = {}, authorize = "/authorize", push = "/push", pull = "/pull",
      connect = function()
        return stream.dial(where)
      end,
    })
  end

  it("tells a server at once that the user is gone", helpers.task(function()
    local where, pushes, stop = gost()
    local s = open(where)
    s:write "x"
    assert.equal("eA==\n", (pushes:wait(task.now() + 10000)))
    s:close()
    assert.equal("", (pushes:wait(task.now() + 3000))) -- who has only finished is given 5 s
    stop()
  end))

  it("tells it when the user is gone that had finished before", helpers.task(function()
    local where, pushes, stop = gost()
    local s = open(where)
    s:shutdown()
    assert.is_nil(pushes:wait(task.now() + 200))
    s:close()
    assert.equal("", (pushes:wait(task.now() + 3000)))
    stop()
  end))
end)
