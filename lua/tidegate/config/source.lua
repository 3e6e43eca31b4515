-- Everything the configuration asks of the world outside: files, environment, standard input, URLs.
-- The runtime and tests replace single functions.

local failure = require "tidegate.failure"

local source = {}

-- "path: No such file or directory" → failure
local function explain(path, err)
  local text = tostring(err)
  if text:sub(1, #path + 2) == path .. ": " then
    text = text:sub(#path + 3)
  end
  return failure.new("io", text, { addr = path })
end

--- @return the text of a file | nil, err
function source.read_file(path)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, explain(path, err)
  end
  local text
  text, err = file:read("*a")
  file:close()
  if not text then
    return nil, explain(path, err)
  end
  return text
end

--- @return whether something of that name can be opened
function source.exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

--- Write a file that is not there yet, for its owner alone: it may hold passwords.
-- @return true | nil, err
function source.create_file(path, text)
  local uv = require "luv"
  local fd, err = uv.fs_open(path, "wx", 384)
  if not fd then
    return nil, failure.new("io", (tostring(err):gsub("^%w+: ", ""):gsub(": [^:]*$", "")), { addr = path })
  end
  local written
  written, err = uv.fs_write(fd, text, 0)
  uv.fs_close(fd)
  if written ~= #text then
    return nil, failure.new("io", tostring(err or "written in part"), { addr = path })
  end
  return true
end

--- @return the value of an environment variable, nil when unset or empty
function source.getenv(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- @return the text of standard input | nil, err
function source.read_stdin()
  local text = io.stdin:read("*a")
  if not text or text == "" then
    return nil, failure.new("eof", "EOF")
  end
  return text
end

--- Fetch a URL: limit 30 s and 10 MiB.  The runtime puts a function here.
-- @return { status, body, content_type } | nil, err
function source.fetch()
  return nil, failure.new("unsupported", "this program cannot fetch URLs here")
end

return source
