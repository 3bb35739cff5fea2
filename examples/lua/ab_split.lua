-- A/B split: a tenth of the users, always the same ones. Needs the pools `api-v1` and `api-v2`.
gw.get("/users/{id}", function(req)
  local user = req:cookie("sid") or req.client_ip
  local beta = req:cookie("cohort") == "beta" or gw.hash(user) < 0.1
  return req:proxy(beta and "api-v2" or "api-v1")
end)
