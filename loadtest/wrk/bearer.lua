-- Sends a token with every request, as loadtest/stages does:
--
--     wrk -t1 -c64 -d10s -s loadtest/wrk/bearer.lua http://127.0.0.1:8000/1024 -- TOKEN
function init(arguments)
  wrk.headers["Authorization"] = "Bearer " .. arguments[1]
end
