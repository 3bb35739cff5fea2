//! Observability: status, probes, metrics, logs.

use crate::kit::h2_origin::H2Origin;
use crate::kit::*;

on_both_drivers! {
    fn the_status_shows_the_driver_and_the_connections_of_every_core(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut clients: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.get("app.test", "/");
        }
        let status = eventually("all connections are counted", || {
            let status = proxy.api().get("/api/status").is(200).json;
            let workers = status["workers"].as_array().unwrap();
            let connections: u64 = workers.iter().map(|worker| worker["connections"].as_u64().unwrap()).sum();
            (connections == 8).then_some(status)
        });
        let workers = status["workers"].as_array().unwrap();
        assert_eq!(workers.len(), 2);
        for worker in workers {
            assert!(worker["driver"].as_str().unwrap().starts_with(driver.name()), "{status}");
            assert_eq!((&worker["state"], &worker["serial"]), (&json!("following"), &workers[0]["serial"]), "{status}");
        }
        assert_eq!((&status["apps"], &status["domains"], &status["instances"]["total"]), (&json!(1), &json!(1), &json!(1)));
    }

    fn the_status_names_apps_by_trouble_and_traffic(driver) {
        let (good, bad) = (Origin::named("good"), Origin::named("bad"));
        let proxy = Proxy::start(driver);
        proxy.serve("busy", "busy.test", &good);
        proxy.serve("broken", "broken.test", &bad);
        proxy.serve("idle", "idle.test", &good);
        let mut client = proxy.client();
        for _ in 0..20 {
            client.get("busy.test", "/");
        }
        drop(bad);
        for _ in 0..6 {
            assert_eq!(proxy.get("broken.test", "/").status(), 502);
        }
        let overview = || proxy.api().get("/api/status").is(200).json["app_overview"].clone();
        let apps = eventually("all is counted", || {
            let apps = overview();
            (apps[0]["requests"] == 6 && apps[1]["requests"] == 20).then_some(apps)
        });
        let ids: Vec<&Value> = apps.as_array().unwrap().iter().map(|app| &app["app_id"]).collect();
        assert_eq!(ids, ["broken", "busy", "idle"], "{apps}");
        assert_eq!((&apps[0]["status"], &apps[0]["errors"]), (&json!("down"), &json!(6)), "{apps}");
        assert_eq!(apps[0]["breakers_open"], json!(["broken-1"]), "{apps}");
        assert_eq!((&apps[1]["healthy_instances"], &apps[1]["errors"]), (&json!(1), &json!(0)), "{apps}");
        let counted: u64 = apps[1]["durations"].as_array().unwrap().iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum();
        assert_eq!(counted, 20, "{apps}");
        assert!(apps[1]["p99_ms"].as_f64().unwrap() >= apps[1]["p50_ms"].as_f64().unwrap(), "{apps}");
        assert_eq!((&apps[2]["requests"], &apps[2]["p50_ms"]), (&json!(0), &Value::Null), "{apps}");
        assert_eq!(proxy.api().get("/api/status?limit=1").is(200).json["app_overview"].as_array().unwrap().len(), 1);
        let output = proxy.command(&["status"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("breaker open: broken-1") && text.contains("100.0%"), "{text}");
    }

    fn probes_answer(driver) {
        let proxy = Proxy::start(driver);
        for path in ["/healthz", "/ready", "/health/liveness", "/health/readiness", "/health/startup"] {
            assert_eq!(proxy.api().get(path).status, 200, "{path}");
        }
        // Paths belong to tenants: on the public listener these are not special.
        assert_eq!(proxy.get("unknown.test", "/healthz").status(), 404);
    }

    fn metrics_count_what_happened(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for _ in 0..7 {
            client.get("app.test", "/");
        }
        client.get("unknown.test", "/");
        proxy.client().send("nonsense\r\n\r\n").response("GET");
        eventually("the requests are counted", || {
            (proxy.metric("proxy_requests_total", &["route=\"app.test\"", "status=\"200\""]) == 7.0).then_some(())
        });
        eventually("the upstream requests are counted", || {
            (proxy.metric("proxy_upstream_requests_total", &["pool=\"app\""]) == 7.0).then_some(())
        });
        eventually("the unknown name is counted", || {
            (proxy.metric("proxy_requests_total", &["status=\"404\""]) == 1.0).then_some(())
        });
        assert_eq!(proxy.metric("proxy_request_duration_seconds_count", &["route=\"app.test\""]), 7.0);
        let text = proxy.api().get("/metrics").is(200);
        assert!(text.message.field("content-type").unwrap().starts_with("text/plain"));
        // The text format: every sample belongs to a family that was announced.
        let text = text.message.text();
        let mut families = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(rest.split(' ').next().unwrap().to_owned()), "announced twice: {line}");
            } else if !line.starts_with('#') && !line.is_empty() {
                let name = line.split(['{', ' ']).next().unwrap();
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).filter(|family| families.contains(*family));
                assert!(families.contains(family.unwrap_or(name)), "not announced: {line}");
            }
        }
    }

    fn websockets_are_counted_apart(driver) {
        let origin = Origin::websocket_echo("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/");
        eventually("it is counted", || (proxy.metric("ringway_upgrades_active", &["websocket"]) == 1.0).then_some(()));
        drop(client);
        eventually("its end too", || (proxy.metric("ringway_upgrades_active", &["websocket"]) == 0.0).then_some(()));
        assert_eq!(proxy.metric("ringway_upgrades_total", &["websocket"]), 1.0);
    }

    fn unknown_hosts_create_no_metric_series(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for number in 0..50 {
            client.send(format!("M{number} /p{number} HTTP/1.1\r\nHost: stranger{number}.test\r\n\r\n"));
            client.response("GET");
        }
        let text = proxy.api().get("/metrics").is(200).message.text();
        assert!(!text.contains("stranger") && !text.contains("M7"), "{text}");
    }

    fn every_request_has_one_line_in_the_access_log(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("ACCESS_LOG", "stdout").start();
        proxy.api().register("app", "app-1", &origin.target());
        proxy.api().domain("app.test", "app", Some("tenant-secret"));
        let mut client = proxy.client();
        client.send("GET /path?token=hush HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer hush\r\nCookie: hush\r\n\r\n");
        assert_eq!(client.response("GET").status(), 200);
        let id = origin.one_request().field("x-request-id").unwrap().to_owned();
        let line = eventually("the line is written", || {
            let log = proxy.log();
            let mut lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["request_id"] == id.as_str() && line["status"] == 200)
        });
        assert_eq!((&line["method"], &line["host"], &line["client_ip"]), (&json!("GET"), &json!("app.test"), &json!("127.0.0.1")));
        assert!(line["duration_ms"].is_number());
        let log = proxy.log().join("\n");
        assert!(!log.contains("hush"), "a secret is in the log");
        assert!(!line.to_string().contains("tenant-secret"), "the tenant is in clear in {line}");
    }

    fn a_log_line_cannot_be_forged(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("ACCESS_LOG", "stdout").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        client.send("GET /\"}%0a{\"forged\":1 HTTP/1.1\r\nHost: app.test\r\nUser-Agent: \"}\\n{\"forged\":2}\u{202e}\r\n\r\n");
        assert_eq!(client.response("GET").status(), 200);
        let mut other = proxy.client();
        other.send("GET / HTTP/1.1\r\nHost: app.test\r\nUser-Agent: \u{1b}[2J\r\n\r\n");
        assert_eq!(other.response("GET").status(), 400);
        client.get("app.test", "/after");
        eventually("the log goes on", || proxy.log().iter().any(|line| line.contains("/after")).then_some(()));
        for line in proxy.log() {
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(value.get("forged").is_none() && !line.contains('\u{1b}') && !line.contains('\u{202e}'), "{line}");
        }
    }

    fn a_failed_attempt_names_its_cause_in_log_metrics_and_a_warning(driver) {
        let says = |bytes: &'static str| Origin::fixed(bytes, After::Close);
        let twice = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        let space = says("HTTP/1.1 200 OK\r\nfoo bar: hush\r\n\r\n");
        let cut = says("HTTP/1.1 200 OK\r\nX-Y: ");
        let body = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhush\r\n");
        let gone = Origin::named("gone");
        let gone_target = gone.target();
        gone.die();
        let plain = Origin::script(|connection| {
            connection.send("HTTP/1.1 400 Bad\r\n\r\n");
        });
        let frames = H2Origin::new(|asked, replies| {
            replies.data(asked.stream, b"before any head", true);
        });
        let proxy = Proxy::on(driver).env("ACCESS_LOG", "stdout").start();
        let cases = [
            ("twice", twice.target(), "duplicate_transfer_encoding", "Transfer-Encoding given twice"),
            ("space", space.target(), "space_before_colon", "\"foo bar\""),
            ("cut", cut.target(), "upstream_head_cut", "within the response head, after 22 bytes"),
            ("body", body.target(), "bad_chunk_size", "an invalid chunk size line"),
            ("gone", gone_target.clone(), "connect_refused", "Connection refused (os error 111)"),
            ("tls", plain.target().replace("http://", "https://"), "tls_not_spoken", ": TLS: "),
            ("http2", frames.target(), "h2_protocol_error", "HTTP/2: "),
        ];
        for (app, target, ..) in &cases {
            let host = format!("{app}.test");
            proxy.api().register(app, &format!("{app}-1"), target);
            proxy.api().domain(&host, app, None);
            let mut client = proxy.client();
            client.send(format!("GET /{app} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let _ = client.try_response("GET");
        }
        for (app, _, reason, text) in cases {
            let host = format!("{app}.test");
            let lines = || proxy.log().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>();
            let line = eventually("the access log has the request", || {
                lines().into_iter().find(|line| line["host"] == host.as_str())
            });
            let told = line["upstream_error"].as_str().unwrap_or_else(|| panic!("no cause in {line}"));
            assert!(told.contains(text), "{app}: {line}");
            assert!(line.get("request_error").is_none(), "{line}");
            eventually("the reason is counted once", || {
                let labels = [&*format!("pool=\"{app}\""), &*format!("reason=\"{reason}\"")];
                (proxy.metric("proxy_upstream_errors_total", &labels) == 1.0).then_some(())
            });
            eventually("the instance is warned about", || {
                lines().into_iter().find(|line| {
                    line["level"] == "WARN" && line["instance"] == format!("{app}-1") && line["reason"] == reason && line["error"] == told
                })
            });
        }
        assert!(!proxy.log().join("\n").contains("hush"), "a value is in the log");
        drop(gone);
    }

    fn a_refused_request_names_rule_and_field(driver) {
        let proxy = Proxy::on(driver).env("ACCESS_LOG", "stdout").start();
        for (fields, code, text) in [
            ("X Y: hush\r\n", "space_before_colon", "white space in or behind a field name: \"X Y\""),
            ("A: 1\r\nhush\r\n", "missing_colon", "a field line without a colon, after \"A\""),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", "duplicate_content_length", "Content-Length given twice"),
        ] {
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
            assert_eq!(client.response("GET").status(), 400);
            eventually("the line has rule and field", || {
                let log = proxy.log();
                let mut lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                lines.find(|line| line["failure"] == code && line["request_error"] == text && line.get("upstream_error").is_none())
            });
        }
        assert!(!proxy.log().join("\n").contains("hush"), "a value is in the log");
    }

    fn fields_of_the_access_log_are_chosen(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver)
            .env("ACCESS_LOG", "stdout")
            .env("RINGWAY_ACCESS_LOG_FIELDS", "+query,+referer,-client_ip,-user_agent")
            .start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        client.send("GET /path?a=1 HTTP/1.1\r\nHost: app.test\r\nUser-Agent: curl\r\nReferer: https://x.test/?b=2\r\n\r\n");
        assert_eq!(client.response("GET").status(), 200);
        let line = eventually("the line is written", || {
            let log = proxy.log();
            let mut lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["path"] == "/path")
        });
        assert_eq!((&line["query"], &line["referer"]), (&json!("a=1"), &json!("https://x.test/?b=2")));
        assert!(line.get("client_ip").is_none() && line.get("user_agent").is_none(), "{line}");
    }
}
