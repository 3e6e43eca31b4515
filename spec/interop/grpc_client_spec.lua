-- tidegate.net.grpc against Google's gRPC in Python.

local grpc = require "tidegate.net.grpc"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local task = require "tidegate.native.task"
local tls = require "spec.helpers.tls"

local PYTHON = "/usr/bin/python3"

local function serve(port, certificate)
  local args = { "spec/interop/peers/grpc_server.py", tostring(port or 0) }
  if certificate then
    args[3], args[4] = certificate.cert, certificate.key
  end
  local server = programs.start(PYTHON, args, { ready = "%d+\n" })
  return "127.0.0.1:" .. server.stdout:match "%d+", server
end

describe("gRPC client and grpcio #interop", function()
  after_each(programs.stop_all)

  it("calls a method", function()
    local channel = assert(grpc.open { addr = serve() })
    assert.equal("hello", channel:unary("/test.Test/Echo", "hello"))
    assert.equal("hello!", channel:unary("/test.Test/Echo", "hello", { token = "!" }))
    assert.equal("", channel:unary("/test.Test/Empty", "x"))
    local large = ("0123456789"):rep(300000)
    assert.equal(large, channel:unary("/test.Test/Echo", large))
    channel:close()
  end)

  it("makes failures of the server's words", function()
    local channel = assert(grpc.open { addr = serve() })
    local none, err = channel:unary("/test.Test/Deny", "")
    assert.is_nil(none)
    assert.equal("denied", err.code)
    assert.equal(7, err.grpc_status)
    assert.matches("not for you, 100%% sure: ü", tostring(err))
    none, err = channel:unary("/test.Test/Missing", "")
    assert.is_nil(none)
    assert.equal("unsupported", err.code)
    none, err = channel:unary("/test.Test/Slow", "", nil, task.now() + 200)
    assert.is_nil(none)
    assert.equal("timeout", err.code)
    assert.equal("again", channel:unary("/test.Test/Echo", "again"))
    channel:close()
  end)

  it("runs many calls at once over one connection", function()
    local channel = assert(grpc.open { addr = serve() })
    local calls = {}
    for i = 1, 200 do
      calls[i] = helpers.spawn(function()
        return channel:unary("/test.Test/Echo", "call " .. i)
      end)
    end
    for i = 1, 200 do
      assert.equal("call " .. i, (calls[i]()))
    end
    assert.is_true(channel.pool:count() <= 2)
    channel:close()
  end)

  it("finds a server again that was away", function()
    local where, server = serve()
    local channel = assert(grpc.open { addr = where, longest_pause = 0.05 })
    assert.equal("1", channel:unary("/test.Test/Echo", "1"))
    server:stop "sigkill"
    local none, err = channel:unary("/test.Test/Echo", "2")
    assert.is_nil(none)
    assert.equal("refused", err.code)
    serve(where:match ":(%d+)")
    helpers.eventually(function()
      return channel:unary("/test.Test/Echo", "3") == "3"
    end)
    channel:close()
  end)

  it("speaks TLS and checks the server's name", function()
    local authority = tls.authority "grpc"
    local where = serve(nil, tls.certificate(authority, "grpc.test"))
    local channel = assert(grpc.open {
      addr = where,
      tls = { caFile = authority.cert, secure = true, serverName = "grpc.test" },
    })
    assert.equal("secret", channel:unary("/test.Test/Echo", "secret"))
    channel:close()
    channel = assert(grpc.open {
      addr = where, tls = { caFile = authority.cert, secure = true, serverName = "other.test" },
    })
    local none, err = channel:unary("/test.Test/Echo", "secret")
    assert.is_nil(none)
    assert.equal("tls", err.code)
    channel:close()
  end)

  it("says when nobody speaks gRPC there", function()
    local port = programs.free_port()
    programs.start(PYTHON, { "-m", "http.server", "--bind", "127.0.0.1", tostring(port) }, { port = port })
    local channel = assert(grpc.open { addr = "127.0.0.1:" .. port })
    local none, err = channel:unary("/test.Test/Echo", "x", nil, task.now() + 5000)
    assert.is_nil(none)
    assert.matches("does not speak HTTP/2", tostring(err))
    channel:close()
  end)
end)
