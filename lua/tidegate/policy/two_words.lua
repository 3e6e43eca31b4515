-- Lists whose items are two words: lines "a.example tunnel-id  # remark", fields and values of Redis hashes.

--- @param first, second the keys that an item of the list has for the words
-- @param types which types of Redis may hold the list, besides hashes
-- @return what a kind of policy has as its `loader`
return function(first, second, types)
  local function read_line(text)
    local a, b = text:gsub("#.*", ""):match "^%s*(%S+)%s+(%S+)"
    return a and { [first] = a, [second] = b }
  end

  return {
    redis = "hash",
    types = types,
    comments = "any",
    line = read_line,
    item = function(field, value)
      return read_line(value and field .. " " .. value or field)
    end,
  }
end
