-- A handler that answers each line in capitals.  A script loads it:
--
--   local tg = require "tidegate"
--   require "shout" (tg)
--   tg.service "shout://127.0.0.1:7000"

return function(tg)
  tg.handler "shout" {
    doc = "answers each line in capitals",
    metadata = {
      mark = { type = "string", default = "!", doc = "put behind each line" },
    },
    handle = function(self, _, stream)
      while true do
        local line, err = stream:read_until("\n", 4096)
        if not line then
          return nil, err
        end
        local text = line:gsub("%s+$", ""):upper()
        stream:write(text, self.md.mark, "\n")
      end
    end,
  }
end
