-- A whole tidegate that asks plugins whom to let in and where to.

local base64 = require "tidegate.net.http.base64"
local helpers = require "spec.helpers"
local plugin_server = require "spec.helpers.plugin_server"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local in_task = helpers.task

-- The status of a request through the proxy; nil when the connection is not admitted.
local function ask(p, target, credentials)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 5000))
  s:set_deadline(task.now() + 10000)
  s:write(("GET http://%s/ HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n")
    :format(target, target, base64.encode(credentials)))
  local line = s:read_until("\r\n", 1000)
  s:close()
  return line and line:match " (%d+) "
end

local function count(text, words)
  local found = 0
  for _ in text:gmatch(words) do
    found = found + 1
  end
  return found
end

for _, protocol in ipairs { "http", "grpc" } do
  describe("tidegate with plugins over " .. protocol, function()
    after_each(in_task(function()
      proxy.stop_all()
      programs.stop_all()
    end))

    it("lets in and leads where they say, and falls back on defaults while they are gone", in_task(function()
      local server = plugin_server.start(protocol, { token = "t" })
      local function part(kind)
        local config = server:config(kind)
        return ("{ type: %s, addr: '%s', token: t, timeout: 5s }"):format(config.type, config.addr)
      end
      local config = ([[
services:
- name: s
  addr: 127.0.0.1:0
  admission: adm
  bypass: byp
  handler: { type: http, auther: people }
  listener: { type: tcp }
admissions: [ { name: adm, plugin: %s } ]
bypasses: [ { name: byp, plugin: %s } ]
authers: [ { name: people, plugin: %s } ]
]]):format(part "admission", part "bypass", part "auther")
      local p = proxy.start({ "-C", programs.file(programs.folder(), "c.yaml", config) }, { services = 1 })
      assert.equal("503", ask(p, "127.0.0.1:1", "gost:gost"))
      assert.equal("407", ask(p, "127.0.0.1:1", "gost:wrong"))
      assert.equal("403", ask(p, "blocked.test:1", "gost:gost"))
      helpers.eventually(function()
        return #server:calls() >= 8
      end)
      local calls = server:calls()
      assert.same({ "Admit", "Authenticate", "Bypass" }, { calls[1].call, calls[2].call, calls[3].call })
      assert.equal("id-of-gost", calls[3].request.client)
      assert.equal("127.0.0.1:1", calls[3].request.addr)
      assert.equal("s", calls[2].request.service)
      assert.matches("^127%.0%.0%.1:%d+$", calls[2].request.client)

      server.process:stop("sigkill")
      for _ = 1, 6 do
        assert.is_nil(ask(p, "127.0.0.1:1", "gost:gost"))
      end
      p:logged("plugin .* fails")
      assert.equal(1, count(p:log(), "plugin [^\n]* fails"))
      plugin_server.start(protocol, { token = "t", port = server.port })
      helpers.eventually(function()
        return ask(p, "127.0.0.1:1", "gost:gost") == "503"
      end)
      p:logged("works again", true)
      assert.equal(1, count(p:log(), "works again"))
    end))
  end)
end
