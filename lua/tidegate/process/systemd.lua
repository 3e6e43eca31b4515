-- systemd: readiness messages (sd_notify) and inherited sockets (sd_listen_fds).

local listener = require "tidegate.native.listener"
local process = require "tidegate.native.process"

local M = {}

local FIRST_FD = 3

--- Tell the service manager, when there is one: M.notify "READY=1".
function M.notify(state)
  local path = os.getenv "NOTIFY_SOCKET"
  if path and path ~= "" then
    process.notify(path, state)
  end
end

--- The sockets handed to us: a list of { fd, address, kind = "stream"|"datagram", used = false }.
function M.inherited()
  local found = {}
  local count = tonumber(os.getenv "LISTEN_FDS" or "")
  if not count or tonumber(os.getenv "LISTEN_PID" or "") ~= process.pid() then
    return found
  end
  for fd = FIRST_FD, FIRST_FD + count - 1 do
    local kind = listener.adopt(fd)
    if kind then
      found[#found + 1] = { fd = fd, address = listener.address(fd), kind = kind, used = false }
    end
  end
  return found
end

return M
