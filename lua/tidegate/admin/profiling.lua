-- The profiling server: what of Go's pprof has a counterpart here.

local http = require "tidegate.admin.http"
local mask = require "tidegate.config.mask"
local profile = require "tidegate.process.profile"

local M = {}

local SECONDS, SECONDS_MAX = 30, 300

local INDEX = [[
/debug/pprof/cmdline                                   the command line
/debug/pprof/profile?seconds=30&worker=all&stacks=lua  where Lua spends its time, as folded stacks; or C: stacks=c
]]

local function command_line()
  local f = io.open("/proc/self/cmdline", "rb")
  local text = f and f:read "*a" or ""
  if f then
    f:close()
  end
  local arguments = {}
  for one in text:gmatch "%Z+" do -- nobody is asked who they are
    local before = arguments[#arguments] or ""
    local shown = before:find "^%-%-?[LF]$" and mask.text("-L " .. one):sub(4) or mask.text(one)
    arguments[#arguments + 1] = shown
  end
  return http.text(200, table.concat(arguments, "\0"), "text/plain; charset=utf-8")
end

local function take(control, request)
  local seconds = tonumber(request.query.seconds or SECONDS)
  if not seconds or seconds <= 0 or seconds > SECONDS_MAX then
    return http.text(400, ("seconds must be more than 0 and at most %d\n"):format(SECONDS_MAX))
  end
  local list, err = control.profile(request.query.worker or "all", seconds, request.query.stacks)
  if not list then
    return http.text(400, err .. "\n")
  end
  return http.text(200, profile.fold(list), "text/plain; charset=utf-8")
end

--- Make what answers requests, see tidegate.admin.http.
function M.new(_, control)
  local pages = {
    ["/debug/pprof/"] = function()
      return http.text(200, INDEX, "text/plain; charset=utf-8")
    end,
    ["/debug/pprof/cmdline"] = command_line,
    ["/debug/pprof/profile"] = function(request)
      return take(control, request)
    end,
  }
  return {
    refuse = function(request)
      if not pages[request.path] or request.method ~= "GET" then
        return http.text(404, "404 page not found\n")
      end
    end,
    respond = function(request)
      return pages[request.path](request)
    end,
  }
end

return M
