-- Certificates and passwords that are wrong: what each end tells its operator, and that no connection is left of it.

local certificates = require "spec.helpers.tls"
local helpers = require "spec.helpers"
local message = require "tidegate.native.relay_message"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local scene = require "spec.helpers.scene"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local authority, other = certificates.authority "distrust", certificates.authority "stranger"
local good = certificates.certificate(authority, "proxy.example")
local old = certificates.certificate(authority, "proxy.example", { days = -1 })

local function server(pair, more)
  return ("cert=%s&key=%s%s"):format(pair.cert, pair.key, more or "")
end

local function client(ca, name)
  return ("secure=true&ca=%s&serverName=%s"):format(ca.cert, name)
end

local NOT_TRUSTED = "no authority we trust vouches for the peer's"
local PASSWORD = "wrong user or password"

-- what, scheme, what the server is told, what the client; what the client's log says, what the server's
local PAIRS = {
  { "an authority that did not sign", "relay+tls", server(good), client(other, "proxy.example"), NOT_TRUSTED,
    "the peer does not trust our certificate" },
  { "an authority that did not sign", "relay+wss", server(good), client(other, "proxy.example"), NOT_TRUSTED,
    "the peer does not trust our certificate" },
  { "an authority that did not sign", "relay+h2", server(good), client(other, "proxy.example"), NOT_TRUSTED,
    "the peer does not trust our certificate" },
  { "an authority that did not sign", "http2", server(good), client(other, "proxy.example"), NOT_TRUSTED,
    "the peer does not trust our certificate" },
  { "another name", "relay+mtls", server(good), client(authority, "other.example"),
    "is for other names (hostname mismatch)", "the peer does not accept our certificate" },
  { "an expired certificate", "relay+grpc", server(old), client(authority, "proxy.example"),
    "the peer's certificate has expired", "our certificate has expired, says the peer" },
  { "no certificate of a client", "relay+tls", server(good, "&ca=" .. authority.cert), "secure=false",
    "the server wants a certificate of ours", "the client gave no certificate" },
  { "a stranger's certificate", "relay+tls", server(good, "&ca=" .. other.cert),
    ("cert=%s&key=%s"):format(good.cert, good.key), "the peer does not trust our certificate", NOT_TRUSTED },
  { "the password", "http", "", "", "407 Proxy Authentication Required", PASSWORD, "a:b@", "a:c@" },
  { "the password", "http2", "", "", "407 Proxy Authentication Required", PASSWORD, "a:b@", "a:c@" },
  { "the password", "socks5", "", "", "the server rejects user or password", PASSWORD, "a:b@", "a:c@" },
  { "no password", "socks5", "", "", "it may want a user and password", "the client offers no user and password",
    "a:b@", "" },
  { "the password", "relay", "", "", "user or password are wrong", PASSWORD, "a:b@", "a:c@" },
  { "the password", "relay+ssh", "", "", "the server refuses the login", PASSWORD, "a:b@", "a:c@" },
}

local function url(scheme, secret, port, query)
  return ("%s://%s127.0.0.1:%d%s"):format(scheme, secret or "", port, query ~= "" and "?" .. query or "")
end

local function says(p, text)
  helpers.eventually(function()
    return p:log():find(text, 1, true)
  end, "no " .. text .. " in\n" .. p:log())
end

describe("distrust", function()
  after_each(helpers.task(scene.stop_all))

  for _, pair in ipairs(PAIRS) do
    local what, scheme, far_query, near_query, near_says, far_says, far_secret, near_secret = unpack(pair, 1, 8)
    it(("is told at both ends: %s over %s"):format(what, scheme), scene.test(function()
      local port = programs.free_port()
      local far = proxy.start { "-L", url(scheme, far_secret, port, far_query) }
      local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", url(scheme, near_secret, port, near_query) }
      local function try()
        local made = programs.run("curl", { "-sS", "--max-time", "20", "--noproxy", "", "-x",
          "socks5h://127.0.0.1:" .. near:port(1), "http://127.0.0.1:9/" })
        assert.is_not.equal(0, made.code)
      end
      try()
      says(near, near_says)
      says(far, far_says)
      local before = { near:descriptors(), far:descriptors() }
      for _ = 1, 4 do
        try()
      end
      helpers.eventually(function()
        return near:descriptors() < before[1] + 3 and far:descriptors() < before[2] + 3
      end, "connections are left")
    end))
  end

  -- handler, what a client sends before it reads, the refusal
  local EAGER = {
    { "relay", message.encode_request { cmd = 1, user = "u", pass = "x", host = "a.example", port = 80 }, "\1\2\0\0" },
    { "socks5", "\5\1\2\1\1u\1x", "\5\2\1\1" },
  }
  for _, case in ipairs(EAGER) do
    local handler, greeting, refusal = unpack(case)
    it("of a " .. handler .. " client that sends on is answered, and the connection not reset", scene.test(function()
      local p = proxy.start { "-L", handler .. "://u:p@127.0.0.1:0" }
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
      s:set_deadline(task.now() + 10000)
      s:write(greeting, ("early"):rep(20000))
      assert.equal(refusal, s:read_exact(#refusal))
      s:write(("more"):rep(1000))
      local got, err = s:read()
      assert.is_nil(got)
      assert.equal("eof", err.code)
      s:close()
    end))
  end

  it("is told at level warn where a node says so only after the tunnel has begun", scene.test(function()
    local far, port = proxy.start { "-L", "relay://u:p@127.0.0.1:0" }, programs.free_port()
    local near = proxy.start({ "-L", ("tcp://127.0.0.1:%d/a.example:80"):format(port), "-F",
      "relay://u:x@127.0.0.1:" .. far:port(1) }, { services = 0, env = { GOST_LOGGER_LEVEL = "warn" } })
    programs.wait_port(port)
    says(near, "unauthorized: user or password are wrong")
    assert.is_nil(near:log():find('"level":"info"', 1, true))
  end))

  it("of a method of Shadowsocks names those that are known", function()
    for _, args in ipairs { { "-L", "ss://rot13:x@127.0.0.1:0" },
      { "-L", "socks5://127.0.0.1:0", "-F", "ss://rot13:x@127.0.0.1:1" } } do
      local run = proxy.run(args)
      assert.is_not.equal(0, run.code)
      assert.matches('unknown method "rot13"; known are aes%-128%-gcm, .*chacha20%-ietf%-poly1305', run.stderr)
    end
  end)

  it("of a version of smux warns and goes on", scene.test(function()
    local port = programs.free_port()
    local far = proxy.start { "-L", "relay+mtcp://127.0.0.1:" .. port .. "?mux.version=1" }
    local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F",
      "relay+mtcp://127.0.0.1:" .. port .. "?mux.version=3" }
    says(near, "mux.version: warning: must be one of 1, 2")
    assert.matches("hello", programs.output("curl", { "-sS", "--max-time", "20", "--noproxy", "", "-x",
      "socks5h://127.0.0.1:" .. near:port(1), "http://127.0.0.1:" .. scene.web "hello" .. "/" }))
    assert.is_nil(far:log():find("raised", 1, true))
  end))
end)
