-- A headless Chromium that is clicked through, over WebDriver (W3C) as chromedriver speaks it.

local base64 = require "tidegate.net.http.base64"
local cjson = require "cjson"
local helpers = require "spec.helpers"
local http = require "tidegate.net.http"
local programs = require "spec.helpers.programs"

local M = {}
local methods = {}
local mt = { __index = methods }

local ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

local function ask(self, method, path, body)
  local answer = assert(http.request {
    url = self.base .. path, method = method, timeout = 30,
    body = method == "POST" and (body and cjson.encode(body) or "{}") or nil,
  })
  local value = cjson.decode(answer.body).value
  if answer.status ~= 200 then
    return nil, value.message
  end
  return value
end

--- Start a browser.  @param args further arguments of Chromium
function M.start(args)
  local port = programs.free_port()
  programs.start("chromedriver", { "--port=" .. port, "--silent" }, { port = port })
  local self = setmetatable({ base = "http://127.0.0.1:" .. port }, mt)
  local all = {
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--window-size=1200,760", "--user-data-dir=" .. programs.folder(), unpack(args or {}),
  }
  local session = assert(ask(self, "POST", "/session", { capabilities = { alwaysMatch = {
    ["goog:chromeOptions"] = { args = all },
  } } }))
  self.base = self.base .. "/session/" .. session.sessionId
  return self
end

--- Go to a page.
function methods:open(url)
  assert(ask(self, "POST", "/url", { url = url }))
end

--- The element of a CSS selector, as soon as it is there.
function methods:find(selector)
  local element
  helpers.eventually(function()
    local found = ask(self, "POST", "/element", { using = "css selector", value = selector })
    element = found and found[ELEMENT]
    return element
  end, "there is no " .. selector, 15)
  return element
end

function methods:click(selector)
  assert(ask(self, "POST", "/element/" .. self:find(selector) .. "/click"))
end

function methods:type(selector, text)
  assert(ask(self, "POST", "/element/" .. self:find(selector) .. "/value", { text = text }))
end

--- Run JavaScript.  @return what it returns
function methods:run(script)
  local args = { "an empty list would be a map to cjson" }
  local value, err = ask(self, "POST", "/execute/sync", { script = script, args = args })
  assert(value ~= nil, err)
  return value
end

--- Wait until the text of an element holds `text`.
function methods:sees(selector, text)
  helpers.eventually(function()
    local shown = ask(self, "GET", "/element/" .. self:find(selector) .. "/text")
    return shown and shown:find(text, 1, true)
  end, ("%s does not show %q"):format(selector, text), 15)
end

--- @return PNG
function methods:screenshot()
  return base64.decode(assert(ask(self, "GET", "/screenshot")))
end

function methods:accept_alert()
  assert(ask(self, "POST", "/alert/accept"))
end

function methods:close()
  ask(self, "DELETE", "")
end

return M
