-- What is counted for Prometheus, as a service.

local component = require "tidegate.component"
local pass_on = require "tidegate.handler.admin.pass_on"

return component.handler "metrics" {
  doc = "metrics for Prometheus",
  metadata = {
    path = { type = "string", default = "/metrics", aliases = { "metrics.path" }, doc = "where they are" },
    noClient = { type = "bool", default = false, doc = "leave the label client empty; not gost's" },
  },

  handle = function(self, ctx, stream)
    return pass_on.serve(self, ctx, stream, "metrics", { path = self.md.path })
  end,
}
