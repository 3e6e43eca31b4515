-- A configuration without its secrets, to be shown.

local M = {}

local HIDDEN = "***"

-- Keys whose values nobody else should see, in lower case and without punctuation.
local SECRET = {
  password = true, passwd = true, token = true, secret = true, passphrase = true, privatekey = true,
  authorization = true, proxyauthorization = true, cookie = true, setcookie = true, xapikey = true, apikey = true,
  presharedkey = true, seed = true,
}

local function is_secret(key)
  if type(key) ~= "string" then
    return false
  end
  local plain = key:lower():gsub("[^%w]", "")
  return SECRET[plain] or plain:find "password$" ~= nil or plain:find "passphrase$" ~= nil
    or plain:find "secret$" ~= nil or plain:find "token$" ~= nil
end

-- What comes before a secret in URLs and arguments, and the secret.
local IN_TEXT = {
  "(://[^/@:%s\"]*:)[^/@%s\"]+(@)", "(%f[%w]ss[%w+]*://)[^/@:%s]+(@)", "(%-[LF] [^/@:%s]*:)[^/@%s]+(@)",
  "([?&][%w_.]*[Pp]assword=)[^&%s]+()", "([?&][%w_.]*[Tt]oken=)[^&%s]+()", "([?&]auth=)[^&%s]+()",
}

--- A text without the passwords of URLs in it.
function M.text(text)
  for _, pattern in ipairs(IN_TEXT) do
    text = text:gsub(pattern, function(before, after)
      return before .. HIDDEN .. (after == "@" and after or "")
    end)
  end
  return text
end

local function copy(value, key, new, old)
  if type(value) == "string" then
    return is_secret(key) and value ~= "" and HIDDEN or (M.text(value):gsub("%-%-%-%-%-BEGIN.*KEY%-%-%-%-%-", HIDDEN))
  elseif type(value) ~= "table" then
    return is_secret(key) and type(value) == "number" and HIDDEN or value
  end
  local made = {}
  for name, item in pairs(value) do
    made[name] = copy(item, type(name) == "number" and key or name, new, old)
  end
  if old[value] then
    new[made] = old[value]
  end
  return made
end

--- @return a copy without secrets, and the marks that belong to it
function M.copy(config, marks)
  local new = {}
  return copy(config, nil, new, marks or {}), new
end

--- What the parameter `mask` of a request says.
function M.is_wanted(text)
  return text == "true" or text == "1" or text == ""
end

return M
