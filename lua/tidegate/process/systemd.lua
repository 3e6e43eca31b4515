-- systemd: readiness messages (sd_notify) and inherited sockets (sd_listen_fds).  A process that this one
-- takes the place of (tidegate.process.upgrade) speaks the same language.

local listener = require "tidegate.native.listener"
local process = require "tidegate.native.process"
local uv = require "luv"

local M = {}

local FIRST_FD = 3

local ready_fd
local told = false -- that it serves, or has nobody to tell

--- Is this process here to take the place of the one that started it?
function M.is_successor()
  return tonumber(os.getenv "TIDEGATE_PREDECESSOR" or "") == uv.os_getppid()
end

--- Tell the service manager, when there is one: M.notify "READY=1".
function M.notify(state)
  local path = os.getenv "NOTIFY_SOCKET"
  if ready_fd and state == "READY=1" then
    process.write(ready_fd, state)
    listener.close_fd(ready_fd)
    ready_fd, told = nil, true
    state = ("MAINPID=%d\n%s"):format(process.pid(), state)
  end
  if path and path ~= "" then
    process.notify(path, state)
  end
end

--- Tell the process that this one was to take the place of what is wrong here.
function M.complain(text)
  local fd = ready_fd or M.is_successor() and tonumber(os.getenv "TIDEGATE_READY_FD" or "")
  if fd and not told then
    process.write(fd, text)
  end
end

local function names()
  local list = {}
  for name in (os.getenv "LISTEN_FDNAMES" or ""):gmatch "[^:]+" do
    list[#list + 1] = name
  end
  return list
end

--- The sockets handed to us: a list of { fd, address, name, kind = "stream"|"datagram", used = false }.
function M.inherited()
  local found = {}
  local count = tonumber(os.getenv "LISTEN_FDS" or "")
  local successor = M.is_successor()
  if not count or not successor and tonumber(os.getenv "LISTEN_PID" or "") ~= process.pid() then
    return found
  end
  local name_of = names()
  for fd = FIRST_FD, FIRST_FD + count - 1 do
    local kind = listener.adopt(fd)
    if kind then
      found[#found + 1] = {
        fd = fd, address = listener.address(fd), name = name_of[fd - FIRST_FD + 1], kind = kind, used = false,
      }
    end
  end
  local ready = successor and tonumber(os.getenv "TIDEGATE_READY_FD" or "")
  ready_fd = ready and listener.adopt(ready) and ready or nil
  return found
end

return M
