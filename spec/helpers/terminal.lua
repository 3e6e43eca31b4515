-- Programs in a real terminal: tmux.
--
--   local t = terminal.start(folder, "exec tidegate repl", { NO_COLOR = "1" })
--   t.keys("1 + 1", "Enter"); t.shows "2"; t.screen(); t.over()
--   terminal.stop_all()

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"

local M = {}

local opened = {} -- terminals, whose server outlives what started it
local count = 0

--- @return whether there is a tmux
function M.is_there()
  return programs.have "tmux"
end

--- A terminal of 100 columns and 40 rows in which a shell command runs.
-- @param folder for its socket; also its home
function M.start(folder, command, env)
  count = count + 1
  local server = ("%s/tmux%d"):format(folder, count)
  local all = { HOME = folder, TMUX = "", NO_COLOR = "" }
  for name, value in pairs(env or {}) do
    all[name] = value
  end
  local function tmux(...)
    return programs.run("tmux", { "-S", server, "-f", "/dev/null", ... }, { env = all })
  end
  local started = tmux("new-session", "-d", "-x", "100", "-y", "40", "-s", "t", command)
  assert(started.code == 0, started.stderr)
  local self = {}

  --- What it shows; with colours as escape sequences if wanted.
  function self.screen(with_escapes)
    return tmux("capture-pane", "-p", with_escapes and "-e" or "-p", "-t", "t").stdout
  end

  function self.keys(...)
    tmux("send-keys", "-t", "t", ...)
  end

  --- Wait until it shows a text.
  function self.shows(text)
    local found = pcall(helpers.eventually, function()
      return self.screen():find(text, 1, true)
    end)
    if not found then
      error(("the screen does not show %q:\n%s"):format(text, self.screen()), 2)
    end
  end

  --- Wait until it does not.
  function self.lacks(text)
    helpers.eventually(function()
      return not self.screen():find(text, 1, true)
    end, "the screen still shows " .. text)
  end

  function self.resize(columns, rows)
    tmux("resize-window", "-t", "t", "-x", tostring(columns), "-y", tostring(rows))
  end

  --- A variable of tmux: cursor_flag, alternate_on, pane_pid …
  function self.ask(name)
    return (tmux("display-message", "-p", "-t", "t", "#{" .. name .. "}").stdout:gsub("%s+$", ""))
  end

  function self.over()
    return tmux("has-session", "-t", "t").code ~= 0
  end

  function self.kill()
    tmux "kill-server"
  end
  opened[#opened + 1] = self
  return self
end

--- End all terminals.
function M.stop_all()
  for _, one in ipairs(opened) do
    one.kill()
  end
  opened = {}
end

return M
