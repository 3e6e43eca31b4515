--- docs/interop.md from the results of ./dev interop.
local interop = require "spec.helpers.interop"

local M = {}

local HEAD = [[
# What was run against what

Written by `./dev interop`, which starts every pair below on one machine and sends real traffic through it; most of them
run with smaller volumes in the test suite (`spec/interop/matrix_spec.lua`). The traffic comes from a program that knows
nothing of tidegate's code (`spec/interop/peers/traffic.py`):

| column | what passed |
|---|---|
| small | one request and its answer |
| %(mib)d MiB | %(mib)d MiB in each direction at the same time, compared by SHA-256 at both ends |
| %(many)d at once | %(many)d connections, all open at the same time, each asked twice |
| half-close | one side ends its direction and still gets what the other sends: first the client, then the origin |
| abrupt end | a client's reset ends the origin's connection, an origin's the client's, and the next request works |
| UDP | datagrams of 1 to 1200 bytes and their answers |

✓ passed; "client" passed for the client's side only; – does not apply; – with a number: cannot, see the note.
What was not run is not counted.

]]

local COLUMNS = {
  small = "small", bulk = "%d MiB", many = "%d at once", half = "half-close", abrupt = "abrupt end", udp = "UDP",
}

local function fill(text, values)
  return (text:gsub("%%%((%w+)%)d", values))
end

local notes_mt = {}
notes_mt.__index = notes_mt

-- Numbers of footnotes, the same for the same text.
function notes_mt:number(text)
  if not self.numbers[text] then
    self[#self + 1] = text
    self.numbers[text] = #self
  end
  return self.numbers[text]
end

local function cell(result, notes)
  if not result then
    return "–"
  elseif result.state == "yes" then
    return "✓"
  elseif result.state == "partly" then
    return ("client [%d](#notes)"):format(notes:number(result.why))
  elseif result.state == "cannot" then
    return ("– [%d](#notes)"):format(notes:number(result.why))
  end
  return ("**failed** [%d](#notes)"):format(notes:number(result.why))
end

local function header(peer)
  local cells = { "protocol", peer .. " is", "tidegate is" }
  for _, check in ipairs(interop.CHECKS) do
    local text = COLUMNS[check]:gsub("%%d", interop.FULL[check == "bulk" and "mib" or "many"])
    cells[#cells + 1] = text
  end
  return ("| %s |\n|%s\n"):format(table.concat(cells, " | "), ("---|"):rep(#cells))
end

local function row(one, notes)
  local note = one.note and (" [%d](#notes)"):format(notes:number(one.note)) or ""
  local cells = { one.protocol .. note, one.role, one.ours }
  for _, check in ipairs(interop.CHECKS) do
    cells[#cells + 1] = cell(one.results[check], notes)
  end
  return "| " .. table.concat(cells, " | ") .. " |\n"
end

local function count(kept)
  local passed, cannot, failed = 0, 0, 0
  for _, one in ipairs(kept.rows) do
    for _, result in pairs(one.results) do
      passed = passed + ((result.state == "yes" or result.state == "partly") and 1 or 0)
      cannot = cannot + (result.state == "cannot" and 1 or 0)
      failed = failed + (result.state == "failed" and 1 or 0)
    end
  end
  return passed, cannot, failed
end

local function summary(peers, all)
  local out = { "| peer | version | pairs | checks passed | cannot | failed |\n|---|---|---|---|---|---|\n" }
  for _, peer in ipairs(peers) do
    local kept = all[peer.name]
    if kept.missing then
      out[#out + 1] = ("| %s | | not run: %s | | | |\n"):format(kept.name, kept.missing)
    else
      out[#out + 1] = ("| %s | %s | %d | %d | %d | %d |\n"):format(kept.name, kept.version, #kept.rows, count(kept))
    end
  end
  return table.concat(out)
end

--- @param peers as interop.peers()
-- @param all name → { name, version, rows } or { name, missing }
-- @return the page's text
function M.write(peers, all)
  local notes = setmetatable({ numbers = {} }, notes_mt)
  local out = { fill(HEAD, interop.FULL), summary(peers, all) }
  for _, peer in ipairs(peers) do
    local kept = all[peer.name]
    if not kept.missing then
      out[#out + 1] = ("\n## %s %s\n\n%s%s"):format(kept.name, kept.version, kept.about and kept.about .. "\n\n" or "",
        header(kept.name))
      for _, one in ipairs(kept.rows) do
        out[#out + 1] = row(one, notes)
      end
    end
  end
  if #notes > 0 then
    out[#out + 1] = "\n## Notes\n\n"
    for i, text in ipairs(notes) do
      out[#out + 1] = ("%d. %s\n"):format(i, text)
    end
  end
  return table.concat(out)
end

return M
