local dns = require "tidegate.net.dns"
local fake = require "spec.helpers.dns"
local helpers = require "spec.helpers"
local native = require "tidegate.native.dns"
local task = require "tidegate.native.task"
local tls = require "spec.helpers.tls"

local function records(ips, ttl)
  return { answers = fake.records("a.example.", ips, ttl) }
end

local function ask(server, more)
  local options = { server = server, name = "a.example" }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return dns.query(options)
end

describe("net.dns", function()
  it("asks by UDP", fake.test(function()
    local server = fake.server(function()
      return records { "192.0.2.1", "192.0.2.2" }
    end)
    local answer = assert(ask(server.address))
    assert.same({ "192.0.2.1", "192.0.2.2" }, dns.addresses(answer))
    assert.same({ "a.example. A" }, server.asked)
    assert.same("udp", server.queries[1].transport)
    assert.is_true(server.queries[1].rd)
  end))

  it("asks by TCP", fake.test(function()
    local server = fake.server(function()
      return records { "192.0.2.1" }
    end)
    assert(ask("tcp://" .. server.address))
    assert.same("tcp", server.queries[1].transport)
  end))

  it("says the client's subnet", fake.test(function()
    local server = fake.server(function()
      return records {}
    end)
    assert(ask(server.address, { client_ip = "198.51.100.7" }))
    assert.same("\0\8\0\7\0\1\24\0\198\51\100", server.queries[1].edns.options)
    assert.same(0, server.queries[1].edns.udp_size)
  end))

  it("goes to TCP when the answer was truncated", fake.test(function()
    local server = fake.server(function(_, transport)
      local answer = {}
      for i = 1, 100 do
        answer[i] = "192.0.2." .. i
      end
      answer = records(answer)
      answer.limit = transport == "udp" and 512 or nil
      return answer
    end)
    assert.same(100, #dns.addresses(assert(ask(server.address))))
    assert.same(2, #server.queries)
  end))

  it("uses a truncated answer when there is no TCP", fake.test(function()
    local server = fake.server(function(query, transport)
      if transport == "udp" then
        return native.build { id = query.id, response = true, tc = true, questions = query.questions,
          answers = fake.records("a.example.", { "192.0.2.1" }) }
      end
      return nil
    end)
    assert.same({ "192.0.2.1" }, dns.addresses(assert(ask(server.address, { timeout = 1 }))))
  end))

  it("is not content with a truncated answer that holds nothing", fake.test(function()
    local server = fake.server(function(query, transport)
      return transport == "udp" and native.build { id = query.id, response = true, tc = true,
        questions = query.questions } or nil
    end)
    local answer, err = ask(server.address, { timeout = 1 })
    assert.is_nil(answer)
    assert.is_truthy(err.code)
  end))

  it("survives an answer that was cut in the middle", fake.test(function()
    local server = fake.server(function(query, transport)
      local whole = native.build { id = query.id, response = true, tc = transport == "udp",
        questions = query.questions, answers = fake.records("a.example.", { "192.0.2.1" }) }
      return transport == "udp" and whole:sub(1, -3) or whole
    end)
    assert.same({ "192.0.2.1" }, dns.addresses(assert(ask(server.address))))
  end))

  it("waits for the right answer among wrong ones", fake.test(function()
    local packet = require "tidegate.native.packet"
    local endpoint = assert(packet.udp { at = "127.0.0.1:0" })
    helpers.spawn(function()
      local bytes, from = endpoint:recv()
      local query = native.parse(bytes)
      local function reply(id, name, data)
        endpoint:send(native.build { id = id, response = true, questions = { { name = name, type = "A" } },
          answers = fake.records(name, { data }) }, from)
      end
      endpoint:send("garbage", from)
      endpoint:send(bytes, from) -- the question itself
      reply((query.id + 1) % 65536, "a.example.", "192.0.2.66")
      reply(query.id, "b.example.", "192.0.2.67")
      reply(query.id, "A.EXAMPLE.", "192.0.2.1")
    end)
    assert.same({ "192.0.2.1" }, dns.addresses(assert(ask(endpoint:local_address()))))
    endpoint:close()
  end))

  it("asks again when a datagram was lost", fake.test(function()
    local count = 0
    local server = fake.server(function()
      count = count + 1
      return count > 1 and records { "192.0.2.1" } or nil
    end)
    assert(ask(server.address))
    assert.same(2, count)
    assert.same(server.queries[1].id, server.queries[2].id)
  end))

  local silence = task.waiter()
  for what, case in pairs {
    ["is silent by UDP"] = { function() end, "", "timeout" },
    ["is silent by TCP"] = { function()
      silence:wait(task.now() + 6000)
    end, "tcp://", "timeout" },
    ["answers garbage by UDP"] = { function(query)
      return string.char(math.floor(query.id / 256), query.id % 256) .. "garbage"
    end, "", "protocol" },
    ["answers garbage by TCP"] = { function()
      return "garbage"
    end, "tcp://", "protocol" },
    ["answers another id by TCP"] = { function(query)
      return native.build { id = (query.id + 1) % 65536, response = true, questions = query.questions }
    end, "tcp://", "protocol" },
    ["answers another question by TCP"] = { function(query)
      return native.build { id = query.id, response = true, questions = { { name = "b.", type = "A" } } }
    end, "tcp://", "protocol" },
    ["answers without a question"] = { function(query)
      return native.build { id = query.id, response = true }
    end, "tcp://", "protocol" },
    ["hangs up"] = { function()
      return nil
    end, "tcp://", "eof" },
  } do
    it("gives up on a server that " .. what, fake.test(function()
      local server = fake.server(case[1])
      local begun = task.now()
      local answer, err = ask(case[2] .. server.address, { timeout = 0.6 })
      assert.same({ nil, case[3] }, { answer, err.code })
      assert.is_truthy(tostring(err):find(server.address, 1, true))
      assert.is_true(task.now() - begun < 4500)
      if what == "is silent by TCP" then
        silence:wake()
      end
      server.close()
    end))
  end

  for _, scheme in ipairs { "", "tcp://", "tls://", "https://" } do
    it("says at once that nobody is there: " .. scheme, fake.test(function()
      local answer, err = ask(scheme .. fake.nobody())
      assert.same({ nil, "refused" }, { answer, err.code })
    end))
  end

  it("takes an error without its question for an answer", fake.test(function()
    local server = fake.server(function(query)
      return native.build { id = query.id, response = true, rcode = "FORMERR" }
    end)
    assert.same("FORMERR", assert(ask(server.address)).rcode)
  end))

  it("asks by TLS, and keeps the connection", fake.test(function()
    local server = fake.server(function()
      return records { "192.0.2.1" }
    end)
    local at = "tls://" .. fake.serve_tls(server, tls.server_context())
    for _ = 1, 5 do
      assert(ask(at))
    end
    assert.same({ 5, 1 }, { #server.queries, server.connections })
  end))

  it("connects again when a kept TLS connection was closed", fake.test(function()
    local server = fake.server(function()
      return records { "192.0.2.1" }
    end)
    local at = "tls://" .. fake.serve_tls(server, tls.server_context())
    assert(ask(at))
    for stream in pairs(server.streams) do
      stream:close()
    end
    helpers.pass()
    assert(ask(at))
    assert.same(2, server.connections)
  end))

  it("verifies a TLS server when it was told whom to expect", fake.test(function()
    local authority = tls.authority "dns"
    local certificate = tls.certificate(authority, "dns.example")
    local server = fake.server(function()
      return records { "192.0.2.1" }
    end)
    local at = "tls://" .. fake.serve_tls(server, tls.server_context { certificates = { certificate } })
    assert(ask(at, { hostname = "dns.example", tls = { caFile = authority.cert } }))
    local _, other = ask(at, { hostname = "other.example", tls = { caFile = authority.cert } })
    local _, stranger = ask(at, { hostname = "dns.example" })
    assert.same({ "tls", "tls" }, { other.code, stranger.code })
    assert(ask(at))
  end))

  for text, at in pairs {
    ["1.1.1.1"] = { "udp", "1.1.1.1", 53, "/" },
    ["udp://1.1.1.1:54"] = { "udp", "1.1.1.1", 54, "/" },
    ["[2001:db8::1]:54"] = { "udp", "2001:db8::1", 54, "/" },
    ["2001:db8::1"] = { "udp", "2001:db8::1", 53, "/" },
    ["tcp://dns.example"] = { "tcp", "dns.example", 53, "/" },
    ["tls://1.1.1.1"] = { "tls", "1.1.1.1", 853, "/" },
    ["DOT://1.1.1.1:53"] = { "tls", "1.1.1.1", 53, "/" },
    ["https://dns.example/dns-query?x=1"] = { "https", "dns.example", 443, "/dns-query?x=1" },
    ["https://dns.example:8443"] = { "https", "dns.example", 8443, "/" },
    ["doh://1.1.1.1"] = { "udp", "1.1.1.1", 53, "/" },
    [" system "] = { "system" },
  } do
    it("understands " .. text, function()
      local got = assert(require("tidegate.net.dns.address").parse(text))
      assert.same(at, { got.transport, got.host, got.port, got.path })
    end)
  end

  for _, text in ipairs { "udp://", ":53", "1.1.1.1:0", "1.1.1.1:99999", "a b", "[::x]:53", "tcp://user@host" } do
    it("refuses " .. text, function()
      local _, err = require("tidegate.net.dns.address").parse(text)
      assert.same("config", err.code)
    end)
  end

  it("answers as a server", function()
    local query = native.parse((native.query { name = "A.example", type = "A", id = 9,
      edns = { udp_size = 4096, dnssec_ok = true } }))
    local answer = native.parse(assert(dns.reply(query, records { "192.0.2.1" })))
    assert.same({ 9, true, true, true, "NOERROR", "A.example." }, {
      answer.id, answer.response, answer.rd, answer.ra, answer.rcode, answer.questions[1].name,
    })
    assert.same({ "192.0.2.1" }, dns.addresses(answer))
    assert.is_true(answer.edns.dnssec_ok)
  end)
end)
