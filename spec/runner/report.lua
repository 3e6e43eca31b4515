--- Counts and prints what the steps came to.
local tap = require "spec.runner.tap"

local M = {}

local methods = {}
local mt = { __name = "tidegate.spec.report", __index = methods }

local FAILURE_LINES = 60

function M.new()
  return setmetatable({ passed = 0, failed = 0, skipped = 0, failures = {} }, mt)
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function tail(text, count)
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  return table.concat(lines, "\n", math.max(1, #lines - count + 1))
end

-- Why the process itself failed, whatever its tests said; nil when it did not.
local function process_failure(step, result, counts)
  if result.timed_out then
    return ("timed out after %d s"):format(step.timeout)
  elseif result.sanitizer then
    return "a sanitizer reported"
  elseif result.signal ~= 0 then
    return ("killed by signal %d"):format(result.signal)
  elseif counts and counts.failed == 0 then
    local seen = counts.passed + counts.skipped
    if counts.planned ~= seen or seen == 0 then
      return ("%d tests were planned, %d seen"):format(counts.planned, seen)
    end
  end
  if result.code ~= 0 and not (counts and counts.failed > 0) then
    return ("exit code %d"):format(result.code)
  end
end

local function describe(counts, reason, log)
  local lines = {}
  for _, failure in ipairs(counts and counts.failures or {}) do
    lines[#lines + 1] = table.concat(failure, "\n", 1, math.min(#failure, FAILURE_LINES))
  end
  if reason then
    lines[#lines + 1] = reason
    lines[#lines + 1] = tail(log, FAILURE_LINES)
  end
  return table.concat(lines, "\n")
end

--- Take in the result of a step.  Returns whether it went well.
function methods:step(step, result)
  local log = read(result.log)
  local counts = step.tap and tap.parse(log) or nil
  local reason = process_failure(step, result, counts)
  local passed, failed
  if counts and not step.count_as_one then
    passed, failed = counts.passed, counts.failed + (reason and 1 or 0)
    self.skipped = self.skipped + counts.skipped
  else
    failed = (reason or counts and counts.failed > 0) and 1 or 0
    passed = 1 - failed
  end
  self.passed, self.failed = self.passed + passed, self.failed + failed

  local well = failed == 0
  print(("%-4s %-58s %4d passed %7.1f s%s"):format(well and "ok" or "FAIL", step.name, passed,
    result.seconds, failed > 0 and ("  " .. failed .. " failed") or ""))
  if not well then
    local text = describe(counts, reason, log):gsub("[^\n]+", "     %0")
    print(text)
    self.failures[#self.failures + 1] = step.name .. "  (" .. result.log .. ")"
  end
  io.stdout:flush()
  return well
end

--- A step that could not run; what it waited for has been counted as failed.
function methods:skip(step, reason)
  print(("---- %-58s not run: %s"):format(step.name, reason))
  if reason:match("^sig") then self.failed = self.failed + 1 end
end

--- Print the end.  Returns the exit code.
function methods:finish()
  if #self.failures > 0 then
    print("\nFailed:")
    for _, name in ipairs(self.failures) do print("  " .. name) end
  end
  if self.skipped > 0 then print(("\n%d tests skipped themselves"):format(self.skipped)) end
  print(("\n%d passed, %d failed"):format(self.passed, self.failed))
  io.stdout:flush()
  return (self.failed > 0 or self.passed == 0) and 1 or 0
end

return M
