-- The relay: bytes, half-close, errors, time-outs.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local relay = require "tidegate.native.relay"
local stream = require "tidegate.native.stream"

-- A relay between two in-memory streams: client end, server end, and a function that waits for the result.
local function joined(options)
  local client, near = stream.pair()
  local far, server = stream.pair()
  return client, server, helpers.spawn(relay.run, near, far, options and relay.options(options))
end

-- The same over sockets, so that splice is used.
local function joined_sockets()
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  local address, got = listener.address(fds[1]), {}
  local accepting = listener.accept(fds[1], function(s)
    got[#got + 1] = s
  end)
  local client, far = assert(stream.dial(address)), assert(stream.dial(address))
  while #got < 2 do
    helpers.pass()
  end
  accepting:close()
  listener.close_fd(fds[1])
  return client, got[2], helpers.spawn(relay.run, got[1], far)
end

local function read_all(s)
  local parts = {}
  local bytes = s:read(1000000)
  while bytes do
    parts[#parts + 1] = bytes
    bytes = s:read(1000000)
  end
  return table.concat(parts)
end

describe("relay", function()
  it("carries both ways and counts", helpers.task(function()
    local client, server, result = joined()
    client:write "question"
    assert.equal("question", server:read())
    server:write "answer!!!"
    assert.equal("answer!!!", client:read())
    client:shutdown()
    server:close()
    local r = result()
    assert.equal(8, r.up)
    assert.equal(9, r.down)
    assert.is_nil(r.err)
    client:close()
  end))

  it("delivers what was read ahead first", helpers.task(function()
    local client, near = stream.pair()
    local far, server = stream.pair()
    client:write "head and payload"
    assert.equal("head", near:read_exact(4))
    local result = helpers.spawn(relay.run, near, far)
    assert.equal(" and payload", server:read())
    client:close()
    server:close()
    result()
  end))

  for name, make in pairs { memory = joined, sockets = joined_sockets } do
    it("passes half-close on and loses nothing, " .. name, helpers.task(function()
      local client, server, result = make()
      local big = ("0123456789abcdef"):rep(200000)
      local sent = helpers.spawn(function()
        client:write(big)
        client:shutdown()
      end)
      assert.is_true(read_all(server) == big)
      sent()
      sent = helpers.spawn(function()
        server:write(big)
        server:shutdown()
      end)
      assert.is_true(read_all(client) == big)
      sent()
      local r = result()
      assert.equal(#big, r.up)
      assert.equal(#big, r.down)
      assert.is_nil(r.err)
      client:close()
      server:close()
    end))
  end

  it("uses splice for long flows between sockets", helpers.task(function()
    local before = relay.stats()
    local client, server, result = joined_sockets()
    local sent = helpers.spawn(function()
      client:write(("x"):rep(8000000))
      client:shutdown()
    end)
    assert.equal(8000000, #read_all(server))
    sent()
    server:close()
    result()
    client:close()
    assert.is_true(relay.stats() - before > 4000000)
  end))

  it("says which side broke", helpers.task(function()
    local client, server, result = joined()
    server:write "unread by the client"
    helpers.pass()
    client:close()
    server:write "more"
    local r = result()
    assert.equal("reset", r.err.code)
    assert.equal("client", r.side)
    server:close()
  end))

  it("ends an idle pair", helpers.task(function()
    local client, server, result = joined { idle = 30 }
    local r = result()
    assert.equal("timeout", r.err.code)
    assert.equal("eof", select(2, client:read()).code)
    client:close()
    server:close()
  end))

  it("ends a pair that lingers after one side has finished", helpers.task(function()
    local client, server, result = joined { linger = 30 }
    client:shutdown()
    local r = result()
    assert.equal("timeout", r.err.code)
    client:close()
    server:close()
  end))

  it("refuses what is closed", helpers.task(function()
    local a, b = stream.pair()
    local c, d = stream.pair()
    a:close()
    local ok, err = relay.start(a, c)
    assert.is_nil(ok)
    assert.equal("closed", err.code)
    assert.is_false(c:is_closed())
    b:close()
    c:close()
    d:close()
  end))

  it("leaves none behind", helpers.task(function()
    local client, server, result = joined()
    client:close()
    server:close()
    result()
    assert.equal(0, relay.count())
  end))
end)
