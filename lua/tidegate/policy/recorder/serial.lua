-- What is recorded of a serial line: each piece read and written, marked and dated as the binding says.

local clock = require "tidegate.process.clock"

local M = {}

local ROW = 16
local MARKS = { input = ">", output = "<" }

--- Bytes as `hexdump -C` lays them out, without its last line.
function M.hexdump(data)
  local lines = {}
  for from = 1, #data, ROW do
    local row = data:sub(from, from + ROW - 1)
    local hex = {}
    for i = 1, ROW do
      hex[#hex + 1] = i <= #row and ("%02x "):format(row:byte(i)) or "   "
      if i == ROW / 2 then
        hex[#hex + 1] = " "
      end
    end
    lines[#lines + 1] = ("%08x  %s |%s|\n"):format(from - 1, table.concat(hex), (row:gsub("[^\32-\126]", ".")))
  end
  return table.concat(lines)
end

--- The record of a piece.
-- @param way "input": read from the line, "output": written to it
-- @param options of the binding (tidegate.policy.recorder): direction, time_format, hexdump
function M.record(data, way, options)
  local head = options.direction and MARKS[way] or ""
  if options.time_format and options.time_format ~= "" then
    head = head .. clock.format(options.time_format, clock.now())
  end
  return (head ~= "" and head .. "\n" or "") .. (options.hexdump and M.hexdump(data) or data)
end

return M
