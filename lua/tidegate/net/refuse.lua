-- The last words to a client that is refused.

local linger = require "tidegate.net.linger"

--- Write the refusal, and see to it that what the client sends meanwhile does not reset the connection before
-- the client has read why.
-- @return nil, err
return function(stream, refusal, err)
  if stream:write(refusal) then
    linger(stream)
  end
  return nil, err
end
