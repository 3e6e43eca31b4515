-- The kinds of policies, in the order they are built: what others refer to comes first.
--
-- A kind is a module with
--   kind, list   its word ("bypass") and the list of the configuration it is made from ("bypasses")
--   main         the method that scripts give as a bare function and that tg.wrap() wraps
--   new(config, env) → object | nil, err      in every worker; must not wait.  env = { name, registry,
--                data = what prepare() returned, log }
--   scripted(spec, env) → object of a script; `spec` is a table of methods (default: the spec itself)
--   on_error     what the main method answers when the script raises
--   loader       how lines and Redis items become items, see tidegate.policy.loader
--   prepare(config, loaded) → data | nil, err  once, in the control thread, which may wait
--   files(config) → list of files whose change means that prepare() is due again
--   attach(service, config) → true | nil, err while a service is built; begin(service) when it is in force
--   release(data)                             in the control thread, when no worker uses it any more
-- Objects have the methods of their kind, `load(data)` when items can change, and maybe `close()`.

local M = {}

local MODULES = {
  "auth",
  "admission",
  "bypass",
  "resolver",
  "hosts",
  "ingress",
  "routes",
  "sd",
  "limiter",
  "climiter",
  "rlimiter",
  "quota",
  "observer",
  "recorder",
  "rewriter",
  "cache",
}

local kinds = {}
local by_word, by_list = {}, {}

for i, name in ipairs(MODULES) do
  local kind = require("tidegate.policy." .. name)
  kinds[i], by_word[kind.kind], by_list[kind.list] = kind, kind, kind
end

--- All kinds, in order.
M.all = kinds

--- @return the kind of a word such as "bypass", or nil
function M.by_word(word)
  return by_word[word]
end

--- @return the kind whose objects are in a list such as "bypasses", or nil
function M.by_list(list)
  return by_list[list]
end

return M
