local dns = require "tidegate.native.dns"

local function hex(text)
  return (text:gsub("%s", ""):gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

-- An answer with a pointer to its question's name.
local ANSWER = hex "1234 8180 0001 0002 0000 0000" .. "\7example\3com\0" .. hex "0001 0001"
  .. hex "c00c 0001 0001 0000012c 0004 c0000221" .. hex "c00c 0001 0001 0000003c 0004 c0000222"

describe("native.dns", function()
  it("writes a question as a resolver asks it", function()
    local bytes, id = dns.query { name = "example.com", type = "AAAA", id = 0x1234 }
    assert.same(0x1234, id)
    assert.same(hex "1234 0100 0001 0000 0000 0000" .. "\7example\3com\0" .. hex "001c 0001", bytes)
  end)

  it("asks with random ids", function()
    local seen, distinct = {}, 0
    for _ = 1, 64 do
      local _, id = dns.query { name = "a." }
      distinct = distinct + (seen[id] and 0 or 1)
      seen[id] = true
    end
    assert.is_true(distinct > 60)
  end)

  it("says the client's subnet: /24 of IPv4, /128 of IPv6, in an OPT record of class 0 and TTL 0", function()
    local head = hex "0001 0100 0001 0000 0000 0001" .. "\1a\0" .. hex "0001 0001"
    assert.same(head .. hex "00 0029 0000 00000000 000b 0008 0007 0001 18 00 c00002",
      (dns.query { name = "a", id = 1, subnet = "\192\0\2\77" }))
    local v6 = hex "20010db8000000000000000000000001"
    assert.same(head .. hex "00 0029 0000 00000000 0018 0008 0014 0002 80 00" .. v6,
      (dns.query { name = "a", id = 1, subnet = v6 }))
  end)

  it("takes an answer apart", function()
    local m = assert(dns.parse(ANSWER))
    assert.same({ 0x1234, true, "NOERROR", true, true, false }, {
      m.id, m.response, m.rcode, m.rd, m.ra, m.tc,
    })
    assert.same({ { name = "example.com.", type = "A", class = "IN" } }, m.questions)
    assert.same({
      { name = "example.com.", type = "A", class = "IN", ttl = 300, data = "192.0.2.33" },
      { name = "example.com.", type = "A", class = "IN", ttl = 60, data = "192.0.2.34" },
    }, m.answers)
    assert.same({}, m.authority)
    assert.is_nil(m.edns)
  end)

  it("gives back what it was told to write", function()
    local message = {
      id = 7, opcode = 0, rcode = "NXDOMAIN", response = true, aa = true, tc = false, rd = true, ra = true,
      ad = true, cd = false,
      questions = { { name = "x.example.", type = "TYPE999", class = "CH" } },
      answers = {
        { name = "x.example.", type = "A", class = "IN", ttl = 1, data = "192.0.2.1" },
        { name = "x.example.", type = "AAAA", class = "IN", ttl = 2, data = "2001:db8::1" },
        { name = "x.example.", type = "CNAME", class = "IN", ttl = 3, data = "y.example." },
        { name = "x.example.", type = "MX", class = "IN", ttl = 4, data = "10 mail.example." },
        { name = "x.example.", type = "TXT", class = "IN", ttl = 5, data = '"two words" "\\"q\\""' },
        { name = "x.example.", type = "SRV", class = "IN", ttl = 6, data = "1 2 443 s.example." },
        { name = "x.example.", type = "TYPE65280", class = "IN", ttl = 7, data = "\\# 2 abcd" },
      },
      authority = {
        { name = "example.", type = "SOA", class = "IN", ttl = 60, data = "ns.example. me.example. 1 2 3 4 5" },
      },
      additional = {},
      edns = { version = 0, udp_size = 1232, dnssec_ok = true, options = "\0\10\0\1x" },
    }
    assert.same(message, dns.parse(assert(dns.build(message))))
  end)

  it("takes up to 12 bits of an rcode", function()
    local m = dns.parse(assert(dns.build { id = 1, response = true, rcode = "RCODE2748" }))
    assert.same("RCODE2748", m.rcode)
    assert.same("SERVFAIL", dns.parse(assert(dns.build { rcode = 2 })).rcode)
  end)

  it("marks what does not fit as truncated and leaves its records out", function()
    local answers = {}
    for i = 1, 40 do
      answers[i] = { name = "a.", type = "A", ttl = 1, data = "192.0.2." .. i }
    end
    local message = { questions = { { name = "a.", type = "A" } }, answers = answers, response = true }
    local m = dns.parse(assert(dns.build(message)))
    assert.same({ false, 40 }, { m.tc, #m.answers })
    message.limit = 512
    local bytes = assert(dns.build(message))
    m = dns.parse(bytes)
    assert.same({ true, 0, 1 }, { m.tc, #m.answers, #m.questions })
    message.limit = 14
    local none, err = dns.build(message)
    assert.same({ nil, "limit" }, { none, err.code })
  end)

  it("ages records, never below the minimum, and leaves the rest as it is", function()
    local function ttls(how)
      local aged = assert(dns.age(ANSWER, how))
      local m = dns.parse(aged)
      return { m.answers[1].ttl, m.answers[2].ttl, m.id }
    end
    assert.same({ 290, 50, 0x1234 }, ttls { passed = 10 })
    assert.same({ 200, 1, 9 }, ttls { passed = 100, id = 9 })
    assert.same({ 200, 0, 0x1234 }, ttls { passed = 100, minimum = 0 })
    assert.same({ 30, 30, 0x1234 }, ttls { ttl = 30 })
    assert.same(ANSWER, dns.age(ANSWER, { passed = 0 }))

    local opt = assert(dns.build { id = 1, edns = { udp_size = 1232, dnssec_ok = true } })
    assert.same(opt, dns.age(opt, { ttl = 5 }))
  end)

  it("does not interpret what ldns cannot be trusted with", function()
    local hostile = hex "0001 8180 0000 0001 0000 0000" .. hex "00 0040 0001 00000000 000a 0001 00 0001 0003 02 61 62"
    local m = assert(dns.parse(hostile))
    assert.same("\\# 10 00010000010003026162", m.answers[1].data)
  end)

  it("escapes odd names and reads them back", function()
    local bytes = hex "0001 0100 0001 0000 0000 0000" .. "\5a.b\0 \0" .. hex "0001 0001"
    local m = assert(dns.parse(bytes))
    assert.same("a\\.b\\000\\032.", m.questions[1].name)
    assert.same(bytes, (dns.query { name = m.questions[1].name, id = 1 }))
  end)

  for what, bytes in pairs {
    ["nothing"] = "",
    ["half a head"] = ANSWER:sub(1, 11),
    ["a cut question"] = ANSWER:sub(1, 20),
    ["a cut record"] = ANSWER:sub(1, -2),
    ["a missing record"] = ANSWER:sub(1, 6) .. "\0\3" .. ANSWER:sub(9),
    ["a name that points at itself"] = ANSWER:sub(1, 12) .. hex "c00c 0001 0001",
    ["a name that points ahead"] = ANSWER:sub(1, 12) .. hex "c00e 00 0001 0001",
    ["a name that points into the head"] = ANSWER:sub(1, 12) .. hex "c000 0001 0001",
    ["a label of an unknown kind"] = ANSWER:sub(1, 12) .. hex "80 61 00 0001 0001",
    ["a name of 300 bytes"] = hex "0001 0100 0001 0000 0000 0000" .. ("\9aaaaaaaaa"):rep(30) .. hex "00 0001 0001",
    ["an address of 3 bytes"] = ANSWER:sub(1, 29) .. hex "c00c 0001 0001 0000012c 0003 c00002"
      .. ANSWER:sub(-16),
    ["an address of 5 bytes"] = ANSWER:sub(1, 29) .. hex "c00c 0001 0001 0000012c 0005 c000020101"
      .. ANSWER:sub(-16),
    ["65535 records"] = ANSWER:sub(1, 6) .. "\255\255" .. ANSWER:sub(9),
    ["text"] = "HTTP/1.1 400 Bad Request\r\n\r\n",
  } do
    it("refuses " .. what, function()
      local m, err = dns.parse(bytes)
      assert.is_nil(m)
      assert.is_truthy(err.code == "protocol" or err.code == "limit")
    end)
  end

  for what, message in pairs {
    ["an empty label"] = { name = "a..b" },
    ["a long label"] = { name = ("x"):rep(64) },
    ["a long name"] = { name = ("xxxxxxx."):rep(40) },
    ["a NUL"] = { name = "a\0b" },
    ["an unknown type"] = { name = "a", type = "NOSUCH" },
    ["an unknown class"] = { name = "a", class = "NOSUCH" },
  } do
    it("asks no question with " .. what, function()
      local bytes, err = dns.query(message)
      assert.same({ nil, "invalid" }, { bytes, err.code })
    end)
  end

  it("writes no record whose data make no sense", function()
    for _, data in ipairs { "", "1.2.3", "a.example.", "1.2.3.4 5.6.7.8", "1.2.3.4\nb. A 1.1.1.1" } do
      local bytes, err = dns.build { answers = { { name = "a.", type = "A", data = data } } }
      assert.same({ data, nil, "invalid" }, { data, bytes, err and err.code })
    end
  end)

  it("survives every cut and every changed byte", function()
    for i = 0, #ANSWER do
      dns.parse(ANSWER:sub(1, i))
    end
    for i = 1, #ANSWER do
      for _, byte in ipairs { 0, 1, 63, 64, 127, 192, 255 } do
        dns.parse(ANSWER:sub(1, i - 1) .. string.char(byte) .. ANSWER:sub(i + 1))
      end
    end
  end)
end)
