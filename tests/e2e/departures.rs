//! Clients that disconnect before their response: detected in every wait, cancelled at the endpoint, logged
//! with 499.

use std::time::Duration;

use crate::kit::h2::{H2, Secure, serving_as};
use crate::kit::origin::Full;
use crate::kit::*;

/// Origin that opens one gate for each request and responds when the other opens.
fn slow() -> (Origin, Gate, Gate) {
    let (taken, answers) = (Gate::new(), Gate::new());
    let gates = (taken.clone(), answers.clone());
    let origin = Origin::http(move |request, connection| {
        if request.target() == "/quick" {
            connection.reply(200, b"quick");
            return After::Keep;
        }
        gates.0.open();
        // Ends with the connection, or with the test.
        if request.target() == "/silent" || request.target() == "/events" {
            if request.target() == "/events" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
            }
            connection.until_closed();
            return After::Close;
        }
        gates.1.pass();
        connection.reply(200, b"late");
        After::Keep
    });
    (origin, taken, answers)
}

fn logging(driver: Driver) -> proxy::Builder {
    Proxy::on(driver).env("ACCESS_LOG", "stdout").env("PROXY_RESPONSE_TIMEOUT", "300s")
}

/// The line of the access log about a path.
fn line(proxy: &Proxy, path: &str) -> Value {
    eventually("the request is logged", || {
        let lines = proxy.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        lines.into_iter().find(|line| line["path"] == path && line["status"].is_u64())
    })
}

fn assert_left(proxy: &Proxy, path: &str) {
    let line = line(proxy, path);
    assert_eq!((&line["status"], &line["failure"]), (&json!(499), &json!("client_closed")), "{line}");
}

fn has_been_told(origin: &Origin) {
    eventually("the origin's connection ends", || {
        origin.connections().iter().all(|one| one.has_ended()).then_some(())
    });
}

on_both_drivers! {
    fn a_client_that_disconnects_while_the_app_is_silent_is_noticed(driver) {
        let (origin, taken, _) = slow();
        let proxy = serving_as(logging(driver), &origin);
        let tls = Tls::trusting(&proxy.authority(), "app.test");
        for (path, leave) in [("/silent?drop", 0), ("/silent?finish", 1)] {
            let path = path.to_owned();
            for mut client in [proxy.client(), tls.connect(proxy.https())] {
                client.send(format!("GET /silent HTTP/1.1\r\nHost: app.test\r\nX-Path: {path}\r\n\r\n"));
                assert!(taken.pass());
                match leave {
                    0 => drop(client),
                    // A half-closed client is taken for gone.
                    _ => client.finish(),
                }
                has_been_told(&origin);
            }
        }
        let lines = eventually("all are logged", || {
            let lines: Vec<Value> = proxy.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let lines: Vec<Value> = lines.into_iter().filter(|line| line["path"] == "/silent").collect();
            (lines.len() == 4).then_some(lines)
        });
        for line in lines {
            assert_eq!((&line["status"], &line["failure"]), (&json!(499), &json!("client_closed")), "{line}");
        }
        eventually("they are counted", || {
            (proxy.metric("proxy_requests_total", &["route=\"app.test\"", "status=\"499\""]) == 4.0).then_some(())
        });
        assert_eq!(proxy.get("app.test", "/quick").text(), "quick");
    }

    /// Bytes after its request stay unread as long as the response lasts, which may be without end.
    fn a_client_that_disconnects_from_a_silent_event_stream_is_noticed(driver) {
        let (origin, taken, _) = slow();
        let proxy = serving_as(logging(driver), &origin);
        let tls = Tls::trusting(&proxy.authority(), "app.test");
        for more in ["\r\n", "GET /quick HTTP/1.1\r\nHost: app.test\r\n\r\n"] {
            for mut client in [proxy.client(), tls.connect(proxy.https())] {
                client.send(format!("GET /events HTTP/1.1\r\nHost: app.test\r\n\r\n{more}"));
                assert!(taken.pass());
                let mut head = client.response_head("GET");
                assert!(client.chunk(&mut head), "the first event");
                drop(client);
                has_been_told(&origin);
            }
        }
    }

    fn a_half_closed_client_with_two_requests_gets_both_responses(driver) {
        let (origin, taken, answers) = slow();
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET /late HTTP/1.1\r\nHost: app.test\r\n\r\nGET /quick HTTP/1.1\r\nHost: app.test\r\n\r\n");
        client.finish();
        assert!(taken.pass());
        // Longer than the watch of the client takes to begin; a slow machine shows less.
        pace(Duration::from_secs(1));
        answers.open();
        assert_eq!(client.response("GET").text(), "late");
        assert_eq!(client.response("GET").text(), "quick");
    }

    fn a_client_that_waits_for_a_silent_app_is_served(driver) {
        let (origin, taken, answers) = slow();
        let proxy = serving_as(logging(driver), &origin);
        let tls = Tls::trusting(&proxy.authority(), "app.test");
        for client in [&mut proxy.client(), &mut tls.connect(proxy.https())] {
            client.send("GET /late HTTP/1.1\r\nHost: app.test\r\n\r\n");
            assert!(taken.pass());
            pace(Duration::from_secs(1));
            answers.open();
            assert_eq!(client.response("GET").text(), "late");
            // The watch of the client takes nothing of its next request.
            assert_eq!(client.get("app.test", "/quick").text(), "quick");
            client.send("GET /late HTTP/1.1\r\nHost: app.test\r\n\r\n");
            assert!(taken.pass());
            pace(Duration::from_secs(1));
            client.send("GET /quick HTTP/1.1\r\nHost: app.test\r\n\r\n");
            answers.open();
            assert_eq!(client.response("GET").text(), "late");
            assert_eq!(client.response("GET").text(), "quick");
        }
    }

    fn a_reset_http2_request_is_logged(driver) {
        let (origin, taken, _) = slow();
        let proxy: Secure = serving_as(logging(driver), &origin);
        let mut client = H2::connect(&proxy);
        let stream = client.get("app.test", "/silent");
        assert!(taken.pass());
        client.reset(stream, 8);
        has_been_told(&origin);
        assert_left(&proxy, "/silent");
    }

    fn a_client_that_disconnects_during_its_upload_is_logged(driver) {
        let origin = Origin::echo();
        let proxy = serving_as(logging(driver), &origin);
        let mut client = proxy.client();
        client.send("POST /upload HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000\r\n\r\n");
        client.send(pattern(1000));
        drop(client);
        assert_left(&proxy, "/upload");
        assert_eq!(origin.request_count(), 0);
    }

    fn a_client_that_disconnects_after_its_upload_is_noticed(driver) {
        let (origin, taken, _) = slow();
        let proxy = serving_as(logging(driver), &origin);
        let tls = Tls::trusting(&proxy.authority(), "app.test");
        for mut client in [proxy.client(), tls.connect(proxy.https())] {
            client.send("POST /silent HTTP/1.1\r\nHost: app.test\r\nContent-Length: 300000\r\n\r\n");
            client.send(pattern(300_000));
            assert!(taken.pass());
            drop(client);
            has_been_told(&origin);
        }
        assert_left(&proxy, "/silent");
    }

    fn a_client_that_disconnects_during_the_upstream_connect_is_logged(driver) {
        let full = Full::new();
        let proxy = logging(driver).env("PROXY_CONNECT_TIMEOUT", "2s").env("HEALTH_CHECK_INTERVAL", "300s").start();
        proxy.api().register("app", "app-1", &full.target());
        proxy.api().domain("app.test", "app", None);
        let mut client = proxy.client();
        client.send("GET /connect HTTP/1.1\r\nHost: app.test\r\n\r\n");
        drop(client);
        assert_left(&proxy, "/connect");
    }
}
