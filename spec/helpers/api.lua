-- Asking the Web API of a tidegate beside the test.
--
--   local a = api.new("http://127.0.0.1:18080", "me:secret")
--   local status, answer = a:json("GET", "/config/services")

local cjson = require "cjson"
local programs = require "spec.helpers.programs"

local M = {}
local methods = {}
local mt = { __index = methods }

--- @param auth nil or "user:password"
function M.new(base, auth)
  return setmetatable({ base = base, auth = auth }, mt)
end

--- Ask by curl.  @return status, body, head
function methods:ask(method, path, body, ...)
  local args = { "-s", "-m", "20", "-D", "-", "-w", "\n%{http_code}", "-X", method, "--path-as-is", ... }
  if self.auth then
    args[#args + 1] = "-u"
    args[#args + 1] = self.auth
  end
  if body then
    args[#args + 1] = "--data-binary"
    args[#args + 1] = "@-"
  end
  args[#args + 1] = self.base .. path
  local result = programs.run("curl", args, { stdin = body })
  local text, status = result.stdout:match "^(.*)\n(%d+)$"
  local head, rest = (text or ""):match "^(.-\r\n\r\n)(.*)$"
  while rest and rest:find "^HTTP/1%.1 " do -- after 100 Continue
    head, rest = rest:match "^(.-\r\n\r\n)(.*)$"
  end
  return tonumber(status), rest, head
end

--- The same for JSON; a table as body is encoded.  @return status, answer, head
function methods:json(method, path, body, ...)
  local status, text, head = self:ask(method, path, type(body) == "table" and cjson.encode(body) or body, ...)
  local ok, answer = pcall(cjson.decode, text)
  return status, ok and answer or text, head
end

return M
