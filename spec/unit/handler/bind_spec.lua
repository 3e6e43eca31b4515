-- BIND of socks5 and relay: our connectors against our handlers.

local addr = require "tidegate.net.addr"
local connection = require "spec.helpers.connection"
local helpers = require "spec.helpers"
local stream = require "tidegate.native.stream"

local ON = { bind = true, notls = true }

-- The connector's acceptor for a port of the handler's choice.
local function bound(name, network, ctx, at)
  local client, _, served = connection.serve(name, ON, ctx)
  local connector = connection.instance("connector", name, { notls = true })
  local cctx = connection.ctx()
  local top = client
  if connector.handshake then
    top = assert(connector:handshake(cctx, client))
  end
  local acceptor = assert(connector:bind(cctx, top, network, at or "127.0.0.1:0"))
  local _, port = addr.split(acceptor:address())
  return acceptor, "127.0.0.1:" .. port, served
end

for _, name in ipairs { "socks5", "relay" } do
  describe("bind over " .. name, function()
    it("brings many peers over one connection", helpers.task(function()
      local acceptor, where, served = bound(name, "tcp")
      local peers = {}
      for i = 1, 3 do
        local peer = assert(stream.dial(where))
        peer:write("hello " .. i)
        local got, from = assert(acceptor:accept())
        assert.equal(peer:local_address(), from)
        assert.equal("hello " .. i, got:read_exact(7))
        got:write("bye " .. i)
        assert.equal("bye " .. i, peer:read_exact(5))
        peers[i] = { peer, got }
      end
      peers[1][1]:close()
      assert.equal("eof", select(2, peers[1][2]:read()).code)
      peers[2][2]:close()
      assert.equal("eof", select(2, peers[2][1]:read()).code)
      acceptor:close()
      assert.is_true(served())
      assert.is_nil((stream.dial(where)))
      for _, pair in ipairs(peers) do
        pair[1]:close()
        pair[2]:close()
      end
    end))

    if name == "relay" then
      it("listens on all addresses of both families when it is told none", helpers.task(function()
        local acceptor, where, served = bound(name, "tcp", nil, "0.0.0.0:0")
        local _, port = addr.split(where)
        for _, host in ipairs { "127.0.0.1", "::1" } do
          local peer = assert(stream.dial(addr.join(host, port)))
          peer:write "hi"
          local got, from = assert(acceptor:accept())
          assert.equal(peer:local_address(), from)
          assert.equal("hi", got:read_exact(2))
          got:close()
          peer:close()
        end
        acceptor:close()
        served()
      end))
    end

    it("is refused unless enabled", helpers.task(function()
      local client, _, served = connection.serve(name, { notls = true })
      local connector = connection.instance("connector", name, { notls = true })
      local cctx = connection.ctx()
      if connector.handshake then
        connector:handshake(cctx, client)
      end
      local acceptor, err = connector:bind(cctx, client, "tcp", "127.0.0.1:0")
      assert.is_nil(acceptor)
      assert.equal("blocked", err.code)
      assert.is_nil((served()))
      client:close()
    end))
  end)
end

describe("plain BIND of socks5", function()
  it("brings one peer and then its bytes", helpers.task(function()
    local acceptor, where, served = bound("socks5", "tcp/1")
    local peer = assert(stream.dial(where))
    local got, from = assert(acceptor:accept())
    assert.equal(peer:local_address(), from)
    assert.is_true(served())
    assert.equal("closed", select(2, acceptor:accept()).code)
    assert.is_nil((stream.dial(where)))
    got:write "ping"
    assert.equal("ping", peer:read_exact(4))
    peer:write "pong"
    assert.equal("pong", got:read_exact(4))
    got:close()
    peer:close()
  end))

  it("stops listening when the client goes", helpers.task(function()
    local acceptor, where, served = bound("socks5", "tcp/1")
    acceptor:close()
    local ok, err = served()
    assert.is_nil(ok)
    assert.equal("eof", err.code)
    assert.is_nil((stream.dial(where)))
  end))
end)
