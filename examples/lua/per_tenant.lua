-- Routing by tenant. Needs the pools `acme` and `shared`.
local pools = { acme = "acme" }

gw.any("/t/{tenant}/{*rest}", function(req)
  return req:proxy(pools[req.params.tenant] or "shared")
end)
