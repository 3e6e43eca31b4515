-- The manual pages tidegate(1) and tidegate.yml(5).

local component = require "tidegate.component"
local model = require "runtime.docs.model"

local M = {}

local function escape(text)
  text = text:gsub("…", "..."):gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("`", "")
  return (text:gsub("^([.'])", "\\&%1"):gsub("\n([.'])", "\n\\&%1"))
end

local function item(out, head, text)
  out[#out + 1] = (".TP\n%s\n%s\n"):format(head, escape(text == "" and "See the guide." or text))
end

local function bold(text)
  return "\\fB" .. escape(text) .. "\\fR"
end

local function italic(text)
  return "\\fI" .. escape(text) .. "\\fR"
end

local function head(name, section, what)
  return ('.\\" Made by ./dev docs from the schemas.\n.TH %s %d "" "tidegate" "%s"\n'):format(
    name:upper(), section, section == 1 and "User Commands" or "File Formats")
    .. (".SH NAME\n%s \\- %s\n"):format(escape(name), escape(what))
end

local function command_page()
  local out = { head("tidegate", 1, "a programmable tunnel for every kind of traffic"), ".SH SYNOPSIS\n" }
  for _, command in ipairs(model.COMMANDS) do
    out[#out + 1] = (".B tidegate %s\n%s\n.br\n"):format(escape(command[1]), escape(command[2]))
  end
  out[#out + 1] = ".SH DESCRIPTION\n" .. escape([[
Listens with one protocol and leaves through a chain of others; every decision can be a Lua function. What listens
is given by -L, the way out by -F, or both by files in the notation of tidegate.yml(5). Without any of these
/etc/gost, ~/.gost and the working directory are searched for gost.yml and tidegate.yml, .json or .lua.
]]) .. ".SH COMMANDS\n"
  for _, command in ipairs(model.COMMANDS) do
    local words = command[1] == "" and "(none)" or command[1]
    item(out, bold(words) .. " " .. italic(command[2]), command[3])
  end
  out[#out + 1] = ".SH OPTIONS\nOne dash or two; the value is the next word or follows an equals sign.\n"
  for _, flag in ipairs(model.FLAGS) do
    local value = flag[2] == "list" and "value" or flag[2]
    item(out, bold("-" .. flag[1]) .. (flag[2] == "bool" and "" or " " .. italic(value)), flag[4])
  end
  out[#out + 1] = ".SH URLS\n" .. escape([[
-L handler+listener://user:password@host:port/targets?key=value,
-F connector+dialer://user:password@host:port?key=value. Either
part of the scheme may stand alone. A key is a metadata key of either part; service., handler., listener., hop.,
node., connector. and dialer. in front of it say whose.
]])
  for _, kind in ipairs(component.KINDS) do
    out[#out + 1] = (".TP\n%s\n%s\n"):format(bold(kind .. "s"), escape(table.concat(model.schemes()[kind], ", ")))
  end
  out[#out + 1] = ".SH SIGNALS\n"
  item(out, "SIGHUP", "read the configuration again; what did not change goes on, and so do connections")
  item(out, "SIGTERM, SIGINT", "accept nothing more, let connections finish (see -drain), end; a second one "
    .. "ends at once")
  item(out, "SIGUSR2", "start the executable again, hand it the listening sockets, and end like SIGTERM once it "
    .. "serves; tidegate upgrade does the same and tells how it went")
  out[#out + 1] = ".SH EXIT STATUS\n0: all went well. 1: it could not do its work. 2: the command line or the "
    .. "configuration is wrong.\n"
  out[#out + 1] = '.SH EXAMPLES\n.nf\ntidegate \\-L auto://:8080 \\-F relay+tls://user:secret@example.org:8443\n'
    .. "tidegate convert \\-L socks5://:1080 \\-\\-to yaml\ntidegate check \\-C tidegate.yml\n.fi\n"
  out[#out + 1] = ".SH SEE ALSO\n.BR tidegate.yml (5)\n"
  return table.concat(out)
end

local function fields(out, object)
  for _, field in ipairs(object.fields) do
    local kind = field.ref and ((field.is_list and "names of " or "name of ") .. field.ref) or field.type
    item(out, bold(field.name) .. " (" .. escape(kind) .. ")", field.doc)
  end
end

local function metadata(out, keys)
  for _, key in ipairs(keys) do
    local text = key.doc
    if #key.aliases > 0 then
      text = ("%s (also %s)"):format(text, table.concat(key.aliases, ", "))
    end
    local default = key.default ~= "" and ", default " .. escape(key.default) or ""
    item(out, ("%s (%s%s)"):format(bold(key.name), escape(key.type), default), text)
  end
end

local function file_page()
  local out = { head("tidegate.yml", 5, "configuration of tidegate(1)"), ".SH DESCRIPTION\n", escape([[
YAML, JSON with the same keys, or a Lua file that returns the same tables. Keys are read without regard to case. A
duration is 30s, 1m30s or 500ms. An empty value is the same as none. "tidegate check -C FILE" finds all that is wrong,
"tidegate init" writes a commented file to begin with.
]]) }
  for _, object in ipairs(model.objects()) do
    out[#out + 1] = object.name == "root" and ".SH THE FILE\n" or (".SS %s\n"):format(escape(object.name))
    fields(out, object)
    if object.name == "root" then
      out[#out + 1] = ".SH OBJECTS\n"
    end
  end
  for _, kind in ipairs(component.KINDS) do
    out[#out + 1] = (".SH %sS\n"):format(kind:upper())
    for _, one in ipairs(model.components(kind)) do
      out[#out + 1] = (".SS %s\n%s\n"):format(escape(one.name), escape(one.doc))
      metadata(out, one.keys)
    end
  end
  out[#out + 1] = ".SH METADATA OF ALL\n"
  for _, part in ipairs(model.shared_keys()) do
    out[#out + 1] = (".SS %s\n"):format(part.name)
    metadata(out, part.keys)
  end
  out[#out + 1] = ".SH SEE ALSO\n.BR tidegate (1)\n"
  return table.concat(out)
end

--- @return path → text
function M.pages()
  return {
    ["docs/man/tidegate.1"] = command_page(),
    ["docs/man/tidegate.yml.5"] = file_page(),
  }
end

return M
