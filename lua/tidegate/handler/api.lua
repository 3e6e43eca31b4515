-- The Web API as a service.

local component = require "tidegate.component"
local pass_on = require "tidegate.handler.admin.pass_on"

return component.handler "api" {
  doc = "the Web API",
  metadata = {
    pathPrefix = { type = "string", default = "", aliases = { "api.pathPrefix" }, doc = "before all paths" },
    accessLog = { type = "bool", default = false, aliases = { "api.accessLog" }, doc = "log requests" },
    eval = { type = "bool", default = false, doc = "permit POST /eval, to those who authenticate; not gost's" },
    saveAnywhere = {
      type = "bool", default = false, doc = "permit POST /config?path= in any folder; not gost's",
    },
    origins = { type = "list", doc = "pages of other origins that may ask; default: of all; not gost's" },
  },

  handle = function(self, ctx, stream)
    return pass_on.serve(self, ctx, stream, "api", {
      pathPrefix = self.md.pathPrefix, accesslog = self.md.accessLog, eval = self.md.eval,
      saveAnywhere = self.md.saveAnywhere, origins = self.md.origins,
    })
  end,
}
