-- Modules that are loaded when something of them is used: what most configurations never need should
-- not cost every worker its memory.

local mt = {
  __index = function(self, key)
    return require(rawget(self, "module"))[key]
  end,
}

--- @param name of the module
-- @return a table that stands for it; only for indexing, and not for a cycle at load time
return function(name)
  return setmetatable({ module = name }, mt)
end
