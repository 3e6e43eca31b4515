-- Errors as values.
--
-- Functions return `value` or `nil, err`.  `err.code` is a stable word a caller may branch on; the
-- text is for people and never parsed.  Whoever knows more wraps: `err:during("greeting")`.

local failure = {}

local methods = {}
local mt = { __name = "tidegate.failure", __index = methods }

--- The metatable of every failure; the native part gives it to the errors it makes.
failure.metatable = mt

--- The words `code` may hold.
failure.CODES = {
  auth = true,
  blocked = true,
  busy = true,
  canceled = true,
  closed = true,
  config = true,
  denied = true,
  eof = true,
  invalid = true,
  inuse = true,
  io = true,
  limit = true,
  protocol = true,
  refused = true,
  reset = true,
  resolve = true,
  timeout = true,
  tls = true,
  unreachable = true,
  unsupported = true,
}

--- Make an error.  `fields` (op, layer, addr, cause or anything the caller wants to keep) is taken
-- over, not copied.  `level` among them is what the error is logged at, whatever its code.
function failure.new(code, message, fields)
  local err = fields or {}
  err.code = code
  err.message = message
  return setmetatable(err, mt)
end

--- @return whether a value is a failure
function failure.is(value)
  return getmetatable(value) == mt
end

--- Turn whatever was raised or returned into a failure.
-- `code` (default "io") is for values that bring none of their own.
function failure.wrap(value, code)
  if failure.is(value) then
    return value
  end
  if type(value) == "table" and type(value.code) == "string" then
    return setmetatable(value, mt)
  end
  return failure.new(code or "io", value == nil and "unknown error" or tostring(value))
end

--- Say during which operation an error arose.
-- @return a new failure with the same code, whose cause is this one
function methods:during(op, fields)
  local err = fields or {}
  err.code = self.code
  err.op = op
  err.layer = err.layer or self.layer
  err.addr = err.addr or self.addr
  err.level = err.level or self.level
  err.cause = self
  return setmetatable(err, mt)
end

--- @return the failure everything began with
function methods:root()
  local err = self
  while failure.is(err.cause) do
    err = err.cause
  end
  return err
end

-- One link of the chain: "tcp connect 10.0.0.1:80: Connection refused".  What the outer link has
-- already said (`said`) is left out.
local function describe(err, said)
  local words = {}
  if err.layer and err.layer ~= said.layer then
    words[#words + 1] = err.layer
  end
  if err.op then
    words[#words + 1] = err.op
  end
  if err.addr and err.addr ~= said.addr then
    words[#words + 1] = tostring(err.addr)
  end
  said.layer, said.addr = err.layer or said.layer, err.addr or said.addr

  local head = table.concat(words, " ")
  if not err.message then
    return head
  end
  return head == "" and err.message or head .. ": " .. err.message
end

function mt:__tostring()
  local parts, said, err = {}, {}, self
  while err do
    if not failure.is(err) then
      parts[#parts + 1] = tostring(err)
      break
    end
    local text = describe(err, said)
    if text ~= "" then
      parts[#parts + 1] = text
    end
    err = err.cause
  end
  if #parts == 0 then
    return self.code or "error"
  end
  return (table.concat(parts, ": "):gsub("%s*\n%s*", "; "))
end

return failure
