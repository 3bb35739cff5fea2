-- 64 KB request bodies:
--
--     wrk -t2 -c64 -d10s -s loadtest/wrk/upload.lua http://127.0.0.1:8000/16
wrk.method = "POST"
wrk.body = string.rep("x", 65536)
