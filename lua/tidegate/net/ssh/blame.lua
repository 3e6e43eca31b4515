-- What went wrong between us and the other end of an SSH handshake, in an operator's words.

local failure = require "tidegate.failure"

-- What the library makes of an end that hangs up: errno of a call that did not fail.
local HUNG_UP = { "^Socket error", "^Connection closed", "^Remote host closed" }

--- @param peer "client" or "server"
--- @param reason what the library says; nil or "": nothing
--- @return the error to report
return function(peer, err, reason)
  if not reason or reason == "" then
    return err
  end
  for _, pattern in ipairs(HUNG_UP) do
    if reason:find(pattern) then
      return failure.new("protocol", ("SSH with the %s: it hung up; its transport may be another"):format(peer))
    end
  end
  return failure.new(err.code, ("SSH with the %s: %s"):format(peer, reason))
end
