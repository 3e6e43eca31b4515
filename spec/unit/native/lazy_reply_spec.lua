-- The answer of a relay server, taken off what comes first, also when the server has left already.

local helpers = require "spec.helpers"
local lazy_reply = require "tidegate.native.lazy_reply"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

-- A client of a server that says `words` and leaves, so that what is written afterwards fails.
local function hung_up(words, test)
  return helpers.task(function()
    local where, stop = server.hang_up(words)
    local s = lazy_reply.relay(assert(stream.dial(where)))
    s:set_deadline(task.now() + 10000)
    local sent, err
    repeat
      sent, err = s:write "12"
      task.sleep(0.001)
    until not sent
    test(s, err)
    s:close()
    stop()
  end)
end

describe("a lazy reply", function()
  it("tells a refusal to who only writes", hung_up("\1\2\0\0", function(_, err)
    assert.equal("auth", err.code)
    assert.matches("user or password are wrong", tostring(err))
  end))

  it("keeps what follows a grant for who reads afterwards", hung_up("\1\0\0\1xtide", function(s, err)
    assert.is_true(err.code == "reset" or err.code == "closed", tostring(err))
    assert.equal("tide", s:read())
  end))

  it("of a server that resets without a word is missed", hung_up("", function(_, err)
    assert.equal("protocol", err.code)
    assert.matches("reset the connection without an answer", tostring(err))
  end))

  it("that is cut is no refusal", hung_up("\1\2", function(_, err)
    assert.is_true(err.code == "reset" or err.code == "closed", tostring(err))
  end))
end)
