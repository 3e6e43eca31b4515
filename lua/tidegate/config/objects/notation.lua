-- How objects of the configuration are written down.
--
-- A field is { name, type, … }.  Types: string int bool dur map (free metadata) texts (map of text)
-- ignored (read-only in gost), the name of an object, or "[]" and one of these for a list.
--   always  printed even when empty
--   json    its name in JSON, where that differs
--   bare    (objects) a plain text stands for an object with this field
--   ref     the value names an object of this list of the root
--   omit    left out of JSON when empty although `always` is set

local M = {}

--- name → { name, fields = {…}, by_key = { lower-cased name → field } }
M.objects = {}

--- Describe an object in a short notation: each field is { name, type, doc, … }; "name*" is always printed.
-- @param extra nil or what else there is to say of it (`bare`)
function M.object(name, fields, extra)
  local made = extra or {}
  made.name, made.fields, made.by_key = name, {}, {}
  for i, short in ipairs(fields) do
    local field = {}
    for key, value in pairs(short) do
      field[key] = value
    end
    field.name, field.always = short[1]:gsub("%*$", "")
    field.always = field.always > 0
    field.type = short[2]
    field.doc = short[3]
    field.item = field.type:match("^%[%](.+)$")
    field[1], field[2], field[3] = nil, nil, nil
    made.fields[i] = field
    made.by_key[field.name:lower()] = field
  end
  M.objects[name] = made
end

--- A field whose value names an object of this list.
function M.ref(list, field)
  field.ref = list
  return field
end

--- The fields of everything whose items may come from elsewhere: reload, file, redis, http, plugin.
M.SOURCES = {
  { "reload", "dur", "how often the sources below are read again; 0: once" },
  { "file", "file_loader", "read items from a file" },
  { "redis", "redis_loader", "read items from Redis" },
  { "http", "http_loader", "read items from a URL" },
  { "plugin", "plugin", "ask a plugin instead" },
}

return M
