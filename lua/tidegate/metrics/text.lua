-- All that is counted, in the text format of Prometheus, version 0.0.4.

local buffer = require "string.buffer"
local luv = require "luv"
local metrics = require "tidegate.process.metrics"
local series = require "tidegate.native.series"
local shared = require "tidegate.native.shared"

local M = {}

local KEYS_MAX = 1000000
local PART = 65536
local MICRO = 1e-6
local MANY, LOOK_EVERY = 1000, 30 -- descriptors, seconds

local host_label

local function escape(text)
  return (text:gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }))
end

--- '{host="h",a="b"}' of names and values in turn; the label host comes first.
function M.labels(...)
  host_label = host_label or ('host="%s"'):format(escape(luv.os_gethostname()))
  local parts = { host_label }
  for i = 1, select("#", ...), 2 do
    local name, value = select(i, ...)
    parts[#parts + 1] = ('%s="%s"'):format(name, escape(tostring(value)))
  end
  return table.concat(parts, ",")
end

local function number(value)
  if value == math.floor(value) and math.abs(value) < 2 ^ 53 then
    return ("%.0f"):format(value)
  end
  return ("%.9g"):format(value)
end

local function head(out, name, kind, help)
  out:put("# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n")
end

--- One metric of several series: { { labels, value } … }; nothing without any.
function M.family(out, name, kind, help, list)
  if not list[1] then
    return
  end
  head(out, name, kind, help)
  for i = 1, #list do
    out:put(name, "{", list[i][1], "} ", number(list[i][2]), "\n")
  end
end

-- Series that workers count ----------------------------------------------------------------------

local LABELS = {
  client = function(a, b)
    return M.labels("service", a, "client", b)
  end,
  service = function(a)
    return M.labels("service", a)
  end,
  node = function(a, b)
    return M.labels("chain", a, "node", b)
  end,
  recorder = function(a)
    return M.labels("recorder", a)
  end,
  hook = function(a)
    return M.labels("hook", a)
  end,
  worker = function(a)
    return M.labels("worker", a)
  end,
}

-- name, kind of series, field, type, help, factor of the value
local COUNTED = {
  { "gost_service_requests_total", "client", "requests", "counter", "Total number of requests" },
  { "gost_service_requests_in_flight", "client", "in_flight", "gauge", "Current in-flight requests" },
  { "gost_service_request_duration_seconds", "service", "duration", "histogram",
    "Distribution of request latencies" },
  { "gost_service_transfer_input_bytes_total", "client", "input", "counter",
    "Total service input data transfer size in bytes" },
  { "gost_service_transfer_output_bytes_total", "client", "output", "counter",
    "Total service output data transfer size in bytes" },
  { "gost_service_handler_errors_total", "client", "errors", "counter", "Total service handler errors" },
  { "gost_chain_errors_total", "node", "errors", "counter", "Total chain errors" },
  { "gost_chain_node_connect_duration_seconds", "node", "duration", "histogram",
    "Distribution of chain node connect latencies" },
  { "gost_recorder_records_total", "recorder", "records", "counter", "Total records written by recorder" },
  { "tidegate_script_hook_calls_total", "hook", "calls", "counter", "Calls of functions of scripts" },
  { "tidegate_script_hook_seconds_total", "hook", "time", "counter",
    "Time from the call of a script's function to its end, waits included", MICRO },
  { "tidegate_worker_loop_lag_seconds", "worker", "lag", "histogram",
    "How much later than planned a worker's loop came round" },
}

-- What was seen of the shared dictionary so far.  Of plain counters C knows the lines: of ten thousand clients, an
-- object for each would take longer to go through, and to collect, than its line to be written.
local known = { count = -1, seen = {}, histograms = {}, lines = {} }

local function add_line(entry, a, b, labels)
  local name = entry[1]
  known.lines[name] = known.lines[name] or series.new()
  known.lines[name]:add(metrics.counter_name(entry[2], entry[3], a, b), name .. "{" .. labels .. "} ")
end

local function add_histogram(entry, a, b, labels)
  local list = known.histograms[entry[1]] or {}
  known.histograms[entry[1]] = list
  list[#list + 1] = { labels = labels, counters = metrics.counters(entry[2], a, b)[entry[3]] }
end

-- Find series that are new since the last look.
local function refresh()
  local dict = metrics.series()
  local count = dict:count()
  if count == known.count then
    return
  end
  known.count = count
  local fresh = {}
  for _, key in ipairs(dict:keys(KEYS_MAX)) do
    fresh[#fresh + 1] = not known.seen[key] and key or nil
  end
  table.sort(fresh)
  for _, key in ipairs(fresh) do
    known.seen[key] = true
    local kind, a, b = key:match "^(%w+)%z(.-)%z(.*)$"
    local labels = LABELS[kind](a, b)
    for _, entry in ipairs(COUNTED) do
      if entry[2] == kind then
        (entry[4] == "histogram" and add_histogram or add_line)(entry, a, b, labels)
      end
    end
  end
end

local function put_histogram(out, name, labels, histogram)
  local total = 0
  for i = 1, #histogram.bounds do
    total = total + histogram[i]:get()
    out:put(name, "_bucket{", labels, ',le="', tostring(histogram.bounds[i]), '"} ', number(total), "\n")
  end
  total = total + histogram[#histogram.bounds + 1]:get()
  out:put(name, "_bucket{", labels, ',le="+Inf"} ', number(total), "\n")
  out:put(name, "_sum{", labels, "} ", number(histogram.sum:get() * MICRO), "\n")
  out:put(name, "_count{", labels, "} ", number(total), "\n")
end

-- Whether a counter moved at all: those of errors appear with the first one.
local SPARSE = { gost_service_handler_errors_total = true, gost_chain_errors_total = true }

local function put_counted(out, parts, entry)
  local name = entry[1]
  if entry[4] ~= "histogram" then
    local text = known.lines[name] and known.lines[name]:text(entry[6], SPARSE[name]) or ""
    if text ~= "" then
      head(out, name, entry[4], entry[5])
      if #text > PART then -- not copied once more
        parts[#parts + 1], parts[#parts + 2] = out:get(), text
      else
        out:put(text)
      end
    end
  elseif known.histograms[name] then
    head(out, name, entry[4], entry[5])
    for _, one in ipairs(known.histograms[name]) do
      put_histogram(out, name, one.labels, one.counters)
    end
  end
end

-- The process -------------------------------------------------------------------------------------

local function slurp(path)
  local f = io.open(path)
  if not f then
    return ""
  end
  local text = f:read "*a"
  f:close()
  return text
end

local counted = { count = 0, at = 0 }

-- Linux 6.2 and later say it at once.  Before, somebody has to look at each: where there are many, not often.
local function count_descriptors()
  local stat = luv.fs_stat "/proc/self/fd"
  if stat and stat.size > 0 then
    return stat.size
  elseif counted.count > MANY and os.time() - counted.at < LOOK_EVERY then
    return counted.count
  end
  local count, scan = 0, luv.fs_scandir "/proc/self/fd"
  while scan and luv.fs_scandir_next(scan) do
    count = count + 1
  end
  counted.count, counted.at = count, os.time()
  return count
end

local function limit(text, name)
  local value = text:match(name .. " +(%S+)")
  return value == "unlimited" and 2 ^ 64 or tonumber(value) or 0
end

local started -- Unix seconds

local function start_time(ticks)
  if not started then
    started = (tonumber(slurp("/proc/stat"):match "btime (%d+)") or 0) + ticks / 100
  end
  return started
end

-- The metrics that Prometheus' own libraries have of every process; they carry no label.
local function put_process(out)
  local words = {}
  for word in (slurp("/proc/self/stat"):match "%) (.*)" or ""):gmatch "%S+" do
    words[#words + 1] = tonumber(word) or 0
  end
  local limits = slurp "/proc/self/limits"
  local usage = luv.getrusage()
  local function put(name, kind, help, value)
    head(out, name, kind, help)
    out:put(name, " ", number(value), "\n")
  end
  put("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
    usage.utime.sec + usage.stime.sec + (usage.utime.usec + usage.stime.usec) / 1e6)
  put("process_open_fds", "gauge", "Number of open file descriptors.", count_descriptors())
  put("process_max_fds", "gauge", "Maximum number of open file descriptors.", limit(limits, "Max open files"))
  put("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", luv.resident_set_memory())
  put("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", words[21] or 0)
  put("process_virtual_memory_max_bytes", "gauge", "Maximum amount of virtual memory available in bytes.",
    limit(limits, "Max address space"))
  put("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
    start_time(words[20] or 0))
end

-- Workers -----------------------------------------------------------------------------------------

-- field of a worker's vitals, name, type, help
local VITALS = {
  { "memory", "tidegate_worker_lua_memory_bytes", "gauge", "Memory that a worker's Lua objects take" },
  { "relays", "tidegate_worker_relays", "gauge", "Relays of streams that run" },
  { "sessions", "tidegate_worker_datagram_sessions", "gauge", "Relays of datagrams that run" },
  { "handlers", "tidegate_worker_handlers", "gauge", "Connections in the hands of handlers" },
  { "tasks", "tidegate_worker_tasks", "gauge", "Tasks of a worker, waiting ones included" },
  { "pool_free", "tidegate_worker_pool_free_bytes", "gauge", "Buffers that lie ready" },
  { "pool_lent", "tidegate_worker_pool_lent_bytes", "gauge", "Buffers that hold bytes on their way" },
  { "pipes", "tidegate_worker_pipes_free", "gauge", "Pipes for splice that lie ready" },
}

local function put_workers(out, workers)
  for _, row in ipairs(VITALS) do
    local list = {}
    for id, vitals in ipairs(workers) do
      list[id] = { M.labels("worker", id), vitals[row[1]] or 0 }
    end
    M.family(out, row[2], row[3], row[4], list)
  end
  local moved = {}
  for id, vitals in ipairs(workers) do
    moved[#moved + 1] = { M.labels("worker", id, "way", "splice"), vitals.spliced or 0 }
    moved[#moved + 1] = { M.labels("worker", id, "way", "copy"), vitals.copied or 0 }
  end
  M.family(out, "tidegate_relay_bytes_total", "counter",
    "Bytes that relays have moved, by splice or through buffers", moved)
end

local function put_states(out, states)
  local list = {}
  for _, state in ipairs { "running", "ready", "failed", "closed" } do
    list[#list + 1] = { M.labels("state", state), states[state] or 0 }
  end
  M.family(out, "gost_services", "gauge", "Current number of services", {
    { M.labels(), (states.running or 0) + (states.ready or 0) },
  })
  M.family(out, "gost_service_status", "gauge", "Number of services in each state", list)
end

--- Write everything.
-- @param facts { states = state → number of services, workers = list of their vitals }
-- @return a list of texts
function M.parts(facts)
  local out, parts = buffer.new(PART), {}
  refresh()
  put_states(out, facts.states)
  for _, entry in ipairs(COUNTED) do
    put_counted(out, parts, entry)
  end
  M.family(out, "tidegate_script_errors_total", "counter", "Errors that scripts have raised", {
    { M.labels(), shared.counter("script/errors"):get() },
  })
  put_workers(out, facts.workers)
  M.family(out, "tidegate_control_lua_memory_bytes", "gauge", "Memory that the control thread's Lua objects take", {
    { M.labels(), collectgarbage "count" * 1024 },
  })
  put_process(out)
  parts[#parts + 1] = out:get()
  return parts
end

--- The same as one text.
function M.write(facts)
  return table.concat(M.parts(facts))
end

return M
