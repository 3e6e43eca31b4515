-- Completions of bash, zsh and fish.

local doc = require "tidegate.admin.repl.doc"
local model = require "runtime.docs.model"

local M = {}

local FILES = { C = true, ["dev-lua"] = true, ["rocks-tree"] = true, repl = true, socket = true }
local VALUES = { O = "yaml json", to = table.concat(model.FORMATS, " "), worker = "control all",
  sort = "rate bytes input output age" }

local function commands()
  local names = {}
  for _, command in ipairs(model.COMMANDS) do
    names[#names + 1] = command[1] ~= "" and command[1] or nil
  end
  return names
end

-- The words a URL may begin with, and those behind "+".
local function schemes(first, second)
  local seen, words = {}, {}
  for _, list in ipairs { model.schemes()[first], model.schemes()[second] } do
    for _, name in ipairs(list) do
      words[#words + 1] = not seen[name] and name or nil
      seen[name] = true
    end
  end
  table.sort(words)
  return table.concat(words, " "), table.concat(model.schemes()[second], " ")
end

local function bash()
  local names, takes = {}, {}
  for _, flag in ipairs(model.FLAGS) do
    names[#names + 1] = "-" .. flag[1]
    if flag[2] ~= "bool" and not FILES[flag[1]] and not VALUES[flag[1]] and flag[1] ~= "L" and flag[1] ~= "F" then
      takes[#takes + 1] = "-" .. flag[1] .. "|--" .. flag[1]
    end
  end
  local service, listeners = schemes("handler", "listener")
  local node, dialers = schemes("connector", "dialer")
  local files, values = {}, {}
  for _, flag in ipairs(model.FLAGS) do
    local name = flag[1]
    if FILES[name] then
      files[#files + 1] = "-" .. name .. "|--" .. name
    elseif VALUES[name] then
      local line = '    -%s|--%s) mapfile -t COMPREPLY < <(compgen -W "%s" -- "$word") ;;\n'
      values[#values + 1] = line:format(name, name, VALUES[name])
    end
  end
  return ([[
# Completion of tidegate for bash; made by ./dev docs.

_tidegate_url()
{
    local word=$1 first=$2 second=$3 head=
    case $word in
    *:*) return ;;
    *+*) head=${word%%+*}+ first=$second ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$head" -S "://" -W "$first" -- "${word#"$head"}")
    compopt -o nospace
}

_tidegate()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $before in
    -L|--L) _tidegate_url "$word" "@service@" "@listeners@" ;;
    -F|--F) _tidegate_url "$word" "@node@" "@dialers@" ;;
    @files@) mapfile -t COMPREPLY < <(compgen -f -- "$word"); compopt -o filenames ;;
@values@    @takes@) ;;
    *)
        local words="@flags@"
        [ "$COMP_CWORD" = 1 ] && words="@commands@ $words"
        case $word in
        --*) words=${words// -/ --} ;;
        esac
        [ "$COMP_CWORD" = 2 ] && [ "${COMP_WORDS[1]}" = doc ] && words="@names@"
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
        case ${COMP_WORDS[1]} in
        init|convert)
            [ "${word#-}" = "$word" ] || return
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
            ;;
        esac
        ;;
    esac
}

complete -F _tidegate tidegate
]]):gsub("@(%l+)@", {
    service = service, listeners = listeners, node = node, dialers = dialers, files = table.concat(files, "|"),
    values = table.concat(values), takes = table.concat(takes, "|"), flags = table.concat(names, " "),
    commands = table.concat(commands(), " "), names = table.concat(doc.names(), " "),
  })
end

local function quote(text)
  return (text:gsub("'", "'\\''"))
end

local function zsh_action(flag)
  if flag[1] == "L" then
    return ":service:_tidegate_service"
  elseif flag[1] == "F" then
    return ":node:_tidegate_node"
  elseif FILES[flag[1]] then
    return ":file:_files"
  elseif VALUES[flag[1]] then
    return (":value:(%s)"):format(VALUES[flag[1]])
  end
  return flag[2] == "bool" and "" or (":%s: "):format(flag[2])
end

local function zsh()
  local service, listeners = schemes("handler", "listener")
  local node, dialers = schemes("connector", "dialer")
  local out = { "#compdef tidegate\n# Completion of tidegate for zsh; made by ./dev docs.\n\n" }
  for name, words in pairs { service = { service, listeners }, node = { node, dialers } } do
    out[name] = ([[
_tidegate_%s() {
  if compset -P '*+'; then
    compadd -S '://' -- %s
  else
    compadd -S '://' -- %s
  fi
}

]]):format(name, words[2], words[1])
  end
  out[#out + 1] = out.service
  out[#out + 1] = out.node
  out[#out + 1] = "_tidegate_command() {\n  local -a commands=(\n"
  for _, command in ipairs(model.COMMANDS) do
    if command[1] ~= "" then
      out[#out + 1] = ("    '%s:%s'\n"):format(command[1], quote(command[3]))
    end
  end
  out[#out + 1] = "  )\n  _describe command commands\n}\n\n"
  out[#out + 1] = ([==[
_tidegate_rest() {
  if [[ ${words[2]} = doc ]]; then
    compadd -- %s
  else
    _files
  fi
}

_arguments \
]==]):format(table.concat(doc.names(), " "))
  for _, flag in ipairs(model.FLAGS) do
    local text = quote(flag[4]:gsub("[%[%]:]", "\\%0"))
    local times = flag[2] == "list" and "*" or ("(-%s --%s)"):format(flag[1], flag[1])
    out[#out + 1] = ("  '%s'{-%s,--%s}'[%s]%s' \\\n"):format(times, flag[1], flag[1], text, zsh_action(flag))
  end
  out[#out + 1] = "  '1:command:_tidegate_command' \\\n  '*:argument:_tidegate_rest'\n"
  return table.concat(out)
end

local function fish_quote(text)
  return (text:gsub("\\", "\\\\"):gsub("'", "\\'"))
end

local function fish_schemes(first, second)
  local all, behind = schemes(first, second)
  local texts = {}
  for name in all:gmatch "%S+" do
    texts[#texts + 1] = name .. "://"
  end
  for _, before in ipairs(model.schemes()[first]) do
    for name in behind:gmatch "%S+" do
      texts[#texts + 1] = before .. "+" .. name .. "://"
    end
  end
  return table.concat(texts, " ")
end

local function fish()
  local out = { "# Completion of tidegate for fish; made by ./dev docs.\n\n" }
  for _, command in ipairs(model.COMMANDS) do
    if command[1] ~= "" then
      out[#out + 1] = ("complete -c tidegate -n __fish_use_subcommand -f -a %s -d '%s'\n"):format(command[1],
        fish_quote(command[3]))
    end
  end
  out[#out + 1] = ("complete -c tidegate -n '__fish_seen_subcommand_from doc' -f -a '%s'\n"):format(
    table.concat(doc.names(), " "))
  for _, flag in ipairs(model.FLAGS) do
    local rest = FILES[flag[1]] and " -r" or flag[2] == "bool" and "" or " -x"
    local values = VALUES[flag[1]]
    if flag[1] == "L" then
      values = fish_schemes("handler", "listener")
    elseif flag[1] == "F" then
      values = fish_schemes("connector", "dialer")
    end
    if values then
      rest = (" -x -a '%s'"):format(values)
    end
    out[#out + 1] = ("complete -c tidegate -o %s %s%s -d '%s'\n"):format(flag[1],
      #flag[1] > 1 and "-l " .. flag[1] or "", rest, fish_quote(flag[4])):gsub("  ", " ")
  end
  return table.concat(out)
end

--- @return path → text
function M.pages()
  return {
    ["runtime/packaging/completions/tidegate.bash"] = bash(),
    ["runtime/packaging/completions/_tidegate"] = zsh(),
    ["runtime/packaging/completions/tidegate.fish"] = fish(),
  }
end

return M
