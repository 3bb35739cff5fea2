-- Spreads wrk's requests over many domains, those that loadtest/scale registers:
--
--     wrk -t2 -c64 -d10s -s loadtest/wrk/domains.lua http://127.0.0.1:8000/1024 -- 5000
local requests = {}
local at = 0

function init(arguments)
  local domains = tonumber(arguments[1]) or 100
  for number = 0, domains - 1 do
    requests[number + 1] = wrk.format("GET", nil, { Host = string.format("d%d.scale.test", number) })
  end
  at = math.random(#requests)
end

function request()
  at = at % #requests + 1
  return requests[at]
end
