-- Half-close in the plain HTTP tunnel, which gost's has none of: a server that knows it says so where it gives a
-- token, and then takes a push without bytes, but with the same field, for the end of what the client says.

local M = {}

M.FIELD = "X-Half-Close"

--- As a line of a head.
M.LINE = "X-Half-Close: yes\r\n"

return M
