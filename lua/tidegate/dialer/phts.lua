-- The plain HTTP tunnel over TLS: bytes in requests and responses that any web proxy passes.

local component = require "tidegate.component"
local pht = require "tidegate.net.pht"

return component.dialer "phts"(pht.dialer("plain HTTP tunnel over TLS", true))
