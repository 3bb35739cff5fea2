//! Findings of a review of the data plane: each was a bug once.

use std::time::Duration;

use crate::kit::*;

/// A panic ends one connection only, so that no client notices: it is counted.
fn panics(proxy: &Proxy) -> u64 {
    let metrics = proxy.api().get("/metrics").message.text();
    metrics
        .lines()
        .filter(|line| line.starts_with("ringway_panics_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

on_both_drivers! {
    fn the_end_of_a_websocket_is_recorded_without_a_panic(driver) {
        let origin = Origin::websocket_echo("a");
        let proxy = Proxy::on(driver).env("PROXY_TRUSTED_PROXIES", "127.0.0.1/32").start();
        proxy.serve("app", "app.test", &origin);
        for fields in ["", "X-Request-ID: from-the-proxy-in-front\r\n"] {
            let mut client = proxy.client();
            client.send(ws::upgrade("app.test", "/chat?room=1").replace("\r\n\r\n", &format!("\r\n{fields}\r\n")));
            assert_eq!(client.response_head("GET").status(), 101);
            ws::ping_pong(&mut client, "x");
            client.finish();
            client.assert_closed();
        }
        eventually("both have ended", || {
            let ended = origin.connections().iter().filter(|connection| connection.has_ended()).count();
            (ended >= 2).then_some(())
        });
        assert_eq!(panics(&proxy), 0);
    }

    fn a_drain_sends_1001_to_the_client_whatever_the_origin_does(driver) {
        // An origin that never answers a close frame and never closes by itself.
        let origin = Origin::script(|connection| {
            let Ok(request) = connection.request() else { return };
            connection.remember(&request);
            connection.send(ws::accepted());
            connection.until_closed();
        });
        let mut proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/");
        proxy.sigterm();
        let (opcode, payload) = ws::read_frame(&mut client).unwrap();
        assert_eq!((opcode, u16::from_be_bytes([payload[0], payload[1]])), (ws::CLOSE, 1001));
        client.assert_closed();
        drop(client);
        assert!(proxy.wait_exit().success());
    }

    fn the_time_for_an_answer_begins_when_the_request_is_out(driver) {
        // The upload takes longer than an answer may; the answer comes in time, counted from its end.
        let (sent, answer) = (Gate::new(), Gate::new());
        let origin = {
            let (sent, answer) = (sent.clone(), answer.clone());
            Origin::http(move |_, connection| {
                sent.open();
                answer.pass();
                connection.reply(200, b"late");
                After::Keep
            })
        };
        let proxy = Proxy::on(driver).env("PROXY_RESPONSE_TIMEOUT", "3s").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\n");
        for byte in ["a", "b", "c", "d", "e"] {
            client.assert_silent(Duration::from_millis(500));
            client.send(byte);
        }
        assert!(sent.pass());
        // Past the time since the request began, and well within the time since it ended.
        client.assert_silent(Duration::from_millis(1_200));
        answer.open();
        let response = client.response("POST");
        assert_eq!((response.status(), response.text().as_str()), (200, "late"));
    }

    fn an_origin_that_disconnects_during_an_upload_is_reported_as_such(driver) {
        let origin = Origin::script(|connection| {
            let _ = connection.request_head();
        });
        let proxy = Proxy::serving(driver, &origin);
        for framing in ["Content-Length: 40000", "Content-Length: 5000000", "Transfer-Encoding: chunked"] {
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n5\r\nhello\r\n"));
            let response = client.response("POST");
            assert_eq!(response.status(), 502, "{framing}");
            assert_eq!(response.json()["error"]["code"], "upstream_closed", "{framing}");
            client.assert_closed();
        }
    }

    fn a_drain_serves_the_request_that_is_on_its_way(driver) {
        let origin = Origin::named("a");
        let mut proxy = Proxy::serving(driver, &origin);
        let (mut new, mut old) = (proxy.client(), proxy.client());
        old.get("app.test", "/");
        proxy.sigterm();
        // This connection had sent nothing before the signal.
        assert_eq!(new.get("app.test", "/").status(), 200);
        // This one is never idle for long: each of its requests gets a response, the last one with
        // `Connection: close`.
        loop {
            let response = old.get("app.test", "/");
            assert_eq!(response.status(), 200);
            if response.lists("connection", "close") {
                break;
            }
        }
        old.assert_closed();
        drop(new);
        assert!(proxy.wait_exit().success());
    }

    fn a_drain_that_begins_during_an_answer_leaves_the_connection_for_one_request_more(driver) {
        let rest = Gate::new();
        let origin = {
            let rest = rest.clone();
            Origin::http(move |request, connection| {
                if request.target() == "/long" {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
                    rest.pass();
                    connection.send("world");
                } else {
                    connection.reply(200, b"short");
                }
                After::Keep
            })
        };
        let mut proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET /long HTTP/1.1\r\nHost: app.test\r\n\r\n");
        // It had not received `Connection: close`.
        let head = client.response_head("GET");
        assert!(!head.lists("connection", "close"));
        proxy.sigterm();
        eventually("the drain begins", || {
            proxy.log().iter().any(|line| line.contains("\"message\":\"draining\"")).then_some(())
        });
        assert_eq!(client.exactly(5), b"hello");
        // Longer than an idle connection would be left.
        client.assert_silent(Duration::from_millis(1_200));
        rest.open();
        assert_eq!(client.exactly(5), b"world");
        let last = client.get("app.test", "/");
        assert_eq!((last.status(), last.text().as_str()), (200, "short"));
        assert!(last.lists("connection", "close"));
        client.assert_closed();
        assert!(proxy.wait_exit().success());
    }

    fn memory_comes_in_small_pages(driver) {
        // With huge pages an idle connection costs the whole of a buffer of which it touched a part.
        let proxy = Proxy::on(driver).start();
        let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
        let enabled = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
        assert!(enabled.is_none_or(|enabled| enabled.trim() == "0"), "{enabled:?}");
    }
}
