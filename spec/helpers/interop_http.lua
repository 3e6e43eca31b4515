-- The interop matrix' checks for programs that speak HTTP: files that are fetched and stored.

local files = require "spec.helpers.files"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local tls = require "spec.helpers.tls"

local M = {}

local REVERSE = [[
services:
- name: web
  addr: 127.0.0.1:0
  handler: {type: tcp, metadata: {sniffing: true, http.keepalive: true}}
  listener: %s
  forwarder: {nodes: [{name: n, addr: "127.0.0.1:%d"%s}]}
]]
local TLS = "{type: tls, tls: {certFile: %s, keyFile: %s, options: {alpn: [h2, http/1.1]}}}"

--- Start nginx with files: hello, and big, made by the check that needs it.  Sets env.www and env.web.
function M.origin(env)
  env.web = origin.nginx()
  env.www = env.web.www
  programs.file(env.www, "hello", "hello")
end

--- Start a tidegate that is a reverse proxy for that nginx.
-- @param h2 whether it speaks HTTP/2 to nginx, over TLS
-- @return its URL
function M.reverse(env, clear, h2)
  M.origin(env)
  local pair = tls.certificate(tls.authority "matrix", "localhost")
  local listener = clear and "{type: tcp}" or TLS:format(pair.cert, pair.key)
  local p = env:serve(env:config("reverse.yml", REVERSE, listener, h2 and env.web.https or env.web.http,
    h2 and ", tls: {}, metadata: {http.version: 2}" or ""))
  return ("%s://localhost:%d"):format(clear and "http" or "https", p:port(1))
end

local function big(env, sizes)
  local sum = files.random(env.www .. "/big", sizes.mib)
  return sum, env:folder() .. "/copy"
end

--- @param client get(env, path, file), put(env, file, path), many(env, path, count), slow(env, path) → a program that
-- takes its time with a download
function M.checks(client)
  local checks = {}

  function checks.small(env)
    local copy = env:folder() .. "/small"
    client.get(env, "/hello", copy)
    assert(tls.read(copy) == "hello", "another answer")
  end

  function checks.bulk(env, sizes)
    local sum, copy = big(env, sizes)
    client.get(env, "/big", copy)
    assert(files.md5(copy) == sum, "other bytes came down")
    client.put(env, env.www .. "/big", "/up/new")
    assert(files.md5(env.www .. "/up/new") == sum, "other bytes went up")
  end

  function checks.many(env, sizes)
    client.many(env, "/hello", sizes.many)
  end

  function checks.abrupt(env)
    local program = client.slow(env, "/big")
    helpers.eventually(function()
      return program.over or #program.stdout > 0
    end, "nothing came down")
    program:stop "sigkill"
    checks.small(env)
  end

  return checks
end

return M
