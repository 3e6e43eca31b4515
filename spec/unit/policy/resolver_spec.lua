local fake = require "spec.helpers.dns"
local helpers = require "spec.helpers"
local resolver = require "tidegate.policy.resolver"
local task = require "tidegate.native.task"

local made = {}

local function make(config)
  local logger, lines = fake.log()
  local object = assert(resolver.new(config, { name = "r", log = logger }))
  made[#made + 1] = object
  return object, lines
end

-- A resolver with these servers; each is an address or a table of a nameserver.
local function of(...)
  local list = {}
  for i, server in ipairs { ... } do
    list[i] = type(server) == "table" and server or { addr = server }
  end
  return make { name = "r", nameservers = list }
end

local function resolve(r, name, network)
  name = type(name) == "string" and name or "a.example" -- of() has more to say than the resolver
  return r:resolve(nil, network or "ip", name, task.now() + 20000)
end

local function test(fn, seconds)
  return fake.test(function()
    fn()
    for _, object in ipairs(made) do
      object:close()
    end
    made = {}
  end, seconds)
end

local BOTH = { ["a.example"] = { "192.0.2.1", "2001:db8::1" }, ["four.example"] = { "192.0.2.4" },
  ["six.example"] = { "2001:db8::6" }, ["none.example"] = {} }

describe("resolver", function()
  it("gives back what is an address already", test(function()
    local r = of(fake.nobody())
    assert.same({ "192.0.2.1" }, resolve(r, "192.0.2.1"))
    assert.same({ "::1" }, resolve(r, "::1"))
  end))

  -- network, prefer, only, name → addresses, questions
  for i, case in ipairs {
    { "ip", nil, nil, "a", { "192.0.2.1" }, { "A" } },
    { "ip", "ipv4", nil, "a", { "192.0.2.1" }, { "A" } },
    { "ip", "ipv6", nil, "a", { "2001:db8::1" }, { "AAAA" } },
    { "ip", "whatever", nil, "a", { "192.0.2.1" }, { "A" } },
    { "ip", nil, nil, "six", { "2001:db8::6" }, { "A", "AAAA" } },
    { "ip", "ipv6", nil, "four", { "192.0.2.4" }, { "AAAA", "A" } },
    { "ip4", "ipv6", nil, "a", { "192.0.2.1" }, { "A" } },
    { "ip6", nil, nil, "a", { "2001:db8::1" }, { "AAAA" } },
    { "ip4", nil, nil, "six", {}, { "A" } },
    { "ip", nil, "ip6", "a", { "2001:db8::1" }, { "AAAA" } },
    { "ip", nil, "ipv6", "four", {}, { "AAAA" } },
    { "ip6", "ipv6", "ipv4", "a", { "192.0.2.1" }, { "A" } },
    { "ip", "ipv6", "ip4", "a", { "192.0.2.1" }, { "A" } },
    { "ip", nil, "nonsense", "six", { "2001:db8::6" }, { "A", "AAAA" } },
    { "ip", nil, nil, "none", {}, { "A", "AAAA" } },
  } do
    it(("asks for families in order: %d %s %s %s"):format(i, case[1], tostring(case[2]), tostring(case[3])),
      test(function()
        local server = fake.zone(BOTH)
        local r = of { addr = server.address, prefer = case[2], only = case[3] }
        assert.same(case[5], resolve(r, case[4] .. ".example", case[1]))
        for j, record_type in ipairs(case[6]) do
          case[6][j] = case[4] .. ".example. " .. record_type
        end
        assert.same(case[6], server.asked)
      end))
  end

  it("asks for the other family also when the first is refused", test(function()
    local server = fake.server(function(query)
      local question = query.questions[1]
      if question.type == "A" then
        return { rcode = "NXDOMAIN" }
      end
      return { answers = fake.records(question.name, { "2001:db8::1" }) }
    end)
    assert.same({ "2001:db8::1" }, resolve(of(server.address)))
  end))

  it("takes all addresses of the answer section, whatever they are called", test(function()
    local server = fake.server(function()
      return { answers = {
        { name = "a.example.", type = "CNAME", ttl = 60, data = "b.example." },
        { name = "b.example.", type = "A", ttl = 60, data = "192.0.2.1" },
        { name = "b.example.", type = "AAAA", ttl = 60, data = "2001:db8::1" },
      } }
    end)
    assert.same({ "192.0.2.1", "2001:db8::1" }, resolve(of(server.address)))
  end))

  it("says the client's subnet", test(function()
    local server = fake.zone(BOTH)
    resolve(of { addr = server.address, clientIP = "203.0.113.9" })
    assert.same("\0\8\0\7\0\1\24\0\203\0\113", server.queries[1].edns.options)
    resolve(of { addr = server.address, clientIP = "2001:db8::9" })
    assert.same("\0\8\0\20\0\2\128\0\32\1\13\184" .. ("\0"):rep(11) .. "\9", server.queries[2].edns.options)
  end))

  it("asks as gost does: one question, recursion desired, nothing else", test(function()
    local server = fake.zone(BOTH)
    local r = of(server.address)
    resolve(r)
    resolve(r, "six.example")
    local first, second = server.queries[1], server.queries[2]
    assert.is_true(first.rd)
    assert.is_nil(first.edns)
    assert.same({ 1, "a.example.", "A", "IN" }, { #first.questions, first.questions[1].name, first.questions[1].type,
      first.questions[1].class or "IN" })
    assert.not_equal(first.id, second.id)
  end))

  it("asks the next server when one errs or knows nothing", test(function()
    local refusing = fake.server(function()
      return { rcode = "REFUSED" }
    end)
    local empty = fake.zone { ["a.example"] = {} }
    local good = fake.zone(BOTH)
    assert.same({ "192.0.2.1" }, resolve(of(refusing.address, fake.nobody(), empty.address, good.address)))
  end))

  it("answers what the last server said", test(function()
    local missing, empty = fake.zone {}, fake.zone { ["a.example"] = {} }
    local ips, err = resolve(of(empty.address, missing.address))
    assert.same({ nil, "resolve" }, { ips, err.code })
    assert.is_truthy(tostring(err):find("DNS NXDOMAIN for a.example.", 1, true))
    assert.same({}, resolve(of(missing.address, empty.address)))
  end))

  it("has no addresses without servers", test(function()
    assert.same({}, resolve(make { name = "r" }))
  end))

  it("leaves blank and malformed servers out, the latter with a warning", test(function()
    local good = fake.zone(BOTH)
    local r, lines = of("", "  ", "udp://:0", { addr = "1.1.1.1", clientIP = "x" }, good.address)
    assert.same({ "192.0.2.1" }, resolve(r))
    assert.same(2, #lines)
    assert.is_truthy(lines[1]:find "^warn nameservers%[2%]")
    assert.is_truthy(lines[2]:find "clientIP")
  end))

  it("tells about TLS without a port, once, and about schemes it does not know", test(function()
    local _, lines = of("tls://192.0.2.1", "doh://192.0.2.1", "tls://192.0.2.1:853")
    assert.same({
      "info nameserver tls://192.0.2.1: no port was given, 853 is used",
      "warn nameserver doh://192.0.2.1: doh:// is unknown, it is asked by UDP",
    }, lines)
  end))

  it("asks the system", test(function()
    local ips = assert(resolve(of "system", "localhost"))
    assert.is_truthy(ips[1] == "127.0.0.1" or ips[1] == "::1")
    assert.same({ "127.0.0.1" }, resolve(of "system", "localhost", "ip4"))
  end))

  describe("cache", function()
    -- ttl of the server, TTL of the record, seconds that pass → questions
    for _, case in ipairs {
      { nil, 60, 0, 1 }, { nil, 60, 59, 1 }, { nil, 60, 61, 2 }, { 0, 0, 0, 2 }, { -1, 60, 0, 2 },
      { 100, 1, 99, 1 }, { 100, 1, 101, 2 }, { 5, 60, 6, 2 },
    } do
      it(("with ttl %s, records of %d s, after %d s"):format(tostring(case[1]), case[2], case[3]), test(function()
        local server = fake.zone(BOTH, case[2])
        local r = of { addr = server.address, ttl = case[1] }
        local now, later = task.now, 0
        task.now = function()
          return now() + later
        end
        local ok, err = pcall(function()
          assert.same({ "192.0.2.1" }, resolve(r))
          later = case[3] * 1000
          assert.same({ "192.0.2.1" }, resolve(r))
        end)
        task.now = now
        assert(ok, err)
        assert.same(case[4], #server.queries)
      end))
    end

    it("is one for all servers", test(function()
      local first, second = fake.zone { ["a.example"] = {} }, fake.zone(BOTH)
      local r = of(first.address, second.address)
      for _ = 1, 3 do
        assert.same({ "192.0.2.1" }, resolve(r))
      end
      assert.same({ 2, 1 }, { #first.queries, #second.queries })
    end))

    it("keeps empty answers for a minute, each server's apart", test(function()
      local first, second = fake.zone { ["a.example"] = {} }, fake.zone { ["a.example"] = {} }
      local r = of(first.address, second.address)
      for _ = 1, 3 do
        assert.same({}, resolve(r))
      end
      assert.same({ 2, 2 }, { #first.queries, #second.queries })
    end))

    it("does not keep errors", test(function()
      local server = fake.zone {}
      local r = of { addr = server.address, only = "ip4" }
      resolve(r)
      resolve(r)
      assert.same(2, #server.queries)
    end))

    it("keeps the news that there is no such name, if told to", test(function()
      local server = fake.server(function()
        return { rcode = "NXDOMAIN", authority = {
          { name = "example.", type = "SOA", ttl = 600, data = "ns.example. me.example. 1 2 3 4 300" },
        } }
      end)
      local r = make { name = "r", negativeTTL = 60, nameservers = { { addr = server.address, only = "ip4" } } }
      for _ = 1, 3 do
        local ips, err = resolve(r)
        assert.same({ nil, "NXDOMAIN" }, { ips, err.root and err:root().rcode })
      end
      assert.same(1, #server.queries)
    end))

    it("merges questions that are the same", test(function()
      local server = fake.server(function(query)
        task.sleep(0.05)
        return { answers = fake.records(query.questions[1].name, { "192.0.2.1" }) }
      end)
      local r, waiting = of(server.address), {}
      for i = 1, 20 do
        waiting[i] = helpers.spawn(resolve, r, i % 2 == 0 and "a.example" or "A.example.")
      end
      for i = 1, 20 do
        assert.same({ "192.0.2.1" }, waiting[i]())
      end
      assert.same(1, #server.queries)
    end))

    it("is bounded", test(function()
      local server = fake.server(function(query)
        return { answers = fake.records(query.questions[1].name, { "192.0.2.1" }) }
      end)
      local r = make { name = "r", cacheSize = 3, nameservers = { { addr = server.address } } }
      for _, name in ipairs { "a", "b", "c", "a", "d", "a", "b" } do
        resolve(r, name)
      end
      assert.same({ "a. A", "b. A", "c. A", "d. A", "b. A" }, server.asked)
    end))

    it("gives old answers at once and refreshes them behind, with async", test(function()
      local n, gate = 0, task.waiter()
      local server = fake.server(function(query)
        n = n + 1
        if n == 2 then
          gate:wait(task.now() + 10000)
        end
        return { answers = fake.records(query.questions[1].name, { "192.0.2." .. n }, 0) }
      end)
      local r = of { addr = server.address, async = true }
      assert.same({ "192.0.2.1" }, resolve(r))
      for _ = 1, 5 do
        assert.same({ "192.0.2.1" }, resolve(r))
      end
      gate:wake()
      helpers.eventually(function()
        return n == 2 and r.refreshing == 0
      end)
      assert.same({ "192.0.2.2" }, resolve(r))
      helpers.eventually(function()
        return r.refreshing == 0
      end)
    end))

    it("has no use for async without a cache", test(function()
      local server = fake.zone(BOTH)
      local r = of { addr = server.address, ttl = -1, async = true }
      for i = 1, 3 do
        assert.same({ "192.0.2.1" }, resolve(r))
        assert.same(i, #server.queries)
      end
    end))

    it("refreshes 32 at a time", test(function()
      local gate = false
      local server = fake.server(function(query)
        helpers.eventually(function()
          return not gate
        end)
        return { answers = fake.records(query.questions[1].name, { "192.0.2.1" }, 0) }
      end)
      local r = of { addr = server.address, async = true }
      for i = 1, 40 do
        resolve(r, "n" .. i)
      end
      gate = true
      for i = 1, 40 do
        assert.same({ "192.0.2.1" }, resolve(r, "n" .. i))
      end
      assert.same(32, r.refreshing)
      gate = false
      helpers.eventually(function()
        return r.refreshing == 0
      end)
    end))
  end)

  describe("with a server that fails", function()
    it("says so once, asks it last, and says when it is back", test(function()
      local alive = false
      local first = fake.server(function(query)
        return alive and { answers = fake.records(query.questions[1].name, { "192.0.2.10" }) } or nil
      end)
      local second = fake.zone({ ["a.example"] = { "192.0.2.1" } }, 0)
      local r, lines = of({ addr = "tcp://" .. first.address, ttl = -1 }, { addr = second.address, ttl = -1 })
      for _ = 1, 5 do
        assert.same({ "192.0.2.1" }, resolve(r))
      end
      assert.same(1, #first.queries)
      alive = true
      r.servers[1].rest_until = 0
      assert.same({ "192.0.2.10" }, resolve(r))
      local told = {}
      for _, line in ipairs(lines) do
        told[#told + 1] = not line:find "^debug" and line or nil
      end
      assert.same(2, #told)
      assert.is_truthy(told[1]:find("warn nameserver tcp://" .. first.address, 1, true))
      assert.is_truthy(told[2]:find "info .* works again")
    end))

    it("asks it all the same when it is the only one", test(function()
      local server = fake.zone(BOTH)
      local r = of("tcp://" .. server.address)
      r.servers[1]:note(require("tidegate.failure").new("refused", "down"))
      assert.same({ "192.0.2.1" }, resolve(r))
    end))

    it("does not ask it for the other family", test(function()
      local r = of { addr = fake.server(function() end).address, timeout = 1 }
      local begun = task.now()
      local ips, err = resolve(r)
      assert.same({ nil, "timeout" }, { ips, err.code })
      assert.is_true(task.now() - begun < 1900)
    end))

    it("keeps to the caller's deadline", test(function()
      local server = fake.server(function() end)
      local r = of { addr = server.address, timeout = 10 }
      local begun = task.now()
      local _, err = r:resolve(nil, "ip", "a.example", task.now() + 100)
      assert.same("timeout", err.code)
      assert.is_true(task.now() - begun < 5000)
    end))
  end)

  describe("in parallel", function()
    local function parallel(...)
      local list = {}
      for i, address in ipairs { ... } do
        list[i] = { addr = address, timeout = 10 }
      end
      return make { name = "r", parallel = true, nameservers = list }
    end

    it("takes the first answer that has addresses", test(function()
      local silent, good = fake.server(function() end), fake.zone(BOTH)
      local begun = task.now()
      assert.same({ "192.0.2.1" }, resolve(parallel(silent.address, fake.zone({}).address, good.address)))
      assert.is_true(task.now() - begun < 5000)
    end))

    it("fails when all have failed", test(function()
      local ips, err = resolve(parallel(fake.nobody(), fake.zone({}).address))
      assert.same({ nil, "resolve" }, { ips, err.code })
    end))
  end)

  it("asks scripts", test(function()
    local r = resolver.scripted {
      resolve = function(_, _, network, host)
        if host == "bad" then
          return nil, "not today"
        elseif host == "one" then
          return network == "ip6" and "::1" or "127.0.0.1"
        end
        return { "192.0.2.1", "nonsense", 5 }
      end,
    }
    assert.same({ "127.0.0.1" }, resolve(r, "one"))
    assert.same({ "::1" }, resolve(r, "one", "ip6"))
    assert.same({ "192.0.2.1" }, resolve(r, "more"))
    local _, err = resolve(r, "bad")
    assert.same({ "resolve", "not today" }, { err.code, err.message })
  end))
end)
