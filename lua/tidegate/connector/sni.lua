-- Client of an sni proxy: the bytes tell it where to go.  With `host` they name that host, and the true
-- one is encoded beside it.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local opener = require "tidegate.native.opener"
local silence = require "tidegate.chain.silence"

local HOST_MAX = 255

return component.connector "sni" {
  doc = "client of an sni proxy, which finds the target in what the client sends",
  metadata = {
    host = { type = "string", default = "", doc = "name shown instead of the true one, which is encoded" },
    timeout = { type = "duration", default = 0, doc = "accepted for gost's sake" },
  },

  open = function(self)
    local host = self.md.host
    if #host > HOST_MAX or host:find "[%c%s]" then
      return nil, failure.new("config", ("host: %q is no host name"):format(host))
    end
    return true
  end,

  connect = function(self, ctx, stream, network, address)
    if network ~= "tcp" then
      return nil, failure.new("unsupported", "sni does not carry " .. network, { addr = address })
    end
    silence.expect(ctx, self.node, "it may be no sni proxy, or its transport may be another")
    if self.md.host == "" then
      return stream
    end
    return opener.disguise(stream, self.md.host)
  end,
}
