std = "luajit"
max_line_length = 120 -- aim at 100
codes = true
-- A method that a component interface asks for need not use its `self`.
self = false
-- `local value, err = first, nil` declares what a branch below assigns.
ignore = { "311" }

files["spec"] = { std = "+busted" }
