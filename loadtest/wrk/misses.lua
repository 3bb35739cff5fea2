-- Asks for a target that was never asked for before, for loadtest/compare's scenario `miss`:
--
--     wrk -t1 -c64 -d10s -s loadtest/wrk/misses.lua http://127.0.0.1:8000/ -- /undated/1024
local prefix = "/"
local fields = { Host = "app.test" }
local at = 0

function init(arguments)
  math.randomseed(os.time())
  prefix = string.format("%s?run=%d-%d&n=", arguments[1], os.time(), math.random(1000000000))
end

function request()
  at = at + 1
  return wrk.format("GET", prefix .. at, fields)
end
