-- /ui: the dashboard, one page that uses nothing but this API.

local M = {}

local SAFE = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
  .. "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

-- The modules hold texts; they are loaded when somebody looks.
local function serve(routes, path, module, kind)
  routes:add("GET", path, function()
    return {
      status = 200,
      headers = {
        { "Content-Type", kind .. "; charset=utf-8" }, { "Content-Security-Policy", SAFE },
        { "X-Content-Type-Options", "nosniff" }, { "Cache-Control", "no-cache" },
      },
      body = require(module),
    }
  end)
end

--- Add the routes.
function M.add(routes)
  serve(routes, "/ui/", "tidegate.admin.ui.page", "text/html")
  serve(routes, "/ui/app.js", "tidegate.admin.ui.script", "text/javascript")
  serve(routes, "/ui/style.css", "tidegate.admin.ui.style", "text/css")
end

return M
