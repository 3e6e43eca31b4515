-- Where a thread spends its time: samples of its stack, of Lua functions or of C's, as folded stacks.
--
-- LuaJIT's profiler looks at one VM of a process at a time, by a signal of a timer.  The signal is kept from
-- all threads but the one that is looked at.  C is looked at in all threads at once (tidegate.native.stacks).

local ffi = require "ffi"
local stacks = require "tidegate.native.stacks"
local task = require "tidegate.native.task"

local M = {}

ffi.cdef [[
typedef struct { unsigned long bits[16]; } tidegate_sigset;
int tidegate_sigmask(int how, const tidegate_sigset *set, tidegate_sigset *old) __asm__("pthread_sigmask");
int tidegate_sigempty(tidegate_sigset *set) __asm__("sigemptyset");
int tidegate_sigadd(tidegate_sigset *set, int number) __asm__("sigaddset");
]]

local SIGPROF, BLOCK, UNBLOCK = 27, 0, 1
local DEPTH = -100
local STACKS_MAX = 20000

local busy = false

local function mask(how)
  local set = ffi.new "tidegate_sigset"
  ffi.C.tidegate_sigempty(set)
  ffi.C.tidegate_sigadd(set, SIGPROF)
  ffi.C.tidegate_sigmask(how, set, nil)
end

--- Keep the profiler's signal from this thread, and from threads that it starts.
function M.shield()
  mask(BLOCK)
end

local function run_c(seconds)
  local ok, err = stacks.start()
  if not ok then
    return nil, err
  end
  task.sleep(seconds)
  return (stacks.stop())
end

--- Look at this thread for a while; other tasks go on.
-- @param kind "lua" or "c", whose stacks have addresses until M.fold() finds their names
-- @return { stack = samples } | nil, why not
function M.run(seconds, kind)
  if kind == "c" then
    return run_c(seconds)
  elseif busy then
    return nil, "a profile is being taken already"
  end
  local ok, profile = pcall(require, "jit.profile")
  if not ok then
    return nil, "this LuaJIT has no profiler"
  end
  busy = true
  local counts, different = {}, 0
  profile.start("fi5", function(thread, samples, state)
    local stack = profile.dumpstack(thread, "pF;", DEPTH)
    if state == "G" or state == "J" then
      stack = stack .. (state == "G" and ";(garbage collector)" or ";(compiler)")
    end
    if counts[stack] then
      counts[stack] = counts[stack] + samples
    elseif different < STACKS_MAX then
      counts[stack], different = samples, different + 1
    end
  end)
  mask(UNBLOCK)
  task.sleep(seconds)
  mask(BLOCK)
  profile.stop()
  busy = false
  return counts
end

--- @param one { name, counts, kind }
-- @return { "outer;inner" = samples }
function M.named(one)
  return one[3] == "c" and stacks.names(one[2]) or one[2]
end

--- Add the samples of several VMs up.
-- @param list of { name, counts, kind }
-- @return folded stacks: "name;outer;inner 12", a line each
function M.fold(list)
  local lines = {}
  for _, one in ipairs(list) do
    for stack, samples in pairs(M.named(one)) do
      lines[#lines + 1] = ("%s;%s %d"):format(one[1], stack:gsub(";$", ""), samples)
    end
  end
  table.sort(lines)
  return table.concat(lines, "\n") .. (#lines > 0 and "\n" or "")
end

return M
