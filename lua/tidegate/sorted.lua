-- The keys of a map in order, for what people read and compare.

--- @param map whose keys are all texts, or all numbers
-- @return list of them
return function(map)
  local names = {}
  for name in pairs(map) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end
