-- A line editor for terminals: cursor keys, history, completion, the usual control keys.
--
-- It knows nothing of files: bytes come in by feed(), what the terminal is to show goes out by `write`.

local M = {}
local methods = {}
local mt = { __index = methods }

local HISTORY_MAX = 1000

--- @param write function(text) to the terminal
-- @param complete function(line up to the cursor) → its end, a list of what could stand there instead
-- @param width function() → columns
function M.new(write, complete, width)
  return setmetatable({
    write = write,
    complete = complete,
    width = width,
    history = {},
    keys = "", -- bytes that are no whole key yet
    line = "",
    at = 0, -- bytes before the cursor
    prompt = "",
  }, mt)
end

-- Bytes of the character before or after a place.
local function back(text, at)
  repeat
    at = at - 1
  until at <= 0 or text:byte(at + 1) < 128 or text:byte(at + 1) >= 192
  return math.max(at, 0)
end

local function forth(text, at)
  repeat
    at = at + 1
  until at >= #text or text:byte(at + 1) < 128 or text:byte(at + 1) >= 192
  return math.min(at, #text)
end

local function columns_of(text)
  return select(2, text:gsub("[^\128-\191]", ""))
end

-- The line is one row of the terminal; of a long one the part around the cursor is shown.
function methods:draw()
  local room = math.max(self.width() - columns_of(self.prompt) - 1, 10)
  local left, from = self.line:sub(1, self.at), 0
  while columns_of(left:sub(from + 1)) > room do
    from = forth(self.line, from)
  end
  local shown = self.line:sub(from + 1)
  while columns_of(shown) > room do
    shown = shown:sub(1, back(shown, #shown))
  end
  local column = columns_of(self.prompt) + columns_of(left:sub(from + 1))
  self.write(("\r%s%s\27[K\r%s"):format(self.prompt, shown, column > 0 and ("\27[%dC"):format(column) or ""))
end

--- Ask for a line.
function methods:ask(prompt)
  self.prompt, self.line, self.at, self.recalled = prompt, "", 0, nil
  self:draw()
end

--- Print above the line being edited.
function methods:say(text)
  self.write("\r\27[K" .. text:gsub("\n", "\r\n") .. "\r\n")
end

function methods:insert(text)
  self.line = self.line:sub(1, self.at) .. text .. self.line:sub(self.at + 1)
  self.at = self.at + #text
end

function methods:cut(from, to)
  self.line = self.line:sub(1, from) .. self.line:sub(to + 1)
  self.at = from
end

--- Put a line into the history, unless it is there already as the last one.
function methods:remember(line)
  if line:find "%S" and self.history[#self.history] ~= line then
    table.insert(self.history, line)
    if #self.history > HISTORY_MAX then
      table.remove(self.history, 1)
    end
  end
end

function methods:recall(step)
  local place = (self.recalled or #self.history + 1) + step
  if place < 1 or place > #self.history + 1 then
    return
  elseif not self.recalled then
    self.unfinished = self.line
  end
  self.recalled = place
  self.line = self.history[place] or self.unfinished or ""
  self.at = #self.line
end

local function common(list)
  local first = list[1]
  for i = 2, #list do
    while list[i]:sub(1, #first) ~= first do
      first = first:sub(1, -2)
    end
  end
  return first
end

function methods:tab()
  local word, list = self.complete(self.line:sub(1, self.at))
  if not list or #list == 0 then
    return
  end
  local more = common(list)
  if more ~= word and (#more > #word or #list == 1) then
    self:cut(self.at - #word, self.at)
    self:insert(more)
  elseif #list > 1 then
    self:say(table.concat(list, "  "))
  end
end

local keys = {}

keys["\1"] = function(self) -- Ctrl-A
  self.at = 0
end
keys["\5"] = function(self) -- Ctrl-E
  self.at = #self.line
end
keys["\2"] = function(self) -- Ctrl-B
  self.at = back(self.line, self.at)
end
keys["\6"] = function(self) -- Ctrl-F
  self.at = self.at < #self.line and forth(self.line, self.at) or self.at
end
keys["\127"] = function(self)
  if self.at > 0 then
    self:cut(back(self.line, self.at), self.at)
  end
end
keys["\8"] = keys["\127"]
keys["\27[3~"] = function(self) -- Delete
  if self.at < #self.line then
    self:cut(self.at, forth(self.line, self.at))
  end
end
keys["\21"] = function(self) -- Ctrl-U
  self:cut(0, self.at)
end
keys["\11"] = function(self) -- Ctrl-K
  self.line = self.line:sub(1, self.at)
end
keys["\23"] = function(self) -- Ctrl-W
  local from = #self.line:sub(1, self.at):match "^(.-)%S*%s*$"
  self:cut(from, self.at)
end
keys["\12"] = function(self) -- Ctrl-L
  self.write "\27[H\27[2J"
end
keys["\t"] = methods.tab
keys["\27[A"] = function(self)
  self:recall(-1)
end
keys["\27[B"] = function(self)
  self:recall(1)
end
keys["\16"], keys["\14"] = keys["\27[A"], keys["\27[B"]
keys["\27[D"], keys["\27[C"] = keys["\2"], keys["\6"]
for _, escape in ipairs { "\27[H", "\27[1~", "\27OH" } do
  keys[escape] = keys["\1"]
end
for _, escape in ipairs { "\27[F", "\27[4~", "\27OF" } do
  keys[escape] = keys["\5"]
end
for from, to in pairs { ["\27OA"] = "\27[A", ["\27OB"] = "\27[B", ["\27OC"] = "\27[C", ["\27OD"] = "\27[D" } do
  keys[from] = keys[to]
end

-- The first whole key of some bytes.  @return key | nil when more must come
local function first_key(bytes)
  if bytes:sub(1, 1) == "\27" then
    return bytes:match "^\27%[[%d;]*[%a~]" or bytes:match "^\27O%a" or #bytes > 8 and "\27"
      or bytes:match "^\27[^%[O]"
  end
  local lead = bytes:byte(1)
  local size = lead < 192 and 1 or lead < 224 and 2 or lead < 240 and 3 or 4
  return #bytes >= size and bytes:sub(1, size) or nil
end

--- What the terminal sent.
-- @return nil: still editing | "line", text | "cancel" (Ctrl-C) | "end" (Ctrl-D on an empty line), and
--   the bytes are kept that follow: call again with ""
function methods:feed(bytes)
  self.keys = self.keys .. bytes
  while #self.keys > 0 do
    local key = first_key(self.keys)
    if not key then
      return nil
    end
    self.keys = self.keys:sub(#key + 1)
    if key == "\r" or key == "\n" then
      self.write "\r\n"
      self:remember(self.line)
      return "line", self.line
    elseif key == "\3" then
      self.write "^C\r\n"
      return "cancel"
    elseif key == "\4" and self.line == "" then
      self.write "\r\n"
      return "end"
    elseif keys[key] then
      keys[key](self)
    elseif key:byte() >= 32 then
      self:insert(key)
    end
    self:draw()
  end
end

return M
