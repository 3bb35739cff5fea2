//! Waits and their ends: every one has a deadline, and a deadline costs its own exchange only.

use std::time::Duration;

use crate::kit::h2::{H2, serving_as};
use crate::kit::http::Fault;
use crate::kit::origin::Full;
use crate::kit::*;

/// Connections that the proxy only watches: those of an epoll instance that waits for a byte or the end of
/// each, and is not the runtime's own, whose watches are edge-triggered.
fn put_aside(proxy: &Proxy) -> usize {
    let watched = |line: &str| line.starts_with("tfd:") && line.contains("events:     2019 ");
    let folder = std::fs::read_dir(format!("/proc/{}/fdinfo", proxy.pid())).unwrap();
    let files = folder.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
    files.map(|text| text.lines().filter(|line| watched(line)).count()).sum()
}

on_both_drivers! {
    fn an_idle_connection_is_closed_after_its_time(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_IDLE_TIMEOUT", "1s").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        client.get("app.test", "/");
        client.assert_closed();
    }

    fn a_silent_connection_is_put_aside_and_goes_on(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut clients: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
        for round in 0..2 {
            for client in &mut clients {
                assert_eq!(client.get("app.test", "/").text(), "a");
            }
            eventually("all are put aside", || (put_aside(&proxy) == clients.len()).then_some(()));
            assert_eq!(clients[round].get("app.test", "/again").text(), "a");
            eventually("the others stay where they are", || (put_aside(&proxy) >= clients.len() - 1).then_some(()));
        }
        drop(clients);
        eventually("none is left", || (put_aside(&proxy) == 0).then_some(()));
    }

    fn a_connection_that_was_put_aside_is_closed_after_its_time(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_IDLE_TIMEOUT", "3s").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        client.get("app.test", "/");
        eventually("it is put aside", || (put_aside(&proxy) == 1).then_some(()));
        client.assert_closed();
    }

    fn a_connection_that_was_put_aside_ends_with_the_process(driver) {
        let origin = Origin::named("a");
        let mut proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.get("app.test", "/");
        eventually("it is put aside", || (put_aside(&proxy) == 1).then_some(()));
        proxy.sigterm();
        client.assert_closed();
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }

    fn a_body_that_stops_is_given_up(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::on(driver).env("PROXY_BODY_TIMEOUT", "1s").start();
        proxy.serve("app", "app.test", &origin);
        for head in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"] {
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{head}"));
            assert_eq!(client.response("POST").status(), 408);
            client.assert_closed();
        }
        assert_eq!(origin.request_count(), 0);
        eventually("the upstream connections end", || origin.connections().iter().all(|one| one.has_ended()).then_some(()));
    }

    fn a_response_that_stops_is_cut_not_completed(driver) {
        let origin = Origin::http(|request, connection| {
            connection.send(match request.target() {
                "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
                _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            });
            connection.until_closed();
            After::Close
        });
        let proxy = Proxy::on(driver).env("PROXY_BODY_TIMEOUT", "1s").start();
        proxy.serve("app", "app.test", &origin);
        for target in ["/length", "/chunked"] {
            let mut client = proxy.client();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
            let answer = client.try_response("GET");
            assert!(matches!(answer, Err(Fault::Cut(_) | Fault::Reset)), "{target}: {answer:?}");
        }
    }

    fn a_body_may_take_longer_than_its_timeout_while_it_moves(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::on(driver).env("PROXY_BODY_TIMEOUT", "1s").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        let begin = std::time::Instant::now();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut sent = 0;
        while begin.elapsed() < Duration::from_secs(3) {
            client.send(format!("64\r\n{}\r\n", "x".repeat(100)));
            sent += 100;
            pace(Duration::from_millis(100));
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.response("POST").body.len(), sent);
    }

    fn progress_in_either_direction_keeps_both_alive(driver) {
        // `/answer`: the answer flows and the client says nothing; `/upload`: the other way round. Both begin
        // with a head and end whole.
        let origin = Origin::script(|connection| {
            while let Ok(mut request) = connection.request_head() {
                connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
                if request.target() == "/answer" {
                    for _ in 0..30 {
                        connection.send("1\r\n.\r\n");
                        pace(Duration::from_millis(100));
                    }
                }
                let whole = connection.body(&mut request).is_ok();
                connection.send(format!("1\r\n{}\r\n0\r\n\r\n", u8::from(whole)));
            }
        });
        let proxy = serving_as(Proxy::on(driver).env("PROXY_BODY_TIMEOUT", "1s"), &origin);
        // In chunks; and of a known length, which is spliced.
        for framing in ["Transfer-Encoding: chunked\r\n\r\n", "Content-Length: 100000\r\n\r\n"] {
            let is_chunked = framing.starts_with('T');
            let part = |bytes: usize| if is_chunked { format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes)) } else { "x".repeat(bytes) };
            for target in ["/answer", "/upload"] {
                let mut client = proxy.client();
                client.send(format!("POST {target} HTTP/1.1\r\nHost: app.test\r\n{framing}{}", part(1_000)));
                let mut answer = client.response_head("POST");
                assert!(client.chunk(&mut answer));
                if target == "/answer" {
                    (0..30).for_each(|_| assert!(client.chunk(&mut answer), "{framing}"));
                    client.send(part(99_000));
                } else {
                    for _ in 0..30 {
                        client.send(part(3_300));
                        pace(Duration::from_millis(100));
                    }
                }
                client.send(if is_chunked { "0\r\n\r\n" } else { "" });
                client.body(&mut answer).unwrap();
                assert!(answer.text().ends_with('1'), "{target} {framing}: {}", answer.text());
            }
        }
        let mut client = H2::connect(&proxy);
        for path in ["/answer", "/upload"] {
            let fields = client.fields("POST", "app.test", path, &[]);
            let stream = client.begin(&fields, false);
            client.data(stream, b"x", false);
            client.until("the answer begins", |client| (client.answer(stream).body.len() >= 2).then_some(()));
            if path == "/answer" {
                client.until("the answer flows", |client| (client.answer(stream).body.len() >= 32).then_some(()));
            } else {
                for _ in 0..30 {
                    client.data(stream, b"x", false);
                    pace(Duration::from_millis(100));
                }
            }
            client.data(stream, b"", true);
            let answer = client.response(stream);
            assert!(answer.is_whole() && answer.text().ends_with('1'), "{path}: {answer:?}");
        }
    }

    fn silence_in_both_directions_is_attributed_to_the_sender(driver) {
        let origin = Origin::script(|connection| {
            let Ok(mut request) = connection.request_head() else { return };
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
            let _ = connection.body(&mut request);
            connection.until_closed();
        });
        let proxy = Proxy::on(driver).env("PROXY_BODY_TIMEOUT", "1s").env("ACCESS_LOG", "stdout").start();
        proxy.serve("app", "app.test", &origin);
        for (body, failure) in [("5\r\nhel", "body_timeout"), ("0\r\n\r\n", "response_stalled")] {
            let mut client = proxy.client();
            client.send(format!("POST /{failure} HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
            assert!(matches!(client.try_response("POST"), Err(Fault::Cut(_) | Fault::Reset)), "{failure}");
            eventually("the log says whose fault it was", || {
                proxy.log().iter().any(|line| line.contains(&format!("\"{failure}\"")) && line.contains("POST")).then_some(())
            });
        }
    }

    fn streams_are_silent_for_as_long_as_nothing_happens(driver) {
        let origin = Origin::http(|request, connection| {
            let media_type = request.target().trim_start_matches('/');
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"));
            pace(Duration::from_millis(2_500));
            connection.send("3\r\nbye\r\n0\r\n\r\n");
            After::Keep
        });
        let proxy = Proxy::on(driver).env("PROXY_BODY_TIMEOUT", "1s").start();
        proxy.serve("app", "app.test", &origin);
        let answer = |target: &str| {
            let mut client = proxy.client();
            client.send(format!("GET /{target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
            client.try_response("GET").map(|answer| answer.text())
        };
        for stream in ["text/event-stream", "application/grpc", "application/x-ndjson", "multipart/x-mixed-replace;boundary=x"] {
            assert_eq!(answer(stream).unwrap(), "hibye", "{stream}");
        }
        assert!(answer("text/plain").is_err());
        let limited = Proxy::on(driver).env("PROXY_BODY_TIMEOUT", "1s").env("PROXY_STREAM_IDLE_TIMEOUT", "1s").start();
        limited.serve("app", "app.test", &origin);
        let mut client = limited.client();
        client.send("GET /text/event-stream HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(client.try_response("GET").is_err(), "the operator's limit");
    }

    fn an_origin_that_does_not_begin_to_answer_is_a_504(driver) {
        let origin = Origin::silent();
        let proxy = Proxy::on(driver).env("PROXY_RESPONSE_TIMEOUT", "1s").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let answer = client.response("GET");
        assert_eq!(answer.status(), 504);
        assert!(!answer.json()["error"]["request_id"].as_str().unwrap_or_default().is_empty(), "{}", answer.text());
        // The upstream connection cannot be reused.
        eventually("it is closed", || origin.connections().iter().all(|one| one.has_ended()).then_some(()));
    }

    fn an_answer_whose_head_comes_by_the_byte_is_a_504(driver) {
        // Neither a byte nor an interim response restarts the timeout.
        let origin = Origin::http(|request, connection| {
            let is_interim = request.target() == "/interim";
            connection.send(if is_interim { "HTTP/1.1 102 Processing\r\n\r\n" } else { "HTTP/1.1 200 OK\r\nX: " });
            for _ in 0..10 {
                pace(Duration::from_millis(300));
                if !connection.send(if is_interim { "HTTP/1.1 102 Processing\r\n\r\n" } else { "x" }) {
                    return After::Close;
                }
            }
            connection.send(if is_interim { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" } else { "\r\nContent-Length: 0\r\n\r\n" });
            After::Keep
        });
        let proxy = Proxy::on(driver).env("PROXY_RESPONSE_TIMEOUT", "1s").start();
        proxy.serve("app", "app.test", &origin);
        for target in ["/byte", "/interim"] {
            let answer = proxy.get("app.test", target);
            assert_eq!(answer.status(), 504, "{target}");
        }
    }

    fn a_connect_that_hangs_is_a_504_and_fails_over(driver) {
        let full = Full::new();
        let proxy = Proxy::on(driver).env("PROXY_CONNECT_TIMEOUT", "500ms").env("HEALTH_CHECK_INTERVAL", "300s").start();
        proxy.api().register("app", "app-1", &full.target());
        proxy.api().domain("app.test", "app", None);
        assert_eq!(proxy.get("app.test", "/").status(), 504);
        let origin = Origin::named("alive");
        proxy.api().add("app", "app-2", &origin.target());
        let mut client = proxy.client();
        for _ in 0..4 {
            assert_eq!(client.get("app.test", "/").text(), "alive");
        }
    }

    fn a_full_core_responds_with_503(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").env("PROXY_CONNECTIONS_MAX", "10").start();
        proxy.serve("app", "app.test", &origin);
        let mut clients: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
        for client in &mut clients {
            assert_eq!(client.get("app.test", "/").status(), 200);
        }
        let answer = proxy.get("app.test", "/");
        assert_eq!(answer.status(), 503);
        assert!(answer.field("retry-after").is_some());
        // Room is given back.
        clients.clear();
        eventually("there is room again", || (proxy.get("app.test", "/").status() == 200).then_some(()));
    }

    fn an_instance_may_be_given_by_name(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        let port = origin.address().port();
        proxy.api().register("app", "app-1", &format!("http://localhost:{port}"));
        proxy.api().domain("app.test", "app", None);
        // The control thread resolves it; no core waits for that.
        eventually("the name is resolved", || (proxy.get("app.test", "/").status() == 200).then_some(()));
    }
}
