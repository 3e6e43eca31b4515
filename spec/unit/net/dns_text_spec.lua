-- DNS messages as text.

local dns = require "tidegate.net.dns"
local native = require "tidegate.native.dns"
local text = require "tidegate.net.dns.text"

describe("the text of a DNS message", function()
  it("is that of a query", function()
    assert.equal(";; opcode: QUERY, status: NOERROR, id: 7\n;; flags: rd; QUERY: 1, ANSWER: 0, AUTHORITY: 0, "
      .. "ADDITIONAL: 0\n\n;; QUESTION SECTION:\n;example.com.\tIN\t MX\n",
      text.of((native.query { name = "example.com", type = "MX", id = 7 })))
  end)

  it("is that of an answer, with everything there is", function()
    local query = native.parse((native.query { name = "a.test", type = "A", id = 9,
      edns = { udp_size = 1232, dnssec_ok = true } }))
    local reply = dns.reply(query, {
      aa = true, ra = true,
      answers = { { name = "a.test", type = "A", ttl = 60, data = "192.0.2.1" } },
      authority = { { name = "test", type = "NS", ttl = 5, data = "ns.test." } },
      additional = { { name = "ns.test", type = "AAAA", ttl = 6, data = "2001:db8::1" } },
    })
    local got = text.of(reply)
    for _, part in ipairs {
      ";; flags: qr aa rd ra; QUERY: 1, ANSWER: 1, AUTHORITY: 1, ADDITIONAL: ",
      "\n;; QUESTION SECTION:\n;a.test.\tIN\t A\n", "\n;; ANSWER SECTION:\na.test.\t60\tIN\tA\t192.0.2.1\n",
      "\n;; AUTHORITY SECTION:\ntest.\t5\tIN\tNS\tns.test.\n",
      "\n;; ADDITIONAL SECTION:\nns.test.\t6\tIN\tAAAA\t2001:db8::1\n",
    } do
      assert.is_truthy(got:find(part, 1, true), got)
    end
    assert.matches("\n;; OPT PSEUDOSECTION:\n; EDNS: version 0; flags: do; udp: 1232\n", text.of(query), 1, true)
  end)

  it("is nothing for what is no message", function()
    assert.equal("", text.of "no")
  end)
end)
