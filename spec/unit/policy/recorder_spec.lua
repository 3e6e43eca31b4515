-- Recorders: the JSON of records, queues that never make anybody wait, sinks that fail.

local cjson = require "cjson"
local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local object = require "tidegate.policy.recorder.object"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local queue = require "tidegate.policy.recorder.queue"
local record = require "tidegate.process.record"
local recorder = require "tidegate.policy.recorder"
local shared = require "tidegate.native.shared"
local sinks = require "spec.helpers.sinks"
local task = require "tidegate.native.task"
local uv = require "luv"

local number = 0

-- A logger that keeps what it is told.
local function notes()
  local said = {}
  return {
    warn = function(_, text) said[#said + 1] = "warn " .. text end,
    info = function(_, text) said[#said + 1] = "info " .. text end,
  }, said
end

local function fresh(prefix)
  number = number + 1
  return ("%s-%d-%.0f"):format(prefix or "spec", number, uv.hrtime())
end

describe("a record", function()
  it("has gost's keys in gost's order", function()
    assert.equal('{"node":"n","service":"s","labels":{"a":"1","b":"2"},"network":"tcp","remote":"r","local":"l",'
      .. '"client":"c","src":"f","dst":"t","host":"h","proto":"http","clientIP":"i","clientID":"u","http":{"host":"h",'
      .. '"method":"GET","proto":"HTTP/1.1","scheme":"http","uri":"u","cached":true,"statusCode":200,'
      .. '"request":{"contentLength":-1,"header":{"A":["1","2"]},"body":"aGk="},"response":{"contentLength":3,'
      .. '"header":null,"body":null}},"route":"x","inputBytes":1,"outputBytes":12345678901234,"redirect":"q","err":"e",'
      .. '"sid":"z","duration":1500000000,"time":"now"}', object.json {
      node = "n", service = "s", labels = { b = "2", a = "1" }, network = "tcp", remote = "r", ["local"] = "l",
      client = "c", src = "f", dst = "t", host = "h", proto = "http", clientIP = "i", clientID = "u",
      http = {
        host = "h", method = "GET", proto = "HTTP/1.1", scheme = "http", uri = "u", cached = true, statusCode = 200,
        request = { contentLength = -1, header = { A = { "1", "2" } }, body = "hi" },
        response = { contentLength = 3 },
      },
      route = "x", inputBytes = 1, outputBytes = 12345678901234, redirect = "q", err = "e", sid = "z",
      duration = 1500000000, time = "now",
    })
  end)

  it("leaves out what is empty, but not what gost always writes", function()
    assert.equal('{"service":"","network":"","remote":"","local":"","client":"","src":"","dst":"","host":"",'
      .. '"clientIP":"","inputBytes":0,"outputBytes":0,"sid":"","duration":0,"time":""}', object.json {
      node = "", labels = {}, proto = "", clientID = "", route = "", redirect = "", err = "",
    })
  end)

  it("has room for what sniffing finds", function()
    local r = cjson.decode(object.json {
      tls = { serverName = "a", version = "tls1.3", clientHello = "16" },
      redis = { command = "GET", key = "k" },
      websocket = { from = "client", fin = true, opcode = 1, length = 2, payload = "hi", masked = true, maskKey = 7 },
      dns = { id = 1, name = "a.", class = "IN", type = "A", cached = false },
    })
    assert.same({ serverName = "a", compressionMethod = 0, proto = "", version = "tls1.3", cipherSuite = "",
      clientHello = "16", serverHello = "" }, r.tls)
    assert.same({ command = "GET", key = "k" }, r.redis)
    assert.equal("aGk=", r.websocket.payload)
    assert.equal(7, r.websocket.maskKey)
    assert.equal("", r.dns.answer)
  end)

  it("escapes as Go does, whatever the bytes", function()
    local text = object.json { err = "<a&b>\226\128\168\255\"\\\n\1" }
    assert.is_truthy(text:find([["err":"\u003ca\u0026b\u003e\u2028]], 1, true))
    assert.is_nil(text:find("[%z\1-\31]"))
    assert.is_truthy(cjson.decode(text).err:find('"\\\n\1', 1, true))
  end)

  it("spells header names as Go does and hides what was for the proxy", function()
    assert.same({ ["X-Case"] = { "1", "2" }, Te = { "x" } },
      object.header("x-case: 1\r\nHost: h\r\nX-CASE: 2\r\nTE: x\r\nProxy-Authorization: Basic s\r\n"
        .. "Gost-Record: headers\r\n"))
  end)
end)

describe("the record of a relay", function()
  local written, service

  before_each(function()
    service = {
      name = "s", log = { level = 9 }, md = { labels = { zone = "eu" } },
      recorders = { ["recorder.service.handler"] = { recorder = { record = function(_, data)
        written = cjson.decode(data)
      end } } },
    }
  end)

  local function begin(hooked)
    return record.begin({
      service = service, stages = { hooked = { record = hooked } }, handled = true, started = task.now(),
      remote = "1.2.3.4:5", local_address = "l", client = "1.2.3.4:5", sid = "z", network = "tcp", target = "t:1",
      user = "u", node = "n", route = "a > b", sniffed = { protocol = "tls" },
    }, { counts = function() return 1, 2 end }, {
      remote_address = function() return "5.6.7.8:9" end, local_address = function() return "me:1" end,
    })
  end

  it("is the same whether anything else is wanted of its end or not", function()
    assert.is_true(record.end_record(begin(false), { up = 10, down = 20, duration = 5 }))
    local quick = written
    local tag = begin(true)
    assert.is_false(record.end_record(tag, {}))
    local ctx, up, down = record.read(tag)
    record.write(ctx, { up = up + 10, down = down + 20, duration = 0 })
    assert.equal(11, quick.inputBytes)
    assert.equal(22, quick.outputBytes)
    assert.equal("me:1", quick.src)
    assert.equal("5.6.7.8:9", quick.dst)
    assert.same({ zone = "eu" }, quick.labels)
    quick.time, quick.duration, written.time, written.duration = nil, nil, nil, nil
    assert.same(written, quick)
  end)

  it("is written, too, when its service has been closed, and none of a service that is gone", function()
    local tag = begin(false)
    record.forget(service)
    assert.is_true(record.end_record(tag, { up = 0, down = 0, duration = 1 }))
    assert.equal("s", written.service)
    written = nil
    assert.is_true(record.end_record(tag, { up = 0, down = 0, duration = 1 }))
    assert.is_nil(written)
  end)
end)

describe("a queue of records", function()
  -- A sink that does what `behave(list, from)` says and keeps what it took.
  local function sink_of(behave, fields)
    local sink = fields or {}
    sink.took = {}
    sink.writes = 0
    function sink.write(self, list, from)
      self.writes = self.writes + 1
      local count, err = behave(list, from)
      for i = from, from + count - 1 do
        self.took[#self.took + 1] = list[i].data
      end
      return count, err
    end
    return sink
  end

  it("hands over in order and in batches", helpers.task(function()
    local sink = sink_of(function(list, from)
      task.sleep(0.005)
      return #list - from + 1
    end, { batch = 10 })
    local q = queue.new(sink, fresh(), { log = notes() })
    for i = 1, 95 do
      assert.is_true(q:record(tostring(i)))
    end
    assert.is_true(q:flush(task.now() + 20000))
    assert.equal(95, #sink.took)
    assert.equal("1", sink.took[1])
    assert.equal("95", sink.took[95])
    assert.equal(10, sink.writes)
  end))

  it("tries again what was not taken, from where it stopped", helpers.task(function()
    local broken = true
    local sink = sink_of(function(list, from)
      if broken then
        broken = false
        return 2, failure.new("reset", "gone")
      end
      return #list - from + 1
    end, { batch = 10 })
    local log, said = notes()
    local name = fresh()
    local q = queue.new(sink, name, { log = log })
    for i = 1, 5 do
      q:record(tostring(i))
    end
    assert.is_true(q:flush(task.now() + 20000))
    assert.same({ "1", "2", "3", "4", "5" }, sink.took)
    assert.same({
      ("warn recorder %s: gone; records wait"):format(name),
      ("info recorder %s: works again"):format(name),
    }, said)
  end))

  it("gives up what is refused, and goes on", helpers.task(function()
    local sink = sink_of(function(list, from)
      if list[from].data == "bad" then
        return 0, failure.new("io", "no", { rejected = true })
      end
      return 1
    end)
    local name = fresh()
    local q = queue.new(sink, name, { log = notes() })
    for _, data in ipairs { "a", "bad", "b" } do
      q:record(data)
    end
    assert.is_true(q:flush(task.now() + 20000))
    assert.same({ "a", "b" }, sink.took)
    assert.equal(1, shared.counter(("recorder/%s/dropped"):format(name)):get())
    assert.equal(3, shared.counter(("recorder/%s/records"):format(name)):get())
  end))

  it("is bounded: what does not fit is dropped, counted and said once", helpers.task(function()
    local gate = task.waiter()
    local sink = sink_of(function(list, from)
      if gate then
        gate:wait()
        gate = nil
      end
      return #list - from + 1
    end)
    local log, said = notes()
    local q = queue.new(sink, fresh(), { log = log, most = 10 })
    q:record "first"
    helpers.pass() -- it is being written now
    for _ = 1, 30 do
      q:record "x"
    end
    local ok, err = q:record "y"
    assert.is_nil(ok)
    assert.equal("limit", err.code)
    assert.equal(1, #said)
    gate:wake()
    assert.is_true(q:flush(task.now() + 20000))
    assert.equal(11, #sink.took)
    assert.equal(2, #said)
    assert.matches("works again, 21 records were dropped$", said[2])
  end))

  it("is bounded in bytes as well", helpers.task(function()
    local q = queue.new(sink_of(function() return 1 end), fresh(), { log = notes(), bytes = 1000 })
    assert.is_true(q:record(("x"):rep(800)))
    assert.is_nil((q:record(("x"):rep(800))))
    q:flush(task.now() + 20000)
  end))

  it("survives a sink that raises", helpers.task(function()
    local sink = sink_of(function() error "oops" end)
    local q = queue.new(sink, fresh(), { log = notes() })
    q:record "x"
    assert.is_true(q:flush(task.now() + 20000))
  end))

  it("closed, still delivers, and closes its sink afterwards", helpers.task(function()
    local closed = 0
    local sink = sink_of(function(list, from)
      task.sleep(0.005)
      return #list - from + 1
    end)
    function sink.close()
      closed = closed + 1
    end
    local q = queue.new(sink, fresh(), { log = notes() })
    q:record "a"
    q:close()
    q:record "late" -- a relay that outlived a reload
    assert.is_true(q:flush(task.now() + 20000))
    assert.same({ "a", "late" }, sink.took)
    assert.equal(1, closed)
  end))
end)

describe("recorders", function()
  after_each(helpers.task(function()
    plane.cleanup()
    programs.stop_all()
  end))

  local function open(config)
    config.name = config.name or fresh "kind"
    local log, said = notes()
    local made = assert(recorder.new(config, { name = config.name, log = log }))
    return made, said
  end

  it("take the first sink that is configured, or none", helpers.task(function()
    local folder = programs.folder()
    local r = open { file = { path = folder .. "/a/b" }, tcp = { addr = "127.0.0.1:1" } }
    assert.is_true(r:record "x")
    assert.is_true(r:flush(task.now() + 20000))
    assert.equal("x", io.open(folder .. "/a/b"):read "*a")
    r:close()
    assert.is_true((open {}):record "nowhere")
  end))

  for what, config in pairs {
    ["redis: a key is needed"] = { redis = { addr = "127.0.0.1:1" } },
    ["file: a path is needed"] = { file = { path = "" } },
    ["tcp: an address with a port is needed"] = { tcp = { addr = "host" } },
    ["http: a URL is needed"] = { http = { url = "" } },
  } do
    it("are refused: " .. what, function()
      config.name = "x"
      local made, err = recorder.new(config, { name = "x", log = notes() })
      assert.is_nil(made)
      assert.is_truthy(tostring(err):find(what, 1, true))
    end)
  end

  it("write to a file that can be opened later", helpers.task(function()
    local folder = programs.folder()
    local blocker = programs.file(folder, "dir", "a file where a folder should be")
    local r, said = open { file = { path = blocker .. "/x", sep = "\n" } }
    r:record "one"
    helpers.eventually(function()
      return #said == 1
    end)
    os.remove(blocker)
    r:record "two"
    assert.is_true(r:flush(task.now() + 10000))
    assert.equal("one\ntwo\n", io.open(blocker .. "/x"):read "*a")
    assert.equal(2, #said)
    r:close()
  end))

  it("begin another file before one is fuller than it may be, however much comes at once", helpers.task(function()
    local folder = programs.folder()
    local r = open { file = { path = folder .. "/r.log", sep = "\n", rotation = { maxSize = 1 } } }
    for _ = 1, 350 do
      assert.is_true(r:record(("x"):rep(10000)))
    end
    assert.is_true(r:flush(task.now() + 10000))
    local total, files = 0, 0
    local scan = uv.fs_scandir(folder)
    for name in function() return uv.fs_scandir_next(scan) end do
      local size = uv.fs_stat(folder .. "/" .. name).size
      assert.is_true(size <= 1048576, size)
      total, files = total + size, files + 1
    end
    assert.equal(350 * 10001, total)
    assert.is_true(files >= 4)
    r:close()
  end))

  it("do not wait for a sink that hangs", helpers.task(function()
    local hung = {}
    local address = plane.accept(function(s)
      hung[#hung + 1] = s
    end)
    local r, said = open { http = { url = address, timeout = 0.1 } }
    local before = task.now()
    for _ = 1, 100 do
      assert.is_true(r:record "x")
    end
    assert.is_true(task.now() - before < 5000)
    helpers.eventually(function()
      return #said > 0
    end, "nothing was said")
    assert.equal(1, #said)
    r.give_up = task.now()
    assert.is_true(r:flush(task.now() + 10000))
    for _, s in ipairs(hung) do
      s:close()
    end
    r:close()
  end))

  it("tell a server's refusal from its trouble", helpers.task(function()
    local http = sinks.http()
    http.status = 400
    local r, said = open { http = { url = "http://" .. http.address } }
    r:record "refused"
    assert.is_true(r:flush(task.now() + 20000))
    http.status = 503
    r:record "later"
    helpers.eventually(function()
      return #http.requests >= 3
    end, "not tried again")
    http.status = 200
    assert.is_true(r:flush(task.now() + 10000))
    assert.equal(2, #said) -- failing since the first; works again
    require("tidegate.net.http").close_idle()
  end))

  it("of a script are behind a queue of their own", helpers.task(function()
    local gate, got = task.waiter(), {}
    local log = notes()
    local r = recorder.scripted({
      record = function(_, data, meta)
        gate:wait(task.now() + 50)
        got[#got + 1] = data .. meta.a
      end,
    }, { name = fresh "script", log = log })
    assert.is_true(r:record("x", { a = "1" }))
    assert.same({}, got)
    assert.is_true(r:flush(task.now() + 20000))
    assert.same({ "x1" }, got)
    gate:wake()
  end))

  it("are bound once for each type, the first entry counting", function()
    local service = { registry = { recorders = { a = open {}, b = open {} }, log = notes() } }
    recorder.attach(service, { recorders = {
      { name = "a", record = "recorder.service.handler",
        metadata = { ["http.body"] = true, ["http.maxBodySize"] = 1e9 } },
      { name = "b", record = "recorder.service.handler" },
      { name = "b", record = "recorder.service.client.address" },
      { name = "gone", record = "recorder.service.router.dial.address" },
    } })
    local bound = service.recorders
    assert.equal(service.registry.recorders.a, bound["recorder.service.handler"].recorder)
    assert.equal(1048576, bound["recorder.service.handler"].options.body)
    assert.equal(0, bound["recorder.service.client.address"].options.body)
    assert.is_true(bound["recorder.service.router.dial.address"].recorder:record "x")
    recorder.attach(service, {})
    assert.is_nil(service.recorders)
  end)

  it("over TCP make one connection for each record", helpers.task(function()
    local tcp = sinks.tcp()
    local r = open { tcp = { addr = "localhost:" .. tcp.port } }
    r:record "one"
    r:record "two"
    assert.is_true(r:flush(task.now() + 20000))
    helpers.eventually(function()
      return #tcp.received == 2
    end)
    table.sort(tcp.received)
    assert.same({ "one", "two" }, tcp.received)
    tcp.close()
    r:close()
  end))

  it("in Redis name what is wrong with a key, and go on", helpers.task(function()
    local redis = sinks.redis()
    redis.call("SET", "k", "a string")
    local r, said = open { redis = { addr = redis.addr, key = "k", type = "list" } }
    r:record "one"
    assert.is_true(r:flush(task.now() + 20000))
    assert.matches("WRONGTYPE", said[1])
    redis.call("DEL", "k")
    r:record "two"
    assert.is_true(r:flush(task.now() + 20000))
    assert.equal("two", redis.call("LRANGE", "k", "0", "-1"))
    r:close()
    redis.stop()
  end))

  it("close without having been used", function()
    local r = open { file = { path = "/nonexistent/x" } }
    r:close()
  end)
end)
