-- The servers of the admin plane in the control thread: which are to listen where, and that they do.

local api = require "tidegate.admin.api"
local failure = require "tidegate.failure"
local http = require "tidegate.admin.http"
local listener = require "tidegate.native.listener"
local signature = require "tidegate.process.signature"

local M = {}

-- Key of the configuration → what answers its requests: function(settings, control) → respond
local SERVERS = {
  api = api.new,
}

local running = {} -- key → { signature, acceptor, fd, path }

local function address_of(addr)
  if addr:find "^unix://" then
    return "unix:" .. addr:sub(8), addr:sub(8)
  end
  return addr
end

local function open(key, settings, control)
  local where, path = address_of(settings.addr or "")
  if path and path:sub(1, 1) ~= "@" then
    os.remove(path)
  end
  local fds, err = listener.open(where, "stream", 1, nil)
  if not fds then
    return nil, failure.wrap(err, "io"):during(("listen on %s for the %s"):format(settings.addr or "", key))
  end
  local respond = SERVERS[key](settings, control)
  local acceptor
  acceptor, err = listener.accept(fds[1], function(stream)
    http.serve(stream, respond, {
      client = stream:remote_address() or "@",
      on_error = function(text)
        control.log:error("raised: " .. text, { "kind", key })
      end,
    })
    stream:close()
  end, function() end)
  if not acceptor then
    listener.close_fd(fds[1])
    return nil, err
  end
  control.log:info("listening on " .. (listener.address(fds[1]) or settings.addr), {
    "kind", "service", "service", "@" .. key,
  })
  return { signature = signature.of(settings), acceptor = acceptor, fd = fds[1], path = path }
end

local function close(key)
  local one = running[key]
  running[key] = nil
  one.acceptor:close(true)
  listener.close_fd(one.fd)
  if one.path and one.path:sub(1, 1) ~= "@" then
    os.remove(one.path)
  end
end

--- Have the servers run that a configuration asks for; those that are as they were go on.
-- @return true | nil, a list of problems (the others run)
function M.settle(config, control)
  local problems = {}
  for key in pairs(SERVERS) do
    local settings = config[key]
    local wanted = settings and settings.addr and settings.addr ~= ""
    if running[key] and not (wanted and running[key].signature == signature.of(settings)) then
      close(key)
    end
    if wanted and not running[key] then
      local err
      running[key], err = open(key, settings, control)
      problems[#problems + 1] = err
    end
  end
  return #problems == 0 or nil, problems
end

--- Close all of them.
function M.close()
  for key in pairs(SERVERS) do
    if running[key] then
      close(key)
    end
  end
end

return M
