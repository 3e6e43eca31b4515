-- Bodies of the plain HTTP tunnel: lines of base64, in whatever framing they come.

local native = require "tidegate.native.pht"

local M = {}

local READ = 65536

--- @param framing of a message: length, "chunked" or "close"
-- @param most how many lines count; nothing: all
-- @return a function → what further lines said, maybe ""; false at the end | nil, err;
--   and the body, whose state() → whole lines so far, whether it is over, whether a line was no base64
function M.reader(stream, framing, most)
  local body = native.body(framing, most)
  local function more()
    local _, over = body:state()
    if over then
      return false
    end
    local bytes, err = stream:read(READ)
    if not bytes then
      if framing ~= "close" or err.code ~= "eof" then
        return nil, err
      end
      bytes = ""
    end
    local said, rest = body:feed(bytes)
    if not said then
      return nil, rest
    elseif rest ~= "" then
      stream:unread(rest)
    end
    return said
  end
  return more, body
end

return M
