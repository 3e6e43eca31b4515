-- simple-obfs' HTTP disguise over TCP; the chain dials, with the node's socket options.

local component = require "tidegate.component"
local obfs = require "tidegate.net.obfs"

return component.dialer "ohttp" {
  doc = "simple-obfs' HTTP disguise over TCP",
  aliases = { "ohttps" }, -- no TLS there either, as with gost
  proxy_header = false,
  metadata = {
    ["obfs.host"] = {
      type = "string", aliases = { "host" }, default = "", doc = "Host shown instead of the node's address",
    },
    ["obfs.path"] = { type = "string", aliases = { "path" }, default = "/", doc = "known to gost; no effect" },
    ["obfs.header"] = { type = "map", aliases = { "header" }, doc = "header fields added to the request" },
  },

  open = function(self)
    local err
    self.fields, err = obfs.fields(self.md["obfs.header"])
    return self.fields ~= nil, err
  end,

  handshake = function(self, _, stream, node)
    return obfs.client(stream, self.md["obfs.host"], node.addr, self.fields)
  end,
}
