//! WebSockets: asked for properly, opened by the origin only, relayed without a look, sticky, drained.

use crate::kit::*;

on_both_drivers! {
    fn frames_flow_both_ways_after_a_101(driver) {
        let origin = Origin::websocket_echo("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/chat");
        for text in ["one", "two", &"x".repeat(5000)] {
            ws::ping_pong(&mut client, text);
        }
        let request = origin.one_request();
        assert_eq!(request.field("upgrade"), Some("websocket"));
        assert!(request.lists("connection", "upgrade"));
        assert_eq!(request.field("sec-websocket-key"), Some(ws::KEY));
        assert_eq!(request.field("x-original-host"), Some("app.test"));
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    }

    fn nothing_of_the_client_passes_before_the_101(driver) {
        let (arrived, go_on) = (Gate::new(), Gate::new());
        let origin = {
            let (arrived, go_on) = (arrived.clone(), go_on.clone());
            Origin::script(move |connection| {
                let Ok(request) = connection.request() else { return };
                connection.remember(&request);
                arrived.open();
                go_on.pass();
                connection.send(ws::accepted());
                while connection.echo_frame() {}
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send([ws::upgrade("app.test", "/").as_bytes(), &ws::masked(ws::TEXT, b"early")].concat());
        assert!(arrived.pass());
        client.assert_silent(std::time::Duration::from_millis(100));
        let before = origin.connections()[0].bytes();
        assert!(before.ends_with(b"\r\n\r\n"), "bytes after the head before the 101: {:?}", String::from_utf8_lossy(&before));
        go_on.open();
        assert_eq!(client.response_head("GET").status(), 101);
        // And they are not lost either.
        let (_, payload) = ws::read_frame(&mut client).unwrap();
        assert_eq!(payload, b"early");
    }

    fn an_upgrade_that_the_origin_refuses_is_a_plain_answer(driver) {
        let origin = Origin::http(|request, connection| {
            connection.reply(if request.target() == "/chat" { 403 } else { 200 }, b"no");
            After::Keep
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        let hidden = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
        client.send(format!("{}{hidden}", ws::upgrade("app.test", "/chat")));
        let answer = client.response("GET");
        assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
        client.assert_closed();
        assert_eq!(origin.request_count(), 1, "what followed the upgrade was for a WebSocket, not a request");
    }

    fn only_a_proper_upgrade_is_passed_on_as_one(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let key = ws::KEY;
        for (name, head) in [
            ("a POST", format!("POST / HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n")),
            ("no key", "GET / HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n".to_owned()),
            ("no Connection", format!("GET / HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n")),
            ("another protocol", format!("GET / HTTP/1.1\r\nHost: app.test\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n")),
            ("HTTP/1.0", format!("GET / HTTP/1.0\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n")),
            ("a body", format!("GET / HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nContent-Length: 3\r\n\r\nabc")),
        ] {
            let mut client = proxy.client();
            client.send(head);
            let status = client.response("GET").status();
            assert!([200, 400, 426].contains(&status), "{name}: {status}");
        }
        for request in origin.requests() {
            assert!(request.all("upgrade").is_empty() && !request.lists("connection", "upgrade"), "{request:?}");
        }
    }

    fn a_wrong_101_is_refused(driver) {
        let origin = Origin::fixed("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", After::Keep);
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send(ws::upgrade("app.test", "/"));
        assert_eq!(client.response("GET").status(), 502);
    }

    fn a_101_without_proof_that_the_key_was_read_is_refused(driver) {
        let accept = format!("Sec-WebSocket-Accept: {}\r\n", ws::ACCEPT);
        let origin = Origin::http(move |request, connection| {
            let fields = match request.target() {
                "/missing" => String::new(),
                "/wrong" => accept.replace("s3p", "s3q"),
                "/twice" => accept.repeat(2),
                _ => accept.clone(),
            };
            connection.send(format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{fields}\r\n"));
            After::Close
        });
        let proxy = Proxy::serving(driver, &origin);
        for target in ["/missing", "/wrong", "/twice"] {
            let mut client = proxy.client();
            client.send(ws::upgrade("app.test", target));
            let answer = client.response("GET");
            assert_eq!((answer.status(), answer.json()["error"]["code"].as_str()), (502, Some("upstream_bad_accept")), "{target}");
        }
        let mut client = proxy.client();
        client.send(ws::upgrade("app.test", "/right"));
        assert_eq!(client.response_head("GET").status(), 101);
    }

    fn large_streams_pass_both_ways_whole(driver) {
        let origin = Origin::script(|connection| {
            if connection.request().is_err() {
                return;
            }
            connection.send(ws::accepted());
            let Ok(bytes) = connection.exactly(4_000_000) else { return };
            connection.send(&bytes);
            connection.until_closed();
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/");
        let bytes = pattern(4_000_000);
        client.send(&bytes);
        assert!(client.exactly(bytes.len()) == bytes);
    }

    fn an_end_on_one_side_ends_the_other(driver) {
        let origin = Origin::websocket_echo("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/");
        drop(client);
        eventually("the origin sees the end", || origin.connections()[0].has_ended().then_some(()));
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/");
        ws::ping_pong(&mut client, "x");
        origin.cut();
        client.assert_closed();
    }

    fn a_client_that_comes_back_meets_the_same_instance(driver) {
        let origins: Vec<Origin> = ["a", "b", "c", "d"].into_iter().map(Origin::websocket_echo).collect();
        let proxy = Proxy::serving(driver, &origins[0]);
        for (number, origin) in origins.iter().enumerate().skip(1) {
            proxy.api().add("app", &format!("app-{}", number + 1), &origin.target());
        }
        // Plain requests take turns; they move the rotation on between two reconnects.
        let mut plain = proxy.client();
        let mut used = Vec::new();
        let mut cookie = String::new();
        for _ in 0..8 {
            plain.get("app.test", "/");
            let mut client = proxy.client();
            client.send(ws::upgrade("app.test", "/").replace("\r\n\r\n", &format!("\r\n{cookie}\r\n")));
            let answer = client.response_head("GET");
            assert_eq!(answer.status(), 101);
            used.push(answer.field("x-origin").unwrap().to_owned());
            if let Some(set) = answer.all("set-cookie").first() {
                cookie = format!("Cookie: {}\r\n", set.split(';').next().unwrap());
            }
            ws::ping_pong(&mut client, "x");
        }
        used.dedup();
        assert_eq!(used.len(), 1, "{used:?}");
        // And another one when that is gone.
        let mine = origins.iter().max_by_key(|origin| {
            origin.requests().iter().filter(|request| request.lists("connection", "upgrade")).count()
        });
        mine.unwrap().die();
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/");
        ws::ping_pong(&mut client, "still here");
    }

    fn a_websocket_outlives_changes_that_do_not_concern_it(driver) {
        let origin = Origin::websocket_echo("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/");
        let api = proxy.api();
        for number in 0..20 {
            api.register(&format!("other{number}"), &format!("other{number}-1"), &origin.target());
            api.domain(&format!("other{number}.test"), &format!("other{number}"), None);
            ws::ping_pong(&mut client, "x");
        }
        // Even the end of its own instance and domain leaves it alone: the snapshot it was opened under lives
        // on.
        api.remove("app-1");
        api.delete("/api/tenants/domains", &json!({ "domain": "app.test" })).is(204);
        ws::ping_pong(&mut client, "y");
    }

    fn a_drain_closes_websockets_with_1001(driver) {
        let origin = Origin::websocket_echo("a");
        let mut proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/");
        ws::ping_pong(&mut client, "x");
        proxy.sigterm();
        let (opcode, payload) = ws::read_frame(&mut client).unwrap();
        assert_eq!((opcode, u16::from_be_bytes([payload[0], payload[1]])), (ws::CLOSE, 1001));
        client.send(ws::masked(ws::CLOSE, &payload[..2]));
        let _ = client.rest();
        assert!(proxy.wait_exit().success());
    }
}
