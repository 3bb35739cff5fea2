//! HTTP/2 clients: their requests are exchanges like any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kit::h2::*;
use crate::kit::*;

on_both_drivers! {
    fn a_request_arrives_as_http1_and_its_answer_leaves_as_http2(driver) {
        let origin = Origin::fixed(
            "HTTP/1.1 200 Fine\r\nServer: o\r\nConnection: close\r\nX-Two: a\r\nX-Two: b\r\nContent-Length: 5\r\n\r\nhello",
            After::Close,
        );
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let fields = client.fields("GET", "App.test:8443", "/a/b?c=d&e=%20", &[("x-kept", "yes"), ("accept", "*/*")]);
        let stream = client.begin(&fields, true);
        let answer = client.response(stream);
        assert!(answer.is_whole(), "{answer:?}");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
        assert_eq!(answer.get("content-length"), Some("5"));
        let twice: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "x-two").map(|(_, v)| v.as_str()).collect();
        assert_eq!(twice, ["a", "b"]);

        let request = origin.one_request();
        assert_eq!(request.first_line, "GET /a/b?c=d&e=%20 HTTP/1.1");
        assert_eq!(request.field("host"), Some("app.test:8443"));
        assert_eq!(request.field("x-kept"), Some("yes"));
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
        assert!(request.field("via").is_some_and(|via| via.starts_with("2.0 ringway-")), "{request:?}");
        assert_eq!(request.framing, Framing::None);
    }

    fn requests_of_one_connection_do_not_wait_for_each_other(driver) {
        let gate = Gate::new();
        let origin = {
            let gate = gate.clone();
            Origin::http(move |request, connection| {
                if request.target() == "/slow" {
                    gate.pass();
                }
                connection.reply(200, request.target().as_bytes());
                After::Keep
            })
        };
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let slow = client.get("app.test", "/slow");
        let quick: Vec<u32> = (0..40).map(|_| client.get("app.test", "/quick")).collect();
        for stream in quick {
            assert_eq!(client.response(stream).text(), "/quick");
        }
        assert_eq!(client.answer(slow).status(), 0);
        gate.open();
        assert_eq!(client.response(slow).text(), "/slow");
    }

    fn a_body_passes_with_its_length_or_in_chunks(driver) {
        let origin = Origin::echo();
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let length = [("content-length", "11")];
        for (more, expected) in [(length.as_slice(), Framing::Length(11)), (&[], Framing::Chunked)] {
            let fields = client.fields("POST", "app.test", "/", more);
            let stream = client.begin(&fields, false);
            // The first part alone: the request is under way before its length is known.
            client.data(stream, b"hello ", false);
            client.frame(PING, 0, 0, b"ping-one");
            client.until("a pong", |client| (client.pongs > 0).then(|| client.pongs = 0));
            client.data(stream, b"", false).data(stream, b"world", true);
            let answer = client.response(stream);
            assert_eq!((answer.status(), answer.text().as_str()), (200, "hello world"));
            let request = origin.requests().pop().unwrap();
            assert_eq!((request.framing, request.body.as_slice()), (expected, b"hello world".as_slice()));
        }
        let fields = client.fields("POST", "app.test", "/", &[]);
        let stream = client.begin(&fields, true);
        assert_eq!(client.response(stream).status(), 200);
        assert_eq!(origin.requests().pop().unwrap().framing, Framing::Length(0), "an app must not wait for a body");
    }

    fn long_bodies_pass_whole_in_both_directions(driver) {
        let origin = Origin::echo();
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let body = pattern(700_000);
        let fields = client.fields("POST", "app.test", "/", &[]);
        let stream = client.begin(&fields, false);
        client.upload(stream, &body);
        client.data(stream, b"", true);
        let answer = client.response(stream);
        assert!(answer.is_whole());
        assert!(answer.body == body, "bytes were changed");
    }

    /// The connection's window is opened again also for a body that is discarded: otherwise later ones would
    /// stall.
    fn bodies_that_are_given_up_take_no_room_from_others(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(mut head) = connection.request_head() {
                let is_early = head.target() == "/early";
                if is_early {
                    connection.reply(200, b"early");
                }
                if connection.body(&mut head).is_err() {
                    return;
                }
                if !is_early {
                    connection.reply(200, &head.body);
                }
            }
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        client.stingy();
        // The first SETTINGS set the windows.
        client.until("settings", |client| client.settings.contains_key(&INITIAL_WINDOW_SIZE).then_some(()));
        // All of them together are some megabytes, the connection's window is one.
        for round in 0..300 {
            let (authority, path) = [("other.test", "/"), ("app.test", "/early"), ("app.test", "/taken-back")][round % 3];
            let fields = client.fields("POST", authority, path, &[("content-length", "1000000")]);
            let stream = client.begin(&fields, false);
            client.upload(stream, &pattern(16_000));
            if path == "/taken-back" {
                client.reset(stream, CANCEL);
            } else {
                client.within(SOON).until("an answer", |client| (client.answer(stream).status() != 0).then_some(()));
            }
        }
        let body = pattern(3 << 20);
        client.within(3 * SOON);
        let fields = client.fields("POST", "app.test", "/", &[]);
        let stream = client.begin(&fields, false);
        client.upload(stream, &body).data(stream, b"", true);
        client.frame(WINDOW_UPDATE, 0, 0, &(4u32 << 20).to_be_bytes()).window(stream, 4 << 20);
        assert!(client.response(stream).body == body);
    }

    fn responses_without_a_body_end_with_their_head(driver) {
        let origin = Origin::http(|request, connection| {
            connection.send(match request.target() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            });
            After::Keep
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        for (method, path, status, length) in
            [("GET", "/204", 204, None), ("GET", "/304", 304, Some("7")), ("GET", "/empty", 200, Some("0")), ("HEAD", "/", 200, Some("7"))]
        {
            let fields = client.fields(method, "app.test", path, &[]);
            let stream = client.begin(&fields, true);
            let answer = client.response(stream);
            assert!(answer.is_whole() && answer.body.is_empty(), "{method} {path}: {answer:?}");
            assert_eq!((answer.status(), answer.get("content-length")), (status, length), "{method} {path}");
        }
    }

    fn crumbs_of_a_cookie_become_one_field(driver) {
        let origin = Origin::named("o");
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let more = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
        let fields = client.fields("GET", "app.test", "/", &more);
        let stream = client.begin(&fields, true);
        assert_eq!(client.response(stream).status(), 200);
        assert_eq!(origin.one_request().all("cookie"), ["a=1; b=2; c=3; d=4"]);
    }

    fn interim_responses_come_before_the_final_one(driver) {
        let origin = Origin::http(|_, connection| {
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            After::Keep
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let stream = client.get("app.test", "/");
        let answer = client.response(stream);
        assert_eq!(answer.interim.len(), 1);
        assert_eq!(answer.interim[0][0].1, "103");
        assert!(answer.interim[0].contains(&("link".into(), "</a>".into())));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    }

    fn grpc_passes_with_trailers_in_both_directions(driver) {
        let origin = Origin::http(|request, connection| {
            match request.target() {
                "/only" => connection.send("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 5\r\nContent-Length: 0\r\n\r\n"),
                _ => connection.send(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nreply\r\n0\r\n\
                     grpc-status: 0\r\ngrpc-message: fine\r\nContent-Length: 9\r\n\r\n",
                ),
            };
            After::Keep
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let more = [("te", "trailers"), ("content-type", "application/grpc")];
        let fields = client.fields("POST", "app.test", "/call", &more);
        let stream = client.begin(&fields, false);
        client.data(stream, b"\0\0\0\0\x03abc", false);
        client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-checksum", "7"), ("host", "evil")]));
        let answer = client.response(stream);
        assert!(answer.is_whole(), "{answer:?}");
        assert_eq!(answer.text(), "reply");
        let trailers = answer.trailers.unwrap();
        assert_eq!(trailers, [("grpc-status".into(), "0".into()), ("grpc-message".into(), "fine".into())]);
        let request = origin.one_request();
        assert_eq!(request.field("te"), Some("trailers"));
        assert_eq!(request.body, b"\0\0\0\0\x03abc");
        assert_eq!(request.trailers, [("x-checksum".into(), "7".into())]);

        let fields = client.fields("POST", "app.test", "/only", &more);
        let stream = client.begin(&fields, true);
        let answer = client.response(stream);
        assert!(answer.is_whole() && answer.trailers.is_none());
        assert_eq!(answer.get("grpc-status"), Some("5"));
    }

    fn a_response_that_breaks_off_never_looks_whole(driver) {
        let origin = Origin::http(|request, connection| {
            match request.target() {
                "/length" => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"),
                "/chunk" => connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo"),
                _ => connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n"),
            };
            After::Close
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        for path in ["/length", "/chunk", "/broken"] {
            let stream = client.get("app.test", path);
            let answer = client.response(stream);
            assert!(!answer.is_ended && answer.reset.is_some(), "{path}: {answer:?}");
        }
        client.frame(PING, 0, 0, b"ping-one");
        client.until("the connection goes on", |client| (client.pongs > 0).then_some(()));
    }

    fn errors_of_ours_are_answers_like_any_other(driver) {
        let origin = Origin::named("o");
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let fields = client.fields("TRACE", "app.test", "/", &[]);
        let stream = client.begin(&fields, true);
        let answer = client.response(stream);
        assert!(answer.is_whole() && answer.text().contains("method_not_allowed"), "{answer:?}");
        assert_eq!(answer.status(), 405);
        assert!(answer.get("x-request-id").is_some());
        // RFC 9113 §8.5: CONNECT has no path and no scheme, and is not served.
        let stream = client.begin(&[(":method", "CONNECT"), (":authority", "app.test:443")], false);
        assert_eq!(client.response(stream).status(), 405);
    }

    fn a_request_that_is_taken_back_is_taken_back_upstream(driver) {
        let gate = Gate::new();
        let origin = {
            let gate = gate.clone();
            Origin::script(move |connection| {
                while let Ok(request) = connection.request() {
                    if request.target() == "/health" {
                        connection.reply(200, b"");
                        continue;
                    }
                    connection.remember(&request);
                    if request.target() == "/begun" {
                        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
                    }
                    // Ends when the proxy closes.
                    connection.until_closed();
                    gate.open();
                    return;
                }
            })
        };
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        for (count, path) in ["/silent", "/begun"].into_iter().enumerate() {
            let stream = client.get("app.test", path);
            eventually("the request is there", || (origin.request_count() > count).then_some(()));
            client.reset(stream, CANCEL);
            assert!(gate.pass(), "{path}: the upstream connection was not given up");
        }
        client.frame(PING, 0, 0, b"ping-one");
        client.until("the connection goes on", |client| (client.pongs > 0).then_some(()));
    }

    fn an_early_answer_ends_a_request_that_goes_on(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(head) = connection.request_head() {
                if head.target() == "/health" {
                    connection.reply(200, b"");
                    continue;
                }
                connection.remember(&head);
                connection.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
                connection.until_closed();
                return;
            }
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let fields = client.fields("POST", "app.test", "/", &[("content-length", "1000000")]);
        let stream = client.begin(&fields, false);
        client.data(stream, &[7; 10_000], false);
        let answer = client.until("the answer", |client| {
            let answer = client.answer(stream);
            answer.is_ended.then(|| answer.clone())
        });
        assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
        // RFC 9113 §8.1: and RST_STREAM(NO_ERROR) stops the client.
        client.until("NO_ERROR", |client| client.answer(stream).reset.filter(|code| *code == 0));
    }

    fn a_client_that_does_not_open_its_window_holds_its_app_back(driver) {
        let sent = Arc::new(AtomicBool::new(false));
        let body = Arc::new(pattern(32 << 20));
        let origin = {
            let (sent, body) = (Arc::clone(&sent), Arc::clone(&body));
            Origin::http(move |_, connection| {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
                connection.send(&*body);
                sent.store(true, Ordering::SeqCst);
                After::Keep
            })
        };
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        client.stingy();
        let stream = client.get("app.test", "/");
        client.until("a full window", |client| (client.answer(stream).body.len() == 65_535).then_some(()));
        client.frame(PING, 0, 0, b"ping-one");
        client.until("the connection goes on", |client| (client.pongs > 0).then_some(()));
        assert_eq!(client.answer(stream).body.len(), 65_535, "not a byte more than the window");
        assert!(!sent.load(Ordering::SeqCst), "the app has sent 32 MiB to a client that took 64 KiB");
        client.window(0, 1 << 30).window(stream, 1 << 30);
        let answer = client.response(stream);
        assert!(answer.is_whole() && answer.body == *body);
    }

    fn a_websocket_runs_over_a_stream_rfc8441(driver) {
        let origin = Origin::websocket_echo("ws");
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let connect = [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "app.test"),
            (":path", "/chat"), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "x"), ("origin", "https://app.test"),
        ];
        let stream = client.begin(&connect, false);
        client.until("the tunnel", |client| (client.answer(stream).status() == 200).then_some(()));
        assert_eq!(client.settings.get(&8), Some(&1), "SETTINGS_ENABLE_CONNECT_PROTOCOL");
        let answer = client.answer(stream).clone();
        assert!(answer.get("sec-websocket-accept").is_none() && answer.get("x-origin").is_some(), "{answer:?}");
        let request = origin.one_request();
        assert_eq!(request.first_line, "GET /chat HTTP/1.1");
        assert!(request.lists("connection", "upgrade") && request.field("upgrade") == Some("websocket"));
        assert_eq!(request.field("sec-websocket-version"), Some("13"));
        assert_eq!(request.field("sec-websocket-key").unwrap().len(), 24);

        let masked = ws::masked(ws::TEXT, b"hello");
        client.data(stream, &masked, false);
        let echo = ws::frame(ws::TEXT, b"hello");
        client.until("the echo", |client| (client.answer(stream).body == echo).then_some(()));
        // A half close is one: the origin's script ends, and with it the tunnel.
        client.data(stream, b"", true);
        client.until("the end", |client| client.answer(stream).is_ended.then_some(()));
        let stream = client.get("app.test", "/");
        assert_eq!(client.response(stream).status(), 200, "the connection goes on");
    }

    fn a_tunnel_is_open_only_when_the_origin_has_opened_it(driver) {
        let origin = Origin::http(|request, connection| {
            let key = request.field("sec-websocket-key").unwrap_or_default();
            match request.target() {
                "/ignored" => connection.reply(200, b"a page"),
                "/no-content" => connection.reply(204, b""),
                "/wrong" => drop(connection.send(ws::accepted())),
                "/missing" => drop(connection.send(ws::accepted_for(key).replace("Sec-WebSocket-Accept", "X-Accept"))),
                _ => connection.reply(404, b"none"),
            }
            After::Close
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        for (path, status, code) in [
            ("/ignored", 502, "upstream_no_upgrade"), ("/no-content", 502, "upstream_no_upgrade"), ("/wrong", 502, "upstream_bad_accept"),
            ("/missing", 502, "upstream_bad_accept"), ("/none", 404, "none"),
        ] {
            let stream = client.begin(&[
                (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "app.test"),
                (":path", path), ("sec-websocket-version", "13"),
            ], false);
            client.until("an answer", |client| (client.answer(stream).status() != 0 && client.answer(stream).is_over()).then_some(()));
            let answer = client.answer(stream).clone();
            assert!(answer.status() == status && answer.text().contains(code), "{path}: {answer:?}");
        }
    }

    fn trailers_with_pseudo_fields_are_an_error_of_their_stream(driver) {
        let origin = Origin::echo();
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        for more in [&[][..], &[("content-length", "5")][..], &[("content-length", "0")][..]] {
            for trailers in [&[(":path", "/other")][..], &[(":path", "/other"), ("x-sum", "7")][..], &[(":method", "GET")][..]] {
                let fields = client.fields("POST", "app.test", "/", more);
                let stream = client.begin(&fields, false);
                if !more.contains(&("content-length", "0")) {
                    client.data(stream, b"hello", false);
                }
                client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(trailers));
                let answer = client.response(stream);
                assert_eq!((answer.status(), answer.reset), (0, Some(PROTOCOL_ERROR)), "{more:?} {trailers:?}");
            }
        }
        let fields = client.fields("POST", "app.test", "/", &[]);
        let stream = client.begin(&fields, false);
        client.data(stream, b"hello", false).frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-sum", "7")]));
        assert_eq!(client.response(stream).text(), "hello", "the connection goes on");
        assert_eq!(origin.request_count(), 1, "none of the others was complete");
    }

    fn a_websocket_that_is_refused_is_an_answer(driver) {
        let origin = Origin::http(|_, connection| {
            connection.reply(403, b"o");
            After::Keep
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let connect = |version| {
            [
                (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "app.test"),
                (":path", "/"), ("sec-websocket-version", version),
            ]
        };
        let stream = client.begin(&connect("13"), false);
        let answer = client.response(stream);
        assert_eq!((answer.status(), answer.text().as_str()), (403, "o"));
        assert!(answer.is_ended, "an ordinary answer ends");
        let stream = client.begin(&connect("12"), false);
        assert_eq!(client.response(stream).status(), 426);
        let other = [
            (":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "https"), (":authority", "app.test:443"), (":path", "/"),
        ];
        let stream = client.begin(&other, false);
        assert_eq!(client.response(stream).status(), 405);
    }

    fn a_drain_sends_goaway_and_lets_requests_finish(driver) {
        let gate = Gate::new();
        let origin = {
            let gate = gate.clone();
            Origin::http(move |_, connection| {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
                gate.pass();
                connection.send("world");
                After::Keep
            })
        };
        let mut proxy = serving(driver, &origin);
        let mut idle = H2::connect(&proxy);
        let mut client = H2::connect(&proxy);
        idle.frame(PING, 0, 0, b"ping-one");
        idle.until("a pong", |client| (client.pongs > 0).then_some(()));
        let stream = client.get("app.test", "/");
        client.until("the beginning", |client| (client.answer(stream).text() == "hello").then_some(()));
        proxy.sigterm();
        assert_eq!(idle.until_ended(), Some(0), "an idle connection is told to go");
        client.until("GOAWAY", |client| client.goaway.iter().any(|(last, code)| (*last, *code) == (stream, 0)).then_some(()));
        gate.open();
        let answer = client.response(stream);
        assert!(answer.is_whole() && answer.text() == "helloworld", "{answer:?}");
        client.until_ended();
        assert!(proxy.wait_exit().success());
    }

    fn a_websocket_is_closed_by_the_drain(driver) {
        let origin = Origin::websocket_echo("ws");
        let mut proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let connect = [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "app.test"), (":path", "/"),
        ];
        let stream = client.begin(&connect, false);
        client.until("the tunnel", |client| (client.answer(stream).status() == 200).then_some(()));
        proxy.sigterm();
        let close = ws::frame(ws::CLOSE, &1001u16.to_be_bytes());
        client.until("a close frame", |client| client.answer(stream).body.starts_with(&close).then_some(()));
        client.data(stream, b"", true);
        assert!(proxy.wait_exit().success());
    }

    fn the_access_log_names_http2(driver) {
        let origin = Origin::named("o");
        let proxy = serving_as(Proxy::on(driver).env("ACCESS_LOG", "stdout"), &origin);
        let mut client = H2::connect(&proxy);
        let stream = client.get("app.test", "/logged");
        assert_eq!(client.response(stream).status(), 200);
        eventually("the log line", || {
            proxy.log().iter().find(|line| line.contains("/logged")).map(|line| assert!(line.contains("HTTP/2"), "{line}"))
        });
    }
}

/// Runs a third-party client, and returns its output.
fn run_client(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!(
            "{program} is missing ({error}): run `tests/check.sh tools`, or install curl and nghttp2-client"
        )
    });
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].join("\n");
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{said}", output.status);
    said
}

on_both_drivers! {
    fn curl_and_nghttp2_are_served(driver) {
        let body = pattern(300_000);
        let origin = {
            let body = body.clone();
            Origin::http(move |request, connection| {
                let answer = if request.method() == "POST" { &request.body } else { &body };
                connection.reply(200, answer);
                After::Keep
            })
        };
        let proxy = serving(driver, &origin);
        let folder = proxy.store().parent().unwrap().to_owned();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        std::fs::write(path("ca.pem"), proxy.authority()).unwrap();
        std::fs::write(path("upload"), &body).unwrap();
        let port = proxy.https().port();
        let url = format!("https://app.test:{port}/file");

        let curl = |more: &[&str]| {
            let resolve = format!("app.test:{port}:127.0.0.1");
            let authority = path("ca.pem");
            let limit = (3 * SOON).as_secs().to_string();
            let mut arguments = vec![
                "-sS", "--http2", "--max-time", &limit, "--cacert", &authority, "--resolve", &resolve, "-w", "%{http_version} %{http_code}",
            ];
            arguments.extend_from_slice(more);
            arguments.push(&url);
            run_client("curl", &arguments)
        };
        let (got, upload) = (path("got"), format!("@{}", path("upload")));
        assert_eq!(curl(&["-o", &got]).trim(), "2 200");
        assert!(std::fs::read(&got).unwrap() == body, "a download was changed");
        assert_eq!(curl(&["-o", &got, "--data-binary", &upload]).trim(), "2 200");
        assert!(std::fs::read(&got).unwrap() == body, "an upload was changed");

        let address = format!("127.0.0.1:{port}");
        let said = run_client(
            "h2load",
            &["-t1", "-c4", "-m32", "-n2000", &format!("--connect-to={address}"), &format!("https://app.test:{port}/")],
        );
        assert!(said.contains("2000 succeeded, 0 failed, 0 errored"), "{said}");
        let said = run_client("nghttp", &["-ns", "--no-verify-peer", "-H", ":authority: app.test", &format!("https://{address}/file")]);
        assert!(said.contains(" 200 "), "{said}");
    }
}
