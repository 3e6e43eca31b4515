--- Reads what busted and cmocka print in the Test Anything Protocol.
local M = {}

--- Parse the text of a run.
-- Returns { passed, failed, skipped, planned, failures }: counts, and for each failed test the
-- lines that describe it.
function M.parse(text)
  local counts = { passed = 0, failed = 0, skipped = 0, planned = 0, failures = {} }
  local current
  for line in text:gmatch("[^\n]*") do
    local planned = line:match("^1%.%.(%d+)")
    if planned then
      counts.planned = counts.planned + tonumber(planned)
    elseif line:match("^ok %d+") then
      current = nil
      local kind = line:match("# [Ss][Kk][Ii][Pp]") and "skipped" or "passed"
      counts[kind] = counts[kind] + 1
    elseif line:match("^not ok %d+") then
      counts.failed = counts.failed + 1
      current = { line }
      counts.failures[#counts.failures + 1] = current
    elseif current and line:match("^#") then
      current[#current + 1] = line
    end
  end
  return counts
end

return M
