-- What `tidegate top` shows: figures in, lines of text out.  Knows nothing of terminals.

local M = {}

local SERVICES_MAX, NODES_MAX = 12, 8 -- of a screen's lines; what is more is counted
local FIXED_LINES = 8 -- head, titles and the line of keys

local UNITS = { "B", "K", "M", "G", "T" }

local function bytes(n)
  local unit = 1
  while n >= 1000 and unit < #UNITS do
    n, unit = n / 1024, unit + 1
  end
  return (unit > 1 and n < 9.95 and "%.1f%s" or "%.0f%s"):format(n, UNITS[unit])
end

local function per_second(n)
  return n >= 1 and bytes(n) .. "/s" or "-"
end

local function age(seconds)
  if seconds < 60 then
    return ("%.0fs"):format(seconds)
  elseif seconds < 3600 then
    return ("%dm%02ds"):format(seconds / 60, seconds % 60)
  elseif seconds < 86400 then
    return ("%dh%02dm"):format(seconds / 3600, seconds % 3600 / 60)
  end
  return ("%dd%02dh"):format(seconds / 86400, seconds % 86400 / 3600)
end

-- What others have named may hold anything; a terminal is to obey none of it.
local function clean(text)
  return (tostring(text == nil and "-" or text):gsub("[%z\1-\31\127]", "?"):gsub("\194[\128-\159]", "?"))
end

local function columns_of(text)
  return select(2, text:gsub("[^\128-\191]", ""))
end

--- Cut a text to so many columns.
function M.cut(text, width)
  if columns_of(text) <= width then
    return text
  end
  local count, last = 0, 0
  for at in text:gmatch "()[^\128-\191]" do
    count = count + 1
    if count > width then
      break
    end
    last = at
  end
  local stop = text:find("[^\128-\191]", last + 1) or #text + 1
  return text:sub(1, stop - 1)
end

local function pad(text, width, right)
  local gap = (" "):rep(width - columns_of(text))
  return right and gap .. text or text .. gap
end

-- Rows as wide as their columns need.  @param align text with a letter a column: l or r
local function lines_of(rows, align, marks)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, columns_of(text))
    end
  end
  for i, row in ipairs(rows) do
    local texts = {}
    for j, text in ipairs(row) do
      texts[j] = j == #row and align:sub(j, j) == "l" and text or pad(text, widths[j], align:sub(j, j) == "r")
    end
    lines[i] = { text = " " .. table.concat(texts, "  "), style = i == 1 and "title" or marks and marks[i] or nil }
  end
  return lines
end

-- Changes -----------------------------------------------------------------------------------------

local function rate(now, before, key, seconds)
  return before and seconds > 0 and math.max((now[key] or 0) - (before[key] or 0), 0) / seconds or 0
end

--- Add to figures how fast they change since those before them: inputRate and outputRate of services and of
-- all, and `load` of the process (CPUs).
-- @param before earlier figures, or nil
function M.compare(now, before)
  local seconds, by_name = before and now.time - before.time or 0, {}
  for _, service in ipairs(before and before.services or {}) do
    by_name[service.name] = service
  end
  now.total.inputRate, now.total.outputRate = 0, 0
  for _, service in ipairs(now.services) do
    local old = by_name[service.name]
    service.inputRate = rate(service, old, "inputBytes", seconds)
    service.outputRate = rate(service, old, "outputBytes", seconds)
    now.total.inputRate = now.total.inputRate + service.inputRate
    now.total.outputRate = now.total.outputRate + service.outputRate
  end
  now.process.load = rate(now.process, before and before.process, "cpu", seconds)
  return now
end

-- Parts -------------------------------------------------------------------------------------------

local function head(view)
  local all, total = view.figures.process, view.figures.total
  local memory, lua = bytes(all.memory), bytes(all.lua)
  return {
    { text = ("tidegate %s  process %d  up %s  CPU %.0f%%  memory %s (Lua %s)  workers %d"):format(all.version, all.pid,
      age(all.uptime), all.load * 100, memory, lua, all.workers), style = "head" },
    { text = ("in %s  out %s  open %d  sessions %d  ever %d  errors %d%s"):format(per_second(total.inputRate),
      per_second(total.outputRate), total.currentConns, all.sessions, total.totalConns, total.totalErrs,
      view.paused and "  PAUSED" or ""), style = "head" },
  }
end

local STATES = { ready = "good", running = "good", failed = "bad", closed = "bad" }

local function services(view)
  local rows = { { "SERVICE", "ADDRESS", "HANDLER", "STATE", "OPEN", "EVER", "IN", "OUT", "TOTAL IN", "TOTAL OUT",
    "ERRORS" } }
  local marks = {}
  for i, one in ipairs(view.figures.services) do
    rows[i + 1] = {
      clean(one.name), clean(one.addr), clean(one.handler), one.drained and "drained" or clean(one.state),
      tostring(one.currentConns), tostring(one.totalConns), per_second(one.inputRate), per_second(one.outputRate),
      bytes(one.inputBytes), bytes(one.outputBytes), tostring(one.totalErrs),
    }
    marks[i + 1] = STATES[one.state] == "bad" and "bad" or nil
  end
  return lines_of(rows, "llllrrrrrrr", marks)
end

local function nodes(view)
  local rows, marks = { { "NODE", "OF", "ADDRESS", "STATE", "FAILS", "LATENCY", "OPEN" } }, {}
  for i, one in ipairs(view.nodes) do
    local latency, bad = one.probeLatency or one.latency, one.failed or one.healthy == false
    rows[i + 1] = {
      clean(one.name), clean(one.hop or one.chain or one.service), clean(one.addr),
      one.failed and "failed" or one.healthy == false and "unhealthy" or one.healthy and "healthy" or "-",
      tostring(one.fails or 0), latency and latency > 0 and ("%.1f ms"):format(latency * 1000) or "-",
      one.connections and tostring(one.connections) or "-",
    }
    marks[i + 1] = bad and "bad" or nil
  end
  return #rows > 1 and lines_of(rows, "llllrrr", marks) or {}
end

local function connections(view)
  local rows, marks = { { "", "CLIENT", "USER", "SERVICE", "IN", "OUT", "TOTAL IN", "TOTAL OUT", "AGE", "ROUTE" } }, {}
  for i, one in ipairs(view.connections.items) do
    local chosen = view.selected ~= nil and one.sid == view.selected
    rows[i + 1] = {
      chosen and ">" or " ", clean(one.client), clean(one.user), clean(one.service), per_second(one.inputRate or 0),
      per_second(one.outputRate or 0), bytes(one.inputBytes), bytes(one.outputBytes), age(one.age),
      clean(one.route or one.host),
    }
    marks[i + 1] = chosen and "chosen" or nil
  end
  local lines = lines_of(rows, "llllrrrrrl", marks)
  local filter = view.filter_text ~= "" and ", " .. clean(view.filter_text) or ""
  table.insert(lines, 1, { style = "head", text = ("connections: %d of %d, by %s%s"):format(
    #view.connections.items, view.connections.total, view.sort, filter) })
  return lines
end

local function append(out, lines, most)
  local shown = most and math.min(#lines, most) or #lines
  for i = 1, shown do
    out[#out + 1] = lines[i]
  end
  if shown < #lines then
    out[#out] = { text = (" … %d more"):format(#lines - shown + 1), style = "soft" }
  end
  if #lines > 0 then
    out[#out + 1] = { text = "" }
  end
end

--- How many connections a screen has room for.
function M.room(view, height)
  local above = view.figures and math.min(#view.figures.services, SERVICES_MAX) + 1 or 2
  local beside = view.shows_nodes and view.nodes and math.min(#view.nodes, NODES_MAX) + 2 or 0
  return math.max(height - FIXED_LINES - above - beside + 1, 1)
end

local KEYS = "q quit  p pause  s sort  / filter  ↑↓ select  k kill  n nodes"

--- The lines of a screen.
-- @param view { figures (compared), nodes, connections = { total, items }, sort, filter_text, selected, paused,
--   shows_nodes, prompt }
-- @param height nil: everything, without the line of keys
-- @return list of { text, style = nil, head, title, bad, soft or chosen }
function M.lines(view, width, height)
  local out = {}
  append(out, head(view))
  append(out, services(view), height and SERVICES_MAX + 1)
  if view.shows_nodes then
    append(out, nodes(view), height and NODES_MAX + 1)
  end
  append(out, connections(view))
  out[#out] = nil -- the empty one at the end
  if height then
    for i = #out, height, -1 do
      out[i] = nil
    end
    for i = #out + 1, height - 1 do
      out[i] = { text = "" }
    end
    out[height] = { text = clean(view.prompt or KEYS), style = view.prompt and "head" or "soft" }
  end
  for _, line in ipairs(out) do
    line.text = M.cut(line.text, width)
  end
  return out
end

return M
