-- Spreads wrk's requests over the routes of one host, those of loadtest/compare's scenario `routes`:
--
--     wrk -t2 -c64 -d10s -s loadtest/wrk/routes.lua http://127.0.0.1:8000/ -- 200
local requests = {}
local at = 0

function init(arguments)
  local routes = tonumber(arguments[1]) or 100
  for number = 0, routes - 1 do
    requests[number + 1] = wrk.format("GET", string.format("/service-%d/v1/1024", number), { Host = "app.test" })
  end
  at = math.random(#requests)
end

function request()
  at = at % #requests + 1
  return requests[at]
end
