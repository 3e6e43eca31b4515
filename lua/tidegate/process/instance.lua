-- Components brought to life: what the configuration says about one, parsed by its schema.

local component = require "tidegate.component"
local failure = require "tidegate.failure"

local M = {}

local FILE_MAX = 64 * 1024

-- The first line of a file that is no comment: "user password".  @return user, password | nil
local function first_line(path)
  local file = io.open(path, "rb")
  local text = file and file:read(FILE_MAX) or ""
  if file then
    file:close()
  end
  for line in text:gmatch "[^\r\n]+" do
    local user, password = line:match "^%s*([^#%s]%S*)%s*(.-)%s*$"
    if user then
      return user, password
    end
  end
end

-- Credentials that travel with the component, or nil.  A file that can be read wins.
local function credentials(auth)
  if auth and auth.file and auth.file ~= "" then
    local user, password = first_line(auth.file)
    if user then
      return { username = user, password = password }
    end
  end
  if auth and auth.username and auth.username ~= "" then
    return { username = auth.username, password = auth.password or "" }
  end
end

-- Instances look a field up in themselves, then in their component.
local function metatable_of(item)
  local mt = rawget(item, "instance_mt")
  if not mt then
    mt = { __name = ("tidegate.%s.%s"):format(item.kind, item.name), __index = item }
    item.instance_mt = mt
  end
  return mt
end

--- Make an instance of a component and open it.
-- @param kind "listener", "handler", "dialer" or "connector"
-- @param config its object in the configuration: {type, auth, tls, metadata}
-- @param fields what else the instance is to have: tls, service, node
-- @return instance | nil, err
function M.new(kind, name, config, fields)
  local item, err = component.find(kind, name)
  if not item then
    return nil, err or failure.new("config", ("unknown %s: %s"):format(kind, tostring(name)))
  end

  local self = fields or {}
  self.md = component.parse_metadata(item.metadata, config.metadata)
  self.config = config
  self.auth = credentials(config.auth)
  self.tls = self.tls or config.tls
  setmetatable(self, metatable_of(item))

  if item.open then
    local ok
    ok, err = self:open()
    if not ok then
      return nil, failure.wrap(err, "config"):during(("%s %s"):format(kind, name))
    end
  end
  return self
end

return M
