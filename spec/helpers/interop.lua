-- The interop matrix: pairs of a tidegate and a program somebody else wrote, and the traffic that every pair carries.
--
-- A peer is a file of spec/interop/matrix that returns
--   { name = "stunnel", needs = { "stunnel" }, version = { "stunnel", "-version", pattern = "stunnel ([%d.]+)" },
--     pairs = { … } }
-- (missing() → a reason not to run it, in place of `needs`, where having the programs is not all).  A pair is
--   { protocol = "TLS", role = "what the peer is", ours = "what tidegate is",
--     start = function(env) … return { tcp = way, udp = way } end,
--     cannot = { half = "why" }, quick = true }
-- A way is what spec/interop/peers/traffic.py calls so: { kind = "socks5", port = 1 }.  `cannot` names checks that the
-- protocol or the peer cannot pass, and why (half = { up = "why" }: only the client's side can be closed); `unsure`
-- names what the peer does not pass every time; `quick` pairs run in CI.  In place of a way a pair may have functions
-- of its own, which raise when they fail: `checks = { small = function(env, sizes) … end }`.

local helpers = require "spec.helpers"
local json = require "cjson"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "spec.helpers.tls"
local uv = require "luv"

local M = {}

--- What every pair is asked, in the order of the page's columns.
M.CHECKS = { "small", "bulk", "many", "half", "abrupt", "udp" }

--- Volumes: of ./dev interop, and of CI.
M.FULL = { mib = 64, many = 100 }
M.QUICK = { mib = 1, many = 10, quick = true }

local FOLDER = "spec/interop/matrix"
local PYTHON = "/usr/bin/python3"

--- All peers, by name.
function M.peers()
  local names, peers = {}, {}
  local scan = assert(uv.fs_scandir(FOLDER))
  for name in function() return uv.fs_scandir_next(scan) end do
    names[#names + 1] = name:match "^(.*)%.lua$"
  end
  table.sort(names)
  for i, name in ipairs(names) do
    peers[i] = assert(loadfile(("%s/%s.lua"):format(FOLDER, name)))()
  end
  return peers
end

--- @return nil, or why a peer cannot be run here
function M.missing(peer)
  for _, program in ipairs(peer.needs or {}) do
    if not programs.have(program) then
      return ("%s is not installed"):format(program)
    end
  end
  return peer.missing and peer.missing()
end

--- What a peer calls its version, by its own word.
function M.version(peer)
  local command = { unpack(peer.version, 2) }
  local run = programs.run(peer.version[1], command, { seconds = 60 })
  return (run.stdout .. run.stderr):match(peer.version.pattern or "%d[%w.+-]*") or "?"
end

local files -- certificates, for all pairs
local env_methods = { port = programs.free_port, file = programs.file, output = programs.output }
local env_mt = { __index = env_methods }

--- Start a tidegate.  @return as proxy.start
function env_methods:tide(...)
  local p = proxy.start { ... }
  self.proxies[#self.proxies + 1] = p
  return p
end

--- The same with a configuration of one service.
function env_methods:serve(path)
  local p = proxy.start({ "-C", path }, { services = 1 })
  self.proxies[#self.proxies + 1] = p
  return p
end

--- What both ends of TLS need.  @return the authority's certificate, the server's files (for localhost), the client's
function env_methods.certificates()
  if not files then
    local authority = tls.authority "matrix"
    files = { authority.cert, tls.certificate(authority, "localhost"), tls.certificate(authority, "client") }
  end
  return unpack(files)
end

--- Start a tidegate that reaches the TLS server on `port`, with a certificate of its own if `mutual`.  @return the way
function env_methods:to_tls(port, mutual)
  local authority, _, mine = self:certificates()
  local p = self:tide("-L", "tcp://127.0.0.1:0/" .. self.origin, "-F",
    ("tcp+tls://127.0.0.1:%d?secure=true&serverName=localhost&caFile=%s%s"):format(port, authority,
      mutual and ("&certFile=%s&keyFile=%s"):format(mine.cert, mine.key) or ""))
  return { tcp = { kind = "tcp", port = p:port(1) } }
end

--- Start a tidegate that ends TLS in front of the origin, and wants a certificate if `mutual`.  @return its port
function env_methods:from_tls(mutual)
  local authority, server = self:certificates()
  local p = self:tide("-L", ("tcp+tls://127.0.0.1:0/%s?certFile=%s&keyFile=%s%s"):format(self.origin, server.cert,
    server.key, mutual and "&caFile=" .. authority or ""))
  return p:port(1)
end

--- Start a program of the peer that listens on `port`.
function env_methods.start(_, command, args, port, options)
  for i, arg in ipairs(args) do
    args[i] = tostring(arg)
  end
  options = options or {}
  options.port = port
  return programs.start(command, args, options)
end

--- Start a peer written in Python, a file of spec/interop/peers.
function env_methods:python(name, args, port)
  return self:start(PYTHON, { "spec/interop/peers/" .. name, unpack(args) }, port)
end

--- Wait until something accepts on a port.
function env_methods.wait_port(_, port)
  programs.wait_port(port)
end

--- A folder for this pair.
function env_methods:folder()
  self.path = self.path or programs.folder()
  return self.path
end

--- Write a configuration.  @return its path
function env_methods:config(name, text, ...)
  return programs.file(self:folder(), name, text:format(...))
end

local traffic -- { control, ports }: the driver, which ends with its control connection

-- The traffic driver, and the ports of its origin.
local function with_traffic()
  if not traffic then
    local server = programs.start(PYTHON, { "spec/interop/peers/traffic.py" }, { ready = "}\n", keep = true })
    local ports = json.decode(server.stdout)
    traffic = { control = assert(stream.dial("127.0.0.1:" .. ports.control)), ports = ports }
  end
  local ports = traffic.ports
  return setmetatable({
    control = traffic.control, origin = "127.0.0.1:" .. ports.tcp, udp = "127.0.0.1:" .. ports.udp,
    origin_port = ports.tcp, proxies = {},
  }, env_mt)
end

-- After a failure the next pair begins with another one: threads of the old one may still wait.
local function drop_traffic()
  traffic.control:close()
  traffic = nil
end

local function obey(env, order)
  assert(env.control:write(json.encode(order), "\n"))
  env.control:set_deadline(task.now() + 400000)
  local line, err = env.control:read_until("\n", 100000)
  return line and json.decode(line) or { error = "traffic: " .. tostring(err) }
end

-- What a program's own check has to say.
local function own(fn, env, sizes)
  local start = task.now()
  local ok, err = pcall(fn, env, sizes)
  return { ok = ok, error = not ok and tostring(err) or nil, seconds = (task.now() - start) / 1000 }
end

-- What keeps all but the client's side from being closed.
local function partly(pair, name)
  local why = pair.cannot and pair.cannot[name]
  return type(why) == "table" and why.up
end

local function check(env, pair, ways, name, sizes)
  local mine = pair.checks and pair.checks[name]
  if mine then
    return own(mine, env, sizes)
  end
  local way = ways[name == "udp" and "udp" or "tcp"]
  if way then
    return obey(env, { way = way, check = name, mib = sizes.mib, many = sizes.many,
      only = partly(pair, name) and "up" or nil })
  end
end

-- A result is "yes", "partly" or "cannot" (with why), "failed" (with why), or none when the check does not apply.
local function judge(pair, name, answer)
  if partly(pair, name) and answer and answer.up then
    return { state = "partly", why = partly(pair, name), seconds = answer.seconds }
  elseif name == "half" and answer and not answer.error and not (pair.checks and pair.checks.half) then
    answer.ok = answer.up and answer.down
    answer.error = not answer.ok and ("half-close is passed on: of the client's side %s, of the origin's side %s")
      :format(answer.up and "yes" or "no", answer.down and "yes" or "no") or nil
  end
  local why = not partly(pair, name) and (pair.cannot and pair.cannot[name] or pair.unsure and pair.unsure[name])
  if answer and answer.ok then
    return { state = "yes", seconds = answer.seconds }
  elseif why then
    return { state = "cannot", why = why }
  elseif answer then
    return { state = "failed", why = answer.error, seconds = answer.seconds }
  end
end

local function stop_all()
  local ok, err = pcall(proxy.stop_all)
  programs.stop_all()
  if not ok then
    error(err, 0)
  end
end

local function run_checks(env, pair, sizes)
  local ways = pair.start(env) or {}
  local results = {}
  for _, name in ipairs(M.CHECKS) do
    local answer
    local never = pair.cannot and pair.cannot[name] and not partly(pair, name)
    if not never or (name == "half" and not sizes.quick) then
      answer = check(env, pair, ways, name, sizes)
    end
    results[name] = judge(pair, name, answer)
  end
  return results
end

local function failed(results)
  for _, result in pairs(results) do
    if result.state == "failed" then
      return true
    end
  end
end

--- Run a pair's traffic.  Stops everything it started.
-- @return check → { state, why, seconds }; or nil, the error that kept it from starting
function M.run(pair, sizes)
  local env = with_traffic()
  local ok, results = pcall(run_checks, env, pair, sizes)
  if not ok or failed(results) then
    drop_traffic()
  end
  local log = ""
  for i, p in ipairs(env.proxies) do
    log = log .. ("-- tidegate %d\n%s"):format(i, p:log())
  end
  stop_all()
  if not ok then
    return nil, tostring(results), log
  end
  return results, nil, log
end

--- The same in a task, for scripts and specs.
M.spawn = helpers.spawn

return M
