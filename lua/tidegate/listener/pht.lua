-- The plain HTTP tunnel: bytes in requests and responses that any web proxy passes.

local component = require "tidegate.component"
local pht = require "tidegate.net.pht"

return component.listener "pht"(pht.listener("plain HTTP tunnel"))
