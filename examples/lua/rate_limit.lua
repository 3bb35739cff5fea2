-- Rate limits that all cores share: one of the gateway, and one that is counted by hand. Needs the pool `api`.
local logins = gw.limit{ name = "logins", rate = 10, per = 60, burst = 5 }
local hits = gw.shared("hits")

gw.post("/login", function(req)
  local ok, wait = logins:take(req.client_ip)
  if not ok then
    return 429, "slow down", { ["Retry-After"] = tostring(math.ceil(wait)) }
  end
  return req:proxy("api")
end)

gw.get("/search", function(req)
  if hits:incr(req.client_ip, 1, 60) > 600 then
    return 429, "slow down", { ["Retry-After"] = "60" }
  end
  return req:proxy("api")
end)
