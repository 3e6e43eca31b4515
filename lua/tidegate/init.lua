-- What scripts get from `require "tidegate"`; in a plain LuaJIT (rocks/), what that can do.
if not package.preload["tidegate.native.task"] then
  require "tidegate.core"
  return require "tidegate.library"
end
return require "tidegate.script"
