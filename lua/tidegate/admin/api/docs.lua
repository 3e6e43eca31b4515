-- /docs: the documentation of the API, and its Swagger document.

local buffer = require "string.buffer"
local component = require "tidegate.component"
local openapi = require "tidegate.admin.api.openapi"
local schema = require "tidegate.config.schema"
local sorted = require "tidegate.sorted"
local writer = require "tidegate.config.writer"

local M = {}

local STYLE = [[
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
code,pre{font-family:ui-monospace,monospace;font-size:.93em}
table{border-collapse:collapse;width:100%;margin:.5em 0 1.5em}
td,th{border-bottom:1px solid #8884;padding:.25em .6em;text-align:left;vertical-align:top}th{font-weight:600}
nav{columns:3 14em}h2{margin-top:2em}.m{font-weight:600}details{margin:.3em 0}summary{cursor:pointer}]]

local function escape(text)
  return (tostring(text):gsub('[<>&"]', { ["<"] = "&lt;", [">"] = "&gt;", ["&"] = "&amp;", ['"'] = "&quot;" }))
end

local WORDS = {
  dur = "duration", int = "integer", bool = "true or false", texts = "map of texts", ignored = "read-only",
}

local function type_text(kind)
  local item = kind:match "^%[%](.+)$"
  if item then
    return "list of " .. type_text(item)
  elseif schema.objects[kind] then
    return ('<a href="#o-%s">%s</a>'):format(kind, kind)
  end
  return WORDS[kind] or kind
end

local function put_route(out, route)
  local about = route.about
  out:put('<tr><td class="m">', route.method, "</td><td><code>", escape(route.pattern), "</code></td><td>",
    escape(about.doc or ""))
  if about.takes then
    out:put("; takes a ", type_text(about.takes))
  end
  for _, name in ipairs(sorted(about.query or {})) do
    out:put("<br><code>?", name, "=</code> ", escape(about.query[name]))
  end
  if about.data then
    out:put("<details><summary>example of data</summary><pre>", escape(writer.plain_json(about.data)),
      "</pre></details>")
  end
  out:put "</td></tr>\n"
end

local function put_routes(out, routes)
  local tags, order = {}, {}
  for _, route in ipairs(routes.list) do
    local tag = route.about.tag
    if tag then
      if not tags[tag] then
        tags[tag] = {}
        order[#order + 1] = tag
      end
      table.insert(tags[tag], route)
    end
  end
  out:put "<nav>"
  for _, tag in ipairs(order) do
    out:put('<a href="#t-', tag, '">', tag, "</a><br>")
  end
  out:put '<a href="#objects">objects</a><br><a href="#components">components</a></nav>\n'
  for _, tag in ipairs(order) do
    out:put('<h2 id="t-', tag, '">', tag, "</h2><table>\n")
    for _, route in ipairs(tags[tag]) do
      put_route(out, route)
    end
    out:put "</table>\n"
  end
end

local function put_objects(out)
  out:put '<h2 id="objects">Objects</h2>\n'
  for _, name in ipairs(sorted(schema.objects)) do
    out:put('<h3 id="o-', name, '">', name, "</h3><table>\n")
    for _, field in ipairs(schema.objects[name].fields) do
      if field.name ~= "scripted" then
        out:put("<tr><td><code>", field.json or field.name, "</code></td><td>", type_text(field.type), "</td><td>",
          escape(field.doc or ""), "</td></tr>\n")
      end
    end
    out:put "</table>\n"
  end
end

local function put_components(out)
  out:put '<h2 id="components">Components and their metadata</h2>\n'
  for _, kind in ipairs { "listener", "handler", "dialer", "connector" } do
    for _, name in ipairs(component.known(kind)) do
      local item = component.find(kind, name)
      out:put("<details><summary>", kind, " <b>", name, "</b>: ", escape(item and item.doc or ""),
        "</summary><table>\n")
      for _, key in ipairs(sorted(item and item.metadata or {})) do
        local spec = item.metadata[key]
        out:put("<tr><td><code>", escape(key), "</code></td><td>", spec.type, "</td><td>", escape(spec.doc or ""),
          spec.default ~= nil and "; default " .. escape(tostring(spec.default)) or "", "</td></tr>\n")
      end
      out:put "</table></details>\n"
    end
  end
end

--- The page, which asks nobody for anything.
function M.page(routes)
  local out = buffer.new()
  out:put("<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
    "<title>tidegate Web API</title><style>", STYLE, "</style>\n<h1>tidegate Web API</h1>\n",
    "<p>Bodies are JSON; durations are nanoseconds, or texts such as <code>10s</code>. A change is answered by ",
    '<code>{"msg":"OK"}</code>, an object by <code>{"data":…}</code>, an error by ',
    '<code>{"code":…,"msg":…}</code>. The same as <a href="swagger.yaml">Swagger 2.0</a>.</p>\n')
  put_routes(out, routes)
  put_objects(out)
  put_components(out)
  return out:tostring()
end

local PAGE = {
  { "Content-Type", "text/html; charset=utf-8" },
  { "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'" },
}

--- Add the routes.
function M.add(routes)
  routes:add("GET", "/docs/", function()
    return { status = 200, headers = PAGE, body = M.page(routes) }
  end, { open = true })
  routes:add("GET", "/docs/swagger.yaml", function()
    return {
      status = 200,
      headers = { { "Content-Type", "application/yaml" } },
      body = writer.plain_yaml(openapi.document(routes), { [openapi.EMPTY] = { list = true } }),
    }
  end, { open = true })
end

return M
