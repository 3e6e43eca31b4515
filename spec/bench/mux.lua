-- What many streams on one connection do to each other: build/tidegate-spec spec/bench/mux.lua [SECONDS [TRANSPORT...]]
--
-- For every transport that multiplexes, a pair of tidegates (SOCKS5, then relay over the transport) with
-- 1,000 tunnels: memory of both ends per idle tunnel (after as many others have shown what the first ones
-- cost), and what of it is each end's when a plain tunnel is taken off; p50 and p99 of a ping on one of them
-- while the others rest, and beside one that moves all it can; then the throughput of one tunnel whose
-- transport crosses a path with 100 ms of round trip and a limited rate, against the same path without any
-- transport.

package.path = "./?.lua;./?/init.lua;" .. package.path

local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local scene = require "spec.helpers.scene"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

io.stdout:setvbuf "line"

local SECONDS = tonumber(arg and arg[1]) or 4
local TUNNELS = 1000
local DELAY_MS = 50 -- each way
local PATH_RATE = 50 -- MB/s of the long path
local TRANSPORTS = arg[2] and { unpack(arg, 2) } or {
  "tls", -- for comparison: a connection for each tunnel
  "mtcp", "mtcp?mux.version=2", "mtcp?mux.type=yamux", "mtls", "mws", "h2c", "h2", "grpc",
}


local function echo(s)
  local part = s:read()
  while part and s:write(part) do
    part = s:read()
  end
  s:close()
end

-- An endless source in a process of its own.  @return port
local function source()
  local port = programs.free_port()
  programs.start("/usr/bin/python3", { "spec/interop/peers/clients.py", "source", tostring(port) }, { ready = "ready" })
  return port
end

local function tunnel(entry, port)
  local s = assert(stream.dial("127.0.0.1:" .. entry, nil, task.now() + 10000))
  s:write("\5\1\0", "\5\1\0\1\127\0\0\1", string.char(math.floor(port / 256), port % 256))
  assert(s:read_exact(12))
  return s
end

-- @return p50, p99 in ms of 64 bytes there and back, 200 times a second
local function pings(s, seconds)
  local took, text = {}, ("p"):rep(64)
  local stop = uv.hrtime() + seconds * 1e9
  while uv.hrtime() < stop do
    local before = uv.hrtime()
    s:write(text)
    assert(s:read_exact(64))
    took[#took + 1] = (uv.hrtime() - before) / 1e6
    task.sleep(0.005)
  end
  table.sort(took)
  return took[math.ceil(#took * 0.5)], took[math.ceil(#took * 0.99)]
end

-- @return bytes a second of a download; entry 0: not through a proxy
local function rate(entry, port, seconds)
  return tonumber(programs.output("/usr/bin/python3",
    { "spec/bench/far.py", "rate", tostring(entry), tostring(port), tostring(seconds) }))
end

local function long_path(to)
  local port = programs.free_port()
  programs.start("/usr/bin/python3",
    { "spec/bench/far.py", "late", tostring(port), tostring(to), tostring(DELAY_MS), tostring(PATH_RATE) },
    { ready = "ready" })
  return port
end

local function url(protocol, transport, port)
  local path, query = transport:match "^([^?]+)(.*)$"
  return ("%s+%s://127.0.0.1:%d%s"):format(protocol, path, port, query)
end

local function resident(proxies)
  local sum = 0
  for _, p in ipairs(proxies) do
    sum = sum + p:rss()
  end
  return sum * 1024
end

-- @return tunnels, bytes of the proxies for each of the second half of them
local function many_tunnels(proxies, entry, echo_port)
  local tunnels, before = {}, nil
  for i = 1, 2 * TUNNELS do
    tunnels[i] = tunnel(entry, echo_port)
    tunnels[i]:write "x"
    assert(tunnels[i]:read_exact(1))
    before = i == TUNNELS and resident(proxies) or before
  end
  return tunnels, (resident(proxies) - before) / TUNNELS
end

local function close_all(tunnels)
  for _, s in ipairs(tunnels) do
    s:close()
  end
  proxy.stop_all()
end

local function plain_memory(echo_port)
  local p = proxy.start { "-L", "socks5://127.0.0.1:0", "--workers", "1" }
  local tunnels, memory = many_tunnels({ p }, p:port(1), echo_port)
  close_all(tunnels)
  return memory
end

local function streams_together(transport, echo_port, source_port)
  local port = programs.free_port()
  local far = proxy.start { "-L", url("relay", transport, port), "--workers", "1" }
  local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", url("relay", transport, port), "--workers", "1" }
  local entry = near:port(1)
  local tunnels, memory = many_tunnels({ far, near }, entry, echo_port)
  local quiet50, quiet99 = pings(tunnels[TUNNELS], SECONDS)
  local bulk = programs.start("sh", { "-c",
    ("exec nc -X 5 -x 127.0.0.1:%s 127.0.0.1 %d >/dev/null"):format(entry, source_port) })
  task.sleep(0.5)
  local busy50, busy99 = pings(tunnels[TUNNELS], SECONDS)
  bulk:stop "sigkill"
  close_all(tunnels)
  return memory, quiet50, quiet99, busy50, busy99
end

local function far_away(transport, source_port)
  local port = programs.free_port()
  proxy.start { "-L", url("relay", transport, port) }
  local near = proxy.start { "-L", "socks5://127.0.0.1:0", "-F", url("relay", transport, long_path(port)) }
  local got = rate(near:port(1), source_port, SECONDS)
  proxy.stop_all()
  return got
end

local HEAD = "%-22s %9s %8s %8s %8s %9s %9s %7s %9s"
local ROW = "%-22s %9.0f %8.0f %8.2f %8.2f %9.2f %9.2f %7.1f %9.0f"

local echo_port, source_port = tonumber(scene.serve(echo)), source()
local most = rate(0, long_path(source_port), SECONDS)
print(("a path of %d ms alone: %.0f MB/s"):format(2 * DELAY_MS, most / 1e6))
local plain = plain_memory(echo_port)
print(("a plain tunnel: %.0f B"):format(plain))
print(HEAD:format("", "B/tunnel", "B/end", "p50 ms", "p99 ms", "p50 busy", "p99 busy", "p99 x", "far MB/s"))
for _, transport in ipairs(TRANSPORTS) do
  local memory, quiet50, quiet99, busy50, busy99 = streams_together(transport, echo_port, source_port)
  local far = far_away(transport, source_port)
  print(ROW:format(transport, memory, (memory - plain) / 2, quiet50, quiet99, busy50, busy99, busy99 / quiet99,
    far / 1e6))
end
programs.stop_all()
os.exit(0)
