-- Header fields of requests and responses. Needs the pool `api`.
gw.use{
  request = function(req)
    req:remove_header("X-Internal-Secret")
    req:set_header("X-Proxy-Version", "1.0")
  end,
  response = function(req, res)
    res:remove_header("Server")
    res:set_header("X-Content-Type-Options", "nosniff")
  end,
}
gw.any("/{*rest}", gw.proxy{ pool = "api" })
