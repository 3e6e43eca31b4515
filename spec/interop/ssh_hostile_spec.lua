-- SSH peers that do not keep to the rules: they are cut, others do not notice.
-- spec: timeout=180

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local ssh = require "spec.helpers.ssh"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local PYTHON = "/usr/bin/python3"

describe("SSH servers and odd clients", function()
  local p, stop, where

  before_each(helpers.task(function()
    local keys = ssh.keys()
    p = proxy.start {
      "-L", ("sshd://u:p@127.0.0.1:0?privateKeyFile=%s/host&handshakeTimeout=1s&maxStreams=50"):format(keys),
      "-L", ("socks5+ssh://u:p@127.0.0.1:0?privateKeyFile=%s/host&handshakeTimeout=1s"):format(keys),
    }
    where, stop = server.accept(function(s)
      local part = s:read()
      while part do
        s:write(part)
        part = s:read()
      end
      s:close()
    end)
  end))

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    stop()
  end))

  local function dial(index)
    local s = assert(stream.dial("127.0.0.1:" .. p:port(index), nil, task.now() + 20000))
    s:set_deadline(task.now() + 10000)
    return s
  end

  -- Read until the server ends it.
  local function ended(s)
    local part, err = s:read()
    while part do
      part, err = s:read()
    end
    s:close()
    return err.code
  end

  local function flood(count)
    return (programs.output(PYTHON, { "spec/interop/peers/ssh_flood.py", tostring(p:port(1)), "u", "p", where,
      tostring(count) }, { seconds = 60 }))
  end

  -- How many lines that complain name an address.
  local function complaints(address)
    local count = 0
    for line in p:log():gmatch "[^\n]+" do
      if (line:find '"level":"warn"' or line:find '"level":"error"') and line:find(address, 1, true) then
        count = count + 1
      end
    end
    return count
  end

  for index, name in ipairs { "sshd", "ssh" } do
    it("ends what is no SSH, or too slow: " .. name, helpers.task(function()
      local odd = {
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "SSH-1.5-old\r\n",
        ("x"):rep(1024 * 1024),
        "SSH-2.0-x\r\n" .. ("\255"):rep(100000),
        "SSH-2.0-x\r\n" .. "\0\0\0\12\10\20" .. ("\0"):rep(200),
        "",
        "SSH-2.0-silent\r\n",
      }
      local waits = {}
      for i, bytes in ipairs(odd) do
        waits[i] = helpers.spawn(function()
          local s = dial(index)
          local address = s:local_address()
          s:write(bytes)
          assert.not_equal("timeout", ended(s))
          helpers.eventually(function()
            return complaints(address) == 1
          end, "one line for case " .. i)
        end)
      end
      for i = 1, #odd do
        waits[i]()
      end
      assert.equal("same\n", flood(0))
    end))
  end

  it("bounds the channels of a connection, and opens none but those for forwarding", helpers.task(function()
    assert.equal("50\n", flood(120))
    assert.equal("same\n", flood(0))
  end))
end)
