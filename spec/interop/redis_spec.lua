-- The Redis client and a real server.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local redis = require "tidegate.net.redis"
local server = require "spec.helpers.redis"

local in_task = helpers.task

describe("net.redis with redis-server", function()
  after_each(in_task(programs.stop_all))

  it("does commands, pipelines and transactions", in_task(function()
    local c = redis.open { addr = server.start().addr }
    assert.equal("PONG", c:call("PING"))
    assert.equal("OK", c:call("SET", "k", "v\r\n\0"))
    assert.equal("v\r\n\0", c:call("GET", "k"))
    assert.is_nil((c:call("GET", "none")))
    assert.equal(2, c:call("SADD", "s", "a", "b"))
    assert.same({ 1, 2, "2" }, c:pipeline { { "INCR", "n" }, { "INCR", "n" }, { "GET", "n" } })
    assert.same({ 3, 4 }, c:pipeline { { "MULTI" }, { "INCR", "n" }, { "INCR", "n" }, { "EXEC" } }[4])
    local _, err = c:call("INCR", "k")
    assert.equal("invalid", err.code)
    _, err = c:call("SELECT", 99)
    assert.equal("invalid", err.code)
    local big = ("x"):rep(3000000)
    assert.equal("OK", c:call("SET", "big", big))
    assert.equal(big, c:call("GET", "big"))
    c:close()
  end))

  it("shows credentials, chooses a database, and lives on when the server has restarted", in_task(function()
    local one = server.start { args = { "--requirepass", "secret" } }
    local _, err = redis.open({ addr = one.addr }):call("GET", "k")
    assert.equal("auth", err.code)
    _, err = redis.open({ addr = one.addr, password = "wrong" }):call("GET", "k")
    assert.equal("auth", err.code)
    local c = redis.open { addr = one.addr, password = "secret", db = 3 }
    assert.equal("OK", c:call("SET", "k", "v"))
    local named = redis.open { addr = one.addr, username = "default", password = "secret", db = 3 }
    assert.equal("v", named:call("GET", "k"))
    one.process:stop()
    _, err = c:call("GET", "k")
    assert.equal("refused", err.code)
    server.start { port = one.port, args = { "--requirepass", "secret" } }
    assert.equal("OK", c:call("SET", "k", "w"))
    c:close()
  end))

  it("speaks TLS, and trusts no strangers", in_task(function()
    local folder, port, tls_port = programs.folder(), programs.free_port(), programs.free_port()
    programs.output("openssl", {
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
      "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
      "-keyout", folder .. "/key.pem", "-out", folder .. "/cert.pem",
    })
    server.start { port = port, args = {
      "--tls-port", tostring(tls_port), "--tls-cert-file", folder .. "/cert.pem", "--tls-key-file",
      folder .. "/key.pem", "--tls-ca-cert-file", folder .. "/cert.pem", "--tls-auth-clients", "no",
    } }
    local function ping(tls)
      return redis.open({ addr = "127.0.0.1:" .. tls_port, tls = tls }):call("PING")
    end
    assert.equal("PONG", ping { secure = false })
    assert.equal("PONG", ping { caFile = folder .. "/cert.pem", serverName = "localhost" })
    local _, err = ping {}
    assert.equal("tls", err.code)
    _, err = ping { caFile = folder .. "/cert.pem", serverName = "other" }
    assert.equal("tls", err.code)
  end))
end)
