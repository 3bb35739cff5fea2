//! Tenants of one app share its instances: the requests of one of them take nothing away from the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::kit::h2::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, block};
use crate::kit::h2_origin::H2Origin;
use crate::kit::*;

/// App `app` with the tenants `a.test` and `b.test`, and no health check soon.
fn tenants_of(driver: Driver, origins: &[&Origin]) -> Proxy {
    let proxy = Proxy::on(driver).env("HEALTH_CHECK_INTERVAL", "300s").start();
    for (number, origin) in origins.iter().enumerate() {
        register(&proxy, number + 1, &origin.target());
    }
    proxy.api().domain("a.test", "app", None);
    proxy.api().domain("b.test", "app", None);
    proxy
}

fn register(proxy: &Proxy, number: usize, target: &str) {
    register_checked(proxy, number, target, "tcp");
}

/// Once more is a new process's word that it is there: its breaker is half open at once.
fn register_checked(proxy: &Proxy, number: usize, target: &str, health_check: &str) {
    let id = format!("app-{number}");
    let instance = json!({ "instance_id": id, "target": target, "health_check": health_check });
    let answer = proxy.api().post("/api/apps/register", &json!({ "app_id": "app", "instance": instance }));
    assert!(matches!(answer.status, 200..=202), "{answer:?}");
    answer.everywhere(201);
}

fn set(proxy: &Proxy, members: Value) {
    let mut body = members;
    body["app_id"] = json!("app");
    proxy.api().post("/api/apps/register", &body).is(200);
}

fn breaker(proxy: &Proxy, instance: &str) -> String {
    proxy.api().instance("app", instance)["circuit_breaker"].as_str().unwrap().to_owned()
}

/// The other tenant is served, whichever core and instance takes its requests.
#[track_caller]
fn others_are_served(proxy: &Proxy, after: &str) {
    for _ in 0..8 {
        let answer = proxy.get("b.test", "/ok");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"), "after {after}: {answer:?}");
    }
}

/// The API reports breakers as the cores do.
#[track_caller]
fn is_open(proxy: &Proxy) {
    let answer = proxy.get("b.test", "/ok");
    assert_eq!((answer.status(), answer.field("x-proxy-circuit-open")), (502, Some("true")), "{answer:?}");
}

on_both_drivers! {
    /// The response is a sound one, and only ours to refuse.
    fn a_response_beyond_our_limits_costs_its_request_only(driver) {
        let origin = Origin::http(|request, connection| {
            let body = "Content-Length: 0\r\n\r\n";
            let answer = match request.target() {
                "/big" => format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\n{body}", "x".repeat(17_000)),
                "/fields" => format!("HTTP/1.1 200 OK\r\n{}{body}", "X: y\r\n".repeat(1_000)),
                "/options" => format!("HTTP/1.1 200 OK\r\nConnection: {}\r\n{body}", vec!["x"; 1_000].join(",")),
                "/coding" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
                "/interim" => "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(30),
                "/extension" => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{}\r\nx\r\n", "x".repeat(40_000)),
                "/trailers" => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5_000)),
                _ => { connection.reply(200, b"ok"); return After::Keep; }
            };
            connection.send(answer);
            After::Keep
        });
        let proxy = tenants_of(driver, &[&origin]);
        for target in ["/big", "/fields", "/options", "/coding", "/interim"] {
            for _ in 0..6 {
                let answer = proxy.get("a.test", target);
                assert_eq!(answer.status(), 502, "{target}: {answer:?}");
                assert_eq!(answer.field("x-proxy-circuit-open"), None, "{target}");
            }
            others_are_served(&proxy, target);
        }
        // These have started, and are cut.
        for target in ["/extension", "/trailers"] {
            for _ in 0..6 {
                let mut client = proxy.client();
                client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
                assert!(client.try_response("GET").is_err(), "{target}");
            }
            others_are_served(&proxy, target);
        }
        assert_eq!(breaker(&proxy, "app-1"), "closed");
    }

    fn statuses_open_a_breaker_only_by_policy(driver) {
        let script = |request: &Message, connection: &mut Connection| {
            match request.target().trim_start_matches('/').parse() {
                Ok(status) => connection.reply(status, b"busy"),
                Err(_) => connection.reply(200, b"ok"),
            };
            After::Keep
        };
        let (one, two) = (Origin::http(script), Origin::http(script));
        let proxy = tenants_of(driver, &[&one, &two]);
        for status in [500, 502, 503, 504] {
            for _ in 0..12 {
                let answer = proxy.get("a.test", &format!("/{status}"));
                assert_eq!((answer.status(), answer.text().as_str()), (status, "busy"), "passed on as it is");
            }
            others_are_served(&proxy, &status.to_string());
        }
        assert_eq!((breaker(&proxy, "app-1").as_str(), breaker(&proxy, "app-2").as_str()), ("closed", "closed"));

        set(&proxy, json!({ "failures": { "statuses": ["502-504"] } }));
        let before = one.request_count() + two.request_count();
        for _ in 0..20 {
            proxy.get("a.test", "/503");
        }
        assert_eq!(one.request_count() + two.request_count() - before, 10, "five for each breaker");
        is_open(&proxy);
        // A new registration is the operator's word that all is well; statuses that are not listed count for
        // nothing.
        register(&proxy, 1, &one.target());
        register(&proxy, 2, &two.target());
        eventually("both breakers close", || {
            proxy.get("b.test", "/ok");
            (breaker(&proxy, "app-1") == "closed" && breaker(&proxy, "app-2") == "closed").then_some(())
        });
        for _ in 0..12 {
            assert_eq!(proxy.get("a.test", "/500").status(), 500);
        }
        others_are_served(&proxy, "a status that is not listed");
    }

    fn a_late_response_counts_only_where_no_check_vouches(driver) {
        let origin = Origin::http(|request, connection| {
            if request.target() == "/slow" {
                connection.until_closed();
                return After::Close;
            }
            connection.reply(200, b"ok");
            After::Keep
        });
        let proxy = Proxy::on(driver).env("PROXY_RESPONSE_TIMEOUT", "1s").start();
        let register = || register_checked(&proxy, 1, &origin.target(), "/health");
        register();
        proxy.api().domain("a.test", "app", None);
        proxy.api().domain("b.test", "app", None);
        let until = |health: &str| eventually("its health is seen", || (proxy.api().instance("app", "app-1")["health"] == health).then_some(()));
        let ask_slowly = || {
            let mut clients: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
            for client in &mut clients {
                client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
            }
            for client in &mut clients {
                assert_eq!(client.response("GET").status(), 504);
            }
        };
        until("healthy");
        ask_slowly();
        others_are_served(&proxy, "late responses of an instance whose check passes");

        // Its health check fails; it gets requests, because there is no other instance.
        set(&proxy, json!({ "on_all_unhealthy": "panic_open" }));
        origin.set_healthy(false);
        until("unhealthy");
        others_are_served(&proxy, "panic_open");
        ask_slowly();
        is_open(&proxy);

        origin.set_healthy(true);
        until("healthy");
        register();
        others_are_served(&proxy, "a new registration");
        set(&proxy, json!({ "failures": { "timeouts": "always" } }));
        ask_slowly();
        is_open(&proxy);

        register();
        others_are_served(&proxy, "a new registration");
        origin.set_healthy(false);
        until("unhealthy");
        set(&proxy, json!({ "failures": { "timeouts": "never" } }));
        ask_slowly();
        others_are_served(&proxy, "timeouts that never count");
    }

    /// Its duration depends on its client, and its result is not awaited.
    fn an_upload_that_trickles_is_no_probe_for_others_to_wait_for(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(mut head) = connection.request_head() {
                connection.remember(&head);
                if connection.body(&mut head).is_err() {
                    return;
                }
                connection.reply(200, b"ok");
            }
        });
        let proxy = tenants_of(driver, &[&origin]);
        origin.die();
        for _ in 0..5 {
            proxy.get("a.test", "/");
        }
        is_open(&proxy);
        origin.revive();
        // Half open at once.
        register(&proxy, 1, &origin.target());
        let mut upload = eventually("an upload is let through, for nothing else is there", || {
            let (mut client, before) = (proxy.client(), origin.request_count());
            client.send("POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nabc");
            // Refused at once, or not at all.
            let refused = client.within(Duration::from_millis(300)).patiently("POST").is_ok();
            (!refused && origin.request_count() > before).then_some(client)
        });
        assert_eq!(breaker(&proxy, "app-1"), "half_open");
        others_are_served(&proxy, "an upload that is under way");
        assert_eq!(breaker(&proxy, "app-1"), "closed");
        upload.send("x".repeat(997));
        assert_eq!(upload.response("POST").text(), "ok");
    }

    /// Servers hang up on uploads that are too slow for them.
    fn a_connection_that_ends_within_an_upload_counts_for_nothing(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(mut head) = connection.request_head() {
                if head.method() == "POST" || connection.body(&mut head).is_err() {
                    return;
                }
                connection.reply(200, b"ok");
            }
        });
        let proxy = tenants_of(driver, &[&origin]);
        for _ in 0..8 {
            let mut client = proxy.client();
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nabc");
            let answer = client.response("POST");
            assert_eq!((answer.status(), answer.field("x-proxy-circuit-open")), (502, None), "{answer:?}");
        }
        others_are_served(&proxy, "uploads that were hung up on");
        assert_eq!(breaker(&proxy, "app-1"), "closed");
        // With the whole request in its hands it has no such reason. The last response before is counted when
        // it has been delivered, which may be after the first of these.
        for _ in 0..6 {
            assert_eq!(proxy.client_post("a.test").status(), 502);
        }
        is_open(&proxy);
    }

    /// Many servers close on a request to upgrade that they do not know, and any client may send one.
    fn a_websocket_that_is_hung_up_on_counts_for_nothing(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(request) = connection.request() {
                if request.field("upgrade").is_some() {
                    return;
                }
                connection.reply(200, b"ok");
            }
        });
        let proxy = tenants_of(driver, &[&origin]);
        for _ in 0..8 {
            let mut client = proxy.client();
            client.send(
                "GET /nowhere HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            );
            let answer = client.response("GET");
            assert_eq!((answer.status(), answer.field("x-proxy-circuit-open")), (502, None), "{answer:?}");
        }
        others_are_served(&proxy, "handshakes that were hung up on");
        assert_eq!(breaker(&proxy, "app-1"), "closed");
    }

    /// Requests of all tenants share a connection of HTTP/2: its end is one failure.
    fn the_end_of_a_shared_connection_counts_once(driver) {
        let origin = H2Origin::new(|asked, replies| match asked.get(":path") {
            Some("/ok") => { replies.ok(asked.stream, b"ok"); }
            Some("/end") => replies.closes = true,
            _ => {}
        });
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").env("HEALTH_CHECK_INTERVAL", "300s").start();
        register(&proxy, 1, &origin.target());
        proxy.api().domain("a.test", "app", None);
        proxy.api().domain("b.test", "app", None);
        for round in 1..=3 {
            let mut clients: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
            for client in &mut clients {
                // Such are not sent again.
                client.send("POST /wait HTTP/1.1\r\nHost: b.test\r\nContent-Length: 0\r\n\r\n");
            }
            eventually("all of them wait", || (origin.requests().iter().filter(|asked| asked.get(":path") == Some("/wait")).count() == 8 * round).then_some(()));
            let mut end = proxy.client();
            end.send("POST /end HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
            for client in clients.iter_mut().chain([&mut end]) {
                let answer = client.response("POST");
                assert_eq!((answer.status(), answer.field("x-proxy-circuit-open")), (502, None), "{answer:?}");
            }
        }
        others_are_served(&proxy, "three connections with nine requests each");
        assert_eq!(breaker(&proxy, "app-1"), "closed");
    }

    /// A head that is too large for us costs neither the instance nor the other requests on its connection.
    fn a_large_head_of_http2_costs_its_request_only(driver) {
        let origin = H2Origin::new(|asked, replies| {
            let size = asked.get(":path").and_then(|path| path.strip_prefix("/big/")).and_then(|size| size.parse().ok());
            let Some(size) = size else {
                replies.ok(asked.stream, b"ok");
                return;
            };
            let block = block(&[(":status", "200"), ("x-big", &"x".repeat(size))]);
            let mut parts = block.chunks(16_384).peekable();
            let (mut kind, mut flags) = (HEADERS, END_STREAM);
            while let Some(part) = parts.next() {
                let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
                replies.frame(kind, flags | last, asked.stream, part);
                (kind, flags) = (CONTINUATION, 0);
            }
        });
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").env("HEALTH_CHECK_INTERVAL", "300s").start();
        register(&proxy, 1, &origin.target());
        proxy.api().domain("a.test", "app", None);
        proxy.api().domain("b.test", "app", None);
        for size in [17_000, 40_000, 100_000, 200_000] {
            for _ in 0..6 {
                let answer = proxy.get("a.test", &format!("/big/{size}"));
                assert_eq!((answer.status(), answer.field("x-proxy-circuit-open")), (502, None), "{size}: {answer:?}");
            }
            others_are_served(&proxy, &format!("heads of {size} bytes"));
        }
        assert_eq!(origin.connections(), 1, "the connection goes on");
    }

    fn an_app_without_healthy_instances_follows_its_policy(driver) {
        let is_slow = Arc::new(AtomicBool::new(false));
        let origin = {
            let is_slow = is_slow.clone();
            Origin::script(move |connection| {
                while let Ok(request) = connection.request() {
                    if request.target() == "/health" && is_slow.load(Ordering::SeqCst) {
                        connection.until_closed();
                        return;
                    }
                    connection.reply(200, b"ok");
                }
            })
        };
        let proxy = Proxy::start(driver);
        let health_check = json!({ "path": "/health", "interval": "1s", "timeout": "250ms" });
        let instance = json!({ "instance_id": "app-1", "target": origin.target(), "health_check": health_check });
        proxy.api().post("/api/apps/register", &json!({ "app_id": "app", "instance": instance })).is(201);
        proxy.api().domain("b.test", "app", None);
        others_are_served(&proxy, "the start");
        is_slow.store(true, Ordering::SeqCst);
        eventually("it is unhealthy", || (proxy.api().instance("app", "app-1")["health"] == "unhealthy").then_some(()));

        // As by default, nothing is forwarded. The response names the setting, and no internals.
        let answer = proxy.get("b.test", "/ok");
        let body = answer.json();
        assert_eq!((answer.status(), &body["error"]["code"]), (502, &json!("all_unhealthy")), "{answer:?}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("health checks") && message.contains("on_all_unhealthy: reject"), "{message}");
        assert!(!answer.text().contains("app-1") && !answer.text().contains("127.0.0.1"), "{}", answer.text());
        // The operator learns which check found what.
        let asked = "app-1: GET /health: timed out after 250ms waiting for the response, ";
        let told = |text: &str, setting: &str| text.contains(asked) && text.contains("in a row") && text.contains(setting);
        eventually("the log says it", || proxy.log().iter().any(|line| told(line, "on_all_unhealthy: reject")).then_some(()));
        let outage = proxy.api().get("/api/status/app/app").is(200).json["outage"].to_string();
        assert!(told(&outage, "on_all_unhealthy: reject"), "{outage}");
        let warnings = proxy.api().get("/api/status").is(200).json["warnings"].to_string();
        assert!(told(&warnings, "on_all_unhealthy: reject"), "{warnings}");
        for words in [["status"].as_slice(), &["apps", "show", "app"]] {
            let shown = String::from_utf8(proxy.command(words).stdout).unwrap();
            assert!(told(&shown, "on_all_unhealthy: reject"), "{words:?}: {shown}");
        }

        // The command line sets it, and it holds at once.
        let update = |policy: &str| {
            let output = proxy.command(&["apps", "update", "app", "--on-all-unhealthy", policy]);
            assert!(output.status.success(), "{output:?}");
        };
        update("panic_open");
        others_are_served(&proxy, "panic_open");
        let outage = proxy.api().get("/api/status/app/app").is(200).json["outage"].to_string();
        assert!(told(&outage, "on_all_unhealthy: panic_open"), "{outage}");

        update("trickle");
        let begun = Instant::now();
        let mut passed = 0;
        eventually("some requests pass, and others do not", || {
            let mut refused = 0;
            for _ in 0..20 {
                let answer = proxy.get("b.test", "/ok");
                match answer.status() {
                    200 => passed += 1,
                    _ => {
                        assert!(answer.text().contains("on_all_unhealthy: trickle"), "{answer:?}");
                        refused += 1;
                    }
                }
            }
            (passed >= 2 && refused > 0).then_some(())
        });
        // One at once, and one per started second: the clock of deadlines is a few milliseconds old.
        let seconds = begun.elapsed().as_secs_f64().ceil() as u64;
        assert!(passed <= seconds + 1, "{passed} requests in {seconds} s");

        is_slow.store(false, Ordering::SeqCst);
        eventually("it is healthy", || (proxy.api().instance("app", "app-1")["health"] == "healthy").then_some(()));
        others_are_served(&proxy, "all is well again");
        assert_eq!(proxy.api().get("/api/status/app/app").is(200).json["outage"], Value::Null);
    }

    /// The failure policy of an app survives a restart and an export.
    fn policies_outlive_a_restart(driver) {
        let proxy = Proxy::start(driver);
        let failures = json!({ "statuses": ["500", "502-504"], "timeouts": "always" });
        let body = json!({ "app_id": "app", "on_all_unhealthy": "trickle", "failures": failures });
        proxy.api().post("/api/apps/register", &body).is(201);
        let proxy = proxy.stop().start();
        let app = proxy.api().get("/api/apps").is(200).json["apps"][0].clone();
        assert_eq!((&app["on_all_unhealthy"], &app["failures"]), (&json!("trickle"), &failures));
        // Members that are not given stay.
        let output = proxy.command(&["apps", "update", "app", "--failure-timeouts", "never"]);
        assert!(output.status.success(), "{output:?}");
        let shown = String::from_utf8(proxy.command(&["apps", "show", "app"]).stdout).unwrap();
        assert!(shown.contains("statuses 500,502-504, timeouts never"), "{shown}");
        let output = proxy.command(&["apps", "update", "other", "--name", "Other"]);
        assert!(!output.status.success(), "an app that is not there is not made");
        assert_eq!(proxy.api().get("/api/apps").is(200).json["total"], 1);
    }
}
