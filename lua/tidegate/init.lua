-- What scripts get from `require "tidegate"`.
return require "tidegate.script"
