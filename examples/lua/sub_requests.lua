-- Two requests beside each other, joined in one answer. Needs the pools `users` and `orders`.
local function escape(text)
  return (text:gsub("[^%w_.-]", function(c) return string.format("%%%02X", string.byte(c)) end))
end

gw.get("/overview/{id}", function(req)
  local id = escape(req.params.id)
  local results = gw.all{
    function() return gw.fetch{ pool = "users", path = "/users/" .. id } end,
    function() return gw.fetch{ pool = "orders", path = "/orders?user=" .. id } end,
  }
  local user, orders = results[1], results[2]
  if not user or user.status ~= 200 then return 502, "users unavailable" end
  local body = { user = gw.json.decode(user.body), orders = {} }
  if orders and orders.status == 200 then body.orders = gw.json.decode(orders.body) end
  return 200, gw.json.encode(body), { ["Content-Type"] = "application/json" }
end)
