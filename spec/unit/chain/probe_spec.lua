local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local probe = require "tidegate.chain.probe"
local task = require "tidegate.native.task"

local unique, lines = 0, {}

-- A logger that keeps what it is told.
local LOG = { level = 9 }
for _, level in ipairs { "info", "warn" } do
  LOG[level] = function(_, text)
    lines[#lines + 1] = level .. ": " .. text
  end
end
function LOG:with()
  return self
end

-- A registry and a node (or target) with a probe, running.
local function probed(config, node)
  unique = unique + 1
  local name = "probe-spec-" .. unique
  node = node or {}
  node.name, node.probe = node.name or "n", config
  node.addr = node.addr or plane.nobody()
  local built, problems = plane.build {
    services = { {
      name = name, handler = { type = "tcp" }, forwarder = { nodes = node.connector and {} or { node } },
    } },
    hops = node.connector and { { name = name, nodes = { node } } } or nil,
  }
  assert.same({}, problems)
  local service = built[name]
  service.registry.log = LOG
  service:start_probes()
  local one = node.connector and service.registry.hops[name].nodes[1] or service.forwarder.source.nodes[1]
  return one, service
end

-- Wait for a result.
local function settled(node)
  helpers.eventually(function()
    return node.health:latency() ~= nil
  end)
  return node.health:latency()
end

-- An HTTP server that gives one answer.  @return address, list of requests
local function server(answer)
  local requests = {}
  return plane.accept(function(s)
    requests[#requests + 1] = s:read_until("\r\n\r\n", 8192) or ""
    if answer then
      s:write(answer)
      s:close()
    else
      s:read() -- until they give up
      s:close()
    end
  end), requests
end

local function http(address, fields)
  local config = { type = "http", addr = address, interval = 60, timeout = 1 }
  for key, value in pairs(fields or {}) do
    config[key] = value
  end
  return config
end

describe("probe", function()
  setup(function()
    probe.worker = 0
  end)
  teardown(function()
    probe.worker = 1
  end)
  before_each(function()
    lines = {}
  end)
  after_each(helpers.task(function()
    plane.cleanup()
    helpers.pass()
  end))

  it("finds a target that answers, and how long it takes", helpers.task(function()
    local echo = plane.echo()
    local node, service = probed({ type = "tcp", addr = echo, interval = 60 }, { addr = echo })
    local latency = settled(node)
    assert.is_true(latency > 0 and latency < 1)
    assert.is_false(node.mark:failed())
    assert.same(1, #lines)
    assert.is_truthy(lines[1]:find "^info: node n is up %([%d.]+ ms%)$", lines[1])
    service:close()
  end))

  it("marks a target that does not answer", helpers.task(function()
    local node = probed { type = "tcp", addr = "x", interval = 60 }
    assert.is_false(settled(node))
    assert.is_true(node.mark:failed())
    assert.is_truthy(lines[1]:find("^warn: node n is down: .*Connection refused"), lines[1])
    plane.cleanup()
  end))

  it("takes the mark back when it answers again, and says so once", helpers.task(function()
    local address = plane.nobody()
    local node = probed({ type = "tcp", addr = "x", interval = 0.02 }, { addr = address })
    assert.is_false(settled(node))
    task.sleep(0.1)
    assert.same(1, #lines)
    local listener = require "tidegate.native.listener"
    local fds = assert(listener.open(address, "stream", 1))
    helpers.eventually(function()
      return node.health:latency()
    end)
    assert.is_false(node.mark:failed())
    assert.same(2, #lines)
    assert.is_truthy(lines[2]:find "^info: node n is up")
    listener.close_fd(fds[1])
    helpers.eventually(function()
      return node.health:latency() == false
    end)
    assert.same(3, #lines)
    plane.cleanup()
  end))

  it("shakes hands with a proxy: dialer and connector", helpers.task(function()
    local seen = {}
    plane.declare("connector", "polite", {
      handshake = function(_, _, stream)
        seen[#seen + 1] = "connector"
        return stream
      end,
      connect = function(_, _, stream)
        return stream
      end,
    })
    plane.declare("dialer", "polite", {
      handshake = function(_, _, stream)
        seen[#seen + 1] = "dialer"
        return stream
      end,
    })
    local node = probed({ addr = "x", interval = 60 },
      { addr = plane.echo(), connector = { type = "polite" }, dialer = { type = "polite" } })
    assert.is_truthy(settled(node))
    assert.same({ "dialer", "connector" }, seen)
    plane.cleanup()
  end))

  -- what, answer of the server, fields of the probe, healthy
  for _, row in ipairs {
    { "is content with 200", "HTTP/1.1 200 OK\r\n\r\n", {}, true },
    { "is content with HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", {}, true },
    { "is not content with another status", "HTTP/1.1 500 No\r\n\r\n", {}, false },
    { "is content with the status it expects", "HTTP/1.1 204 No\r\n\r\n", { expectedStatus = 204 }, true },
    { "is not content with something else than HTTP", "SSH-2.0-x\r\n", {}, false },
    { "is not content with silence", nil, {}, false },
    { "is not content with an answer that never ends a line", ("x"):rep(20000), {}, false },
  } do
    it("of HTTP " .. row[1], helpers.task(function()
      local address = server(row[2])
      local began = task.now()
      local node = probed(http("name.example:80", row[3]), { addr = address })
      assert.same(row[4], settled(node) and true)
      assert.is_true(task.now() - began < 1900) -- the timeout covers everything
      plane.cleanup()
      task.sleep(0.01)
    end))
  end

  it("asks what it is told to ask", helpers.task(function()
    local address, requests = server "HTTP/1.1 200 OK\r\n\r\n"
    settled((probed(http("name.example:80"), { addr = address })))
    settled((probed(http("name.example:80", { httpPath = "/healthz", httpHost = "other.example",
      httpHeaders = { ["X-Probe"] = "yes" } }), { addr = address })))
    assert.same("GET / HTTP/1.1\r\nHost: name.example:80\r\nConnection: close\r\n\r\n", requests[1])
    assert.same("GET /healthz HTTP/1.1\r\nHost: other.example\r\nX-Probe: yes\r\nConnection: close\r\n\r\n",
      requests[2])
    plane.cleanup()
  end))

  -- command, healthy, words of the message
  for _, row in ipairs {
    { "exit 0", true },
    { "exit 3", false, "ended with 3" },
    { "kill -9 $$", false, "died of signal 9" },
    { "sleep 60 & sleep 60", false, "killed at the timeout", 0.2 },
  } do
    it("runs the command " .. row[1], helpers.task(function()
      local began = task.now()
      local node = probed { type = "cmd", command = row[1], interval = 60, timeout = row[4] or 20 }
      assert.same(row[2], settled(node) and true)
      assert.is_true(task.now() - began < 30000)
      if row[3] then
        assert.is_truthy(lines[1]:find(row[3], 1, true), lines[1])
      end
      plane.cleanup()
    end))
  end

  it("is nothing without an address, or without a command", function()
    local target = { id = "x", registry = {} }
    assert.is_nil(probe.new({ type = "tcp" }, target))
    assert.is_nil(probe.new({ type = "cmd", addr = "x" }, target))
    assert.is_nil(probe.new(nil, target))
    local made = probe.new({ type = "what", addr = "x" }, target)
    assert.same({ 30, 10 }, { made.interval, made.timeout })
    made = probe.new({ addr = "x", interval = -1, timeout = 0 }, target)
    assert.same({ 30, 10 }, { made.interval, made.timeout })
  end)

  it("runs in one worker only", helpers.task(function()
    probe.worker = 1
    local node = probed { type = "tcp", addr = "x", interval = 60 }
    task.sleep(0.05)
    assert.is_nil(node.health:latency())
    probe.worker = 0
    plane.cleanup()
  end))

  it("goes through the chains of a group, and the hops of one", helpers.task(function()
    local echo, nobody = plane.echo(), plane.nobody()
    plane.declare("connector", "open", {
      connect = function(_, _, stream)
        return stream
      end,
    })
    local function proxy(address)
      return { name = "p", addr = address, connector = { type = "open" }, dialer = { type = "tcp" } }
    end
    local config = { addr = "target.example:80", interval = 60 }
    local built, problems = plane.build {
      hops = { { name = "good", nodes = { proxy(echo) } }, { name = "bad", nodes = { proxy(nobody) } },
        { name = "none", nodes = {} } },
      chains = { { name = "good", hops = { { name = "good" } } }, { name = "bad", hops = { { name = "bad" } } } },
      services = { {
        name = "probe-groups",
        handler = { type = "tcp", chainGroup = { chains = { { chain = "good", probe = config },
          { chain = "bad", probe = config } } } },
        forwarder = { hopGroup = { hops = { { hop = "good", probe = config }, { hop = "bad", probe = config },
          { hop = "none", probe = config } } } },
      } },
    }
    assert.same({}, problems)
    local service = built["probe-groups"]
    service.registry.log = LOG
    service:start_probes()
    helpers.eventually(function()
      return #lines >= 5
    end)
    table.sort(lines)
    local text = table.concat(lines, "\n")
    for _, words in ipairs {
      "chain bad of service probe-groups is down: bad/p open", "chain good of service probe-groups is up",
      "hop bad of service probe-groups is down", "hop good of service probe-groups is up",
      "hop none of service probe-groups is down: the hop has no node",
    } do
      assert.is_truthy(text:find(words, 1, true), text)
    end
    assert.is_false(service.chain.entries[1].mark:failed())
    assert.is_true(service.chain.entries[2].mark:failed())
    for i, failed in ipairs { false, true, true } do
      assert.same(failed, service.forwarder.source.entries[i].mark:failed())
    end
    plane.cleanup()
  end))

  it("is one for several generations, and ends with the last", helpers.task(function()
    local count = 0
    local address = plane.accept(function(s)
      count = count + 1
      s:close()
    end)
    local function generation()
      local built = plane.build {
        services = { { name = "probe-generations", handler = { type = "tcp" }, forwarder = { nodes = {
          { name = "n", addr = address, probe = { addr = "x", interval = 0.05 } },
        } } } },
      }
      built["probe-generations"].registry.log = LOG
      built["probe-generations"]:start_probes()
      return built["probe-generations"]
    end
    local first = generation()
    helpers.eventually(function()
      return count >= 1
    end)
    generation()
    first:close()
    local before, began = count, task.now()
    task.sleep(0.2)
    helpers.eventually(function()
      return count > before
    end)
    assert.is_true(count - before <= (task.now() - began) / 50 + 2) -- two of them would ask twice as often
    assert.same(1, #lines)
    plane.cleanup()
  end))
end)
