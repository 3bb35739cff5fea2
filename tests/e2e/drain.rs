//! Shutdown of a process: requests in flight finish, no new ones start, nothing is lost.

use std::time::Duration;

use crate::kit::*;

/// Origin that signals the arrival of a request and responds when a gate opens.
fn gated() -> (Origin, Gate, Gate) {
    let (arrived, answer) = (Gate::new(), Gate::new());
    let origin = {
        let (arrived, answer) = (arrived.clone(), answer.clone());
        Origin::http(move |_, connection| {
            arrived.open();
            answer.pass();
            connection.reply(200, b"done");
            After::Keep
        })
    };
    (origin, arrived, answer)
}

on_both_drivers! {
    fn a_request_under_way_is_finished_and_then_the_process_ends_with_zero(driver) {
        let (origin, arrived, answer) = gated();
        let mut proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(arrived.pass());
        proxy.sigterm();
        // No longer ready, and still alive.
        eventually("readiness fails", || (proxy.api().get("/ready").status == 503).then_some(()));
        assert_eq!(proxy.api().get("/healthz").status, 200);
        // The cores have stopped listening, too.
        proxy.await_drain();
        assert!(!proxy.has_exited());
        answer.open();
        let response = client.response("GET");
        assert_eq!(response.text(), "done");
        assert!(response.lists("connection", "close"), "{response:?}");
        client.assert_closed();
        let status = proxy.wait_exit();
        assert_eq!(status.code(), Some(0), "{status}");
    }

    fn the_public_health_path_reports_readiness(driver) {
        let origin = Origin::named("a");
        let mut proxy = Proxy::on(driver).env("PROXY_PUBLIC_HEALTH", "/healthz@*,/up@lb.test").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        let answer = client.get("203.0.113.7", "/healthz?from=balancer");
        assert_eq!((answer.status(), answer.text()), (200, "ok".into()));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        client.send("HEAD /healthz HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.response("HEAD").status(), 200);
        assert_eq!(client.get("lb.test", "/up").text(), "ok");
        assert_eq!(origin.request_count(), 0, "no app gets these");
        // The rest is the apps'.
        assert_eq!(client.get("app.test", "/up").text(), "a");
        client.send("POST /healthz HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response("POST").text(), "a");
        // A request that started before the drain.
        client.send("GET /healthz HTTP/1.1\r\nHost: 203.0.113.7\r\n");
        proxy.sigterm();
        proxy.await_drain();
        client.send("\r\n");
        let answer = client.response("GET");
        assert_eq!((answer.status(), answer.text()), (503, "draining".into()));
        assert!(answer.lists("connection", "close"), "{answer:?}");
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }

    fn sigint_does_the_same(driver) {
        let origin = Origin::named("a");
        let mut proxy = Proxy::serving(driver, &origin);
        assert_eq!(proxy.get("app.test", "/").status(), 200);
        proxy.signal(libc::SIGINT);
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }

    fn idle_connections_are_closed(driver) {
        let origin = Origin::named("a");
        let mut proxy = Proxy::serving(driver, &origin);
        let mut clients: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.get("app.test", "/");
        }
        proxy.sigterm();
        for client in &mut clients {
            client.assert_closed();
        }
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }

    fn no_connection_is_accepted_and_left_alone(driver) {
        // Connections whose request is in the kernel when the signal comes: each of them is answered.
        let origin = Origin::named("a");
        let mut proxy = Proxy::serving(driver, &origin);
        let mut clients = Vec::new();
        for _ in 0..100 {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
            clients.push(client);
        }
        proxy.sigterm();
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.try_response("GET");
            assert!(answer.as_ref().is_ok_and(|answer| answer.status() == 200), "connection {number}: {answer:?}");
        }
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }

    fn new_connections_are_refused_while_old_ones_finish(driver) {
        let (origin, arrived, answer) = gated();
        let mut proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(arrived.pass());
        proxy.sigterm();
        proxy.await_drain();
        answer.open();
        assert_eq!(client.response("GET").text(), "done");
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }

    fn a_second_signal_ends_the_process_at_once(driver) {
        let (origin, arrived, _answer) = gated();
        let mut proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(arrived.pass());
        proxy.sigterm();
        eventually("the drain has begun", || Client::try_connect(proxy.http()).is_err().then_some(()));
        assert!(!proxy.has_exited());
        proxy.sigterm();
        // Long before the 30 s that a drain may take.
        eventually_within(Duration::from_secs(10), "the process ends", || proxy.has_exited().then_some(()));
    }

    fn a_drain_ends_in_time_whatever_is_under_way(driver) {
        let (origin, arrived, _answer) = gated();
        let mut proxy = Proxy::on(driver).env("PROXY_DRAIN_TIMEOUT", "2s").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(arrived.pass());
        proxy.sigterm();
        // Long before the 30 s that it would have by default.
        assert!(client.rest_within(Duration::from_secs(15)).is_empty());
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }
}
