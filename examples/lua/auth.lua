-- Middleware that asks a service whether a request may pass. Needs the pools `auth` and `api`.
local function auth(req)
  local answer, why = gw.fetch{
    pool = "auth", path = "/check", timeout = 200,
    headers = { Authorization = req:header("authorization") },
  }
  if not answer then
    gw.log("warn", "auth unavailable: " .. why)
    return 503, "auth unavailable"
  end
  if answer.status ~= 200 then
    return 401, "no", { ["WWW-Authenticate"] = "Bearer" }
  end
  req:set_header("X-User", gw.json.decode(answer.body).sub)
end

gw.group("/v1", function(g)
  g.use(auth)
  g.any("/{*rest}", gw.proxy{ pool = "api" })
end)
