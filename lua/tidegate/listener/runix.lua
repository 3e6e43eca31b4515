-- A unix socket, listened for at the far end of a chain.

local component = require "tidegate.component"
local reverse = require "tidegate.net.reverse"

return component.listener "runix" {
  doc = "a unix socket, listened for at the far end of the chain",
  metadata = {},
  open = reverse.open,

  serve_alone = function(self, service)
    return reverse.serve(self, service, "unix")
  end,
}
