-- A proxy whose users are in a directory that is asked over HTTP, as LDAP is behind a web front.
-- Run it with:  DIRECTORY=https://directory.example/login tidegate -C examples/http-auth.lua
--
-- The directory gets a form with user, password and client.  With 200 it lets the user in, and says the
-- group in X-Group; with anything else it does not.  What it said is kept for a minute.
local tg = require "tidegate"
local password_of = require "tidegate.native.password"

local DIRECTORY = os.getenv "DIRECTORY" or "http://127.0.0.1:9180/login"
local KEPT = 60 -- seconds

local known = tg.dict "http-auth"
local key = password_of.key() -- random: what is kept tells no password

local function form(fields)
  local parts = {}
  for name, value in pairs(fields) do
    parts[#parts + 1] = name .. "=" .. value:gsub("[^%w._~-]", function(char)
      return ("%%%02X"):format(char:byte())
    end)
  end
  return table.concat(parts, "&")
end

-- The group of a user, as the directory says | nil
local function ask(user, password, client)
  local response, err = tg.http.request {
    url = DIRECTORY,
    method = "POST",
    headers = { ["Content-Type"] = "application/x-www-form-urlencoded" },
    body = form { user = user, password = password, client = client },
    timeout = 5,
  }
  if not response then
    tg.log:warn("the directory does not answer: " .. tostring(err)) -- and nobody new gets in
  end
  return response and response.status == 200 and (response.headers["X-Group"] or "users") or nil
end

tg.auther("directory", function(user, password, ctx)
  local digest = password_of.digest(key, user, password)
  local group = known:get(digest)
  if not group then
    group = ask(user, password, ctx.client_ip)
    if group then
      known:set(digest, group, KEPT)
    end
  end
  return group and user .. "@" .. group -- the id, by which limiters and logs know the client
end)

tg.service {
  name = "http-auth",
  addr = os.getenv "LISTEN" or ":8080",
  handler = "http",
  auther = "directory",
}
