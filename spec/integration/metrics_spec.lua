-- Metrics of a whole tidegate: gost's series by name, type and label, and those of our own.

local api = require "spec.helpers.api"
local helpers = require "spec.helpers"
local luv = require "luv"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

-- "name{labels}" → value, name → type
local function parse(text)
  local values, types = {}, {}
  for line in text:gmatch "[^\n]+" do
    local name, kind = line:match "^# TYPE (%S+) (%S+)$"
    if name then
      assert.is_nil(types[name], name)
      types[name] = kind
    elseif line:sub(1, 1) ~= "#" then
      local series, value = line:match "^(.+) (%S+)$"
      assert.is_nil(values[series], series)
      values[series:gsub('{host="[^"]*",?', "{")] = assert(tonumber(value), line)
    end
  end
  return values, types
end

local function start(...)
  local port = programs.free_port()
  local args = { ... }
  for i, text in ipairs(args) do
    args[i] = text:gsub("PORT", tostring(port))
  end
  local p = proxy.start(args)
  programs.wait_port(port)
  return p, api.new("http://127.0.0.1:" .. port), port
end

local function fetch(port, target)
  return programs.run("curl", {
    "-s", "-m", "20", "-x", "socks5h://127.0.0.1:" .. port, "http://" .. target .. "/",
  }).stdout
end

local function origin()
  return plane.accept(function(s)
    s:read_until("\r\n\r\n", 4096)
    s:write "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    s:close()
  end)
end

local GOST = {
  gost_services = "gauge", gost_service_status = "gauge", gost_service_requests_total = "counter",
  gost_service_requests_in_flight = "gauge", gost_service_request_duration_seconds = "histogram",
  gost_service_transfer_input_bytes_total = "counter", gost_service_transfer_output_bytes_total = "counter",
  gost_service_handler_errors_total = "counter", gost_chain_errors_total = "counter",
  gost_chain_node_connect_duration_seconds = "histogram", process_cpu_seconds_total = "counter",
  process_open_fds = "gauge", process_max_fds = "gauge", process_resident_memory_bytes = "gauge",
  process_virtual_memory_bytes = "gauge", process_virtual_memory_max_bytes = "gauge",
  process_start_time_seconds = "gauge",
}

describe("metrics", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("count what passes, with gost's names", function()
    local node = proxy.start { "-L", "http://127.0.0.1:0" }
    local p, a = start("-L", "socks5://127.0.0.1:0", "-F", ("http://127.0.0.1:%d"):format(node:port(1)),
      "-metrics", "127.0.0.1:PORT")
    local target = origin()
    for _ = 1, 3 do
      assert.equal("hi", fetch(p:port(1), target))
    end
    local values, types, text
    helpers.eventually(function()
      local _
      _, text = a:ask("GET", "/metrics")
      values, types = parse(text)
      return values['gost_service_request_duration_seconds_count{service="service-0"}'] == 3
    end, "three requests were not counted")
    local client = '{service="service-0",client="127.0.0.1"}'
    assert.equal(3, values["gost_service_requests_total" .. client])
    assert.equal(0, values["gost_service_requests_in_flight" .. client])
    assert.is_true(values["gost_service_transfer_input_bytes_total" .. client] > 3 * 50)
    assert.is_true(values["gost_service_transfer_output_bytes_total" .. client] > 3 * 50)
    assert.equal(3, values['gost_service_request_duration_seconds_bucket{service="service-0",le="+Inf"}'])
    assert.equal(3, values['gost_chain_node_connect_duration_seconds_count{chain="chain-0",node="node-0"}'])
    assert.equal(1, values["gost_services{}"])
    assert.equal(1, values['gost_service_status{state="ready"}'])

    node:stop()
    fetch(p:port(1), target)
    helpers.eventually(function()
      local _
      _, text = a:ask("GET", "/metrics")
      values, types = parse(text)
      return values['gost_chain_errors_total{chain="chain-0",node="node-0"}'] == 1
    end, "the chain's error was not counted")
    assert.equal(1, values["gost_service_handler_errors_total" .. client])
    for name, kind in pairs(GOST) do
      assert.equal(kind, types[name], name)
    end
    assert.matches("# HELP gost_service_requests_total Total number of requests\n", text)
    assert.is_true(values["process_open_fds"] > 5)
    assert.is_true(math.abs(values.process_start_time_seconds - os.time()) < 120)
    assert.is_true(values['tidegate_worker_lua_memory_bytes{worker="1"}'] > 100000)
    if programs.have "promtool" then
      local result = programs.run("promtool", { "check", "metrics" }, { stdin = text })
      assert.equal(0, result.code, result.stdout .. result.stderr)
      assert.equal("", result.stderr)
    end
  end)

  it("count records, and what scripts cost", function()
    local folder, port = programs.folder(), programs.free_port()
    programs.file(folder, "hook.lua", [[
local tg = require "tidegate"
tg.on("request", function(next, ctx, network, address)
  return next(ctx, network, address)
end)
]])
    local path = programs.file(folder, "gate.yml", ([[
services:
- name: front
  addr: 127.0.0.1:0
  handler: {type: socks5}
  recorders:
  - {name: kept, record: recorder.service.handler}
  - {name: posted, record: recorder.service.client.address}
recorders:
- {name: kept, file: {path: %s/records}}
- {name: posted, http: {url: "http://127.0.0.1:1/"}}
scripts: [%s/hook.lua]
metrics: {addr: "127.0.0.1:%d"}
]]):format(folder, folder, port))
    local p = proxy.start({ "-C", path }, { services = 1 })
    local a = api.new("http://127.0.0.1:" .. port)
    assert.equal("hi", fetch(p:port(1), origin()))
    helpers.eventually(function()
      local values = parse(select(2, a:ask("GET", "/metrics")))
      local calls, seconds
      for series, value in pairs(values) do
        calls = series:find "^tidegate_script_hook_calls_total{hook=" and value or calls
        seconds = series:find "^tidegate_script_hook_seconds_total{hook=" and value or seconds
      end
      -- each has its name, that of an HTTP sink as well (gost's is empty)
      return values['gost_recorder_records_total{recorder="kept"}'] == 1
        and values['gost_recorder_records_total{recorder="posted"}'] == 1 and calls == 1 and seconds > 0
    end, "not counted")
  end)

  it("are scraped by Prometheus", function()
    if not programs.have "prometheus" then
      return pending "prometheus is not installed"
    end
    local _, a, port = start("-L", "http://127.0.0.1:0", "-metrics", "me:pw@127.0.0.1:PORT")
    assert(a)
    local folder, own = programs.folder(), programs.free_port()
    local path = programs.file(folder, "p.yml", ([[
global: {scrape_interval: 1s}
scrape_configs:
- job_name: gate
  basic_auth: {username: me, password: pw}
  static_configs: [{targets: ["127.0.0.1:%d"]}]
]]):format(port))
    programs.start("prometheus", { "--config.file=" .. path, "--storage.tsdb.path=" .. folder .. "/data",
      "--web.listen-address=127.0.0.1:" .. own }, { port = own })
    helpers.eventually(function()
      local text = programs.run("curl", { "-s", "-m", "20", "-G", "--data-urlencode", "query=gost_service_status",
        ("http://127.0.0.1:%d/api/v1/query"):format(own) }).stdout
      return text:find('"state":"ready"', 1, true)
    end, "prometheus has not scraped", 20)
  end)

  it("are for those who may, on one path", function()
    local _, a = start("-L", "http://127.0.0.1:0", "-metrics", "me:pw@127.0.0.1:PORT?path=/m&noClient=true")
    local status, body, head = a:ask("GET", "/m")
    assert.same({ 401, "" }, { status, body })
    assert.matches("WWW%-Authenticate: Basic\r\n", head)
    assert.matches("Access%-Control%-Allow%-Methods: GET, OPTIONS\r\n", head)
    assert.equal(204, (a:ask("OPTIONS", "/m")))
    assert.equal(404, (a:ask("GET", "/metrics")))
    a.auth = "me:pw"
    status, _, head = a:ask("GET", "/m")
    assert.equal(200, status)
    assert.matches("Content%-Type: text/plain; version=0%.0%.4; charset=utf%-8\r\n", head)
    local packed = programs.run("curl", { "-s", "-m", "20", "--compressed", "-D", "-", "-u", "me:pw", a.base .. "/m" })
    assert.matches("Content%-Encoding: gzip\r\n", packed.stdout)
    assert.matches("\ngost_services{", packed.stdout)
    a.auth = "me:wrong"
    assert.equal(401, (a:ask("GET", "/m")))
  end)

  it("come from a service as well", function()
    local p = proxy.start { "-L", "socks5://127.0.0.1:0?noClient=true", "-L", "metrics://u:p@127.0.0.1:0?path=/x",
      "-L", "metrics://127.0.0.1:0?noClient=true" }
    assert.equal("hi", fetch(p:port(1), origin()))
    local a = api.new("http://127.0.0.1:" .. p:port(2), "u:p")
    local values
    helpers.eventually(function()
      local _, text = a:ask("GET", "/x")
      values = parse(text)
      return values['gost_service_requests_total{service="service-0",client=""}'] == 1
    end, "the request was not counted")
    assert.equal(3, values["gost_services{}"])
    assert.equal(404, (a:ask("GET", "/metrics")))
    assert.equal(401, (api.new(a.base):ask("GET", "/x")))
  end)

  it("are answered quickly when there are thousands of series", function()
    local socket = programs.folder() .. "/repl.sock"
    start("-L", "http://127.0.0.1:0", "-metrics", "127.0.0.1:PORT", "-repl", socket)
    helpers.eventually(function()
      return luv.fs_stat(socket)
    end, "there is no REPL")
    local result = proxy.run { "eval", "-socket", socket, [[(function()
      local m, t = require "tidegate.process.metrics", require "tidegate.metrics.text"
      for i = 1, 1000 do
        m.series():set("client\0service-0\00010.0." .. math.floor(i / 250) .. "." .. i % 250, true)
      end
      local text = t.write { states = {}, workers = {} }
      local began = os.clock()
      for _ = 1, 10 do text = t.write { states = {}, workers = {} } end
      return ("%.2f ms for %d"):format((os.clock() - began) * 100, select(2, text:gsub("\n", "")))
    end)()]] }
    local cost, lines = result.stdout:match "([%d.]+) ms for (%d+)"
    assert.is_true(tonumber(lines) > 4000, result.stdout .. result.stderr)
    assert.is_true(tonumber(cost) < 50, cost .. " ms") -- 10 ms without sanitizers and neighbours
  end)
end)
