-- The Web API as a service.

local component = require "tidegate.component"
local pass_on = require "tidegate.handler.admin.pass_on"

return component.handler "api" {
  doc = "the Web API",
  metadata = {
    pathPrefix = { type = "string", default = "", aliases = { "api.pathPrefix" }, doc = "before all paths" },
    accessLog = { type = "bool", default = false, aliases = { "api.accessLog" }, doc = "log requests" },
  },

  handle = function(self, ctx, stream)
    return pass_on.serve(self, ctx, stream, "api", {
      pathPrefix = self.md.pathPrefix, accesslog = self.md.accessLog,
    })
  end,
}
