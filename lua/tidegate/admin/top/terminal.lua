-- A terminal as a screen: whole pictures out, keys in, and as it was when we leave it.

local luv = require "luv"

local M = {}
local methods = {}
local mt = { __index = methods }

local ENTER = "\27[?1049h\27[?25l\27[?7l" -- the other screen, no cursor, no wrapping
local LEAVE = "\27[?7h\27[?25h\27[?1049l"
local PLAIN = { chosen = "\27[7m" }
local COLORS = {
  head = "\27[1m", title = "\27[1;36m", bad = "\27[31m", soft = "\27[2m", chosen = "\27[7m",
}

local function has_text(name)
  return (os.getenv(name) or "") ~= ""
end

--- @return whether both ends of a conversation are at a terminal
function M.is_there()
  return luv.guess_handle(0) == "tty" and luv.guess_handle(1) == "tty" and os.getenv "TERM" ~= "dumb"
end

--- Take the terminal over.
-- @param write function(text)
-- @param on_event function(kind, value): "bytes", text (nil: the terminal is gone); "size"; "signal", its name
function M.open(write, on_event)
  local self = setmetatable({
    write = write, input = luv.new_tty(0, true), output = luv.new_tty(1, false), signals = {},
    styles = has_text "NO_COLOR" and PLAIN or COLORS,
  }, mt)
  self.input:set_mode(1)
  self.input:read_start(function(_, bytes)
    on_event("bytes", bytes)
  end)
  for _, name in ipairs { "sigint", "sigterm", "sighup", "sigwinch" } do
    local handle = luv.new_signal()
    handle:start(name, function()
      on_event(name == "sigwinch" and "size" or "signal", name)
    end)
    self.signals[#self.signals + 1] = handle
  end
  write(ENTER)
  return self
end

--- @return columns, rows
function methods:size()
  local width, height = self.output:get_winsize()
  width, height = tonumber(width) or 80, tonumber(height) or 24
  return width > 0 and width or 80, height > 0 and height or 24
end

--- Show lines, one a row.
function methods:show(lines)
  local out = { "\27[H" }
  for i, line in ipairs(lines) do
    local style = self.styles[line.style]
    out[#out + 1] = (style or "") .. line.text .. "\27[K" .. (style and "\27[0m" or "")
    out[#out + 1] = i < #lines and "\r\n" or "\27[J"
  end
  self.write(table.concat(out))
end

--- Leave it as it was.
function methods:close()
  if not self.closed then
    self.closed = true
    self.write(LEAVE)
    luv.tty_reset_mode()
    for _, handle in ipairs(self.signals) do
      handle:close()
    end
  end
end

--- The keys that bytes of a terminal mean: "up", "down", "enter", "escape", "erase", "quit" (Ctrl-C), or the
-- character.
-- @return list of keys, the bytes of one that is not whole yet
function M.keys(bytes)
  local list = {}
  while #bytes > 0 do
    local key, size
    local first = bytes:byte()
    if first == 27 then
      local sequence = bytes:match "^\27%[[%d;]*[%a~]" or bytes:match "^\27O%a"
      if not sequence and bytes:find "^\27[%[O][%d;]*$" then
        return list, bytes
      end
      local final = sequence and sequence:sub(-1)
      key = not sequence and "escape" or final == "A" and "up" or final == "B" and "down" or "other"
      size = sequence and #sequence or 1
    elseif first < 32 or first == 127 then
      key = first == 13 and "enter" or first == 10 and "enter" or first == 3 and "quit" or first == 4 and "quit"
        or (first == 127 or first == 8) and "erase" or "other"
      size = 1
    else
      size = first < 192 and 1 or first < 224 and 2 or first < 240 and 3 or 4
      if #bytes < size then
        return list, bytes
      end
      key = bytes:sub(1, size)
    end
    list[#list + 1] = key
    bytes = bytes:sub(size + 1)
  end
  return list, ""
end

return M
