local convert = require "tidegate.config.convert"
local json = require "tidegate.config.json"
local reader = require "tidegate.config.reader"
local starter = require "tidegate.config.starter"
local url = require "tidegate.config.url"
local validate = require "tidegate.config.validate"
local yaml = require "tidegate.config.yaml"

local READ = {
  yaml = function(text)
    return (reader.read(assert(yaml.parse(text)), { file = "t", mode = "file", marks = {} }))
  end,
  json = function(text)
    return (reader.read(assert(json.parse(text)), { file = "t", mode = "file", marks = {} }))
  end,
  lua = function(text)
    local config, problems = reader.read_table(assert(loadstring(text))(), { file = "t", marks = {} })
    assert.same({}, problems)
    return config
  end,
}

-- "-L 'x' \n -F y" as what url.build takes
local function read_urls(text)
  local services, nodes = {}, {}
  for flag, rest in text:gmatch "%-([LF]) ([^\n]*)\n" do
    local plain = rest:match "^'(.*)'$"
    table.insert(flag == "L" and services or nodes, plain and plain:gsub("'\\''", "'") or rest)
  end
  return (url.build(services, nodes))
end

local function messages(failures)
  local texts = {}
  for i, err in ipairs(failures) do
    texts[i] = err.message
  end
  return texts
end

describe("converting", function()
  local COMMANDS = {
    { { "socks5+ws://u:p%40@:1080?path=/x&knock=1" }, { "relay+tls://a:b@h:1?secure=true&strategy=fifo" } },
    { { "tcp://:80/a:1,b:2?strategy=hash&maxFails=3" }, {} },
    { { "http://:8080?bypass=~10.0.0.0/8,*.x.org&limiter.in=10MB&limiter.out=1MB&climiter=7&rlimiter=2"
      .. "&interface=eth0&retries=2" }, { "http://h:99,i:98", "ss://aes-128-gcm:pw@j:1?node.weight=3" } },
    { { "unix:///run/x.sock" }, {} },
    { { "udp://:53/1.1.1.1:53?ttl=5s&dns=1.1.1.1,2.2.2.2" }, { "sshd://u:p@h:22?cert=c.pem&key=k.pem" } },
    { { ":8080", "http+tls://user@[::1]:1?cert=c&key=k&handler.hash=host" }, { "http://h:1?bypass=x&so_mark=5" } },
    { { "socks5://:1?resolver=1.1.1.1,tls://8.8.8.8&hosts=a:1.2.3.4,b:::1&admission=10.0.0.0/8" }, {} },
  }

  for _, format in ipairs { "yaml", "json", "lua" } do
    it("keeps what URLs say in " .. format .. " and back", function()
      for _, command in ipairs(COMMANDS) do
        local config, problems = url.build(command[1], command[2])
        assert.same({}, problems)
        local text = assert(convert.write(config, format))
        local back, failures = convert.write(READ[format](text), "url")
        assert.same({}, failures and messages(failures) or {})
        assert.same(read_urls(assert(convert.write(config, "url"))), read_urls(back))
        assert.same(config.services[1].handler.auth, read_urls(back).services[1].handler.auth)
      end
    end)
  end

  it("leaves parameters of URLs where they are read", function()
    local services = { "http+wss://u:p@:1?knock=x&path=/y&limiter.in=1MB&bypass=10.0.0.0/8&interface=eth0" }
    for _, format in ipairs { "yaml", "json", "lua" } do
      local marks = {}
      local config = url.build(services, { "relay+wss://h:1?path=/x&so_mark=3&nodelay=true" }, { marks = marks })
      local made = READ[format](assert(convert.write(config, format, marks)))
      assert.same({}, validate.check(made))
      assert.same({ path = "/y" }, made.services[1].listener.metadata)
      assert.same({ interface = "eth0" }, made.services[1].metadata)
      assert.same("$ 1MB ", made.limiters[1].limits[1])
    end
  end)

  it("writes Lua that gives the same tables", function()
    local config = READ.yaml [[
services:
  - name: a "quoted" name
    addr: :1
    handler: {type: http, metadata: {probeResist: "code:404", list: [1, b], end: {x y: true}, n: 1.5}}
    listener: {type: tls, tls: {validity: 90m, options: {alpn: [h2]}}}
    forwarder: {nodes: [{name: n, addr: "x:1"}], selector: {failTimeout: 1500ms}}
]]
    assert.same(config, READ.lua(assert(convert.write(config, "lua"))))
  end)

  it("keeps the spelling of metadata keys", function()
    local config = READ.yaml "services: [{name: s, handler: {type: http, metadata: {probeResist: x}}}]"
    for _, format in ipairs { "yaml", "json", "lua", "url" } do
      assert.matches("probeResist", convert.write(config, format), 1, true)
    end
  end)

  it("names what a URL cannot say", function()
    local text, failures = convert.write(READ.yaml [[
services:
  - name: a
    addr: :1
    handler: {type: http, chain: c, metadata: {headers: {X-A: b}}}
    listener: {type: tls, tls: {certFile: c, keyFile: k, options: {minVersion: VersionTLS13}}}
  - name: b
    addr: :2
    handler: {type: http}
    recorders: [{name: r, record: recorder.service.handler}]
chains:
  - name: c
    hops:
      - name: h
        nodes:
          - {name: n, addr: "x:1", connector: {type: http}, dialer: {type: tcp}}
          - {name: m, addr: "y:1", connector: {type: socks5}, dialer: {type: tcp}}
recorders: [{name: r, file: {path: f}}]
bypasses: [{name: lonely, matchers: [x]}]
tls: {certFile: c, keyFile: k}
]], "url")
    assert.is_nil(text)
    local all = table.concat(messages(failures), "\n")
    for _, expected in ipairs {
      "services[0].handler.metadata.headers has no place in a URL",
      "services[0].listener.tls.options has no place in a URL",
      "services[1].recorders has no place in a URL",
      "chain would be added by a URL",
      "chain.hops[0].nodes[1].connector.type would become another one in a URL (http)",
      "bypasses[0] (lonely) is used by no service",
      "tls has no place in a URL",
    } do
      assert.matches(expected, all, 1, true)
    end
  end)

  it("follows names, hops in a list of their own included", function()
    local text = assert(convert.write(READ.yaml [[
services:
  - {name: s, addr: ":1", bypasses: [b], handler: {type: socks5, chain: c}}
chains: [{name: c, hops: [{name: h}]}]
hops: [{name: h, nodes: [{name: n, addr: "x:1", connector: {type: relay}, dialer: {type: tls}}]}]
bypasses: [{name: b, matchers: [10.0.0.0/8]}]
]], "url"))
    assert.equal("-L socks5://:1?bypass=10.0.0.0/8\n-F relay+tls://x:1\n", (text:gsub("'", "")))
  end)

  it("writes flags for what has one", function()
    local config = { api = { addr = ":8000", accesslog = true, auth = { username = "u", password = "p" } },
      log = { level = "debug" } }
    assert.equal("-api 'http://u:p@:8000?accesslog=true'\n-D\n", convert.write(config, "url"))
  end)

  it("refuses what only a script can hold", function()
    local text, failures = convert.write({ chains = { { name = "by-host", scripted = true } } }, "yaml")
    assert.is_nil(text)
    assert.matches("chains by%-host is defined by a script", failures[1].message)
  end)
end)

describe("the starter configuration", function()
  local function errors(text)
    local root, problems = yaml.parse(text)
    assert.same({}, problems)
    local config, found = reader.read(root, { file = "t", mode = "file", marks = {} })
    assert.same({}, found)
    return validate.check(config)
  end

  it("is valid", function()
    assert.same({}, errors(starter.TEXT))
  end)

  it("is valid with every example in use", function()
    local text = ("\n" .. starter.TEXT):gsub("\n#(%l)", "\n%1"):gsub("\n#(  )", "\n%1")
    assert.matches("chain: out", text, 1, true)
    assert.same({}, errors(text))
  end)
end)
