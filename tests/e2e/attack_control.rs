//! Findings of attacks on the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kit::*;

/// A port without a listener, reserved for this test.
fn free_port() -> String {
    crate::kit::pebble::free_address().port().to_string()
}

on_both_drivers! {
    /// The kernel takes io_uring's sockets down a moment after a killed process is gone.
    fn a_killed_process_starts_again_at_once_on_its_ports(driver) {
        let socket = std::env::temp_dir().join(format!("ringway-again-{}-{}", std::process::id(), driver.name()));
        let mut proxy = Proxy::on(driver)
            .env("PROXY_HTTP_BIND", "127.0.0.1")
            .env("PROXY_HTTP_PORT", &free_port())
            .env("PROXY_API_PORT", &free_port())
            .env("PROXY_API_SOCKET", socket.to_str().unwrap())
            .start();
        for round in 0..6 {
            proxy.api().post("/api/apps/register", &json!({ "app_id": format!("app{round}") })).is(201);
            proxy = proxy.kill9().start();
        }
        assert_eq!(proxy.api().get("/api/apps").is(200).json["total"], 6);
        proxy.stop();
        assert!(!socket.exists(), "the socket's file is left");
    }

    /// Two processes that share a port would each get a part of the connections.
    fn a_port_that_another_proxy_serves_is_refused(driver) {
        let origin = Origin::named("one");
        let first = Proxy::serving(driver, &origin);
        let port = first.http().port().to_string();
        let refused = Proxy::on(driver).env("PROXY_HTTP_PORT", &port).run();
        assert_eq!(refused.status.code(), Some(1));
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains(&port) && told.contains("listens there"), "{told}");
        for _ in 0..8 {
            assert_eq!(first.get("app.test", "/").text(), "one");
        }
    }

    /// Without a ready line there is no success.
    fn the_ready_line_is_printed_when_the_process_serves(driver) {
        let mut builder = Proxy::on(driver);
        for _ in 0..5 {
            let proxy = builder.start();
            proxy.api().get("/ready").is(200);
            assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready");
            builder = proxy.stop();
        }
    }

    /// More connections than the API has places, each with a request that does not go on: apps' heartbeats
    /// come through.
    fn slow_clients_of_the_api_do_not_block_others(driver) {
        let origin = Origin::named("one");
        let proxy = Proxy::serving(driver, &origin);
        let mut slow: Vec<Client> = Vec::new();
        for _ in 0..600 {
            let mut client = Client::connect(proxy.api_address());
            let _ = client.try_send("POST /api/apps/heartbeat HTTP/1.1\r\nHost: loc");
            slow.push(client);
        }
        for _ in 0..20 {
            proxy.api().post("/api/apps/heartbeat", &json!({ "instance_id": "app-1" })).is(204);
            proxy.api().get("/healthz").is(200);
        }
        slow[0].assert_closed();
    }

    /// A hundred writers that all saw the same revision: one gets through. And all who repeat one request
    /// under one key get the answer of the first.
    fn a_hundred_writers_at_once_are_judged_one_by_one(driver) {
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let revision = api.post("/api/apps/register", &json!({ "app_id": "app" })).is(201).revision();
        let address = proxy.api_address();
        let all = |name: &'static str, value: String, one_name: bool| {
            let writers: Vec<_> = (0..100)
                .map(|n| {
                    let (value, api) = (value.clone(), Api::new(address));
                    std::thread::spawn(move || {
                        let domain = if one_name { "same.test".to_owned() } else { format!("w{n}.test") };
                        let body = json!({ "domain": domain, "app_id": "app" });
                        let answer = api.call_with("POST", "/api/tenants/domains", &[(name, value.as_str())], Some(&body));
                        (answer.status, answer.json["revision"].as_u64())
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        };
        let answers = all("If-Match", format!("\"{revision}\""), false);
        assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1);
        assert_eq!(answers.iter().filter(|(status, _)| *status == 412).count(), 99);
        let answers = all("Idempotency-Key", "once".to_owned(), true);
        assert!(answers.iter().all(|answer| *answer == (201, Some(revision + 2))), "{answers:?}");
    }

    /// Every change that was acknowledged before the end is there afterwards, and no request fails over it.
    fn a_storm_of_changes_ends_in_order_at_sigterm(driver) {
        let origin = Origin::named("one");
        let mut proxy = Proxy::serving(driver, &origin);
        let address = proxy.api_address();
        let is_over = Arc::new(AtomicBool::new(false));
        let (begun, first) = std::sync::mpsc::channel();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (is_over, begun) = (Arc::clone(&is_over), begun.clone());
                std::thread::spawn(move || {
                    let mut acknowledged = Vec::new();
                    for n in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        let domain = format!("s{writer}-{n}.test");
                        let body = json!({ "domain": domain, "app_id": "app" });
                        let Ok(mut client) = Client::try_connect(address) else { break };
                        let text = body.to_string();
                        let head = "POST /api/tenants/domains HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
                        let sent = client.try_send(format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()));
                        let Ok(()) = sent else { break };
                        let Ok(answer) = client.try_response("POST") else { break };
                        match answer.status() {
                            201 => acknowledged.push(domain),
                            503 => break,
                            other => panic!("{other}"),
                        }
                        let _ = begun.send(());
                    }
                    acknowledged
                })
            })
            .collect();
        for _ in 0..40 {
            first.recv_timeout(SOON_ON_DISK).expect("changes are acknowledged");
        }
        proxy.sigterm();
        assert!(proxy.wait_exit().success());
        is_over.store(true, Ordering::Relaxed);
        let acknowledged: Vec<String> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        let proxy = proxy.kill9().start();
        let list = proxy.api().get("/api/tenants/domains?limit=10000").is(200).json;
        let there: Vec<&str> = list["domains"].as_array().unwrap().iter().filter_map(|one| one["domain"].as_str()).collect();
        for domain in &acknowledged {
            assert!(there.contains(&domain.as_str()), "{domain} was acknowledged");
        }
        assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready");
    }
}
