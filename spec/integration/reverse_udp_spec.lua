-- Remote port forwarding of UDP: rudp listens at the far end of a chain, or here.

local datagrams = require "spec.helpers.datagrams"
local helpers = require "spec.helpers"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local task = require "tidegate.native.task"

-- Where the far end says it listens.
local function bound(p)
  p:logged "bound %S+/udp"
  return p:log():match "bound (%S-)/udp, "
end

-- Ask from so many sockets, each several times.
local function many(where, sockets, rounds)
  local done = {}
  for i = 1, sockets do
    done[i] = helpers.spawn(function()
      local e = assert(packet.udp { connect = where })
      for round = 1, rounds do
        local text = ("%d/%d"):format(i, round)
        assert.equal("me:" .. text, (datagrams.ask(e, text)))
      end
      local me = e:local_address()
      e:close()
      return me
    end)
  end
  local names = {}
  for i = 1, sockets do
    names[i] = done[i]()
  end
  return names
end

-- A test with a target of datagrams.
local function with_target(fn)
  return helpers.task(function()
    local target, address = datagrams.answering "me"
    fn(address)
    target:close()
  end)
end

describe("remote forwarding of UDP", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  for scheme, port in pairs { relay = 0, socks5 = 1, ["relay+tls"] = 0, ["socks5+mws"] = 1 } do
    it("brings datagrams back over " .. scheme .. ", a session for each client", with_target(function(address)
      local far = proxy.start { "-L", scheme .. "://127.0.0.1:0?bind=true" }
      local near = proxy.start {
        "-L", ("rudp://127.0.0.1:%d/%s"):format(port == 0 and 0 or programs.free_port(), address),
        "-F", ("%s://127.0.0.1:%d"):format(scheme, far:port(1)),
      }
      for _, me in ipairs(many(bound(near), 20, 10)) do
        near:logged(me .. " <>", true)
      end
    end))
  end

  it("listens here without a chain, and ends silent sessions", with_target(function(address)
    local p = proxy.start { "-L", "rudp://127.0.0.1:0/" .. address .. "?ttl=300ms" }
    local names = many(bound(p), 3, 2)
    for _, me in ipairs(names) do
      p:logged(me .. " ><", true)
    end
  end))

  it("cuts datagrams at readBufferSize, and carries whole ones", with_target(function(address)
    local far = proxy.start { "-L", "relay://127.0.0.1:0?bind=true" }
    local near = proxy.start {
      "-L", "rudp://127.0.0.1:0/" .. address .. "?readBufferSize=1000",
      "-F", ("relay://127.0.0.1:%d"):format(far:port(1)),
    }
    local where = bound(near)
    assert.equal(3 + 1000, #datagrams.exchange(where, ("x"):rep(1200)))
    assert.equal(3 + 900, #datagrams.exchange(where, ("x"):rep(900)))
    assert.is_nil(datagrams.exchange(where, "", 1)) -- an empty frame means something else to gost
  end))

  it("binds again when the far end comes back", with_target(function(address)
    local port, shown = programs.free_port(), programs.free_port()
    local near = proxy.start {
      "-L", ("rudp://127.0.0.1:%d/%s"):format(shown, address), "-F", ("relay://127.0.0.1:%d"):format(port),
    }
    near:logged "cannot listen.*refused.*again in 1 s"
    for round = 1, 2 do
      local far = proxy.start { "-L", ("relay://127.0.0.1:%d?bind=true"):format(port) }
      assert.equal("me:" .. round, datagrams.exchange("127.0.0.1:" .. shown, tostring(round), 15))
      far:stop()
    end
    near:logged("the remote listener is lost", true)
  end))

  it("says which side is wrong", with_target(function(address)
    local busy = assert(packet.udp { at = "127.0.0.1:0" })
    local far = proxy.start { "-L", "relay://127.0.0.1:0", "-L", "http://127.0.0.1:0", "-L",
      "socks5://127.0.0.1:0?bind=true" }
    local function near(listen, scheme, i)
      return proxy.start { "-L", ("rudp://%s/%s"):format(listen, address),
        "-F", ("%s://127.0.0.1:%d"):format(scheme, far:port(i)) }
    end
    near("127.0.0.1:0", "relay", 1):logged "relay 127.0.0.1:%d+: .*forbidden"
    far:logged("BIND is not enabled", true)
    near("127.0.0.1:0", "http", 2):logged "the connector http cannot have its server listen"
    near("127.0.0.1:0", "socks5", 3):logged "opens only a UDP port that is named"
    near(busy:local_address(), "socks5", 3):logged "general failure"
    far:logged("ddress already in use", true)
    busy:close()
  end))

  it("needs a handler of datagrams", helpers.task(function()
    for _, listener in ipairs { "udp", "rudp" } do
      local done = proxy.run { "-L", "http+" .. listener .. "://127.0.0.1:0" }
      assert.equal(2, done.code)
      assert.matches(("handler http on listener %s: it serves no datagrams"):format(listener), done.stderr, 1, true)
    end
  end))

  it("holds no more of a flood than its limits", with_target(function(address)
    local far = proxy.start { "-L", "relay://127.0.0.1:0?bind=true" }
    local near = proxy.start {
      "-L", "rudp://127.0.0.1:0/" .. address .. "?ttl=500ms", "-F", ("relay://127.0.0.1:%d"):format(far:port(1)),
    }
    local where = bound(near)
    many(where, 2, 2)
    local before = near:descriptors()
    for _ = 1, 10 do
      local sockets = {}
      for i = 1, 50 do
        sockets[i] = assert(packet.udp { connect = where })
        sockets[i]:send(("x"):rep(1000))
      end
      for i = 1, 50 do
        sockets[i]:close()
      end
      task.sleep(0.02)
    end
    helpers.eventually(function()
      return near:descriptors() <= before
    end, "sessions are left", 10)
    assert.equal("me:still", datagrams.exchange(where, "still"))
  end))
end)
