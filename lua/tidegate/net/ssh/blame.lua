-- What went wrong between us and the other end of an SSH handshake, in an operator's words.

local failure = require "tidegate.failure"

-- What the library makes of an end that hangs up: errno of a call that did not fail.
local HUNG_UP = { "^Socket error", "^Connection closed", "^Remote host closed" }

--- @param peer "client" or "server"
--- @param reason what the library says; nil or "": nothing
--- @return the error to report
return function(peer, err, reason)
  if err.code == "timeout" then
    return failure.new("timeout",
      ("SSH with the %s: it does not answer; it may be none of SSH, or its transport another"):format(peer))
  end
  reason = reason or ""
  local left = reason == "" and err.code == "eof"
  for _, pattern in ipairs(HUNG_UP) do
    left = left or reason:find(pattern)
  end
  if left then
    return failure.new("protocol", ("SSH with the %s: it hung up; its transport may be another"):format(peer))
  elseif reason == "" then
    return err
  end
  return failure.new(err.code, ("SSH with the %s: %s"):format(peer, reason))
end
