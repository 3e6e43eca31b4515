-- TLS whose ClientHello is nearer to a browser's: as far as OpenSSL lets itself be told.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local tls = require "tidegate.tls"

-- TLS 1.2 suites in the order in which the browsers have them; those of TLS 1.3 are OpenSSL's.
local CHROME = {
  "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
  "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
  "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
}
local FIREFOX = {
  "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
  "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
  "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
  "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
}
local SAFARI = {
  "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
  "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
  "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
  "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
}
local ALPN = { "h2", "http/1.1" }

local function shuffled()
  local list = { unpack(CHROME) }
  for i = #list, 2, -1 do
    local j = math.random(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

-- name → function → suites, application protocols
local PRESETS = {
  chrome = function() return CHROME, ALPN end,
  edge = function() return CHROME, ALPN end,
  firefox = function() return FIREFOX, ALPN end,
  safari = function() return SAFARI, ALPN end,
  ios = function() return SAFARI, ALPN end,
  randomized = function() return shuffled(), math.random(2) == 1 and ALPN or {} end,
  ["randomized-alpn"] = function() return shuffled(), ALPN end,
  ["randomized-noalpn"] = function() return shuffled(), {} end,
}

local plain = assert(component.find("dialer", "tls"))

local METADATA = {
  fingerprint = {
    type = "string", default = "",
    doc = "chrome, edge, firefox, safari, ios, randomized, randomized-alpn, randomized-noalpn; else ordinary TLS",
  },
}
for key, spec in pairs(plain.metadata) do
  METADATA[key] = spec
end

return component.dialer "utls" {
  doc = "TLS with the cipher suites and application protocols of a browser",
  metadata = METADATA,

  open = function(self)
    local name = self.md.fingerprint:lower()
    local preset = PRESETS[name]
    if not preset and name ~= "" and name ~= "golang" and name ~= "custom" then
      return nil, failure.new("config", ("unknown fingerprint %q; known are chrome, edge, firefox, safari, ios, "
        .. "randomized, randomized-alpn, randomized-noalpn, golang"):format(name))
    end
    local config = self.tls
    if preset then
      local suites, alpn = preset()
      local options = setmetatable({ cipherSuites = suites, alpn = alpn }, { __index = config and config.options })
      config = setmetatable({ options = options }, { __index = config })
    end
    local err
    self.context, err = tls.client(config)
    return self.context ~= nil, err
  end,
  handshake = plain.handshake,
}
