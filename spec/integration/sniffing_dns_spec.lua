-- DNS that is looked into: in datagrams and over TCP, what is recorded, chosen and refused.

local cjson = require "cjson"
local datagrams = require "spec.helpers.datagrams"
local helpers = require "spec.helpers"
local native = require "tidegate.native.dns"
local name_server = require "spec.helpers.dns"
local packet = require "tidegate.native.packet"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local CONFIG = [[
services:
- name: datagrams
  addr: 127.0.0.1:0
  bypass: names
  handler: {type: udp, metadata: {sniffing: true}}
  listener: {type: udp}
  forwarder: &targets
    nodes:
    - {name: corp, addr: "%s", matcher: {rule: "Proto(`dns`) && Host(`*.corp.test`)"}}
    - {name: world, addr: "%s", matcher: {rule: "Proto(`dns`)"}}
    - {name: other, addr: "%s"}
  recorders: &recorders [{name: file, record: recorder.service.handler}]
- name: streams
  addr: 127.0.0.1:0
  bypass: names
  handler: {type: tcp, metadata: {sniffing: true}}
  listener: {type: tcp}
  forwarder: *targets
  recorders: *recorders
- name: proxy
  addr: 127.0.0.1:0
  bypass: names
  handler: {type: socks5, metadata: {sniffing: true}}
  listener: {type: tcp}
  recorders: *recorders
bypasses: [{name: names, matchers: ["forbidden.test", "*.forbidden.test"]}]
recorders: [{name: file, file: {path: "%s", sep: "\n"}}]
]]

local function framed(bytes)
  return string.char(math.floor(#bytes / 256), #bytes % 256) .. bytes
end

local function port_bytes(address)
  local port = tonumber(address:match ":(%d+)$")
  return string.char(math.floor(port / 256), port % 256)
end

-- Ask over a stream.  @return the answer, taken apart | nil, err
local function ask(s, name)
  s:set_deadline(task.now() + 20000)
  s:write(framed((native.query { name = name, type = "A" })))
  local length, err = s:read_exact(2)
  if not length then
    return nil, err
  end
  return native.parse(s:read_exact(length:byte(1) * 256 + length:byte(2)))
end

describe("sniffing of DNS", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  -- A test with a proxy, its records, name servers and a target of another kind.
  local function with(fn)
    return helpers.task(function()
      local other, address = datagrams.answering "other"
      local function answers(ip)
        return function(query)
          return { answers = name_server.records(query.questions[1].name, { ip }) }
        end
      end
      local corp, world = name_server.server(answers "192.0.2.1"), name_server.server(answers "192.0.2.2")
      local path = programs.folder() .. "/records"
      local p = proxy.start({ "-C", programs.file(programs.folder(), "c.yml", CONFIG:format(
        corp.address, world.address, address, path)) }, { services = 3 })
      fn(p, function(count)
        local list
        helpers.eventually(function()
          list = {}
          local file = io.open(path)
          for line in file and file:lines() or function() end do
            list[#list + 1] = cjson.decode(line)
          end
          if file then
            file:close()
          end
          return #list >= count
        end, "no record")
        return list
      end, { corp = corp, world = world, other = address })
      proxy.stop_all()
      other:close()
      corp.close()
      world.close()
    end)
  end

  local function dig(port, name, ...)
    return programs.output("dig", { "@127.0.0.1", "-p", tostring(port), name, "+short", "+tries=1", "+time=5", ... })
  end

  it("chooses targets by the name, and records each question", with(function(p, records)
    for i, more in ipairs { "+notcp", "+tcp" } do
      assert.equal("192.0.2.1\n", dig(p:port(i), "www.corp.test", more))
      assert.equal("192.0.2.2\n", dig(p:port(i), "example.com", more))
    end
    local list = records(4)
    assert.equal(4, #list)
    table.sort(list, function(a, b) -- those of several workers are written in any order
      return a.network .. a.dns.name > b.network .. b.dns.name
    end)
    for i, rec in ipairs(list) do
      assert.equal("dns", rec.proto)
      assert.equal(i % 2 == 1 and "www.corp.test." or "example.com.", rec.dns.name)
      assert.equal(i % 2 == 1 and "corp" or "world", rec.node)
      assert.equal(i < 3 and "udp" or "tcp", rec.network)
      assert.equal("A", rec.dns.type)
      assert.equal("IN", rec.dns.class)
      assert.is_false(rec.dns.cached)
      assert.matches(";; QUESTION SECTION:\n;" .. rec.dns.name .. "\tIN\t A\n", rec.dns.question, 1, true)
      assert.matches(("status: NOERROR, id: %d\n;; flags: qr"):format(rec.dns.id), rec.dns.answer, 1, true)
      assert.matches("\tIN\tA\t192.0.2." .. (i % 2 == 1 and 1 or 2) .. "\n", rec.dns.answer, 1, true)
      assert.is_true(rec.inputBytes > 20 and rec.outputBytes > rec.inputBytes / 2)
      assert.is_nil(rec.err)
    end
  end))

  it("sees several questions of one client, and those without an answer", with(function(p, records, servers)
    local fn = servers.world.fn
    servers.world.fn = function(query, ...)
      return query.questions[1].name ~= "silent.test." and fn(query, ...) or nil
    end
    local e = assert(packet.udp { connect = "127.0.0.1:" .. p:port(1) })
    for _, name in ipairs { "silent.test", "a.test", "b.test" } do
      e:send((native.query { name = name, type = "A" }))
    end
    e:set_deadline(task.now() + 20000)
    assert(e:recv())
    assert(e:recv())
    e:close()
    local list = records(3)
    local by_name = {}
    for _, rec in ipairs(list) do
      by_name[rec.dns.name] = rec
    end
    assert.equal("no answer", by_name["silent.test."].err)
    assert.equal("", by_name["silent.test."].dns.answer)
    assert.is_nil(by_name["a.test."].err)
    assert.is_nil(by_name["b.test."].err)

    local s = assert(stream.dial("127.0.0.1:" .. p:port(2)))
    for i = 1, 3 do
      assert.equal("192.0.2.2", ask(s, ("n%d.test"):format(i)).answers[1].data)
    end
    s:close()
    assert.equal(6, #records(6))
  end))

  it("refuses what the bypass forbids by name", with(function(p, _, servers)
    local done = programs.run("dig", { "@127.0.0.1", "-p", tostring(p:port(1)), "www.forbidden.test", "+notcp",
      "+tries=1", "+time=1" })
    assert.not_equal(0, done.code)
    local s = assert(stream.dial("127.0.0.1:" .. p:port(2)))
    assert.is_nil((ask(s, "forbidden.test")))
    s:close()
    assert.equal(0, #servers.world.asked)
  end))

  it("sees it in the tunnel of a proxy", with(function(p, records, servers)
    local s = assert(stream.dial("127.0.0.1:" .. p:port(3)))
    s:write "\5\1\0"
    assert.equal("\5\0", s:read_exact(2))
    s:write("\5\1\0\1\127\0\0\1", port_bytes(servers.world.address))
    assert.equal("\5\0", s:read_exact(10):sub(1, 2))
    assert.equal("192.0.2.2", ask(s, "a.test").answers[1].data)
    s:shutdown()
    assert.equal("eof", select(2, s:read()).code)
    s:close()
    local rec = records(1)[1]
    assert.equal("dns", rec.proto)
    assert.equal("a.test.", rec.dns.name)
    assert.equal(servers.world.address, rec.host)
  end))

  it("leaves everything else as it is", with(function(p, records, servers)
    assert.equal("other:hello", datagrams.exchange("127.0.0.1:" .. p:port(1), "hello"))
    local question = native.query { name = "a.test", type = "A" }
    for _, bytes in ipairs { question:sub(1, 16), "\0" .. question, ("\0"):rep(40), "\1\2\132" .. question:sub(4) } do
      assert.equal("other:" .. bytes, datagrams.exchange("127.0.0.1:" .. p:port(1), bytes))
    end
    assert.equal(0, #servers.world.asked)
    for _, rec in ipairs(records(5)) do
      assert.is_nil(rec.proto)
      assert.equal(rec.inputBytes + 6, rec.outputBytes) -- each byte is counted once
    end

    -- The head of a question, with a body that is none.
    local address, stop = server.echo()
    local s = assert(stream.dial("127.0.0.1:" .. p:port(3)))
    s:write "\5\1\0"
    s:read_exact(2)
    s:write("\5\1\0\1\127\0\0\1", port_bytes(address))
    s:read_exact(10)
    local odd = "\0\18ab\1\0\0\1\0\0\0\0\0\0\63xxxxx"
    s:set_deadline(task.now() + 20000)
    s:write(odd)
    assert.equal(odd, s:read_exact(#odd))
    s:close()
    stop()
  end))
end)
