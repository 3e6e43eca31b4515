-- The reference as Markdown, one page a kind.

local component = require "tidegate.component"
local model = require "runtime.docs.model"

local M = {}

local HEAD = "<!-- Made by ./dev docs from the schemas; what is edited here is lost. -->\n\n"
local INTRO = {
  listener = "How connections come in: `listener.type`, or the second part of the scheme of a `-L`.",
  handler = "What is spoken with clients: `handler.type`, or the first part of the scheme of a `-L`.",
  dialer = "How a node is reached: `dialer.type`, or the second part of the scheme of a `-F`.",
  connector = "What is spoken with a node: `connector.type`, or the first part of the scheme of a `-F`.",
}

local function cell(text)
  return (text:gsub("|", "\\|"):gsub("<", "&lt;"))
end

local function code(text)
  return text == "" and "" or "`" .. text:gsub("|", "\\|") .. "`"
end

local function codes(list)
  local out = {}
  for i, text in ipairs(list) do
    out[i] = code(text)
  end
  return table.concat(out, ", ")
end

local function key_table(out, keys)
  if #keys == 0 then
    out[#out + 1] = "It has no settings.\n\n"
    return
  end
  out[#out + 1] = "| key | type | default | |\n|---|---|---|---|\n"
  for _, key in ipairs(keys) do
    local also = #key.aliases > 0 and ("%salso %s"):format(key.doc == "" and "" or "; ", codes(key.aliases)) or ""
    out[#out + 1] = ("| %s | %s | %s | %s%s |\n"):format(code(key.name), key.type, code(key.default),
      cell(key.doc), also)
  end
  out[#out + 1] = "\n"
end

local function components_page(kind)
  local title = kind:sub(1, 1):upper() .. kind:sub(2) .. "s"
  local out = { HEAD, "# ", title, "\n\n", INTRO[kind], "\n\n" }
  local list = model.components(kind)
  local links = {}
  for i, item in ipairs(list) do
    links[i] = ("[%s](#%s)"):format(item.name, item.name)
  end
  out[#out + 1] = table.concat(links, " · ") .. "\n\n"
  for _, item in ipairs(list) do
    out[#out + 1] = ("## %s\n\n%s.%s\n\n"):format(item.name, cell(item.doc),
      #item.aliases > 0 and " Also called " .. codes(item.aliases) .. "." or "")
    key_table(out, item.keys)
  end
  return table.concat(out)
end

local SHARED = {
  service = "of every service", handler = "of every handler, beside its own",
  hop = "of a hop", node = "of a node, and of a target of a forwarder",
}

local function shared_page()
  local out = { HEAD, "# Metadata that no component owns\n\n" }
  for _, part in ipairs(model.shared_keys()) do
    out[#out + 1] = ("## %s\n\nThe `metadata` %s.\n\n"):format(part.name, SHARED[part.name])
    key_table(out, part.keys)
  end
  return table.concat(out)
end

local function type_text(field)
  if field.ref then
    local list = ("%s of [%s](#root)"):format(field.is_list and "names" or "name", field.ref)
    return list
  elseif field.object then
    return ("%s[%s](#%s)"):format(field.is_list and "list of " or "", field.object, field.object)
  end
  return field.type
end

local function file_page()
  local out = { HEAD, [[
# The configuration file

YAML or JSON (`-C FILE`), or a Lua file that returns the same tables. Keys are read without regard to case; a duration
is `30s`, `1m30s` or `500ms`; an empty value is the same as none. `metadata` is described with the components:
[listeners](listeners.md), [handlers](handlers.md), [dialers](dialers.md), [connectors](connectors.md),
[the rest](metadata.md).

]] }
  for _, object in ipairs(model.objects()) do
    out[#out + 1] = ("## %s\n\n| key | type | |\n|---|---|---|\n"):format(object.name)
    for _, field in ipairs(object.fields) do
      out[#out + 1] = ("| %s | %s | %s |\n"):format(code(field.name), type_text(field), cell(field.doc))
    end
    out[#out + 1] = "\n"
  end
  return table.concat(out)
end

local function command_page()
  local out = { HEAD, "# The command line\n\n| command | |\n|---|---|\n" }
  for _, command in ipairs(model.COMMANDS) do
    local words = ("tidegate %s %s"):format(command[1], command[2]):gsub("  +", " ")
    out[#out + 1] = ("| %s | %s |\n"):format(code(words), cell(command[3]))
  end
  out[#out + 1] = "\nOne dash or two, `-x value` or `-x=value`.\n\n| flag | type | |\n|---|---|---|\n"
  for _, flag in ipairs(model.FLAGS) do
    out[#out + 1] = ("| %s | %s | %s |\n"):format(code("-" .. flag[1]),
      flag[2] == "list" and "text, may be repeated" or flag[2], cell(flag[4]))
  end
  return table.concat(out)
end

local function index_page()
  return HEAD .. [[
# Reference

Made from the schemas that the program itself checks configurations with.

- [The command line](command-line.md)
- [The configuration file](configuration.md)
- [Listeners](listeners.md), [handlers](handlers.md): services, `-L`
- [Dialers](dialers.md), [connectors](connectors.md): nodes of chains, `-F`
- [Metadata that no component owns](metadata.md)

How things are used together is told in the [guide](../guide.md).
]]
end

--- @return path → text
function M.pages()
  local pages = {
    ["docs/reference/README.md"] = index_page(),
    ["docs/reference/command-line.md"] = command_page(),
    ["docs/reference/configuration.md"] = file_page(),
    ["docs/reference/metadata.md"] = shared_page(),
  }
  for _, kind in ipairs(component.KINDS) do
    pages[("docs/reference/%ss.md"):format(kind)] = components_page(kind)
  end
  for path, text in pairs(pages) do
    pages[path] = text:gsub("\n+$", "\n")
  end
  return pages
end

return M
