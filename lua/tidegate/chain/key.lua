-- Names of shared objects, which may have 255 bytes: long ones are cut, and told apart by a checksum.

local crc32 = require "tidegate.chain.crc32"

local MAX = 200

--- @return a name short enough to have a word in front
return function(text)
  if #text <= MAX then
    return text
  end
  return ("%s#%08x%08x"):format(text:sub(1, MAX), crc32(text), crc32(text:reverse()))
end
