local url = require "tidegate.config.url"
local writer = require "tidegate.config.writer"

-- Build, and keep only problems of a severity ("error" by default).
local function build(services, nodes, options)
  return url.build(services, nodes or {}, options)
end

local function service(text)
  local config, problems = build { text }
  return config.services and config.services[1], problems
end

local function node(text)
  local config, problems = build({}, { text })
  local hop = config.chains[1].hops[1]
  return hop and hop.nodes[1], problems, hop
end

describe("config.url", function()
  describe("-L schemes", function()
    for scheme, expected in pairs {
      [":8080"] = "auto tcp", ["8080"] = "auto tcp", ["http://:1"] = "http tcp",
      ["https://:1"] = "http tls", ["HTTP://:1"] = "http tcp", ["ssu://:1"] = "ssu udp",
      ["socks5+tls://:1"] = "socks5 tls", ["udp://:1"] = "udp udp", ["tls://:1"] = "auto tls",
      ["ws://:1"] = "auto ws", ["http2://:1"] = "http2 http2", ["stdio://"] = "auto stdio",
      ["stdio://h:1"] = "tcp stdio", ["a+b+c://:1"] = "auto tcp", ["tls+ws://:1"] = "auto ws",
      ["foo://:1"] = "auto tcp", ["ssu+foo://:1"] = "ssu udp", ["rtcp://:1"] = "rtcp rtcp",
      ["http://:80/1.2.3.4:80"] = "tcp tcp", ["socks5+tls://:1/x:1"] = "forward tls",
      ["relay://:1/x:1"] = "relay tcp", ["relay+ws://:1/x:1"] = "relay ws",
      ["unix:///a"] = "unix unix",
    } do
      it(("take %s for %s"):format(scheme, expected), function()
        local made = service(scheme)
        assert.same(expected, made.handler.type .. " " .. made.listener.type)
      end)
    end

    it("know types that are not gost's", function()
      local config = build({ "echo://:1" }, {}, {
        known = function(kind, name) return kind == "handler" and name == "echo" end,
      })
      assert.same("echo", config.services[1].handler.type)
    end)

    for scheme, message in pairs {
      ["foo://:1"] = 'unknown scheme "foo"', ["sock5://:1"] = "did you mean socks",
      ["a+b+c://:1"] = "unknown scheme", ["http+tsl://:1"] = "did you mean",
    } do
      it("complain about " .. scheme, function()
        local _, problems = service(scheme)
        assert.match(message, problems[1].message, 1, true)
        assert.same({ "error", true }, { problems[1].severity, problems[1].late })
      end)
    end

    it("warn of names without an address", function()
      local _, problems = service "http://:1?hosts=a:1.2.3.4,hosts.txt"
      assert.equal(1, #problems)
      assert.match('"hosts.txt" is no NAME:ADDRESS', problems[1].message, 1, true)
    end)

    it("warn where a known type stands on the wrong side", function()
      local _, problems = service "tls+ws://:1"
      assert.same("warning", problems[1].severity)
    end)
  end)

  describe("-F schemes", function()
    for scheme, expected in pairs {
      ["h:1"] = "http tcp", ["https://h:1"] = "http tls", ["socks5://h:1"] = "socks5 tcp",
      ["wss://h:1"] = "http wss", ["relay+wss://h:1"] = "relay wss", ["ssu://h:1"] = "ssu udp",
      ["direct://"] = "direct direct", ["http3://h:1"] = "http http3", ["udp://h:1"] = "http udp",
      ["ssh://h:1"] = "http ssh", ["sshd://h:1"] = "sshd sshd", ["virtual://h:1"] = "virtual virtual",
    } do
      it(("take %s for %s"):format(scheme, expected), function()
        local config = build({}, { scheme })
        local made = config.chains[1].hops[1].nodes[1]
          or { connector = { type = "direct" }, dialer = { type = "direct" } }
        assert.same(expected, made.connector.type .. " " .. made.dialer.type)
      end)
    end
  end)

  describe("addresses", function()
    for text, addr in pairs {
      ["http://:80"] = ":80", ["8080"] = "8080", ["http://[::1]:80"] = "[::1]:80",
      ["http://:abc"] = ":0", ["http://:70000"] = ":0", ["http://:1-2-3"] = ":0",
      ["http://:9-8"] = ":9-8", ["http://a:b:c"] = "a:b:c", ["http://h:80?x=1"] = "h:80",
      ["http://u:p@h:80"] = "h:80", ["unix:///var/run/a.sock"] = "/var/run/a.sock",
      ["unix://a.sock/b"] = "a.sock",
    } do
      it(("of %s is %s"):format(text, addr), function()
        assert.same(addr, (service(text)).addr)
      end)
    end

    it("may be missing", function()
      assert.is_nil((service "http://").addr)
    end)

    it("may be a range of ports", function()
      local config = build { "tcp://:8000-8002/10.0.0.1:9000" }
      assert.same({ ":8000", ":8001", ":8002" },
        { config.services[1].addr, config.services[2].addr, config.services[3].addr })
      assert.same("10.0.0.1:9000", config.services[3].forwarder.nodes[1].addr)
      config = build { "tcp://:1-3/h:5-6" }
      assert.same("h:6", config.services[2].forwarder.nodes[1].addr)
      assert.is_nil(config.services[3].forwarder)
      config = build { "tcp://[::1]:1-2/h:1" }
      assert.same("[::1]:2", config.services[2].addr)
    end)

    it("refuse a range without end", function()
      local _, problems = build { "tcp://:0-99999999" }
      assert.match("too long", problems[1].message)
    end)

    it("complain about what is no port", function()
      local _, problems = service "http://:abc"
      assert.match('"abc" is no port', problems[1].message, 1, true)
      assert.is_true(problems[1].late)
    end)

    for text, targets in pairs {
      ["tcp://:1/h:22/foo/"] = { "h:0" }, ["tcp://:1/[::1]:22"] = { "[::1]:22" },
      ["tcp://:1/h"] = { "h" }, ["tcp://:1/a:1,,b:2"] = { "a:1", "b:2" },
      ["dns://:1/tls://1.1.1.1:853,8.8.8.8"] = { "tls://1.1.1.1:853", "8.8.8.8" },
      ["tcp://:1/h:1-3"] = { "h:1", "h:2", "h:3" }, ["relay://:1/:53"] = { ":53" },
    } do
      it("of targets: " .. text, function()
        local list = {}
        for i, item in ipairs((service(text)).forwarder.nodes) do
          list[i] = item.addr
        end
        assert.same(targets, list)
      end)
    end

    it("of proxies may be a list", function()
      local _, _, hop = node "http://h1:80,,h2:81"
      assert.same({ "h1:80", "h2:81" }, { hop.nodes[1].addr, hop.nodes[2].addr })
      assert.same("h1:80,,h2", hop.nodes[2].dialer.tls.serverName)
    end)

    it("of proxies may be IPv6 or a path", function()
      assert.same("::1", (node "http://[::1]:80").dialer.tls.serverName)
      assert.same("/a.sock", (node "http+unix:///a.sock").addr)
    end)
  end)

  describe("credentials", function()
    for text, auth in pairs {
      ["http://u:p@:1"] = { username = "u", password = "p" },
      ["http://u@:1"] = { username = "u" },
      ["http://u%40x:p%3a@:1"] = { username = "u@x", password = "p:" },
      ["http://:1?auth=dTpw"] = { username = "u", password = "p" },
      ["http://:1?auth=dQ"] = { username = "u" },
      ["http://:1?auth=dQ=="] = { username = "u" },
      ["ss://YWVzLTEyOC1nY206cGFzcw@:1"] = { username = "aes-128-gcm", password = "pass" },
      ["ss://YWVzLTEyOC1nY206cGFzcw%3D%3D@:1"] = { username = "aes-128-gcm", password = "pass" },
      ["ss://none:x@:1"] = { username = "none", password = "x" },
    } do
      it("of " .. text, function()
        local made = service(text)
        assert.same(auth, made.handler.auth)
        assert.is_nil(made.handler.metadata)
      end)
    end

    it("go to the ssh side", function()
      assert.same("u", (service "sshd://u:p@:1").listener.auth.username)
      assert.same("u", (node "ssh://u:p@h:1").dialer.auth.username)
      assert.is_nil((node "ssh://u:p@h:1").connector.auth)
    end)
  end)

  describe("parameters", function()
    it("of -L are lifted and spread", function()
      local made = service "http://:1?retries=2&Cert=c&dns=a,b&limiter.out=1MB&strategy=rand&x=1"
      assert.same(2, made.handler.retries)
      assert.same("c", made.listener.tls.certFile)
      assert.same({ "a", "b" }, made.handler.metadata.dns)
      assert.is_nil(made.handler.metadata.strategy)
      assert.same("1", made.metadata.x)
      assert.same("2", made.metadata.retries)
    end)

    it("with a prefix win over those without", function()
      local made = service "http://:1?a=1&handler.a=2"
      assert.same({ "2", "1", "1" },
        { made.handler.metadata.a, made.listener.metadata.a, made.metadata.a })
    end)

    it("follow Go's rules", function()
      local made = service "http://:80?a=1&a=2&b=x+y&c=%2F;d=1&e=%zz&f"
      assert.same({ a = "1", b = "x y", f = "" }, made.metadata)
    end)

    it("swallow half a certificate without certFile", function()
      assert.is_nil((service "http://:1?key=k").listener.tls)
      assert.same({ serverName = "h", keyFile = "k" }, (node "http://h:1?key=k").dialer.tls)
    end)

    it("keep misspelt ones where gost keeps them", function()
      local made = service "http://:1?Interface=eth0"
      assert.same({ "eth0", "eth0" }, { made.metadata.interface, made.metadata.Interface })
    end)

    it("number generated objects over all URLs, -F first", function()
      local config = build({ "http://:1?bypass=a", "http://:2?bypass=b" }, { "http://h:1?bypass=c" })
      assert.same({ "bypass-1", "bypass-2" },
        { config.services[1].bypass, config.services[2].bypass })
      assert.same("bypass-0", config.chains[1].hops[1].bypass)
      assert.same({ "c" }, config.bypasses[1].matchers)
    end)

    it("of a selector get gost's defaults", function()
      local _, _, hop = node "http://h:1?strategy=fifo"
      assert.same({ strategy = "fifo", maxFails = 1, failTimeout = 30 }, hop.selector)
      _, _, hop = node "http://h:1?fail_timeout=5s"
      assert.same({ strategy = "round", maxFails = 1, failTimeout = 5 }, hop.selector)
      _, _, hop = node "http://h:1?max_fails=3&failTimeout=-1s"
      assert.same({ strategy = "round", maxFails = 3, failTimeout = 30 }, hop.selector)
      _, _, hop = node "http://h:1?maxFails=0"
      assert.is_nil(hop.selector)
    end)

    -- raw URL alphabet first, then the standard one
    for text, auth in pairs {
      ["eDp5"] = { username = "x", password = "y" },
      ["fn46Pz8_"] = { username = "~~", password = "???" },
      ["fn46Pz8%2F"] = { username = "~~", password = "???" },
      ["eA"] = { username = "x" },
      ["eDp5OjE"] = { username = "x", password = "y:1" },
      ["eDp5OjE="] = { username = "x", password = "y:1" },
    } do
      it("auth=" .. text .. " is credentials", function()
        assert.same(auth, (service("http://:1?auth=" .. text)).handler.auth)
        assert.same(auth, (node("http://h:1?auth=" .. text)).connector.auth)
        assert.same({ username = "u", password = "p" }, (service("http://u:p@:1?auth=" .. text)).handler.auth)
      end)
    end

    it("of -F make policies of the hop", function()
      local config = build({}, { "http://h:1?bypass=~a.b,10.0.0.0/8&resolver=1.1.1.1&hosts=a.b:1.2.3.4,c:::1" })
      local hop = config.chains[1].hops[1]
      assert.same({ whitelist = true, matchers = { "a.b", "10.0.0.0/8" }, name = hop.bypass }, config.bypasses[1])
      assert.same({ { addr = "1.1.1.1" } }, config.resolvers[1].nameservers)
      assert.same({ { hostname = "a.b", ip = "1.2.3.4" }, { hostname = "c", ip = "::1" } }, config.hosts[1].mappings)
      assert.same({ config.resolvers[1].name, config.hosts[1].name }, { hop.resolver, hop.hosts })
    end)
  end)

  describe("errors", function()
    for _, case in ipairs {
      { "-L", "http://a b@:1", "invalid userinfo" },
      { "-L", "http://:1?auth=***", "base64" },
      { "-L", "http://u%zz@:1", "invalid URL escape" },
      { "-L", "1a://x", "first path segment" },
      { "-F", "", "invalid cmd" },
      { "-F", "http://h:abc", "invalid port" },
      { "-F", "http://[::1", "missing ']'" },
      { "-F", "http://h h:1", "invalid character" },
    } do
      it(("%s %s"):format(case[1], case[2]), function()
        local _, problems
        if case[1] == "-L" then
          _, problems = build { case[2] }
        else
          _, problems = build({}, { case[2] })
        end
        assert.match(case[3], problems[1].message, 1, true)
        assert.is_nil(problems[1].late)
      end)
    end
  end)

  it("complains about a proxy without address", function()
    local _, problems = build({}, { "http://" })
    assert.same({ "error", true }, { problems[1].severity, problems[1].late })
    _, problems = build({}, { "direct://" })
    assert.same("warning", problems[1].severity)
  end)

  it("skips an empty -L", function()
    assert.same("services: []\n", writer.write((build { "", "  " }), "yaml"))
  end)

  it("reads -api and -metrics", function()
    assert.same({ addr = ":1", accesslog = true, auth = { username = "u", password = "p" } },
      url.endpoint("u:p@:1?accesslog=true&path=/x", { accesslog = "bool", pathPrefix = "string" }))
    assert.same({ addr = "" }, url.endpoint("unix:///x.sock", {}))
    assert.same({ addr = "a b" }, url.endpoint("a b", {}))
  end)
end)
