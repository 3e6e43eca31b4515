local component = require "tidegate.component"
local reader = require "tidegate.config.reader"
local source = require "tidegate.config.source"
local url = require "tidegate.config.url"
local validate = require "tidegate.config.validate"
local yaml = require "tidegate.config.yaml"

describe("config.validate", function()
  local declared, read_file

  before_each(function()
    read_file = source.read_file
    source.read_file = function(path)
      local texts = {
        ["c.pem"] = "-----BEGIN CERTIFICATE-----", ["k.pem"] = "-----BEGIN PRIVATE KEY-----",
        ["junk"] = "hello",
      }
      if texts[path] then
        return texts[path]
      end
      return nil, { message = "No such file or directory" }
    end
    component.set_listing(function() return {} end)
    declared = {}
    local function declare(kind, name, keys)
      local real = package.loaded[("tidegate.%s.%s"):format(kind, name)]
      if not real then
        declared[#declared + 1] = component.register(kind, name, { metadata = keys })
      end
    end
    declare("handler", "tcp", {})
    declare("handler", "zz", { readTimeout = { type = "duration" }, udp = { type = "bool" } })
    declare("listener", "yy", { mptcp = { type = "bool" } })
    declare("connector", "zz", { timeout = { type = "duration" } })
    declare("dialer", "yy", {})
  end)

  after_each(function()
    source.read_file = read_file
    for _, item in ipairs(declared) do
      component.remove(item)
    end
    component.set_listing(nil)
  end)

  -- "severity line path: message" of all problems
  local function check(text)
    local marks = {}
    local root, err = yaml.parse(text)
    assert(root, tostring(err))
    local config = reader.read(root, { file = "f", mode = "file", marks = marks })
    local lines = {}
    for i, item in ipairs(validate.check(config, marks)) do
      lines[i] = ("%s %s %s: %s"):format(item.severity, item.line or "-", item.path, item.message)
    end
    return lines
  end

  local PARTS = "handler: {type: zz}, listener: {type: yy}"
  local NODE = "connector: {type: zz}, dialer: {type: yy}"

  local function service(rest)
    return ("services: [{name: s, addr: ':1', %s, %s}]"):format(PARTS, rest)
  end

  it("is content with what is right", function()
    assert.same({}, check(([[
services:
- {name: s, addr: ":1", handler: {type: zz, chain: c, auther: a, metadata: {READTIMEOUT: 5s}},
   listener: {type: yy, tls: {certFile: c.pem, keyFile: k.pem}}, metadata: {dialTimeout: 1s}}
chains: [{name: c, hops: [{name: h}, {name: i, nodes: [{name: n, addr: "x:1", %s}]}]}]
hops: [{name: h, selector: {strategy: hash}, nodes: [{name: n, addr: "[::1]:https", %s}]}]
authers: [{name: a, auths: [{username: u, password: p}]}]
loggers: [{name: l, log: {level: info, format: text}}]
tls: {certFile: c.pem, keyFile: k.pem}
log: {level: debug}
]]):format(NODE, NODE)))
  end)

  for _, case in ipairs {
    -- names and references
    { "services: [{addr: ':1', %s}]", "error 1 services[0]: a service needs a name" },
    { "hops: [{nodes: []}]", "warning 1 hops[0]: a hop without a name cannot be used" },
    { "hops: [{name: a}, {name: a}]", 'hop "a" is defined twice, also at f:1' },
    { "services: [{name: s, handler: {type: zz, chain: c}, listener: {type: yy}}]",
      'error 1 services[0].handler.chain: there is no chain "c"' },
    { "services: [{name: s, handler: {type: zz, authers: [main]}, listener: {type: yy}}]\n"
      .. "authers: [{name: mian}]",
      'error 1 services[0].handler.authers[0]: there is no auther "main"; did you mean mian?' },
    { service "logger: x", 'warning 1 services[0].logger: there is no logger "x"' },
    { "chains: [{name: c, hops: [{name: nope}]}]",
      'error 1 chains[0].hops[0].name: there is no hop "nope"' },
    { "chains: [{name: c, hops: [{selector: {}}]}]", "a hop needs nodes, or the name of a hop" },
    { "hops: [{name: h}]\nchains: [{name: c, hops: [{name: h, bypass: x}]}]",
      "warning 2 chains[0].hops[0].bypass: is not read" },
    { service "forwarder: {hop: h}", 'there is no hop "h"' },
    -- forwarders that lead nowhere
    { "services: [{name: s, addr: ':1', handler: {type: tcp}, listener: {type: yy}}]",
      "warning 1 services[0]: no forwarder; no connection gets anywhere: name targets" },
    { "services: [{name: s, addr: ':1', handler: {type: tcp}, listener: {type: yy}, forwarder: {nodes: []}}]",
      "warning 1 services[0].forwarder: no nodes and no hop; no connection gets anywhere: name targets" },
    { "services: [{name: s, addr: ':1', handler: {type: tcp}, listener: {type: yy}, forwarder: {hop: h}}]\n"
      .. "hops: [{name: h}]", 'warning 1 services[0].forwarder: hop "h" has no nodes, nor where they come from' },
    { service "admission: a", "error 1 services[0].admission: there is no admission \"a\"" },
    { "bypasses: [{name: b, ruleset: [{file: f, format: dnsmask}]}]",
      "error 1 bypasses[0].ruleset[0].format: unknown format \"dnsmask\"; did you mean dnsmasq?" },
    { "bypasses: [{name: b, ruleset: [{format: hosts}]}]", "ruleset[0]: a rule set needs a file" },
    { "chains: [{name: c, hops: []}]", "warning 1 chains[0]: has no hops: connections are direct" },
    { "chains: [{name: c, hops: [{name: h, nodes: []}]}]",
      "warning 1 chains[0].hops[0]: has no nodes: ways end before it, and are direct if it is the first" },
    { "hops: [{name: h, nodes: [{name: n, addr: 'a:1', " .. NODE .. "}, {name: n, addr: 'b:1', " .. NODE .. "}]}]",
      'warning 1 hops[0].nodes[1].name: the hop has two nodes "n"' },
    -- the admin plane
    { "api: {addr: ':99999'}", 'error 1 api.addr: "99999" is no port' },
    { "metrics: {addr: localhost}", 'error 1 metrics.addr: "localhost" has no port' },
    { service "metadata: {}" .. "\nprofiling: {addr: ':1'}",
      'error 2 profiling.addr: :1 is the address of service "s" already' },
    -- cipher suites
    { "tls: {options: {cipherSuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256, FOO]}}",
      'warning 1 tls.options.cipherSuites[2]: there is no cipher suite "FOO" here' },
    -- HTTP of targets
    { service "forwarder: {nodes: [{name: t, addr: 'a:1', http: {failCodes: '502,what,9'}}]}",
      'warning 1 services[0].forwarder.nodes[0].http.failCodes: "what" is neither a status nor like 5xx',
      '"9" is neither' },
    { service "forwarder: {nodes: [{name: t, addr: 'a:1', http: {rewriteURL: [{match: '(', replacement: x}]}}]}",
      'warning 1 services[0].forwarder.nodes[0].http.rewriteURL[0].match: "(" is left out' },
    { service "forwarder: {nodes: [{name: t, addr: 'a:1', http: {rewriteResponseBody: [{match: '('}]}}]}",
      'error 1 services[0].forwarder.nodes[0].http.rewriteResponseBody[0].match: body rewrite "("' },
    -- choosing
    { "hops: [{name: h, nodes: [{name: n, addr: 'a:1', " .. NODE .. ", probe: {type: tcp}}]}]",
      "warning 1 hops[0].nodes[0].probe: has no addr: nothing is probed" },
    { "hops: [{name: h, nodes: [{name: n, addr: 'a:1', " .. NODE .. ", probe: {type: cmd, addr: x}}]}]",
      "warning 1 hops[0].nodes[0].probe: has no command: nothing is probed" },
    { "hops: [{name: h, nodes: [{name: n, addr: 'a:1', " .. NODE .. ", probe: {type: htp, addr: x}}]}]",
      'probe.type: unknown type "htp", tcp is used; did you mean http?' },
    { "hops: [{name: h, selector: {strategy: leastcon}, nodes: []}]", "unknown strategy \"leastcon\", round is "
      .. "used; did you mean leastconn?" },
    { "hops: [{name: h, nodes: [{name: n, addr: 'a:1', " .. NODE .. ", matcher: {rule: 'Hots(`a`) || Path(`b`)'}}]}]",
      'error 1 hops[0].nodes[0].matcher.rule: rule, column 1: there is no function "Hots"; did you mean Host?',
      "error 1 hops[0].nodes[0].matcher.rule: rule, column 19: Path: a path begins with /" },
    { "chains: [{name: a, hops: [{name: h, nodes: [{addr: 'a:1', matcher: {rule: 'Host('}}]}]}]",
      "chains[0].hops[0].nodes[0].matcher.rule: rule, column 6: a string expected, not the end" },
    { service "forwarder: {nodes: [{name: n, addr: 'a:1', matcher: {rule: 'Host(`a`) Host(`b`)'}}]}",
      "services[0].forwarder.nodes[0].matcher.rule: rule, column 11: an operator" },
    { "hops: [{name: h, selector: {filters: [near]}, nodes: []}]",
      'error 1 hops[0].selector.filters[0]: there is no filter "near"; a script defines one with tg.filter("near", ' },
    { service "listener: {type: yy, chainGroup: {chains: [q], selector: {filters: [f], strategy: p2c}}}",
      'services[0].listener.chainGroup.chains[0].chain: there is no chain "q"',
      'services[0].listener.chainGroup.selector.filters[0]: there is no filter "f"',
      "services[0].listener.chainGroup.selector.strategy: p2c chooses among nodes only" },
    { service "handler: {type: zz, chainGroup: {chains: [{chain: q}, {matcher: {rule: 'X'}}], fallback: no}}",
      "services[0].handler.chainGroup.chains[0].chain: there is no chain \"q\"",
      "services[0].handler.chainGroup.chains[1].matcher.rule: rule, column 1: \"X\" is not a function call",
      '"no" is no fallback' },
    { service "handler: {type: zz, chainGroup: {chains: [], selector: {strategy: parallel}}}",
      "warning 1 services[0].handler.chainGroup.selector.strategy: parallel chooses among nodes only" },
    { service "metadata: {enableStats: perhaps}", "metadata.enableStats: must be true or false" },
    -- types and metadata
    { "services: [{name: s, handler: {type: zy}, listener: {type: yy}}]",
      'error 1 services[0].handler.type: unknown handler "zy"; did you mean zz?; known here: tcp zz' },
    { "services: [{name: s, handler: {type: zz}, listener: {type: kcp}}]",
      "error 1 services[0].listener.type: `kcp` listener: not in this version of tidegate yet" },
    { "services: [{name: s, handler: {type: zz, metadata: {readTimout: 1}}, listener: {type: yy}}]",
      "warning 1 services[0].handler.metadata.readTimout: unknown key; did you mean readTimeout?" },
    { "services: [{name: s, handler: {type: zz, metadata: {udp: yes}}, listener: {type: yy}}]",
      "warning 1 services[0].handler.metadata.udp: must be true or false" },
    { "hops: [{name: h, selector: {strategy: fifos}, nodes: []}]",
      'unknown strategy "fifos", round is used; did you mean fifo?' },
    -- addresses
    { "services: [{name: s, addr: 8080, %s}]", '"8080" has no port; write ":8080"' },
    { "services: [{name: s, addr: ':70000', %s}]", '"70000" is no port' },
    { "services: [{name: s, addr: '::1:80', %s}]", "needs brackets" },
    { "services: [{name: s, addr: 'here:http', %s}]", 'error 1 services[0].addr: "http" is no port' },
    { "services: [{name: s, addr: '256.1.1.1:80', %s}]", 'error 1 services[0].addr: "256.1.1.1" is no IP address' },
    { "services: [{name: s, addr: ':1', %s}, {name: t, addr: ':1', %s}]",
      'error 1 services[1].addr: :1 is the address of service "s" already' },
    { "hops: [{name: h, nodes: [{name: n, " .. NODE .. "}]}]", "a node needs an address" },
    { "hops: [{name: h, nodes: [{name: n, addr: a, " .. NODE .. "}]}]",
      'warning 1 hops[0].nodes[0].addr: "a" has no port' },
    { service "forwarder: {nodes: [{name: t, addr: 'a:x!'}]}", '"x!" is no port' },
    { service "forwarder: {nodes: [{name: t}]}", "a target needs an address" },
    -- files
    { "tls: {certFile: c.pem}", "error 1 tls.certFile: certFile without keyFile" },
    { "tls: {certFile: c.pem, keyFile: gone}", "key gone cannot be read: No such file" },
    { "tls: {certFile: 'c.pem, c2.pem', keyFile: 'k.pem,k.pem'}", "certificate c2.pem cannot be" },
    { "tls: {certFile: junk, keyFile: k.pem}", "certificate junk is not in PEM format" },
    { "tls: {options: {minVersion: TLS12}}", 'unknown version "TLS12"' },
    -- the rest
    { "log: {level: verbose}", 'warning 1 log.level: unknown level "verbose", info is used' },
    { "services: [{name: s, handler: {type: zz, metadata: {skipauth: 1.1.1.1}}, listener: "
      .. "{type: yy}}]", "skipauth has no effect" },
    { "loggers: [{name: l, log: {format: tex}}]", "did you mean text?" },
    { "services: [{name: s, handler: {type: zz, auth: {password: p}}, listener: {type: yy}}]",
      "warning 1 services[0].handler.auth: without a username it has no effect" },
    { service "recorders: [{name: r, record: recorder.service.handle}, {name: r}]" .. "\nrecorders: [{name: r, file: "
      .. "{path: x}}]", 'recorders[0].record: unknown record "recorder.service.handle", nothing is recorded; did you '
      .. "mean recorder.service.handler?", "recorders[1]: without `record` nothing is recorded" },
    { "authers: [{auths: []}]", "warning 1 authers[0]: an auther without a name cannot be used" },
    { "bypasses: [{name: b, redis: {key: x}}]", "warning 1 bypasses[0].redis: Redis needs an address" },
  } do
    it(case[2], function()
      local found = check((case[1]:gsub("%%s", PARTS)))
      local text = table.concat(found, "\n")
      for i = 2, #case do
        assert.is_truthy(text:find(case[i], 1, true), text)
      end
    end)
  end

  it("finds circles", function()
    local found = check(([[
resolvers: [{name: r, nameservers: [{addr: 1.1.1.1, chain: c}]}]
chains: [{name: c, hops: [{name: h}]}]
hops: [{name: h, resolver: r, nodes: [{name: n, addr: "x:1", %s}]}]
]]):format(NODE))
    assert.same(1, #found)
    assert.match("goes round in a circle: chains/c → hops/h → resolvers/r → chains/c", found[1],
      1, true)
  end)

  it("tells everything at once", function()
    local found = check "services:\n- {addr: x}\n- {name: a, handler: {type: q}}\nlog: {level: z}"
    assert.is_true(#found >= 4)
  end)

  describe("of URLs", function()
    local function check_url(services, nodes)
      local marks = {}
      local config = url.build(services, nodes or {}, {
        marks = marks,
        known = function(kind, name) return component.find(kind, name) ~= nil end,
      })
      local lines = {}
      for i, item in ipairs(validate.check(config, marks)) do
        lines[i] = ("%s %s: %s"):format(item.severity, item.file, item.message)
      end
      return lines
    end

    it("a parameter is fine when any part of the service knows it", function()
      assert.same({}, check_url({ "zz+yy://:1?readTimeout=1s&mptcp=true&dialTimeout=5s&retries=1" }))
      assert.same({}, check_url({ "zz+yy://:1" }, { "zz+yy://h:1?timeout=3s&weight=2&so_mark=1" }))
    end)

    it("and is reported once when none does", function()
      assert.same({ "warning -L zz+yy://:1?foo=1: unknown key" }, check_url { "zz+yy://:1?foo=1" })
      assert.same({ "warning -F zz+yy://h:1?foo=1: unknown key" },
        check_url({}, { "zz+yy://h:1?foo=1" }))
    end)
  end)
end)
