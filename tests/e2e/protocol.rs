//! HTTP/1.1 corner cases: old versions, pipelines, messages without bodies, interim responses, upgrades.

use crate::kit::*;

on_both_drivers! {
    fn a_client_of_http_1_0_is_served_and_closed(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET /old HTTP/1.0\r\nHost: app.test\r\n\r\n");
        let answer = client.response("GET");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "a"));
        client.assert_closed();
        assert_eq!(origin.one_request().request_version(), "HTTP/1.1");
    }

    fn a_client_of_http_1_0_may_ask_for_keep_alive(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send("GET /old HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n");
            let answer = client.response("GET");
            assert_eq!(answer.status(), 200);
            if answer.closes() {
                client.assert_closed();
                return;
            }
            assert!(answer.lists("connection", "keep-alive"), "a kept connection is announced: {answer:?}");
        }
    }

    fn a_client_of_http_1_0_gets_no_chunks(driver) {
        let origin = Origin::fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", After::Keep);
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.response("GET");
        assert!(answer.all("transfer-encoding").is_empty(), "{answer:?}");
        assert_eq!((answer.framing, answer.text().as_str()), (Framing::UntilClose, "hello"));
    }

    fn an_origin_of_http_1_0_is_understood(driver) {
        let origin = Origin::fixed("HTTP/1.0 200 OK\r\nX-Old: yes\r\n\r\nuntil the close", After::Close);
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for _ in 0..2 {
            let answer = client.get("app.test", "/");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "until the close"));
            assert!(answer.first_line.starts_with("HTTP/1.1 "), "our own version: {}", answer.first_line);
            if answer.closes() {
                client = proxy.client();
            }
        }
        // Without keep-alive in its answer, its connection is not used again.
        assert_eq!(origin.connections().len(), 2);
    }

    fn pipelined_requests_are_answered_in_order(driver) {
        let origin = Origin::http(|request, connection| {
            let target = request.target().to_owned();
            connection.reply(200, target.as_bytes());
            After::Keep
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        let mut bytes = String::new();
        for number in 0..50 {
            bytes.push_str(&match number % 3 {
                0 => format!("GET /{number} HTTP/1.1\r\nHost: app.test\r\n\r\n"),
                1 => format!("POST /{number} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc"),
                _ => format!("POST /{number} HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            });
        }
        client.send(&bytes);
        for number in 0..50 {
            assert_eq!(client.response("GET").text(), format!("/{number}"));
        }
    }

    fn a_request_that_arrives_byte_by_byte_is_the_same_request(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        let request = b"POST /slow HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for byte in request {
            client.send([*byte]);
        }
        assert_eq!(client.response("POST").text(), "hello");
    }

    fn head_has_a_length_and_no_body(driver) {
        let origin = Origin::named("name");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let answer = client.response("HEAD");
        assert_eq!((answer.status(), answer.field("content-length")), (200, Some("4")));
        assert_eq!(client.get("app.test", "/").text(), "name");
        client.send("HEAD / HTTP/1.1\r\nHost: unknown.test\r\n\r\n");
        assert_eq!(client.response("HEAD").status(), 404);
        assert_eq!(client.get("app.test", "/").text(), "name");
    }

    fn head_of_a_chunked_resource_ends_with_its_head(driver) {
        let origin = Origin::fixed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", After::Keep);
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
            assert_eq!(client.response("HEAD").status(), 200);
        }
        assert_eq!(origin.connections().len(), 1, "the connection was kept");
    }

    fn statuses_without_a_body_keep_the_connection(driver) {
        let origin = Origin::http(|request, connection| {
            connection.send(match request.target() {
                "/204" => "HTTP/1.1 204 No Content\r\nX-Kind: empty\r\n\r\n".as_bytes(),
                "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 1234\r\n\r\n",
                "/205" => b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            });
            After::Keep
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for (target, status) in [("/204", 204), ("/304", 304), ("/205", 205), ("/", 200), ("/304", 304), ("/204", 204)] {
            assert_eq!(client.get("app.test", target).status(), status);
        }
        assert_eq!(origin.connections().len(), 1);
    }

    fn interim_responses_are_passed_on_and_none_is_lost(driver) {
        let origin = Origin::fixed(
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
             HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            After::Keep,
        );
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for _ in 0..2 {
            let answer = client.get("app.test", "/");
            let hints: Vec<u16> = answer.interim.iter().map(Message::status).collect();
            assert_eq!((answer.status(), hints), (200, vec![102, 103, 103]));
            assert_eq!(answer.interim[2].field("link"), Some("</b.css>; rel=preload"));
        }
        // RFC 9110 §15.2: never to a client of HTTP/1.0.
        client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
        assert!(client.response("GET").interim.is_empty());
    }

    fn an_interim_response_is_not_held_back(driver) {
        let finish = Gate::new();
        let origin = {
            let finish = finish.clone();
            Origin::http(move |_, connection| {
                connection.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
                finish.pass();
                connection.reply(200, b"ok");
                After::Keep
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.one_response_head("GET").status(), 103);
        finish.open();
        assert_eq!(client.response("GET").text(), "ok");
    }

    fn expect_continue_goes_end_to_end(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(mut request) = connection.request_head() {
                assert_eq!(request.field("expect"), Some("100-continue"));
                connection.send("HTTP/1.1 100 Continue\r\n\r\n");
                if connection.body(&mut request).is_err() {
                    return;
                }
                connection.remember(&request);
                connection.reply(200, &request.body.clone());
            }
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"));
            assert_eq!(client.one_response_head("POST").status(), 100);
            client.send(if framing.starts_with('C') { "hello" } else { "5\r\nhello\r\n0\r\n\r\n" });
            let answer = client.response("POST");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
        }
    }

    fn a_refusal_of_an_expectation_arrives_before_the_body(driver) {
        let origin = Origin::script(|connection| {
            let Ok(request) = connection.request_head() else { return };
            connection.remember(&request);
            connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n");
        let answer = client.response("POST");
        assert_eq!((answer.status(), answer.text().as_str()), (413, "no!"));
        // Whether the body follows is not known: the connection cannot go on unless it is read as a body.
        client.assert_closed();
    }

    fn an_expectation_other_than_100_continue_is_refused(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        for value in ["200-ok", "100-continue, x", "y 100-continue"] {
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: {value}\r\nContent-Length: 5\r\n\r\nhello"));
            let status = client.response("POST").status();
            assert!([400, 417].contains(&status), "{value}: {status}");
        }
        assert_eq!(origin.request_count(), 0);
    }

    fn trace_and_connect_end_here(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        for line in ["TRACE / HTTP/1.1", "CONNECT app.test:443 HTTP/1.1"] {
            let mut client = proxy.client();
            client.send(format!("{line}\r\nHost: app.test\r\nCookie: secret\r\n\r\n"));
            let answer = client.response("POST");
            assert!([405, 501].contains(&answer.status()), "{line}: {}", answer.first_line);
            assert!(!answer.text().contains("secret"));
        }
        assert_eq!(origin.request_count(), 0);
    }

    fn an_unknown_method_is_the_apps_business(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for method in ["PURGE", "PROPFIND", "get"] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: app.test\r\n\r\n"));
            assert_eq!(client.response(method).status(), 200, "{method}");
            assert_eq!(origin.requests().pop().unwrap().method(), method);
        }
    }

    fn an_upgrade_to_h2c_is_never_forwarded(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send(
            "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        );
        assert_eq!(client.response("GET").status(), 200);
        let request = origin.one_request();
        for name in ["upgrade", "http2-settings"] {
            assert!(request.all(name).is_empty(), "{name} passed on");
        }
        assert!(!request.lists("connection", "upgrade"));
    }

    fn a_client_that_wants_to_close_is_closed_after_its_answer(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        let answer = client.response("GET");
        assert_eq!(answer.text(), "a");
        assert!(answer.lists("connection", "close"));
        client.assert_closed();
    }

    fn a_client_that_wants_to_close_and_goes_on_sending_gets_its_whole_answer(driver) {
        // Unread bytes turn a close into a reset, which would overtake the response.
        let body = pattern(1_000_000);
        let origin = {
            let body = body.clone();
            Origin::http(move |_, connection| {
                connection.reply(200, &body);
                After::Keep
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi\r\n");
        assert!(client.response("POST").body == body);
        client.assert_closed();
        // Nor when they come while the answer is on its way, and all of it is in the proxy's kernel.
        for _ in 0..8 {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
            let mut answer = client.response_head("GET");
            client.send("\r\n");
            client.body(&mut answer).unwrap();
            assert!(answer.body == body, "{} bytes", answer.body.len());
            client.assert_closed();
        }
    }

    fn a_client_that_sends_its_end_first_still_gets_its_answer(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        client.finish();
        assert_eq!(client.response("GET").text(), "a");
        client.assert_closed();
    }
}
