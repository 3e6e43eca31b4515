-- The commands a service runs when it comes and goes: preUp, postUp, preDown, postDown.
--
-- Split like a shell's words, run without a shell, one after the other, with our own stdout and
-- stderr; a failing one is logged and the rest goes on (spec: lifecycle).

local log = require "tidegate.process.log"
local metadata = require "tidegate.metadata"
local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}

M.SCHEMA = {
  preUp = { type = "list", doc = "commands run before the service comes up" },
  postUp = { type = "list", doc = "commands run once the service accepts" },
  preDown = { type = "list", doc = "commands run before the service stops" },
  postDown = { type = "list", doc = "commands run after the service has stopped" },
}

--- Split a command line into words: blanks separate, quotes and backslashes protect.
-- @return a list | nil when a quote is not closed
function M.words(line)
  local words, word, quote, i = {}, nil, nil, 1
  while i <= #line do
    local c = line:sub(i, i)
    if quote then
      if c == quote then
        quote = nil
      elseif c == "\\" and quote == '"' and line:find('^["\\$`]', i + 1) then
        i = i + 1
        word = word .. line:sub(i, i)
      else
        word = word .. c
      end
    elseif c == "'" or c == '"' then
      quote, word = c, word or ""
    elseif c == "\\" and i < #line then
      i = i + 1
      word = (word or "") .. line:sub(i, i)
    elseif c:find "%s" then
      words[#words + 1], word = word, nil
    else
      word = (word or "") .. c
    end
    i = i + 1
  end
  words[#words + 1] = word
  return not quote and words or nil
end

local function run_one(service, stage, line)
  local words = M.words(line)
  if not words or #words == 0 then
    return log.default():warn("hook command is not readable", { "service", service, "stage", stage, "command", line })
  end
  log.default():info(("%s: %s"):format(stage, line), { "kind", "service", "service", service })
  local over = task.waiter()
  local handle, pid = uv.spawn(words[1], {
    args = { unpack(words, 2) },
    stdio = { nil, 1, 2 },
  }, function(code, signal)
    over:wake(code, signal)
  end)
  if not handle then
    return log.default():warn("hook command failed: " .. tostring(pid),
      { "service", service, "stage", stage, "command", line })
  end
  local code, signal = over:wait()
  handle:close()
  if code ~= 0 then
    local how = signal ~= 0 and ("signal %d"):format(signal) or ("exit status %d"):format(code)
    log.default():warn("hook command failed: " .. how, { "service", service, "stage", stage, "command", line })
  end
end

--- Run the commands of one stage of a service's configuration.
function M.run(service, stage)
  local values = metadata.parse(M.SCHEMA, service.metadata or {})
  for _, line in ipairs(values[stage] or {}) do
    run_one(service.name, stage, line)
  end
end

return M
