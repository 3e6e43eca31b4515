-- TCP's urgent data: recv() stops short of it, which must not be taken for an empty socket.

local ffi = require "ffi"
local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local relay = require "tidegate.native.relay"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

ffi.cdef [[
int socket(int domain, int type, int protocol);
int connect(int fd, const void *address, unsigned length);
ssize_t send(int fd, const void *bytes, size_t length, int flags);
]]

local AF_INET, SOCK_STREAM, MSG_OOB, MSG_DONTWAIT = 2, 1, 1, 0x40

-- A raw client's socket, since luv knows no urgent data, and the server's end of it as a stream.
local function connect(accepted, port)
  local fd = ffi.C.socket(AF_INET, SOCK_STREAM, 0)
  local address = ffi.new("uint8_t[16]", { AF_INET, 0, math.floor(port / 256), port % 256, 127, 0, 0, 1 })
  assert.equal(0, ffi.C.connect(fd, address, 16))
  local s
  helpers.eventually(function()
    s = accepted()
    return s
  end)
  return fd, s
end

-- @return port, function: the stream accepted last, once; function that stops it
local function acceptor()
  local got
  local address, stop = server.accept(function(s) got = s end)
  return tonumber(address:match "%d+$"), function()
    local s = got
    got = nil
    return s
  end, stop
end

describe("urgent data", function()
  it("does not hide what comes behind it", helpers.task(function()
    local port, accepted, stop = acceptor()
    for _ = 1, 20 do
      local fd, s = connect(accepted, port)
      local reading = helpers.spawn(s.read, s) -- finds nothing, and waits
      helpers.pass()
      ffi.C.send(fd, "hello", 5, 0)
      assert.equal("hello", reading())
      ffi.C.send(fd, "abc", 3, 0)
      ffi.C.send(fd, "!", 1, MSG_OOB)
      ffi.C.send(fd, "def", 3, 0)
      assert.equal("abcdef", helpers.spawn(s.read_exact, s, 6)(3000))
      s:close()
      listener.close_fd(fd)
    end
    stop()
  end))

  it("does not stop a relay that splices", helpers.task(function()
    local port, accepted, stop = acceptor()
    local upstream
    local address, stop_upstream = server.accept(function(s) upstream = s end)
    local fd, near = connect(accepted, port)
    local far = assert(stream.dial(address))
    helpers.eventually(function() return upstream end)
    local before = relay.stats()
    local block = ("x"):rep(65536)
    relay.start(near, far)
    for _ = 1, 500 do -- as much as the sockets hold at once, until the relay finds it worth splicing
      local size, n = 0, nil
      repeat
        n = tonumber(ffi.C.send(fd, block, #block, MSG_DONTWAIT))
        size = size + math.max(n, 0)
      until n < 0
      assert.equal(size, #upstream:read_exact(size))
      if relay.stats() > before then
        break
      end
    end
    assert.is_true(relay.stats() > before)
    upstream:set_deadline(task.now() + 20000)
    for _ = 1, 20 do
      ffi.C.send(fd, "abc", 3, 0)
      ffi.C.send(fd, "!", 1, MSG_OOB)
      ffi.C.send(fd, "def", 3, 0)
      assert.equal("abcdef", upstream:read_exact(6))
    end
    listener.close_fd(fd)
    assert.equal("eof", select(2, upstream:read()).code)
    upstream:close()
    stop()
    stop_upstream()
  end))
end)
