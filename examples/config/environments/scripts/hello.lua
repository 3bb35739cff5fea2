-- A route that answers by itself.
gw.get("/hello", function(req)
  return 200, "Hello World"
end)
