-- Shadowsocks streams and datagrams: every method both ways, ends, users, and peers that misbehave.

local helpers = require "spec.helpers"
local packet = require "tidegate.native.packet"
local ss = require "tidegate.native.ss"
local ss_udp = require "tidegate.native.ss_udp"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local KEY16, OTHER16, USER16 = "AAECAwQFBgcICQoLDA0ODw==", "/wECAwQFBgcICQoLDA0ODw==", "ICEiIyQlJicoKSorLC0uLw=="
local KEY32 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
local PASSWORDS = {
  ["2022-blake3-aes-128-gcm"] = KEY16,
  ["2022-blake3-aes-256-gcm"] = KEY32,
  ["2022-blake3-chacha20-poly1305"] = KEY32,
}

local function key(method, password)
  return assert(ss.key(method, password or PASSWORDS[method] or "secret"))
end

local function joined(client_key, server_key)
  local a, b = stream.pair()
  return ss.client(a, client_key, "example.com:443"), ss.server(b, server_key or client_key)
end

local function close(...)
  for _, one in ipairs { ... } do
    one:close()
  end
end

local function text_of(size)
  local parts = {}
  for i = 1, math.ceil(size / 8) do
    parts[i] = ("%08d"):format(i * 7919 % 99999999)
  end
  return table.concat(parts):sub(1, size)
end

describe("shadowsocks", function()
  for _, method in ipairs(ss.methods()) do
    it("carries bytes both ways: " .. method.name, helpers.task(function()
      local c, s = joined(key(method.name))
      c:write "first"
      assert.equal("example.com:443", s:receive(ss.address))
      assert.equal("first", s:read_exact(5))
      s:write "answer"
      assert.equal("answer", c:read_exact(6))

      local data = text_of(1000003)
      local writers = {}
      for i, one in ipairs { c, s } do
        writers[i] = helpers.spawn(function()
          local at, step = 1, 1
          while at <= #data do
            assert.is_true(one:write(data:sub(at, at + step - 1)))
            at, step = at + step, step * 3 % 200001 + 1
          end
          assert.is_true(one:shutdown())
        end)
      end
      local readers = {}
      for i, one in ipairs { c, s } do
        readers[i] = helpers.spawn(function()
          local parts, max = {}, 1
          while true do
            local part, err = one:read(max)
            max = max * 5 % 300007 + 1
            if not part then
              return table.concat(parts), err.code
            end
            parts[#parts + 1] = part
          end
        end)
      end
      for i = 1, 2 do
        local got, code = readers[i]()
        assert.is_true(got == data)
        assert.equal("eof", code)
        writers[i]()
      end
      close(c, s)
    end))
  end

  it("sends the request without data when none comes", helpers.task(function()
    for _, method in ipairs { "aes-256-gcm", "2022-blake3-aes-128-gcm", "plain" } do
      local c, s = joined(key(method))
      assert.equal("example.com:443", s:receive(ss.address))
      s:write "hello first"
      assert.equal("hello first", c:read_exact(11))
      close(c, s)
    end
  end))

  it("sends the request with the data that comes soon", helpers.task(function()
    local a, b = stream.pair()
    local c = ss.client(a, key "aes-256-gcm", "example.com:443")
    c:write "hello"
    -- salt, and one chunk: address and data behind each other
    local target = 1 + 1 + #"example.com" + 2
    assert.equal(32 + 2 + 16 + target + 5 + 16, #b:read(4096))
    close(b, c)
  end))

  it("asks for addresses of each kind", helpers.task(function()
    for _, target in ipairs { "192.0.2.1:80", "[2001:db8::1]:443", ("x"):rep(255) .. ":1" } do
      local a, b = stream.pair()
      local c, s = ss.client(a, key "2022-blake3-aes-256-gcm", target), ss.server(b, key "2022-blake3-aes-256-gcm")
      assert.equal(target, s:receive(ss.address))
      close(c, s)
    end
  end))

  it("says who has the wrong password", helpers.task(function()
    for method, other in pairs { ["aes-128-gcm"] = "other", ["2022-blake3-aes-128-gcm"] = OTHER16 } do
      local c, s = joined(key(method), key(method, other))
      c:write(("x"):rep(100))
      local _, err = s:receive(ss.address)
      assert.equal("auth", err.code)
      assert.matches("the client has another password or method", tostring(err), 1, true)
      assert.is_nil((s:write "no answer"))
      close(c, s)
    end
    local a, b = stream.pair()
    local c = ss.client(a, key "aes-128-gcm", "a:1")
    b:write(("garbage"):rep(20))
    local _, err = c:read()
    assert.equal("auth", err.code)
    assert.matches("the server has another password or method", tostring(err), 1, true)
    close(c, b)
  end))

  it("takes no request twice", helpers.task(function()
    for _, method in ipairs { "aes-256-gcm", "2022-blake3-aes-128-gcm", "2022-blake3-chacha20-poly1305" } do
      local a, b = stream.pair()
      local c = ss.client(a, key(method), "example.com:443")
      c:write "GET"
      local request = b:read()
      close(c, b)
      for round = 1, 2 do
        local near, far = stream.pair()
        local s = ss.server(far, key(method))
        near:write(request)
        local target, err = s:receive(ss.address)
        assert.equal(round == 1 and "example.com:443" or nil, target)
        assert.is_true(round == 1 or err.code == "auth" and tostring(err):find "replay" ~= nil)
        close(near, s)
      end
    end
  end))

  it("notices every changed byte of a stream", helpers.task(function()
    for _, method in ipairs { "chacha20-ietf-poly1305", "2022-blake3-aes-256-gcm" } do
      local a, b = stream.pair()
      local c = ss.client(a, key(method), "example.com:443")
      c:write "GET"
      helpers.pass()
      c:write "more"
      local bytes = b:read_exact(method:find "2022" and 32 + 27 + 15 + 2 + 3 + 16 + 18 + 20 or 32 + 18 + 34 + 18 + 20)
      close(c, b)
      for at = 1, #bytes, 5 do
        local near, far = stream.pair()
        local s = ss.server(far, key(method))
        near:write(bytes:sub(1, at - 1), string.char(bit.bxor(bytes:byte(at), 1)), bytes:sub(at + 1))
        near:shutdown()
        local got, err = {}, nil
        repeat
          local part
          part, err = s:read()
          got[#got + 1] = part
        until not part
        assert.is_true(err.code == "auth" or err.code == "protocol", at .. " " .. tostring(err))
        assert.is_true(#table.concat(got) < 15 + 7)
        close(near, s)
      end
    end
  end))

  it("tells the end inside of a chunk from the end", helpers.task(function()
    local a, b = stream.pair()
    local c = ss.client(a, key "aes-256-gcm", "example.com:443")
    c:write "GET"
    local bytes = b:read()
    for _, cut in ipairs { 10, 40, #bytes - 1 } do
      local near, far = stream.pair()
      local s = ss.server(far, key "aes-256-gcm")
      near:write(bytes:sub(1, cut))
      near:close()
      local _, err = s:read()
      assert.equal("eof", err.code)
      assert.matches("inside of", tostring(err))
      s:close()
    end
    close(c, b)
  end))

  it("leaves what was below when it is taken off", helpers.task(function()
    local a, b = stream.pair()
    local s = ss.server(a, key "aes-256-gcm")
    b:write(("?"):rep(200))
    assert.is_nil((s:receive(ss.address)))
    local bare = ss.strip(s)
    assert.is_true(s:is_closed())
    b:write "more"
    assert.equal("more", bare:read())
    close(bare, b)
  end))

  describe("with users", function()
    local function server_key(...)
      local k = key("2022-blake3-aes-128-gcm", KEY16)
      for i, password in ipairs { ... } do
        assert(k:add_user("user" .. i, password))
      end
      return k
    end

    it("knows them by their keys", helpers.task(function()
      local c, s = joined(key("2022-blake3-aes-128-gcm", KEY16 .. ":" .. USER16), server_key(OTHER16, USER16))
      c:write "x"
      assert.equal("example.com:443", s:receive(ss.address))
      assert.equal("user2", ss.user(s))
      s:write "y"
      assert.equal("xy", s:read() .. c:read())
      close(c, s)

      c, s = joined(key("2022-blake3-aes-128-gcm", KEY16 .. ":" .. USER16), server_key(OTHER16))
      local _, err = s:receive(ss.address)
      assert.equal("auth", err.code)
      assert.matches("the key of no user", tostring(err))
      close(c, s)
    end))

    it("refuses keys that make no sense, and says what would", function()
      local function problem(method, password)
        local _, err = ss.key(method, password)
        return tostring(err)
      end
      assert.matches("has 3 bytes, it must have 16", problem("2022-blake3-aes-128-gcm", "AAEC"))
      assert.matches("openssl rand %-base64 32", problem("2022-blake3-aes-256-gcm", "secret!"))
      assert.matches("has no identities", problem("2022-blake3-chacha20-poly1305", KEY32 .. ":" .. KEY32))
      local _, err = key("aes-128-gcm"):add_user("a", KEY16)
      assert.matches("users need the method", tostring(err))
    end)
  end)
end)

describe("shadowsocks datagrams", function()
  -- A client's endpoint and the server's, over loopback; serve(endpoint, user) runs for the first client.
  local function joined_packets(client_key, serve_key, serve)
    local seen = task.waiter()
    local socket = require "tidegate.native.listener"
    local fds = assert(socket.open("127.0.0.1:0", "datagram", 1))
    local sessions = assert(packet.listen(fds[1], { keepalive = true, limit = 65535 }, function(session)
      local endpoint, user = ss_udp.server(session, serve_key)
      seen:wake(endpoint and true, user)
      return endpoint and serve(endpoint, user)
    end))
    local lower = assert(packet.udp { connect = socket.address(fds[1]) })
    return assert(ss_udp.client(packet.as_stream(lower), client_key)), seen, function()
      sessions:close()
      socket.close_fd(fds[1])
    end
  end

  local function echo(endpoint)
    while true do
      local bytes, to = endpoint:recv()
      if not bytes then
        return endpoint:close()
      end
      endpoint:send(bytes .. "@" .. to, "192.0.2.9:53")
    end
  end

  for _, method in ipairs(ss.methods()) do
    it("go both ways: " .. method.name, helpers.task(function()
      local c, _, stop = joined_packets(key(method.name), key(method.name), echo)
      for _, size in ipairs { 1, 0, 100, 1400, 9000, 40000 } do
        local data = text_of(size)
        c:send(data, "[2001:db8::7]:53")
        local bytes, from = c:recv()
        assert.equal("192.0.2.9:53", from)
        assert.is_true(bytes == data .. "@[2001:db8::7]:53")
      end
      c:send("to a name", "example.com:99")
      assert.equal("to a name@example.com:99", (c:recv()))
      c:close()
      stop()
    end))
  end

  it("know users, and refuse strangers", helpers.task(function()
    local server = key("2022-blake3-aes-128-gcm", KEY16)
    assert(server:add_user("alice", USER16))
    local c, seen, stop = joined_packets(key("2022-blake3-aes-128-gcm", KEY16 .. ":" .. USER16), server, echo)
    c:send("hi", "192.0.2.1:1")
    local ok, user = seen:wait(task.now() + 20000)
    assert.is_true(ok)
    assert.equal("alice", user)
    assert.equal("hi@192.0.2.1:1", (c:recv()))
    c:close()
    stop()

    c, seen, stop = joined_packets(key("2022-blake3-aes-128-gcm", OTHER16), key "2022-blake3-aes-128-gcm", echo)
    c:send("hi", "192.0.2.1:1")
    local good, err = seen:wait(task.now() + 20000)
    assert.is_falsy(good)
    assert.equal("auth", err.code)
    c:close()
    stop()
  end))
end)
