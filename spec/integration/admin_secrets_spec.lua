-- What the admin plane keeps to itself: from pages of other origins, in what it shows masked, in the log.

local api = require "spec.helpers.api"
local cjson = require "cjson"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local port, p, a

local function start(text)
  port = programs.free_port()
  local folder = programs.folder()
  p = proxy.start({ "-C", programs.file(folder, "gate.yml", (text:gsub("PORT", tostring(port)))) }, { services = 0 })
  programs.wait_port(port)
  a = api.new("http://127.0.0.1:" .. port, "me:hush-api")
end

local SECRETS = [[
log: {level: trace}
services:
- name: front
  addr: 127.0.0.1:0
  handler: {type: http, auth: {username: ann, password: hush-handler}, chain: c, metadata: {authToken: hush-meta}}
  listener: {type: tcp, auth: {username: l, password: hush-listener}}
  recorders: [{name: r, record: recorder.service.handler}]
- {name: shadow, addr: "127.0.0.1:0", handler: {type: ss, auth: {username: aes-128-gcm, password: hush-shadow}}}
chains:
- name: c
  hops:
  - name: h
    nodes:
    - name: n
      addr: "127.0.0.1:9"
      connector: {type: socks5, auth: {username: node, password: hush-connector}}
      dialer: {type: ws, auth: {username: d, password: hush-dialer},
        metadata: {header: {Authorization: "Bearer hush-header"}}}
authers:
- {name: a, auths: [{username: bob, password: hush-auther}]}
- {name: b, redis: {addr: "127.0.0.1:1", password: hush-redis}}
- {name: h, http: {url: "http://root:hush-url@127.0.0.1:1/?token=hush-query"}}
- {name: g, plugin: {type: http, addr: "http://127.0.0.1:1/", token: hush-plugin}}
recorders:
- {name: r, http: {url: "http://u:hush-recorder@127.0.0.1:1/", header: {X-Api-Key: hush-key}}}
api: {addr: "127.0.0.1:PORT", accesslog: true, auth: {username: me, password: hush-api}}
metrics: {addr: "127.0.0.1:0", auth: {username: m, password: hush-metrics}}
]]

describe("the admin plane", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("hides every secret when asked, and always in the log", function()
    start(SECRETS)
    for _, path in ipairs { "/config", "/config?format=yaml", "/config/services", "/config/chains/c", "/config/authers",
      "/config/recorders/r" } do
      local _, open = a:ask("GET", path)
      assert.matches("hush%-", open)
      local status, text = a:ask("GET", path .. (path:find "?" and "&" or "?") .. "mask=true")
      assert.equal(200, status)
      assert.is_nil(text:match "hush%-%w+", path)
      assert.matches("%*%*%*", text)
    end
    -- traffic whose every step fails, changes that fail, strangers that guess
    local front = select(2, a:json("GET", "/stats")).data.services[1].addr
    for _, auth in ipairs { "ann:hush-handler", "ann:hush-guess" } do
      programs.run("curl", { "-s", "-m", "20", "-x", "http://" .. auth .. "@" .. front,
        "http://carl:hush-target@target.test/" })
    end
    api.new(a.base, "me:hush-guess"):ask("GET", "/config")
    a:ask("POST", "/config/services", '{"name":"x","addr":"127.0.0.1:0","handler":{"type":"socks5","auth":'
      .. '{"username":"u","password":"hush-change"},"metadata":{"nonsense":1}},"listener":{"type":"nonsense"}}')
    a:ask("POST", "/config/reload")
    p:logged '"uri":"/config/reload"'
    assert.is_nil(p:log():match "[^\n]*hush%-[^\n]*")
  end)

  it("hides what scripts and those who type raise, and the command line", function()
    local folder = programs.folder()
    local script = programs.file(folder, "s.lua", [[
local tg = require "tidegate"
tg.on("request", function()
  error "cannot ask http://carl:hush-script@far.test/x"
end)
]])
    local profiling, socket = programs.free_port(), folder .. "/repl.sock"
    local path = programs.file(folder, "c.yml", ('scripts: [%s]\nprofiling: {addr: ":%d"}\n'):format(script, profiling))
    p = proxy.start { "-L", "http://ann:hush-one@127.0.0.1:0", "-C", path, "-repl", socket,
      "-F", "socks5://bob:hush-two@127.0.0.1:1?authToken=hush-3" }
    programs.run("curl", { "-s", "-m", "20", "-x", "http://ann:hush-one@127.0.0.1:" .. p:port(1), "http://a.test/" })
    p:logged "cannot ask http://carl:%*%*%*@far%.test/x"
    local typed = proxy.run { "eval", "-socket", socket, "-worker", "1", ":wait error 'plain words'" }
    assert.same({ 1, "plain words\n" }, { typed.code, typed.stderr })
    assert.is_nil(p:log():match "[^\n]*hush%-[^\n]*")
    local text = programs.output("curl", { "-s", ("http://127.0.0.1:%d/debug/pprof/cmdline"):format(profiling) })
    assert.matches("%-F%zsocks5://bob:%*%*%*@127", text)
    assert.is_nil(text:find "hush")
  end)

  it("is for pages of those origins that are named", function()
    start [[
api: {addr: "127.0.0.1:PORT", origins: ["https://ui.test"], auth: {username: me, password: hush-api}}
]]
    local function ask(method, origin, path)
      return a:json(method, path or "/config", nil, "-H", "Origin: " .. origin)
    end
    local status, answer, head = ask("GET", "https://ui.test")
    assert.same({ 200, cjson.null }, { status, answer.services })
    assert.matches("Access%-Control%-Allow%-Origin: ", head)
    assert.equal(204, (ask("OPTIONS", "https://ui.test")))
    assert.equal(200, (ask("GET", a.base)))
    for _, origin in ipairs { "https://evil.test", "null", "http://ui.test", "https://ui.test.evil.test",
      a.base:gsub("%d$", "0") .. "0" } do
      for _, method in ipairs { "GET", "POST", "DELETE", "OPTIONS" } do
        status, answer, head = ask(method, origin, "/config/services/x")
        assert.same({ 403, 40301 }, { status, answer.code }, origin)
        assert.is_nil(head:find "Access%-Control")
      end
    end
  end)

  it("has no page of another origin evaluate anything", function()
    start 'api: {addr: "127.0.0.1:PORT", eval: true, auth: {username: me, password: hush-api}}\n'
    assert.equal(200, (a:ask("POST", "/eval", "1")))
    assert.equal(200, (a:ask("POST", "/eval", "1", "-H", "Origin: " .. a.base)))
    local status, text = a:ask("POST", "/eval", "1", "-H", "Origin: https://evil.test")
    assert.equal(403, status)
    assert.is_nil(text:find "data")
  end)

  it("hides what clients send, too", function()
    local target = plane.accept(function(s) s:close() end)
    start(([[
log: {level: trace}
services:
- {name: rev, addr: "127.0.0.1:0", handler: {type: tcp, metadata: {sniffing: true}},
   forwarder: {nodes: [{name: n, addr: "%s"}]}}
api: {addr: "127.0.0.1:PORT", accesslog: true, auth: {username: me, password: hush-api}}
]]):format(target))
    local addr = select(2, a:json("GET", "/stats")).data.services[1].addr
    programs.run("curl", { "-s", "-m", "20", "-u", "u:hush-basic", "-H", "Cookie: hush-cookie",
      "http://" .. addr .. "/" })
    a:ask("GET", "/config?password=hush-query")
    a:ask("GET", "/config?access_token=hush-query")
    p:logged('"uri":"/config?access_token=', true)
    assert.is_nil(p:log():match "[^\n]*hush%-[^\n]*")
  end)
end)
