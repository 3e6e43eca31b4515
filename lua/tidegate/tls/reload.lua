-- Certificates and CAs that change on disk are taken over without a restart.  Asked on the way of
-- connections, so that an idle service costs nothing; it looks at the files every few seconds.

local log = require "tidegate.process.log"
local task = require "tidegate.native.task"

local M = {}

local INTERVAL = 5000 -- ms between two looks

local due = setmetatable({}, { __mode = "k" }) -- context → when to look again

--- Look whether the files of a context have changed, if it is time.
function M.check(context)
  local now = task.now()
  local at = due[context]
  if at and now < at then
    return
  end
  due[context] = now + INTERVAL
  if not at then
    return -- it has just been made
  end
  local renewed, err = context:refresh()
  if renewed then
    log.default():info "tls: changed certificates are in use from now on"
  elseif err then
    log.default():error("tls: changed files are not used, those loaded before still are: "
      .. tostring(err))
  end
end

return M
