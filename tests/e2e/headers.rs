//! Fields that are added, removed, and protected from forgery.

use std::time::{SystemTime, UNIX_EPOCH};

use ringway::model::Timestamp;

use crate::kit::*;

/// Sends one GET with these field lines and returns the received head.
fn arrived(proxy: &Proxy, origin: &Origin, fields: &str) -> Message {
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
    assert_eq!(client.response("GET").status(), 200, "{fields:?}");
    origin.requests().pop().unwrap()
}

on_both_drivers! {
    fn the_app_gets_client_address_scheme_host_and_tenant(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        api.register("app", "app-1", &origin.target());
        api.domain("brand.test", "app", Some("tenant-123"));
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: Brand.test\r\n\r\n");
        assert_eq!(client.response("GET").status(), 200);
        let request = origin.one_request();
        assert_eq!(request.field("x-tenant-id"), Some("tenant-123"));
        assert_eq!(request.field("x-original-host"), Some("brand.test"));
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
        assert_eq!(request.field("x-forwarded-proto"), Some("http"));
        assert!(!request.field("x-request-id").unwrap_or_default().is_empty());
    }

    fn a_domain_without_a_tenant_carries_none(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        assert!(arrived(&proxy, &origin, "X-Tenant-ID: forged\r\n").all("x-tenant-id").is_empty());
    }

    fn untrusted_clients_cannot_forge_forwarded_fields(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        proxy.api().register("app", "app-1", &origin.target());
        proxy.api().domain("app.test", "app", Some("right"));
        let request = arrived(
            &proxy,
            &origin,
            "X-Tenant-ID: forged\r\nx-tenant-id: forged\r\nX_Tenant_ID: forged\r\nX-Original-Host: forged\r\n\
             X_Original_Host: forged\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: forged\r\nX-Forwarded-Port: 666\r\n\
             X-Forwarded-Anything: forged\r\nForwarded: for=6.6.6.6;host=forged\r\nX-Request-ID: forged\r\n",
        );
        let head = String::from_utf8_lossy(&request.head).into_owned();
        for word in ["forged", "6.6.6.6", "666", "https", "_"] {
            assert!(!head.contains(word), "{word} in {head}");
        }
        assert_eq!(request.field("x-tenant-id"), Some("right"));
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    }

    fn forwarded_fields_of_trusted_proxies_are_kept(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_TRUSTED_PROXIES", "127.0.0.0/8").start();
        proxy.serve("app", "app.test", &origin);
        let request = arrived(
            &proxy,
            &origin,
            "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www.app.test:8443\r\n\
             X-Request-ID: from-the-edge.1\r\nX-Tenant-ID: forged\r\n",
        );
        assert_eq!(request.all("x-forwarded-host"), ["www.app.test:8443"]);
        assert_eq!(request.all("x-original-host"), ["app.test"]);
        assert_eq!(request.all("x-forwarded-for").join(", "), "203.0.113.7, 127.0.0.1");
        assert_eq!(request.field("x-real-ip"), Some("203.0.113.7"));
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
        assert_eq!(request.field("x-request-id"), Some("from-the-edge.1"));
        assert!(request.all("x-tenant-id").iter().all(|value| *value != "forged"), "only a domain has a tenant");
    }

    fn a_trusted_proxy_may_write_an_address_as_it_likes(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_TRUSTED_PROXIES", "127.0.0.0/8").start();
        proxy.serve("app", "app.test", &origin);
        for (said, address) in [
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("203.0.113.7:5678", "203.0.113.7"),
        ] {
            let request = arrived(&proxy, &origin, &format!("X-Forwarded-For: {said}\r\n"));
            assert_eq!(request.field("x-real-ip"), Some(address), "{said}");
        }
    }

    fn fields_of_one_hop_end_here(driver) {
        let origin = Origin::fixed(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Named, close\r\nX-Named: secret\r\n\
             Keep-Alive: timeout=1\r\nProxy-Connection: close\r\nProxy-Authenticate: Basic\r\nX-Kept: yes\r\nServer: origin\r\n\r\nok",
            After::Close,
        );
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send(
            "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, x-hop\r\nX-Hop: secret\r\nKeep-Alive: 5\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic c2VjcmV0\r\nTE: gzip\r\nX-Kept: yes\r\nCookie: a=b\r\n\
             Authorization: Bearer x\r\n\r\n",
        );
        let answer = client.response("GET");
        let request = origin.one_request();
        for name in ["x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "te"] {
            assert!(request.all(name).is_empty(), "{name} passed on");
        }
        assert!(!request.lists("connection", "x-hop"));
        for (name, value) in [("x-kept", "yes"), ("cookie", "a=b"), ("authorization", "Bearer x")] {
            assert_eq!(request.field(name), Some(value));
        }
        for name in ["x-named", "keep-alive", "proxy-connection"] {
            assert!(answer.all(name).is_empty(), "{name} passed back");
        }
        assert_eq!(answer.field("x-kept"), Some("yes"));
        assert_eq!(answer.field("server"), Some("origin"));
        // The origin's wish to close is not the client's business.
        client.assert_open("app.test");
    }

    fn a_client_cannot_name_our_fields_away(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        proxy.api().register("app", "app-1", &origin.target());
        proxy.api().domain("app.test", "app", Some("right"));
        let request = arrived(
            &proxy,
            &origin,
            "Connection: X-Tenant-ID, X-Original-Host, X-Forwarded-For, X-Real-IP, X-Forwarded-Proto, X-Request-ID\r\n",
        );
        for name in ["x-tenant-id", "x-original-host", "x-forwarded-for", "x-real-ip", "x-forwarded-proto", "x-request-id"] {
            assert_eq!(request.all(name).len(), 1, "{name}: {request:?}");
        }
    }

    fn a_client_cannot_name_the_framing_or_the_host_away(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        for named in ["Content-Length", "Host", "Transfer-Encoding"] {
            let mut client = proxy.client();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: app.test\r\nConnection: {named}\r\nContent-Length: 5\r\n\r\nhello"
            ));
            let answer = client.response("POST");
            // Refused, or passed on whole: never with its body cut off.
            match answer.status() {
                200 => assert_eq!(answer.text(), "hello", "{named}"),
                status => assert_eq!(status, 400, "{named}"),
            }
        }
        assert!(origin.requests().iter().all(|request| request.text() == "hello"));
    }

    fn repeated_fields_keep_their_order_and_values(driver) {
        let origin = Origin::fixed(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nX-Other: x\r\nSet-Cookie: b=2\r\nVary: A\r\nVary: B\r\nContent-Length: 0\r\n\r\n",
            After::Keep,
        );
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nAccept: a\r\nX-B: \t 1 \t\r\nAccept: b\r\nX-Empty:\r\nX-Latin: \u{e4}\r\n\r\n");
        let answer = client.response("GET");
        assert_eq!(answer.all("set-cookie"), ["a=1; Path=/", "b=2"]);
        assert_eq!(answer.all("vary"), ["A", "B"]);
        let request = origin.one_request();
        assert_eq!(request.all("accept"), ["a", "b"]);
        assert_eq!(request.field("x-b"), Some("1"));
        assert_eq!(request.field("x-empty"), Some(""));
        assert_eq!(request.field("x-latin").map(|value| value.chars().count()), Some(2), "bytes beyond ASCII pass");
    }

    fn an_answer_without_a_date_gets_the_one_of_its_arrival(driver) {
        // RFC 9110 §6.6.1.
        let origin = Origin::http(|request, connection| {
            match request.target() {
                "/early" => {
                    connection.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
                }
                "/own" => {
                    connection.send("HTTP/1.1 304 Not Modified\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n");
                }
                _ => {
                    let body = "x".repeat(100_000);
                    connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
                }
            }
            After::Keep
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for _ in 0..2 {
            let before = now();
            let answer = client.get("app.test", "/");
            assert_eq!(answer.body.len(), 100_000);
            let dates: Vec<String> = (before..=now()).map(|second| Timestamp(second * 1000).to_http_date()).collect();
            let [date] = answer.all("date")[..] else { panic!("{:?}", answer.all("date")) };
            assert!(dates.iter().any(|one| one == date), "{date}, not one of {dates:?}");
        }
        assert_eq!(client.get("app.test", "/own").all("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
        client.send("GET /early HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let early = client.one_response_head("GET");
        assert_eq!((early.status(), early.all("date").len()), (103, 0));
        let last = client.one_response_head("GET");
        assert_eq!((last.status(), last.all("date").len()), (204, 1));
    }

    fn a_request_that_leads_back_here_is_ended(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let api = proxy.api();
        api.register("loop", "loop-1", &format!("http://{}", proxy.http()));
        api.domain("loop.test", "loop", None);
        for _ in 0..3 {
            let mut client = proxy.client();
            let answer = client.get("loop.test", "/");
            assert_eq!((answer.status(), &answer.json()["error"]["code"]), (508, &"loop_detected".into()));
            // Nothing is left of it: the connection serves on.
            assert_eq!(client.get("app.test", "/").text(), "a");
        }
        // RFC 9110 §7.6.3: each time that it came, it went on with one mark more, and the fifth time it did
        // not.
        eventually("each of its ways is counted", || {
            (proxy.metric("proxy_requests_total", &["status=\"508\""]) == 15.0).then_some(())
        });
    }

    fn an_app_in_front_of_another_is_no_loop(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_VIA", "edge-1").start();
        proxy.serve("app", "app.test", &origin);
        let request = arrived(&proxy, &origin, "Via: 1.1 edge-1, 1.1 login\r\nVia: 1.1 edge-1\r\n");
        assert_eq!(request.all("via"), ["1.1 edge-1, 1.1 login", "1.1 edge-1", "1.1 edge-1"]);
    }

    fn a_name_in_via_can_be_given_up(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_VIA", "off").start();
        proxy.serve("app", "app.test", &origin);
        assert!(arrived(&proxy, &origin, "").all("via").is_empty());
        let often = "1.1 off, 1.1 off, 1.1 off, 1.1 off";
        assert_eq!(arrived(&proxy, &origin, &format!("Via: {often}\r\n")).all("via"), [often]);
    }

    fn every_request_has_an_id_of_its_own(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut clients = [proxy.client(), proxy.client(), proxy.client()];
        for _ in 0..5 {
            for client in &mut clients {
                client.get("app.test", "/");
            }
        }
        let ids: std::collections::BTreeSet<String> =
            origin.requests().iter().map(|request| request.field("x-request-id").unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 15);
    }
}
