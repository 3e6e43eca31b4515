-- "Did you mean": the known word closest to one that is not known.

local nearest = {}

-- Edit distance with swaps of neighbours counted as one.
local function distance(a, b)
  local rows = { [0] = {} }
  for j = 0, #b do
    rows[0][j] = j
  end
  for i = 1, #a do
    rows[i] = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1,
        rows[i - 1][j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, rows[i - 2][j - 2] + 1)
      end
      rows[i][j] = best
    end
  end
  return rows[#a][#b]
end

--- @return the words of a list that are close to `word`, the closest first, at most three
function nearest.find(word, known)
  local lowered = word:lower()
  local limit = #word <= 3 and 1 or #word <= 7 and 2 or 3
  local found = {}
  if #word > 64 then
    return found
  end
  for _, candidate in ipairs(known) do
    if math.abs(#candidate - #word) <= limit then
      local d = distance(lowered, candidate:lower())
      if d <= limit and d < #word then
        found[#found + 1] = { word = candidate, distance = d }
      end
    end
  end
  table.sort(found, function(a, b)
    if a.distance ~= b.distance then
      return a.distance < b.distance
    end
    return a.word < b.word
  end)
  local words = {}
  for i = 1, math.min(#found, 3) do
    words[i] = found[i].word
  end
  return words
end

--- @return "; did you mean X?" or ""
function nearest.hint(word, known)
  local words = nearest.find(word, known)
  if #words == 0 then
    return ""
  end
  return ("; did you mean %s?"):format(table.concat(words, " or "))
end

return nearest
