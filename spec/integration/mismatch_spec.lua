-- Two ends that were configured for different transports or protocols: what each of them tells its operator.

local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local scene = require "spec.helpers.scene"
local helpers = require "spec.helpers"

local HUNG_UP = "it hung up; its transport or protocol may be another"
local NO_ANSWER = "hung up without an answer; its transport or protocol may be another"
local NO_TLS = "the peer does not speak TLS here"
local OTHER_VERSION = "mux.type and mux.version must be the same"
local SILENT = "hung up without a word; its transport, mux.type or mux.version may be another"
local NOTHING = "nothing came back from it: "
local NO_ANSWER_IN_TIME = "no answer in time; its transport or protocol may be another"
local RELAY = "the peer may speak another transport or protocol"
local RESET = { "reset the connection without an answer" }

-- what the client speaks, what the server; what the client's log says, what the server's
local PAIRS = {
  { "tls", "tcp", HUNG_UP, RELAY },
  { "ssh?handshakeTimeout=500ms", "tcp", "the server says nothing; it may be none of SSH" }, -- both wait
  { "tcp", "tls", NO_ANSWER, NO_TLS },
  { "ws", "tls", HUNG_UP, "the client speaks plain HTTP, not TLS" },
  { "tcp", "mtcp", NO_ANSWER, OTHER_VERSION },
  { "mtcp", "mtcp?mux.version=1", SILENT, OTHER_VERSION },
  { "mtcp?mux.type=yamux", "mtcp", SILENT, OTHER_VERSION },
  { "wss", "ws", NO_TLS, "the peer speaks TLS, not HTTP" },
  { "ws?path=/a", "ws?path=/b", "path or host may differ", "is answered 404" },
  { "h2", "wss", "does not agree on HTTP/2" },
  { "ws", "ohttp", NO_ANSWER, RELAY },
  { "ohttp", "tcp", NO_ANSWER, RELAY },
  { "otls", "tls", "the transport may be another" },
  { "grpc", "h2", "the path may differ", "without a configured path" },
  { "tls", "ssh", { NO_TLS, HUNG_UP }, "SSH with the client: " },
}

-- The same for protocols.
local PROTOCOLS = {
  { "ss://aes-128-gcm:a@", "ss://aes-128-gcm:b@", NOTHING .. "its password, method or transport may be another",
    "the client has another password or method" },
  { "ss://2022-blake3-aes-128-gcm:AAAAAAAAAAAAAAAAAAAAAA==@", "ss://2022-blake3-aes-128-gcm:AQEBAQEBAQEBAQEBAQEBAQ==@",
    NOTHING .. "its password, method or transport may be another, or its clock",
    "the client has another password or method" },
  { "ss://aes-128-gcm:a@", "ss+tls://aes-128-gcm:a@", NOTHING, NO_TLS },
  { "ss://aes-128-gcm:a@", "relay://", NOTHING, RELAY },
  { "sni://", "socks5://", NOTHING .. "it may be no sni proxy", "the version is not 5" },
  { "relay://", "socks5://", "without an answer; its transport or protocol may be another", "the version is not 5" },
  { "relay://", "http://", "the answer is no relay response", "the peer speaks no HTTP" },
  { "socks5://", "http://", "the version is not 5", "the peer speaks no HTTP" },
  { "socks4://", "socks5://", HUNG_UP, "the version is not 5" },
  { "http://", "socks5://", HUNG_UP, "the version is not 5" },
  { "socks5://", "socks5+tls://", NO_ANSWER_IN_TIME }, -- both wait
  { "ss+tls://aes-128-gcm:a@", "ss://aes-128-gcm:a@", HUNG_UP },
}

local function url(protocol, transport, port)
  local path, query = transport:match "^([^?]+)(.*)$"
  return ("%s+%s://127.0.0.1:%d%s"):format(protocol, path, port, query)
end

-- One of the texts is in the log.  A server that closes with bytes unread resets the connection, and what came
-- before may be lost.
local function says(p, texts)
  texts = type(texts) == "table" and texts or { texts }
  helpers.eventually(function()
    local log, found = p:log(), nil
    for _, text in ipairs(texts) do
      found = found or log:find(text, 1, true)
    end
    for _, text in ipairs(RESET) do
      found = found or log:find(text, 1, true)
    end
    return found
  end, "no " .. texts[1] .. " in\n" .. p:log())
end

-- Fetch something through a client that goes over a server.
local function check(client, server, near_says, far_says)
  local far = proxy.start { "-L", server }
  local near = proxy.start { "-L", "socks5://127.0.0.1:0?dialTimeout=2s", "-F", client }
  local made = programs.run("curl", { "-sS", "--max-time", "20", "--noproxy", "", "-x",
    "socks5h://127.0.0.1:" .. near:port(1), "http://127.0.0.1:" .. scene.web "hello" .. "/" })
  assert.is_not.equal(0, made.code)
  says(near, near_says)
  if far_says then
    says(far, far_says)
  end
end

describe("ends that do not fit", function()
  after_each(helpers.task(scene.stop_all))

  for _, pair in ipairs(PAIRS) do
    local client, server, near_says, far_says = unpack(pair, 1, 4)
    it(("are told: %s towards %s"):format(client, server), scene.test(function()
      local port = programs.free_port()
      check(url("relay", client, port), url("relay", server, port), near_says, far_says)
    end))
  end

  for _, pair in ipairs(PROTOCOLS) do
    local client, server, near_says, far_says = unpack(pair, 1, 4)
    it(("are told: %s towards %s"):format(client, server), scene.test(function()
      local at = "127.0.0.1:" .. programs.free_port()
      check(client .. at, server .. at .. "?readTimeout=500ms", near_says, far_says)
    end))
  end
end)
