-- The kinds of policies, in the order they are built: what others refer to comes first.
--
-- A kind is a module with
--   kind, list   its word ("bypass") and the list of the configuration it is made from ("bypasses")
--   main         the method that scripts give as a bare function and that tg.wrap() wraps
--   new(config, env) → object | nil, err      in every worker; must not wait.  env = { name, registry,
--                data = what prepare() returned, log }
--   scripted(spec, env) → object of a script; `spec` is a table of methods (default: the spec itself)
--   answer(…)    what a script's main method should have answered, when it makes no sense (guard.expect)
--   on_error     what the main method answers when the script raises
--   loader       how lines and Redis items become items, see tidegate.policy.loader
--   prepare(config, loaded) → data | nil, err  once, in the control thread, which may wait
--   files(config) → list of files whose change means that prepare() is due again
--   attach(service, config) → true | nil, err while a service is built; begin(service) when it is in force
--   release(data)                             in the control thread, when no worker uses it any more
-- Objects have the methods of their kind, `load(data)` when items can change, and maybe `close()`.

local M = {}

-- module, word, list, and the keys of a service, its handler or its listener that speak of it.  Modules
-- are loaded when a configuration or a script needs them: most need few, and memory at rest counts.
local ROWS = {
  { "auth", "auther", "authers", { "auther", "authers", "auth" } },
  { "admission", "admission", "admissions", { "admission", "admissions" } },
  { "bypass", "bypass", "bypasses", { "bypass", "bypasses" } },
  { "resolver", "resolver", "resolvers", { "resolver" } },
  { "hosts", "hosts", "hosts", { "hosts" } },
  { "ingress", "ingress", "ingresses", {} },
  { "routes", "router", "routers", {} },
  { "sd", "sd", "sds", {} },
  { "limiter", "limiter", "limiters", { "limiter" } },
  { "climiter", "climiter", "climiters", { "climiter" } },
  { "rlimiter", "rlimiter", "rlimiters", { "rlimiter" } },
  { "quota", "quota", "quotas", { "quotas" } },
  { "observer", "observer", "observers", { "observer", "metadata" } },
  { "recorder", "recorder", "recorders", { "recorders" } },
  { "rewriter", "rewriter", "rewriters", {} },
  { "cache", "cache", "caches", { "cache" } },
}

-- A row stands for its module, and fetches it when more is asked of it than its words.
local row_mt = {
  __index = function(row, key)
    return require("tidegate.policy." .. rawget(row, "module"))[key]
  end,
}

local kinds = {}
local by_word, by_list = {}, {}

for i, row in ipairs(ROWS) do
  local kind = setmetatable({ module = row[1], kind = row[2], list = row[3], keys = row[4] }, row_mt)
  kinds[i], by_word[kind.kind], by_list[kind.list] = kind, kind, kind
end

--- All kinds, in order.
M.all = kinds

--- @return whether the configuration of a service says anything that a kind might read
function M.concerns(kind, config)
  for _, part in ipairs { config, config.handler or false, config.listener or false } do
    for _, key in ipairs(part and kind.keys or {}) do
      if part[key] ~= nil then
        return true
      end
    end
  end
  return false
end

--- @return the kind of a word such as "bypass", or nil
function M.by_word(word)
  return by_word[word]
end

--- @return the kind whose objects are in a list such as "bypasses", or nil
function M.by_list(list)
  return by_list[list]
end

return M
