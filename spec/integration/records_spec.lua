-- A whole tidegate that records: what is in the records, where they go, and what happens when they cannot.

local cjson = require "cjson"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local sinks = require "spec.helpers.sinks"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local LIMIT_MS = 20000
local KEYS = {
  "node", "service", "labels", "network", "remote", "local", "client", "src", "dst", "host", "proto", "clientIP",
  "clientID", "http", "route", "inputBytes", "outputBytes", "redirect", "err", "sid", "duration", "time",
}

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a" or ""
  if file then
    file:close()
  end
  return text
end

local function lines(path)
  local out = {}
  for line in read(path):gmatch "[^\n]+" do
    out[#out + 1] = line
  end
  return out
end

-- Wait until a file has so many lines.  @return them
local function wait_lines(path, count)
  helpers.eventually(function()
    return #lines(path) >= count
  end, "no " .. count .. " records in " .. path)
  return lines(path)
end

local function exchange(where, text, count)
  local s = assert(stream.dial(where, nil, task.now() + LIMIT_MS))
  s:set_deadline(task.now() + LIMIT_MS)
  s:write(text)
  local answer = s:read_exact(count)
  s:close()
  return answer
end

-- The keys of a JSON object, in their order, as far as they are at its top.
local function top_keys(json)
  local keys, depth, expect = {}, 0, false
  local at = 1
  while at <= #json do
    local char = json:sub(at, at)
    if char == '"' then
      local stop = at + 1
      while json:sub(stop, stop) ~= '"' do
        stop = stop + (json:sub(stop, stop) == "\\" and 2 or 1)
      end
      if depth == 1 and expect then
        keys[#keys + 1] = json:sub(at + 1, stop - 1)
        expect = false
      end
      at = stop
    elseif char == "{" or char == "[" then
      depth = depth + 1
      expect = depth == 1
    elseif char == "}" or char == "]" then
      depth = depth - 1
    elseif char == "," and depth == 1 then
      expect = true
    end
    at = at + 1
  end
  return keys
end

local function in_order(keys)
  local place = 0
  for _, key in ipairs(keys) do
    local found
    for i, name in ipairs(KEYS) do
      found = found or name == key and i
    end
    assert.is_truthy(found, "unexpected key " .. key)
    assert.is_true(found > place, key .. " is out of order")
    place = found
  end
end

describe("records", function()
  local folder, count = nil, 0

  local function config(text)
    count = count + 1
    return programs.file(folder, ("c%d.yml"):format(count), text)
  end

  before_each(function()
    folder = programs.folder()
  end)
  after_each(helpers.task(function()
    proxy.stop_all()
    plane.cleanup()
    programs.stop_all()
  end))

  it("describe a forwarded connection with all of gost's keys", helpers.task(function()
    local echo = plane.echo()
    local path = folder .. "/records/r.json"
    local p = proxy.start({ "-C", config(([[
services:
- name: entry
  addr: 127.0.0.1:0
  metadata: {labels: {zone: eu}}
  recorders:
  - {name: out, record: recorder.service.handler}
  - {name: addresses, record: recorder.service.client.address}
  - {name: targets, record: recorder.service.router.dial.address}
  handler: {type: tcp}
  listener: {type: tcp}
  forwarder: {nodes: [{name: target-0, addr: "%s"}]}
recorders:
- {name: out, file: {path: "%s", sep: "\n"}}
- {name: addresses, file: {path: "%s/clients", sep: "\n"}}
- {name: targets, file: {path: "%s/targets", sep: "\n"}}
]]):format(echo, path, folder, folder)) }, { services = 1 })
    local before = os.time()
    assert.equal("hello", exchange("127.0.0.1:" .. p:port(1), "hello", 5))
    local line = wait_lines(path, 1)[1]
    in_order(top_keys(line))
    local r = cjson.decode(line)
    assert.equal("target-0", r.node)
    assert.equal("entry", r.service)
    assert.same({ zone = "eu" }, r.labels)
    assert.equal("tcp", r.network)
    assert.matches("^127%.0%.0%.1:%d+$", r.remote)
    assert.equal("127.0.0.1:" .. p:port(1), r["local"])
    assert.equal(r.remote, r.client)
    assert.matches("^127%.0%.0%.1:%d+$", r.src)
    assert.equal(echo, r.dst)
    assert.equal(echo, r.host)
    assert.equal("", r.clientIP)
    assert.equal(5, r.inputBytes)
    assert.equal(5, r.outputBytes)
    assert.is_nil(r.err)
    assert.matches("^[0-9a-v]+$", r.sid)
    assert.equal(20, #r.sid)
    assert.is_true(r.duration >= 0 and r.duration == math.floor(r.duration))
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d", r.time)
    assert.is_true(os.time() - before < 30)
    assert.same({ "127.0.0.1" }, wait_lines(folder .. "/clients", 1))
    assert.same({ "127.0.0.1" }, wait_lines(folder .. "/targets", 1))
  end))

  -- With lines in the log a record is made in Lua, without them where the relay ends.
  it("say the same whoever writes them", helpers.task(function()
    local nginx = origin.nginx()
    local function record(level)
      local path = ("%s/%s.json"):format(folder, level)
      local p = proxy.start({ "-C", config(([[
services:
- name: 'a "quoted" <näme>'
  addr: 127.0.0.1:0
  metadata: {labels: {zone: eu}}
  logger: own
  recorders:
  - {name: out, record: recorder.service.handler}
  handler: {type: socks5, chain: way, auth: {username: "u&v", password: p}}
chains:
- name: way
  hops: [{nodes: [{name: first, addr: ":0", connector: {type: direct}, dialer: {type: direct}}]}]
recorders:
- {name: out, file: {path: "%s", sep: "\n"}}
loggers:
- {name: own, log: {level: %s}}
]]):format(path, level)) }, { services = 1 })
      programs.run("curl", { "-s", "--max-time", "20", "-x", ("socks5://u%%26v:p@127.0.0.1:%d"):format(p:port(1)),
        "http://127.0.0.1:" .. nginx.http .. "/whoami" })
      local line = wait_lines(path, 1)[1]
      in_order(top_keys(line))
      return line, p:port(1)
    end
    local function plain(line, port)
      return (line:gsub(":" .. port .. '"', ':PORT"'):gsub('("[a-z]+":"127%.0%.0%.1):%d%d%d%d%d?"', "%1:*\"")
        :gsub('"sid":"[0-9a-v]+"', '"sid":"*"'):gsub('"duration":%d+', '"duration":0')
        :gsub('"time":"[^"]+"', '"time":"*"'))
    end
    local logged = plain(record "info")
    assert.equal(logged, plain(record "error"))
    assert.equal("a \"quoted\" <näme>", cjson.decode(logged).service)
    assert.equal("u&v", cjson.decode(logged).clientID)
    assert.equal("first@:0 > 127.0.0.1:" .. nginx.http, cjson.decode(logged).route)
  end))

  it("tell of dials that fail, and of failed connections", helpers.task(function()
    local path = folder .. "/r.json"
    local nobody = plane.nobody()
    local p = proxy.start({ "-C", config(([[
services:
- name: entry
  addr: 127.0.0.1:0
  recorders:
  - {name: out, record: recorder.service.handler}
  - {name: failed, record: recorder.service.router.dial.address.error}
  handler: {type: socks5, auth: {username: u, password: p}}
recorders:
- {name: out, file: {path: "%s", sep: "\n"}}
- {name: failed, file: {path: "%s/failed", sep: "\n"}}
]]):format(path, folder)) }, { services = 1 })
    programs.run("curl", { "-s", "--max-time", "20", "-x", ("socks5://u:p@127.0.0.1:%d"):format(p:port(1)),
      "http://" .. nobody .. "/" })
    local r = cjson.decode(wait_lines(path, 1)[1])
    assert.equal("u", r.clientID)
    assert.equal(nobody, r.host)
    assert.is_truthy(r.err)
    assert.same({ "127.0.0.1" }, wait_lines(folder .. "/failed", 1))
  end))

  it("are written of clients that are not admitted, and of what is sniffed", helpers.task(function()
    local echo = plane.echo()
    local p = proxy.start({ "-C", config(([[
services:
- {name: shut, addr: "127.0.0.1:0", admission: nobody, handler: {type: http},
   recorders: [{name: clients, record: recorder.service.client.address}]}
- {name: open, addr: "127.0.0.1:0", handler: {type: tcp, metadata: {sniffing: true}},
   forwarder: {nodes: [{name: t, addr: "%s"}]}, recorders: [{name: out, record: recorder.service.handler}]}
admissions: [{name: nobody, whitelist: true}]
recorders:
- {name: clients, file: {path: "%s/clients", sep: "\n"}}
- {name: out, file: {path: "%s/r.json", sep: "\n"}}
]]):format(echo, folder, folder)) }, { services = 2 })
    assert.is_nil((stream.dial("127.0.0.1:" .. p:port(1)):read()))
    assert.same({ "127.0.0.1" }, wait_lines(folder .. "/clients", 1))
    local command = "*2\r\n$3\r\nGET\r\n$4\r\nname\r\n"
    assert.equal(command, exchange("127.0.0.1:" .. p:port(2), command, #command))
    local r = cjson.decode(wait_lines(folder .. "/r.json", 1)[1])
    assert.equal("redis", r.proto)
    assert.same({ command = "GET", key = "name" }, r.redis)
    assert.equal(#command, r.inputBytes)
  end))

  it("hold what a target's settings made of a request, and what it was", helpers.task(function()
    local seen
    local target = plane.accept(function(s)
      seen = s:read_until("\r\n\r\n", 8192)
      s:read_exact(tonumber(seen:match "Content%-Length: (%d+)") or 0)
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
      s:close()
    end)
    local p = proxy.start({ "-C", config(([[
services:
- name: s
  addr: "127.0.0.1:0"
  handler: {type: tcp, metadata: {sniffing: true}}
  forwarder:
    nodes:
    - {name: plain, addr: "%s", matcher: {rule: "Path(`/plain`)"}}
    - name: changed
      addr: "%s"
      http: {host: inner.test, requestHeader: {X-Set: "1", X-Gone: ""}, rewriteURL: [{match: ^/a, replacement: /b}],
        rewriteRequestBody: [{match: word, replacement: words, type: "*"}],
        rewriteResponseBody: [{match: ok, replacement: fine, type: "*"}], responseHeader: {X-Back: "3"}}
  recorders: [{name: out, record: recorder.service.handler, metadata: {http.body: true}}]
recorders:
- {name: out, file: {path: "%s/r.json", sep: "\n"}}
]]):format(target, target, folder)) }, { services = 1 })
    local base = "http://127.0.0.1:" .. p:port(1)
    origin.curl { base .. "/a?q=1", "-H", "Host: outer.test", "-H", "X-Gone: away", "-H", "X-Kept: 2" }
    assert.matches("^GET /b%?q=1 HTTP/1.1\r\nHost: inner.test\r\n", seen)
    local http = cjson.decode(wait_lines(folder .. "/r.json", 1)[1]).http
    assert.same({ "inner.test", "/b?q=1", "outer.test", "/a?q=1" }, { http.host, http.uri, http.originalHost,
      http.originalUri })
    assert.same({ { "1" }, { "2" } }, { http.request.header["X-Set"], http.request.header["X-Kept"] })
    assert.is_nil(http.request.header["X-Gone"])
    assert.is_nil(http.originalRequest.header["X-Set"])
    assert.same({ "away" }, http.originalRequest.header["X-Gone"])
    local function body(message)
      return require("tidegate.net.http.base64").decode(message.body)
    end
    assert.same({ "ok", 2 }, { body(http.originalResponse), http.originalResponse.contentLength })
    assert.same({ "fine", 4 }, { body(http.response), http.response.contentLength })
    assert.same({ { "3" }, { "4" } }, { http.response.header["X-Back"], http.response.header["Content-Length"] })
    assert.is_nil(http.originalResponse.header["X-Back"])

    origin.curl { base .. "/a", "-H", "Content-Type: text/plain", "-d", "a word" }
    http = cjson.decode(wait_lines(folder .. "/r.json", 2)[2]).http
    assert.same({ "a word", "a words", 7 }, { body(http.originalRequest), body(http.request),
      http.request.contentLength })

    origin.curl { base .. "/plain" }
    http = cjson.decode(wait_lines(folder .. "/r.json", 3)[3]).http
    assert.is_nil(http.originalHost)
    assert.is_nil(http.originalRequest)
    assert.is_nil(http.originalResponse)
  end))

  it("name the host that was asked for: of who may not pass, and inside of tunnels", helpers.task(function()
    local target = plane.accept(function(s)
      s:read_until("\r\n\r\n", 8192)
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
      s:close()
    end)
    local p = proxy.start({ "-C", config(([[
services:
- {name: shut, addr: "127.0.0.1:0", handler: {type: http, auth: {username: u, password: p}},
   recorders: [{name: shut, record: recorder.service.handler}]}
- {name: open, addr: "127.0.0.1:0", handler: {type: http, metadata: {sniffing: true}},
   recorders: [{name: open, record: recorder.service.handler}]}
recorders:
- {name: shut, file: {path: "%s/shut", sep: "\n"}}
- {name: open, file: {path: "%s/open", sep: "\n"}}
]]):format(folder, folder)) }, { services = 2 })
    programs.run("curl", { "-s", "--max-time", "20", "-x", "http://127.0.0.1:" .. p:port(1), "http://a.test/" })
    local r = cjson.decode(wait_lines(folder .. "/shut", 1)[1])
    assert.same({ "a.test:80", 407 }, { r.host, r.http.statusCode })
    origin.curl { "-p", "-x", "http://127.0.0.1:" .. p:port(2), "http://" .. target .. "/", "-H", "Host: inner.test",
      "-A", "x" }
    r = cjson.decode(wait_lines(folder .. "/open", 1)[1])
    assert.same({ "inner.test:80", target, target }, { r.host, r.dst, r.route })
    assert.equal(#"GET / HTTP/1.1\r\nHost: inner.test\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n", r.inputBytes)
  end))

  it("hold each plain HTTP request, with bodies when asked for", helpers.task(function()
    local nginx = origin.nginx()
    local path = folder .. "/r.json"
    -- one worker: what several write lies in the order of their batches
    local p = proxy.start({ "--workers", "1", "-C", config(([[
services:
- name: web
  addr: 127.0.0.1:0
  recorders:
  - name: out
    record: recorder.service.handler
    metadata: {http.body: true, http.maxBodySize: 32}
  handler: {type: http}
recorders:
- {name: out, file: {path: "%s", sep: "\n"}}
]]):format(path)), "--workers", "1" }, { services = 1 })
    local through = { "-x", "http://127.0.0.1:" .. p:port(1) }
    local base = "http://127.0.0.1:" .. nginx.http
    origin.curl { base .. "/hello.html", base .. "/headers", "-H", "X-Forwarded-For: 192.0.2.7, 10.0.0.1",
      through[1], through[2] }
    origin.curl { "-X", "PUT", "-d", ("b"):rep(50), base .. "/up/x", through[1], through[2] }
    origin.curl { "-H", "Gost-Record: headers", base .. "/hello.html", through[1], through[2] }
    origin.curl { "-H", "Gost-Record: off", base .. "/hello.html", through[1], through[2] }
    origin.curl { "-p", base .. "/whoami", through[1], through[2] } -- CONNECT
    local got = wait_lines(path, 5)
    for i, line in ipairs(got) do
      in_order(top_keys(line))
      got[i] = cjson.decode(line)
    end
    local first = got[1]
    assert.equal("http", first.proto)
    assert.equal("127.0.0.1:" .. nginx.http, first.dst)
    assert.matches("^127%.0%.0%.1:%d+$", first.src)
    assert.equal("192.0.2.7", first.clientIP)
    assert.equal("GET", first.http.method)
    assert.equal("HTTP/1.1", first.http.proto)
    assert.equal("http", first.http.scheme)
    assert.equal(base .. "/hello.html", first.http.uri)
    assert.equal("127.0.0.1:" .. nginx.http, first.http.host)
    assert.is_false(first.http.cached)
    assert.equal(200, first.http.statusCode)
    assert.equal(cjson.null, first.http.request.body)
    assert.same({ "192.0.2.7, 10.0.0.1" }, first.http.request.header["X-Forwarded-For"])
    assert.equal(#read(nginx.www .. "/hello.html"), first.http.response.contentLength)
    assert.same({ "text/html" }, first.http.response.header["Content-Type"])
    assert.equal(32, #require("tidegate.net.http.base64").decode(first.http.response.body))
    assert.is_true(first.inputBytes > 100 and first.outputBytes > first.http.response.contentLength)

    assert.equal(base .. "/headers", got[2].http.uri)
    assert.equal(first.sid, got[2].sid)
    assert.equal(("b"):rep(32), require("tidegate.net.http.base64").decode(got[3].http.request.body))
    assert.equal(50, got[3].http.request.contentLength)
    assert.equal(201, got[3].http.statusCode)
    assert.equal(cjson.null, got[4].http.response.body)
    assert.is_nil(got[4].http.request.header["Gost-Record"])
    assert.equal("CONNECT", got[5].http.method)
    assert.equal("http", got[5].http.scheme)
    assert.equal(200, got[5].http.statusCode)
    assert.equal("127.0.0.1:" .. nginx.http, got[5].host)
    task.sleep(0.2)
    assert.equal(5, #lines(path))
  end))

  it("from several workers to one rotated file are neither lost nor mixed", helpers.task(function()
    local echo = plane.echo()
    local path = folder .. "/r.json"
    local labels = ("x"):rep(6000)
    local p = proxy.start({ "-C", config(([[
services:
- name: entry
  addr: 127.0.0.1:0
  logger: quiet
  metadata: {labels: {long: "%s"}}
  recorders: [{name: out, record: recorder.service.handler}]
  handler: {type: tcp}
  forwarder: {nodes: [{name: t, addr: "%s"}]}
recorders:
- {name: out, file: {path: "%s", sep: "\n", rotation: {maxSize: 1}}}
loggers:
- {name: quiet, log: {output: none}}
]]):format(labels, echo, path)) }, { services = 1 })
    local where, waits = "127.0.0.1:" .. p:port(1), {}
    for i = 1, 20 do
      waits[i] = helpers.spawn(function()
        for _ = 1, 20 do
          assert.equal("ping", exchange(where, "ping", 4))
        end
      end)
    end
    for i = 1, #waits do
      waits[i]()
    end
    local total, files
    helpers.eventually(function()
      total, files = 0, 0
      local scan = uv.fs_scandir(folder)
      for name in function() return uv.fs_scandir_next(scan) end do
        if name:find "^r.*%.json$" then
          files = files + 1
          total = total + #lines(folder .. "/" .. name)
        end
      end
      return total >= 400
    end, "records are missing")
    assert.equal(400, total)
    assert.is_true(files >= 3, files .. " files")
    local scan = uv.fs_scandir(folder)
    for name in function() return uv.fs_scandir_next(scan) end do
      if name:find "^r.*%.json$" then
        for _, line in ipairs(lines(folder .. "/" .. name)) do
          assert.equal("entry", cjson.decode(line).service)
        end
        assert.is_true(uv.fs_stat(folder .. "/" .. name).size <= 1048576 + 100000, name)
      end
    end
  end, 60))

  it("are written of connections that end with the process, and of sessions of datagrams", helpers.task(function()
    local echo, path = plane.echo(), folder .. "/r.json"
    local dns = origin.dnsmasq()
    local p = proxy.start({ "-C", config(([[
services:
- {name: tcp, addr: "127.0.0.1:0", handler: {type: tcp}, forwarder: {nodes: [{name: t, addr: "%s"}]},
   recorders: [{name: out, record: recorder.service.handler}]}
- {name: udp, addr: "127.0.0.1:0", handler: {type: udp}, listener: {type: udp, metadata: {ttl: 500ms}},
   forwarder: {nodes: [{name: u, addr: "127.0.0.1:%d"}]}, recorders: [{name: out, record: recorder.service.handler}]}
recorders: [{name: out, file: {path: "%s", sep: "\n"}}]
]]):format(echo, dns, path)) }, { services = 2 })
    programs.output("dig", {
      "+time=5", "+tries=1", "+short", "-p", tostring(p:port(2)), "@127.0.0.1", "tidegate.test",
    })
    local udp = cjson.decode(wait_lines(path, 1)[1])
    assert.equal("udp", udp.service)
    assert.equal("udp", udp.network)
    assert.equal("u", udp.node)
    assert.is_true(udp.inputBytes > 20 and udp.outputBytes > 20, udp.inputBytes .. " " .. udp.outputBytes)
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + LIMIT_MS))
    s:write "hello"
    assert.equal("hello", s:read_exact(5))
    p:stop()
    s:close()
    local tcp = cjson.decode(lines(path)[2])
    assert.equal("tcp", tcp.service)
    assert.equal(5, tcp.inputBytes)
  end))

  it("go to Redis, HTTP and TCP", helpers.task(function()
    local echo, redis, http, tcp = plane.echo(), sinks.redis(), sinks.http(), sinks.tcp()
    local p = proxy.start({ "-C", config(([[
services:
- {name: s1, addr: "127.0.0.1:0", handler: {type: tcp}, forwarder: {nodes: [{name: t, addr: "%s"}]},
   recorders: [{name: set, record: recorder.service.handler}, {name: tcp, record: recorder.service.client.address}]}
- {name: s2, addr: "127.0.0.1:0", handler: {type: tcp}, forwarder: {nodes: [{name: t, addr: "%s"}]},
   recorders: [{name: list, record: recorder.service.handler}, {name: http, record: recorder.service.client.address}]}
- {name: s3, addr: "127.0.0.1:0", handler: {type: tcp}, forwarder: {nodes: [{name: t, addr: "%s"}]},
   recorders: [{name: sset, record: recorder.service.client.address}]}
recorders:
- {name: set, redis: {addr: "%s", key: k-set}}
- {name: list, redis: {addr: "%s", key: k-list, type: list}}
- {name: sset, redis: {addr: "%s", key: k-sset, type: sset, db: 1}}
- {name: http, http: {url: "%s/in", timeout: 5s, header: {X-Mine: "1"}}}
- {name: tcp, tcp: {addr: "%s", timeout: 5s}}
]]):format(echo, echo, echo, redis.addr, redis.addr, redis.addr, http.address, tcp.address)) }, { services = 3 })
    for _ = 1, 3 do
      for i = 1, 3 do
        exchange("127.0.0.1:" .. p:port(i), "ping", 4)
      end
    end
    helpers.eventually(function()
      return redis.call("SCARD", "k-set") == "3" and redis.call("LLEN", "k-list") == "3"
        and redis.call("-n", "1", "ZSCORE", "k-sset", "127.0.0.1") == "3"
    end, "not in Redis")
    assert.equal("s2", cjson.decode(redis.call("LINDEX", "k-list", "0")).service)
    helpers.eventually(function()
      return #http.requests == 3 and #tcp.received == 3
    end, "not at the servers")
    local request = http.requests[1]
    assert.equal("POST", request.head.method)
    assert.equal("/in", request.head.target)
    assert.equal("127.0.0.1", request.body)
    assert.is_truthy(request.head.fields:lower():find("content-type: application/json", 1, true))
    assert.is_truthy(request.head.fields:lower():find("x-mine: 1", 1, true))
    assert.same({ "127.0.0.1", "127.0.0.1", "127.0.0.1" }, tcp.received)
    p:stop()
    tcp.close()
  end))

  it("wait for a Redis that died, with one line when it goes and one when it is back", helpers.task(function()
    local echo, redis = plane.echo(), sinks.redis()
    local p = proxy.start({ "-C", config(([[
services:
- {name: s, addr: "127.0.0.1:0", handler: {type: tcp}, forwarder: {nodes: [{name: t, addr: "%s"}]},
   recorders: [{name: store, record: recorder.service.handler}]}
recorders:
- {name: store, redis: {addr: "%s", key: k, type: list}}
]]):format(echo, redis.addr)) }, { services = 1 })
    local where = "127.0.0.1:" .. p:port(1)
    exchange(where, "ping", 4)
    helpers.eventually(function()
      return redis.call("LLEN", "k") == "1"
    end)
    redis.stop()
    for _ = 1, 10 do
      exchange(where, "ping", 4)
    end
    p:logged "recorder store: .*records wait"
    task.sleep(1)
    redis = sinks.redis(redis.port)
    helpers.eventually(function()
      return tonumber(redis.call("LLEN", "k")) >= 10
    end, "records were lost", 20)
    p:logged "recorder store: works again"
    assert.equal(1, select(2, p:log():gsub("records wait", "")))
    assert.equal(1, select(2, p:log():gsub("works again", "")))
  end))
end)
