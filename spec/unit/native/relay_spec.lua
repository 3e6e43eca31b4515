-- The relay: bytes, half-close, errors, time-outs.

local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local relay = require "tidegate.native.relay"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

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

-- Both ends of one socket connection.
local function socket_pair()
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  local got
  local accepting = listener.accept(fds[1], function(s)
    got = s
  end)
  local client = assert(stream.dial(listener.address(fds[1])))
  helpers.eventually(function() return got end)
  accepting:close()
  listener.close_fd(fds[1])
  return client, got
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

  it("passes on what a peer said before it left in the middle of an upload", helpers.task(function()
    local client, near = stream.pair() -- takes 64 KiB at a time
    local server, far = socket_pair()
    local result = helpers.spawn(relay.run, near, far)
    client:write(("x"):rep(50000))
    assert(server:read_exact(1000))
    server:write(("answer "):rep(20000))
    helpers.pass()
    server:close() -- with bytes unread: a reset
    task.sleep(0.02)
    client:write "more of the upload"
    task.sleep(0.02)
    assert.equal(140000, #read_all(client))
    local r = result()
    assert.equal("reset", r.err.code)
    assert.equal("upstream", r.side)
    client:close()
  end))

  it("ends at once with a stream that has failed before, or has ended", helpers.task(function()
    for _, other in ipairs { "pair", "socket" } do
      local client, server = socket_pair()
      client:write "x"
      helpers.pass()
      server:close()
      client:write "y"
      task.sleep(0.02)
      assert.is_nil((client:write "z"))
      local far, last = stream.pair()
      local r = helpers.spawn(relay.run, other == "pair" and far or client,
        other == "pair" and client or far)(3000)
      assert.is_table(r.err)
      last:close()
    end
    local a, b = stream.pair()
    local c, d = stream.pair()
    b:write "bye"
    b:shutdown()
    assert.equal("bye", a:read())
    assert.equal("eof", select(2, a:read()).code)
    local result = helpers.spawn(relay.run, a, c)
    assert.equal("eof", select(2, d:read()).code)
    d:close()
    assert.is_nil(result(3000).err)
    b:close()
  end))

  it("leaves none behind", helpers.task(function()
    local client, server, result = joined()
    client:close()
    server:close()
    result()
    assert.equal(0, relay.count())
  end))
end)
