-- What `tidegate check` finds in policies, all at once and with its line.

local reader = require "tidegate.config.reader"
local reports = require "tidegate.config.report"
local policies = require "tidegate.config.policies"
local yaml = require "tidegate.config.yaml"

-- "severity line path: message" of all problems
local function check(text)
  local marks = {}
  local config = reader.read(assert(yaml.parse(text)), { file = "f", mode = "file", marks = marks })
  local report = reports.new(marks)
  policies.check(config, report)
  for i, hop in ipairs(config.hops or {}) do
    policies.hop(report, hop, ("hops[%d]"):format(i - 1))
  end
  local lines = {}
  for i, item in ipairs(report.problems) do
    lines[i] = ("%s %s %s: %s"):format(item.severity, item.line or "-", item.path, item.message)
  end
  return lines
end

describe("config.policies", function()
  it("is content with what is right", function()
    assert.same({}, check [[
authers: [{name: a, auths: [{username: u}], redis: {addr: ":6379"}, http: {url: "https://x/y"}, file: {path: f}}]
admissions: [{name: a, matchers: [1.2.3.4, "10.0.0.0/8", "fd00::/8", host.test]}]
bypasses:
- {name: b, matchers: ["*.a.test:80-90", .a.test, "::1", "[::1]:80", 10.0.0.1-10.0.0.9, "a[bc].test", "münchen.de"]}
resolvers: [{name: r, nameservers: [{addr: "tls://1.1.1.1", only: ipv6, clientIP: 1.2.3.4}, {addr: system}]}]
hosts: [{name: h, mappings: [{ip: "::1", hostname: x}], redis: {addr: x, type: list}}]
ingresses: [{name: i, rules: [{hostname: "*.x", endpoint: y}], redis: {addr: x, type: set}}]
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: x}]}]
limiters: [{name: l, limits: ["$ 1MB 1.5KiB", "$$ 0 0", "10.0.0.0/8 1MB", "ann 1MB"]}]
climiters: [{name: l, limits: ["$ 5", "::1 3"]}]
rlimiters: [{name: l, limits: ["$$ 0.5"]}]
quotas: [{name: q, limit: 1GB, startsAt: "2026-01-01T00:00:00Z", direction: in, flush: 1s, store: {type: redis}}]
recorders: [{name: a, file: {path: f}}, {name: b, tcp: {addr: "x:1"}}, {name: c, http: {url: "x/y"}},
  {name: d, redis: {addr: x, key: k, type: sset}}, {name: e, plugin: {type: grpc, addr: "x:1"}}]
observers: [{name: o, plugin: {type: http, addr: "x:1/y"}}]
rewriters: [{name: o, plugin: {addr: "x:1"}}]
caches: [{name: c, memory: {eviction: lru}}, {name: d, redis: {addr: x}}]
sds: [{name: s}]
hops: [{name: h, redis: {addr: x}}]
]])
  end)

  for _, case in ipairs {
    { "authers: [{name: a, plugin: {type: http}}]", "error 1 authers[0].plugin: a plugin needs an address" },
    { "sds: [{name: a, plugin: {type: soap, addr: x}}]", 'warning 1 sds[0].plugin.type: unknown type "soap", grpc' },
    { "admissions: [{name: a, plugin: {type: http, addr: '::x'}}]", "error 1 admissions[0].plugin.addr: not a http" },
    { "authers: [{name: a, http: {url: 'ftp://x'}}]", 'warning 1 authers[0].http.url: not a http or https URL' },
    { "hosts: [{name: a, file: {}}]", "warning 1 hosts[0].file: a file needs a path" },
    { "hosts: [{name: a, redis: {addr: x, type: hash}}]", 'hosts[0].redis.type: unknown type "hash", set is used' },
    { "hops: [{name: a, redis: {addr: x, type: set}}]", 'hops[0].redis.type: unknown type "set", string is used' },
    { "authers:\n- name: a\n  auths:\n  - password: x", "warning 4 authers[0].auths[0]: without a username" },
    { "admissions: [{name: a, matchers: [10.0.0.0/33]}]", '"10.0.0.0/33" is no address and no network' },
    { "admissions: [{name: a, matchers: ['10.*']}]", '"10.*" is no address and no network' },
    { "admissions: [{name: a, mmdb: {country: /no/such}}]", "error 1 admissions[0].mmdb.country: no such file" },
    { "admissions: [{name: a, matchers: ['geoip:DE']}]", "error 1 admissions[0].matchers[0]: geoip: patterns need" },
    { "bypasses:\n- name: b\n  matchers:\n  - x\n  - '*['", "warning 5 bypasses[0].matchers[1]: *[: is no glob" },
    { "bypasses: [{name: b, matchers: [10.0.0.0/99]}]", "it never matches" },
    { "bypasses: [{name: b, matchers: ['a b']}]", '"a b" is no host, pattern or network: it never matches' },
    { "bypasses: [{name: b, matchers: [':80']}]", "without a host it never matches" },
    { "bypasses: [{name: b, matchers: ['asn:1']}]", "error 1 bypasses[0].matchers[0]: asn: patterns need" },
    { "bypasses: [{name: b, ruleset: [{file: /no/such}]}]", "error 1 bypasses[0].ruleset[0].file: no such file" },
    { "bypasses: [{name: b, ruleset: [{file: /}]}]", "error 1 bypasses[0].ruleset[0].file: / is a directory" },
    { "resolvers: [{name: r, nameservers: [{}]}]", "nameservers[0]: without an address it is left out" },
    { "resolvers: [{name: r, nameservers: [{addr: 'tls://'}]}]", "nameservers[0].addr: \"tls://\" is no address" },
    { "resolvers: [{name: r, nameservers: [{addr: 'dog://1.1.1.1'}]}]", "dog:// is unknown, it is asked by UDP" },
    { "resolvers: [{name: r, nameservers: [{addr: 1.1.1.1, clientIP: x}]}]", '"x" is no IP address; the server is' },
    { "resolvers: [{name: r, nameservers: [{addr: 1.1.1.1, only: ipv5}]}]", 'unknown only "ipv5"' },
    { "resolvers: [{name: r, nameservers: [{addr: 1.1.1.1, prefer: v6}]}]", 'unknown prefer "v6", ipv4 is used' },
    { "hosts: [{name: h, mappings: [{ip: x, hostname: y}]}]", 'mappings[0].ip: "x" is no IP address; left out' },
    { "hosts: [{name: h, mappings: [{ip: 1.1.1.1}]}]", "mappings[0]: without a hostname it is left out" },
    { "ingresses: [{name: i, rules: [{hostname: x}]}]", "rules[0]: without a hostname and an endpoint" },
    { "routers: [{name: r, routes: [{dst: x}]}]", "routes[0]: without dst and gateway it is left out" },
    { "limiters: [{name: l, limits: ['$ 1XB']}]", '"$ 1XB": "1XB" is no amount of bytes: no limit' },
    { "limiters: [{name: l, limits: ['$']}]", "a key and a limit are needed" },
    { "limiters: [{name: l, limits: ['1.2.3.4/40 1MB']}]", '"1.2.3.4/40" is no network' },
    { "climiters: [{name: l, limits: ['$ 1.5']}]", '"1.5" is no number of connections' },
    { "climiters: [{name: l, limits: ['x 1']}]", '"x" is no $, $$, address or network' },
    { "rlimiters: [{name: l, limits: ['$ -1']}]", '"-1" is no rate' },
    { "quotas: [{name: q, limit: lots}]", '"lots" is no amount of bytes: counting only' },
    { "quotas: [{name: q, expiresAt: soon}]", 'quotas[0].expiresAt: "soon" is no time of RFC 3339' },
    { "quotas: [{name: q, flush: -1s}]", '"-1s" is no duration: 10s is used' },
    { "quotas: [{name: q, direction: up}]", 'unknown direction "up", both are counted' },
    { "quotas: [{name: q, store: {type: sql}}]", 'quotas[0].store.type: unknown type "sql", file is used' },
    { "recorders: [{name: r}]", "warning 1 recorders[0]: without file, tcp, http, redis or plugin it records nothing" },
    { "recorders: [{name: r, file: {}}]", "error 1 recorders[0].file: a file needs a path" },
    { "recorders: [{name: r, tcp: {addr: x}}]", "error 1 recorders[0].tcp.addr: an address with a port is needed" },
    { "recorders: [{name: r, http: {}}]", "error 1 recorders[0].http: a URL is needed" },
    { "recorders: [{name: r, redis: {addr: x}}]", "error 1 recorders[0].redis: a key is needed" },
    { "recorders: [{name: r, redis: {addr: x, key: k, type: hash}}]", 'unknown type "hash", set is used' },
    { "observers: [{name: o}]", "observers[0]: without a plugin nobody is told anything" },
    { "rewriters: [{name: o}]", "rewriters[0]: without a plugin nothing is changed" },
    { "caches: [{name: c}]", "caches[0]: without memory or redis it keeps nothing" },
    { "caches: [{name: c, memory: {eviction: fifo}}]", 'unknown eviction "fifo", oldest is used' },
  } do
    it("says: " .. case[2], function()
      local found = table.concat(check(case[1]), "\n")
      assert.is_truthy(found:find(case[2], 1, true), found)
    end)
  end

  it("knows private addresses without a file", function()
    assert.same({}, check "admissions: [{name: a, matchers: ['geoip:private']}]")
    assert.same({}, check "bypasses: [{name: a, matchers: ['GeoIP:private', x.test]}]")
  end)

  it("leaves the objects of scripts to them", function()
    assert.same({}, check "observers: [{name: o, scripted: true}]")
  end)
end)
