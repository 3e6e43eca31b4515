-- TCP's urgent data: recv() stops short of it, which must not be taken for an empty socket.

local ffi = require "ffi"
local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"

ffi.cdef [[
int socket(int domain, int type, int protocol);
int connect(int fd, const void *address, unsigned length);
ssize_t send(int fd, const void *bytes, size_t length, int flags);
]]

local AF_INET, SOCK_STREAM, MSG_OOB = 2, 1, 1

describe("urgent data", function()
  it("does not hide what comes behind it", helpers.task(function()
    local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
    local port = tonumber(listener.address(fds[1]):match "%d+$")
    local got
    local accepting = assert(listener.accept(fds[1], function(s) got = s end))
    for _ = 1, 20 do
      local fd = ffi.C.socket(AF_INET, SOCK_STREAM, 0)
      local address = ffi.new("uint8_t[16]", { AF_INET, 0, math.floor(port / 256), port % 256, 127, 0, 0, 1 })
      assert.equal(0, ffi.C.connect(fd, address, 16))
      helpers.eventually(function() return got end)
      local s = got
      got = nil
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
    accepting:close()
    listener.close_fd(fds[1])
  end))
end)
