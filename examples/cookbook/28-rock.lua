local tg = require "tidegate"

require "shout" (tg) -- what luarocks installed

tg.service "shout://127.0.0.1:7000?handler.mark=!!"
