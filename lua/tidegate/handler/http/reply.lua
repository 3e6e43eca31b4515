-- The replies the proxy makes itself, byte for byte as gost's.

local header = require "tidegate.net.http.header"
local sorted = require "tidegate.sorted"

local M = {}

local REASONS = {
  [100] = "Continue", [101] = "Switching Protocols", [102] = "Processing", [103] = "Early Hints",
  [200] = "OK", [201] = "Created", [202] = "Accepted", [203] = "Non-Authoritative Information",
  [204] = "No Content", [205] = "Reset Content", [206] = "Partial Content",
  [207] = "Multi-Status", [208] = "Already Reported", [226] = "IM Used",
  [300] = "Multiple Choices", [301] = "Moved Permanently", [302] = "Found", [303] = "See Other",
  [304] = "Not Modified", [305] = "Use Proxy", [307] = "Temporary Redirect",
  [308] = "Permanent Redirect",
  [400] = "Bad Request", [401] = "Unauthorized", [402] = "Payment Required", [403] = "Forbidden",
  [404] = "Not Found", [405] = "Method Not Allowed", [406] = "Not Acceptable",
  [407] = "Proxy Authentication Required", [408] = "Request Timeout", [409] = "Conflict",
  [410] = "Gone", [411] = "Length Required", [412] = "Precondition Failed",
  [413] = "Request Entity Too Large", [414] = "Request URI Too Long",
  [415] = "Unsupported Media Type", [416] = "Requested Range Not Satisfiable",
  [417] = "Expectation Failed", [418] = "I'm a teapot", [421] = "Misdirected Request",
  [422] = "Unprocessable Entity", [423] = "Locked", [424] = "Failed Dependency",
  [425] = "Too Early", [426] = "Upgrade Required", [428] = "Precondition Required",
  [429] = "Too Many Requests", [431] = "Request Header Fields Too Large",
  [451] = "Unavailable For Legal Reasons",
  [500] = "Internal Server Error", [501] = "Not Implemented", [502] = "Bad Gateway",
  [503] = "Service Unavailable", [504] = "Gateway Timeout", [505] = "HTTP Version Not Supported",
  [506] = "Variant Also Negotiates", [507] = "Insufficient Storage", [508] = "Loop Detected",
  [510] = "Not Extended", [511] = "Network Authentication Required",
}

--- @return "Forbidden", "" for what nobody knows
function M.reason(code)
  return REASONS[code] or ""
end

--- @return "HTTP/1.1 403 Forbidden\r\n"
function M.status_line(code)
  local reason = REASONS[code]
  return ("HTTP/1.1 %03d %s\r\n"):format(code, reason or "status code " .. code)
end

-- Lines of a map, sorted by name; what could break out of its line is left out.
local function sorted_lines(fields)
  local lines = {}
  for i, name in ipairs(sorted(fields)) do
    lines[i] = ("%s: %s\r\n"):format(name, fields[name])
  end
  return table.concat(lines)
end

--- Header lines of a configured map, names in their usual case and sorted.
-- @param defaults lines which the map may replace, name → value
function M.fields(map, defaults)
  local fields = {}
  for name, value in pairs(defaults or {}) do
    fields[name] = value
  end
  for name, value in pairs(map or {}) do
    name, value = tostring(name), tostring(value)
    if name:find("^[%w!#$%%&'*+%-.^_`|~]+$") and not value:find("[%z\r\n]") then
      fields[header.canonical(name)] = value
    end
  end
  return sorted_lines(fields)
end

--- An error reply without a body, after which the connection is closed.
-- @param fields header lines after "Connection: close"
function M.closing(code, fields)
  return M.status_line(code) .. "Connection: close\r\n" .. (fields or "") .. "\r\n"
end

--- An error reply to a forwarded request: no body, and the connection may live on.
function M.empty(code)
  return M.status_line(code) .. "Content-Length: 0\r\n\r\n"
end

--- The demand for credentials.
function M.authenticate(realm, proxy_connection)
  local fields = ('Proxy-Authenticate: Basic realm="%s"\r\n'):format((realm:gsub('[%c"\\]', "")))
  if proxy_connection then
    fields = fields .. "Proxy-Connection: close\r\n"
  end
  return M.closing(407, fields)
end

return M
