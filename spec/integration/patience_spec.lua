-- Clients that say nothing, or say it a byte at a time: each handler has limits, and they hold on every way to it.

local helpers = require "spec.helpers"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local BEGINNINGS = {
  socks4 = "\4\1\0\80\127\0\0\1",
  socks5 = "\5\255",
  http = "GET http://a.example/ HTTP/1.1\r\nX: ",
  relay = "\1\1\255\255",
  ss = "",
  sni = "\22\3\1\2\0\1\0\1\252\3\3",
  auto = "\5\255",
}
local CREDENTIALS = { ss = "aes-128-gcm:secret@" }
local LISTENERS = { "tcp", "tls", "ws", "mtcp", "mtcp?mux.type=yamux", "mws", "h2c", "grpc", "ssh", "pht", "ohttp" }

-- Bytes until the other side has had enough.  @return whether it has
local function drip(s, text)
  local limit = task.now() + 20000
  for i = 1, 400 do
    local byte = i <= #text and text:sub(i, i) or "\1"
    if not s:write(byte) or task.now() > limit then
      break
    end
    s:set_deadline(task.now() + 50)
    local _, err = s:read()
    if err and err.code ~= "timeout" then
      return true
    end
  end
  return false
end

-- A process with every handler on a listener, and another whose ports lead there.
local function pair_of(listener, handlers, keys)
  local kind, more = listener:match "^([^?]+)%??(.*)$"
  more = more ~= "" and "&" .. more or ""
  local serving, dialing = {}, {}
  for _, handler in ipairs(handlers) do
    table.insert(serving, "-L")
    table.insert(serving, ("%s+%s://%s127.0.0.1:0?%s%s"):format(handler, kind, CREDENTIALS[handler] or "", keys, more))
  end
  local server = proxy.start(serving, { services = #handlers })
  local config = { services = {}, chains = {} }
  for i in ipairs(handlers) do
    local md = listener:find "yamux" and { ["mux.type"] = "yamux" } or nil
    config.services[i] = {
      name = "s" .. i, addr = "127.0.0.1:0", handler = { type = "tcp", chain = "c" .. i }, listener = { type = "tcp" },
      forwarder = { nodes = { { name = "t", addr = "t.example:1" } } },
    }
    config.chains[i] = {
      name = "c" .. i, hops = { { name = "h", nodes = { {
        name = "n", addr = "127.0.0.1:" .. server:port(i), connector = { type = "forward" },
        dialer = { type = kind, metadata = md },
      } } } },
    }
  end
  dialing[1], dialing[2] = "-C", require("cjson").encode(config)
  return proxy.start(dialing, { services = #handlers }), server
end

describe("patience", function()
  after_each(helpers.task(proxy.stop_all))

  for _, listener in ipairs(LISTENERS) do
    it("ends with clients who drip through " .. listener, helpers.task(function()
      local handlers = {}
      for name in pairs(BEGINNINGS) do
        if not (name == "ss" and listener == "ssh") then -- one user and password for both
          handlers[#handlers + 1] = name
        end
      end
      local p = pair_of(listener, handlers, "readTimeout=200ms&headTimeout=200ms")
      local left = #handlers
      local stayed = {}
      local done = task.waiter()
      for i, name in ipairs(handlers) do
        task.spawn(function()
          local s = assert(stream.dial("127.0.0.1:" .. p:port(i)))
          if not drip(s, BEGINNINGS[name]) then
            stayed[#stayed + 1] = name
          end
          s:close()
          left = left - 1
          if left == 0 then
            done:wake(true)
          end
        end)
      end
      assert(done:wait(task.now() + 60000))
      assert.same({}, stayed)
    end))
  end

  it("ends with a client of auto that says nothing", helpers.task(function()
    local p = proxy.start { "-L", "auto://127.0.0.1:0?headTimeout=200ms" }
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    s:set_deadline(task.now() + 20000)
    local _, err = s:read()
    assert.equal("eof", err.code)
    assert.is_nil(p:log():find '"level":"error"')
  end))
end)
