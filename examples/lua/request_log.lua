-- A line of the log for each request that failed, and a counter. Needs the pool `api`.
gw.use{
  log = function(req, res)
    if res.status >= 500 then
      gw.log("warn", req.method .. " " .. req.path .. " failed with " .. res.status)
      gw.metric("failed_requests")
    end
  end,
}
gw.any("/{*rest}", gw.proxy{ pool = "api" })
