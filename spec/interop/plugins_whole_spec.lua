-- A whole tidegate that asks plugins whom to let in and where to.

local base64 = require "tidegate.net.http.base64"
local cjson = require "cjson"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local plugin_server = require "spec.helpers.plugin_server"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.tls"

local in_task = helpers.task

-- The status of a request through the proxy; nil when the connection is not admitted.
local function ask(p, target, credentials)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
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
      plane.cleanup()
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
      helpers.eventually(function()
        return ask(p, "127.0.0.1:1", "gost:gost") == "503" and p:log():find("works again", 1, true)
      end)
      assert.equal(1, count(p:log(), "works again"))
    end))

    it("finds names, nodes and limits, and tells what happens", in_task(function()
      local server = plugin_server.start(protocol)
      local function part(kind)
        local config = server:config(kind)
        return ("{ type: %s, addr: '%s' }"):format(config.type, config.addr)
      end
      local web = plane.accept(function(s)
        local head = s:read_until("\r\n\r\n", 4096)
        s:write("HTTP/1.1 200 ", head and head:match "^(%u+)" or "?", "\r\nContent-Length: 0\r\n\r\n")
        s:close()
      end)
      local port = web:match ":(%d+)$"
      local config = ([[
services:
- { name: hosted, addr: "127.0.0.1:0", hosts: h, limiter: l, observer: o, handler: { type: http },
    listener: { type: tcp }, recorders: [ { name: r, record: recorder.service.handler } ] }
- { name: resolved, addr: "127.0.0.1:0", resolver: res, handler: { type: http }, listener: { type: tcp } }
- { name: chained, addr: "127.0.0.1:0", handler: { type: http, chain: c }, listener: { type: tcp } }
hosts: [ { name: h, plugin: %s } ]
limiters: [ { name: l, plugin: %s } ]
observers: [ { name: o, plugin: %s } ]
recorders: [ { name: r, plugin: %s } ]
resolvers: [ { name: res, plugin: %s } ]
chains: [ { name: c, hops: [ { name: hop, plugin: %s } ] } ]
]]):format(part "hosts", part "limiter", part "observer", part "recorder", part "resolver", part "hop")
      local p = proxy.start({ "-C", programs.file(programs.folder(), "c.yaml", config) }, { services = 3 })
      local function through(index, target)
        local s = assert(stream.dial("127.0.0.1:" .. p:port(index), nil, task.now() + 20000))
        s:set_deadline(task.now() + 10000)
        s:write(("GET http://%s/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(target, target))
        local line = s:read_until("\r\n", 1000)
        s:close()
        return line
      end
      assert.equal("HTTP/1.1 200 GET\r\n", through(1, "local.test:" .. port))
      assert.equal("HTTP/1.1 200 GET\r\n", through(2, "local.test:" .. port))
      assert.truthy(through(3, web))

      local seen
      local function called(name, check)
        helpers.eventually(function()
          for _, one in ipairs(server:calls()) do
            if one.call == name and (not check or check(one.request)) then
              seen = one.request
              return true
            end
          end
        end, name .. " was not called\n" .. p:log())
        return seen
      end
      assert.equal("local.test", called("Lookup").host)
      assert.equal("local.test", called("Resolve").host)
      assert.equal(web, called("Select").host)
      assert.truthy(called("Limit", function(request)
        return request.service == "hosted" and request.scope == "service"
      end))
      local data = called("Record").data
      local record = cjson.decode(base64.decode(type(data) == "table" and data.bytes or data))
      assert.equal("hosted", record.service)
      assert.equal("ready", called("Observe", function(request)
        return request.events[1].status and request.events[1].status.state == "ready"
      end).events[1].status.state)
      assert.is_nil(p:log():find('"level":"error"', 1, true))
    end))

    it("tells the auther whose certificate a client has shown", in_task(function()
      local server, folder = plugin_server.start(protocol), programs.folder()
      local function openssl(line)
        programs.output("openssl", (function()
          local words = {}
          for word in line:gsub("@", folder):gmatch "%S+" do
            words[#words + 1] = word
          end
          return words
        end)())
      end
      openssl [[req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca
        -keyout @/ca.key -out @/ca.pem]]
      openssl [[req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ann -keyout @/ann.key -out @/ann.csr
        -addext subjectAltName=DNS:ann.test,DNS:ann2.test]]
      openssl [[x509 -req -in @/ann.csr -CA @/ca.pem -CAkey @/ca.key -CAcreateserial -days 2 -copy_extensions copyall
        -out @/ann.pem]]
      local config = server:config "auther"
      local p = proxy.start({ "-C", programs.file(folder, "c.yaml", ([[
services:
- name: s
  addr: 127.0.0.1:0
  handler: { type: http, auther: a }
  listener: { type: tls, tls: { certFile: @/ca.pem, keyFile: @/ca.key, caFile: @/ca.pem } }
authers: [ { name: a, plugin: { type: %s, addr: '%s' } } ]
]]):gsub("@", folder):format(config.type, config.addr)) }, { services = 1 })
      local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
      s = assert(tls.connect(s, { certFile = folder .. "/ann.pem", keyFile = folder .. "/ann.key" }, "x.test"))
      s:set_deadline(task.now() + 10000)
      s:write("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic ",
        base64.encode "gost:gost", "\r\n\r\n")
      assert.matches(" 503 ", s:read_until("\r\n", 1000))
      s:close()
      helpers.eventually(function()
        return #server:calls() > 0
      end)
      local request = server:calls()[1].request
      local function field(json_name, grpc_name)
        return request[json_name] or request[grpc_name]
      end
      assert.equal("ann", field("clientCn", "client_cn"))
      assert.same({ "ann.test", "ann2.test" }, field("clientSan", "client_san"))
      local said = programs.output("openssl",
        { "x509", "-in", folder .. "/ann.pem", "-noout", "-fingerprint", "-sha256" })
      assert.equal(said:match "=(%S+)":gsub(":", ""):lower(),
        field("clientCertFingerprint", "client_cert_fingerprint"))
    end))
  end)
end
