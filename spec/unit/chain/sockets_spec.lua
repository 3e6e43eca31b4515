local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local sockets = require "tidegate.chain.sockets"

-- An acceptor that tells clients their own address.
local function mirror()
  return plane.accept(function(s)
    s:write(s:remote_address())
    s:close()
  end)
end

local function dial(md, ctx, where)
  local made = assert(sockets.new(md))
  local stream, err = made:dial(ctx, where)
  if not stream then
    return nil, err
  end
  local text = stream:read()
  stream:close()
  return text and text:match "^(.*):%d+$"
end

describe("outgoing sockets", function()
  after_each(plane.cleanup)

  it("are nothing special by default", function()
    assert.is_nil(sockets.new {})
    assert.is_nil(sockets.new { interface = "", so_mark = 0, netns = "" })
  end)

  it("begin at a source address", helpers.task(function()
    assert.same("127.0.0.9", dial({ interface = "127.0.0.9" }, nil, mirror()))
  end))

  it("begin at the address the client came to", helpers.task(function()
    assert.same("127.0.0.5", dial({ interface = "auto" }, { local_address = "127.0.0.5:8080" }, mirror()))
  end))

  it("try interfaces in order", helpers.task(function()
    assert.same("127.0.0.3", dial({ interface = "192.0.2.99, 127.0.0.3" }, nil, mirror()))
  end))

  it("stop at a strict one", helpers.task(function()
    local text, err = dial({ interface = "192.0.2.99!,127.0.0.3" }, nil, mirror())
    assert.is_nil(text)
    assert.is_truthy(err.code)
  end))

  it("say what is wrong with a setting", function()
    local made, err = sockets.new { netns = "no-such-namespace" }
    assert.is_nil(made)
    assert.is_truthy(err.code)
    made, err = sockets.new { interface = "much-too-long-for-a-name" }
    assert.is_nil(made)
    assert.same("invalid", err.code)
  end)
end)
