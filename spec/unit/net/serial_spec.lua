-- Addresses of serial ports, and ports over pseudo terminals of ours.

local ffi = require "ffi"
local helpers = require "spec.helpers"
local serial = require "tidegate.net.serial"
local task = require "tidegate.native.task"
local uv = require "luv"

ffi.cdef [[
int posix_openpt(int flags);
int grantpt(int fd);
int unlockpt(int fd);
char *ptsname(int fd);
]]

-- A line, whose one end is a descriptor.  @return descriptor, the device at the other end
local function terminal()
  local fd = ffi.C.posix_openpt(2 + 256) -- O_RDWR | O_NOCTTY
  assert(fd >= 0 and ffi.C.grantpt(fd) == 0 and ffi.C.unlockpt(fd) == 0)
  return fd, ffi.string(ffi.C.ptsname(fd))
end

describe("addresses of serial ports", function()
  it("name a device, a rate and a parity", function()
    assert.same({ path = "/dev/ttyUSB0", baud = 9600, parity = "none" }, serial.parse "/dev/ttyUSB0")
    assert.same({ path = "/dev/ttyS0", baud = 115200, parity = "odd" }, serial.parse "ttyS0,115200,o")
    for word, parity in pairs { odd = "odd", E = "even", Mark = "mark", s = "space", none = "none", [""] = "none" } do
      assert.equal(parity, serial.parse("x,1," .. word).parity)
    end
    assert.equal(9600, serial.parse("x,,e").baud)
  end)

  it("that make no sense are refused", function()
    for _, text in ipairs {
      "", ",9600", "x,0", "x,-1", "x,1e3", "x,99999999999", "x,9600,f", "x,9600,e,1", "a\0b", "a\n",
    } do
      local line, err = serial.parse(text)
      assert.is_nil(line)
      assert.equal("config", err.code)
    end
  end)

  it("are read without harm, whatever they hold", function()
    math.randomseed(7)
    for _ = 1, 20000 do
      local bytes = {}
      for i = 1, math.random(0, 12) do
        bytes[i] = string.char(math.random(0, 3) > 0 and ("/,odd9e"):byte(math.random(1, 7)) or math.random(0, 255))
      end
      local line, err = serial.parse(table.concat(bytes))
      assert(line and line.path ~= "" and line.baud > 0 or err.code == "config")
    end
  end)
end)

describe("a serial port", function()
  it("carries bytes both ways, with any rate", helpers.task(function()
    local fd, path = terminal()
    local s = assert(serial.open(path .. ",31250,even"))
    s:set_deadline(task.now() + 20000)
    uv.fs_write(fd, "hello")
    assert.equal("hello", s:read_exact(5))
    s:write(("y"):rep(3000))
    local got = 0
    while got < 3000 do
      got = got + #uv.fs_read(fd, 4096)
    end
    s:close()
    uv.fs_close(fd)
  end))

  it("is one's at a time, and says when it is free again", helpers.task(function()
    local fd, path = terminal()
    local gone = task.waiter()
    local s, handle = serial.open(path, nil, function()
      gone:wake(true)
    end)
    local other, err = serial.open(path)
    assert.is_nil(other)
    assert.equal("inuse", err.code)
    assert.is_true(handle:is_open())
    s:close()
    assert.is_true(gone:wait(task.now() + 10000))
    assert.is_false(handle:is_open())
    s = assert(serial.open(path))
    s:close()
    uv.fs_close(fd)
  end))

  it("ends when the other side goes, when it is cut, when it is silent", helpers.task(function()
    local fd, path = terminal()
    local s = assert(serial.open(path))
    uv.fs_close(fd)
    assert.equal("eof", select(2, s:read()).code)
    s:close()

    fd, path = terminal()
    local handle
    s, handle = serial.open(path)
    task.spawn(function()
      task.sleep(0.02)
      handle:cut()
    end)
    assert.equal("eof", select(2, s:read()).code)
    s:close()

    s = assert(serial.open(path, { silence = 500 }))
    uv.fs_write(fd, "x")
    assert.equal("x", (s:read()))
    assert.equal("eof", select(2, s:read()).code)
    s:close()
    uv.fs_close(fd)
  end))

  it("is waited for a little after the end of what is written to it", helpers.task(function()
    local fd, path = terminal()
    local s = assert(serial.open(path))
    assert(s:shutdown())
    task.spawn(function()
      task.sleep(0.05)
      uv.fs_write(fd, "late")
    end)
    assert.equal("late", s:read_exact(4))
    assert.equal("eof", select(2, s:read()).code)
    s:close()
    uv.fs_close(fd)
  end))

  it("is nothing but a terminal", helpers.task(function()
    for path, code in pairs {
      ["/dev/null"] = "invalid", ["/dev/zero"] = "invalid", ["/etc/passwd"] = "invalid", ["/dev"] = "invalid",
      ["/dev/tidegate-none"] = "refused",
    } do
      local s, err = serial.open(path)
      assert.is_nil(s)
      assert.equal(code, err.code)
      assert.equal(path, err.addr)
    end
  end))
end)
