//! The cache of routes: what is answered without the origin, what the origin is asked, and what is never
//! shared.

use crate::kit::*;

/// A document with one route of app.test, whose cache has these settings.
fn document(origin: &Origin, cache: &str) -> String {
    format!(
        "version: v1\nroutes:\n  - id: all\n    host: app.test\n    path_prefix: /\n    pool: one\n    cache: {cache}\n\
         pools:\n  - id: one\n    endpoints:\n      - address: \"{}\"\n",
        origin.address()
    )
}

fn start(driver: Driver, document: &str) -> Proxy {
    let builder = Proxy::on(driver);
    let file = builder.folder().join("config.yaml");
    std::fs::write(&file, document).unwrap();
    builder.env("PROXY_CONFIG", file.to_str().unwrap()).start()
}

fn ask(proxy: &Proxy, method: &str, target: &str, fields: &str) -> Message {
    let mut client = proxy.client();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
    client.response(method)
}

fn get(proxy: &Proxy, target: &str, fields: &str) -> Message {
    ask(proxy, "GET", target, fields)
}

/// An origin that answers with these fields, and with its target as the content.
fn echo(fields: &'static str) -> Origin {
    Origin::http(move |request, connection| {
        let text = request.target().to_owned();
        connection.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{text}", text.len()));
        After::Keep
    })
}

on_both_drivers! {
    fn a_fresh_response_answers_without_the_origin(driver) {
        let origin = echo("Cache-Control: max-age=60\r\nETag: \"one\"\r\nX-Kept: yes\r\n");
        let proxy = start(driver, &document(&origin, "{}"));
        let first = get(&proxy, "/a?x=1", "");
        assert_eq!((first.status(), first.text().as_str()), (200, "/a?x=1"));
        assert_eq!(first.field("x-cache-status"), Some("MISS"));
        for _ in 0..3 {
            let hit = get(&proxy, "/a?x=1", "");
            assert_eq!((hit.status(), hit.text().as_str()), (200, "/a?x=1"));
            assert_eq!(hit.field("x-cache-status"), Some("HIT"));
            assert_eq!((hit.field("x-kept"), hit.field("content-length")), (Some("yes"), Some("6")));
            assert!(hit.field("age").is_some());
        }
        assert_eq!(get(&proxy, "/a?x=2", "").text(), "/a?x=2", "another target");
        assert_eq!(origin.request_count(), 2);
    }

    fn conditions_ranges_and_heads_are_answered(driver) {
        let origin = echo("Cache-Control: max-age=60\r\nETag: \"one\"\r\n");
        let proxy = start(driver, &document(&origin, "{}"));
        get(&proxy, "/0123456789", "");
        let unchanged = get(&proxy, "/0123456789", "If-None-Match: \"one\"\r\n");
        assert_eq!((unchanged.status(), unchanged.field("etag")), (304, Some("\"one\"")));
        let part = get(&proxy, "/0123456789", "Range: bytes=2-4\r\n");
        assert_eq!((part.status(), part.text().as_str()), (206, "123"));
        assert_eq!(part.field("content-range"), Some("bytes 2-4/11"));
        let none = get(&proxy, "/0123456789", "Range: bytes=99-\r\n");
        assert_eq!((none.status(), none.field("content-range")), (416, Some("bytes */11")));
        let head = ask(&proxy, "HEAD", "/0123456789", "");
        assert_eq!((head.status(), head.field("content-length")), (200, Some("11")));
        assert_eq!(head.field("x-cache-status"), Some("HIT"));
        assert_eq!(origin.request_count(), 1);
    }

    fn a_stale_response_is_confirmed_by_its_validator(driver) {
        let origin = Origin::http(|request, connection| {
            match request.field("if-none-match") {
                Some("\"one\"") => connection.send("HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\nX-New: yes\r\nCache-Control: max-age=60\r\n\r\n"),
                _ => connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nETag: \"one\"\r\nContent-Length: 3\r\n\r\none"),
            };
            After::Keep
        });
        let proxy = start(driver, &document(&origin, "{}"));
        assert_eq!(get(&proxy, "/a", "").field("x-cache-status"), Some("MISS"));
        let confirmed = get(&proxy, "/a", "If-None-Match: \"other\"\r\n");
        assert_eq!((confirmed.status(), confirmed.text().as_str()), (200, "one"));
        assert_eq!(confirmed.field("x-cache-status"), Some("REVALIDATED"));
        assert_eq!(confirmed.field("x-new"), Some("yes"));
        assert_eq!(get(&proxy, "/a", "").field("x-cache-status"), Some("HIT"));
        assert_eq!(origin.request_count(), 2);
    }

    fn variants_are_kept_apart(driver) {
        let origin = Origin::http(|request, connection| {
            let language = request.field("accept-language").unwrap_or("none").to_owned();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nVary: Accept-Language\r\nContent-Length: {}\r\n\r\n{language}",
                language.len()
            ));
            After::Keep
        });
        let proxy = start(driver, &document(&origin, "{}"));
        for status in ["MISS", "HIT"] {
            for language in ["de", "fr"] {
                let answer = get(&proxy, "/a", &format!("Accept-Language: {language}\r\n"));
                assert_eq!((answer.text().as_str(), answer.field("x-cache-status")), (language, Some(status)));
            }
            let none = get(&proxy, "/a", "");
            assert_eq!((none.text().as_str(), none.field("x-cache-status")), ("none", Some(status)));
        }
        assert_eq!(origin.request_count(), 3);
    }

    fn personal_requests_and_responses_are_not_shared(driver) {
        let origin = echo("Cache-Control: max-age=60\r\n");
        let proxy = start(driver, &document(&origin, "{}"));
        for fields in ["Authorization: Bearer x\r\n", "X-HTTP-Method-Override: DELETE\r\n", "X-Original-URL: /b\r\n", "If-Match: \"x\"\r\n"] {
            for _ in 0..2 {
                assert_eq!(get(&proxy, "/a", fields).field("x-cache-status"), Some("BYPASS"), "{fields}");
            }
        }
        let mut client = proxy.client();
        client.send("GET /a HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nfat");
        assert_eq!(client.response("GET").field("x-cache-status"), Some("BYPASS"));
        for fields in ["Cache-Control: private, max-age=60\r\n", "Cache-Control: no-store\r\n", "Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n", "Cache-Control: max-age=60\r\nVary: *\r\n", ""] {
            let origin = echo(fields);
            let proxy = start(driver, &document(&origin, "{}"));
            for _ in 0..2 {
                assert_eq!(get(&proxy, "/a", "").field("x-cache-status"), Some("MISS"), "{fields}");
            }
            assert_eq!(origin.request_count(), 2, "{fields}");
        }
    }

    fn an_unsafe_request_invalidates_its_target(driver) {
        let origin = echo("Cache-Control: max-age=60\r\n");
        let proxy = start(driver, &document(&origin, "{}"));
        for _ in 0..2 {
            get(&proxy, "/a", "");
            get(&proxy, "/b", "");
        }
        assert_eq!(origin.request_count(), 2);
        let posted = ask(&proxy, "POST", "/a", "Content-Length: 0\r\n");
        assert_eq!((posted.status(), posted.field("x-cache-status")), (200, Some("BYPASS")));
        assert_eq!(get(&proxy, "/a", "").field("x-cache-status"), Some("MISS"));
        assert_eq!(get(&proxy, "/b", "").field("x-cache-status"), Some("HIT"));
    }

    fn a_stale_response_answers_for_a_dead_origin(driver) {
        let origin = echo("Cache-Control: max-age=0, stale-if-error=600\r\nETag: \"x\"\r\n");
        let proxy = start(driver, &document(&origin, "{}"));
        get(&proxy, "/a", "");
        origin.die();
        let stale = get(&proxy, "/a", "");
        assert_eq!((stale.status(), stale.text().as_str()), (200, "/a"));
        assert_eq!(stale.field("x-cache-status"), Some("STALE"));
        assert_eq!(get(&proxy, "/b", "").status(), 502);
    }

    fn only_if_cached_never_asks_the_origin(driver) {
        let origin = echo("Cache-Control: max-age=60\r\n");
        let proxy = start(driver, &document(&origin, "{}"));
        let refused = get(&proxy, "/a", "Cache-Control: only-if-cached\r\n");
        assert_eq!((refused.status(), refused.json()["error"]["code"].as_str()), (504, Some("only_if_cached")));
        get(&proxy, "/a", "");
        assert_eq!(get(&proxy, "/a", "Cache-Control: only-if-cached\r\n").text(), "/a");
        assert_eq!(origin.request_count(), 1);
    }

    fn simultaneous_misses_cost_the_origin_one_request(driver) {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::http(move |_, connection| {
            held.pass();
            connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello");
            After::Keep
        });
        let proxy = start(driver, &document(&origin, "{coalesce_timeout: 60s}"));
        let mut clients: Vec<_> = (0..20).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send("GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n");
        }
        // Those that come after the response are hits: the number of requests is the same.
        eventually("the origin is asked", || (origin.request_count() > 0).then_some(()));
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response("GET").text(), "hello");
        }
        assert_eq!(origin.request_count(), 1);
    }

    fn a_long_response_passes_to_all_while_it_arrives(driver) {
        const LEN: usize = 2_000_000;
        let origin = Origin::http(|_, connection| {
            let body: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
            connection.send(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {LEN}\r\n\r\n"));
            connection.send(body);
            After::Keep
        });
        let proxy = start(driver, &document(&origin, "{}"));
        let expected: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
        for status in ["MISS", "HIT", "HIT"] {
            let answer = get(&proxy, "/a", "");
            assert!(answer.body == expected, "{status}");
            assert_eq!(answer.field("x-cache-status"), Some(status));
        }
        let part = get(&proxy, "/a", "Range: bytes=65530-131080\r\n");
        assert!(part.body == expected[65_530..=131_080]);
        assert_eq!(origin.request_count(), 1);
    }

    fn a_cut_response_is_cut_for_its_client_and_not_stored(driver) {
        let origin = Origin::http(|_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nhalf");
            After::Close
        });
        let proxy = start(driver, &document(&origin, "{}"));
        for _ in 0..2 {
            let mut client = proxy.client();
            client.send("GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n");
            assert!(client.try_response("GET").is_err(), "never a clean end");
        }
        assert_eq!(origin.request_count(), 2);
    }

    fn a_response_that_is_too_large_passes_and_is_not_stored(driver) {
        const LEN: usize = 3_000_000;
        let origin = Origin::http(|_, connection| {
            connection.send(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n{LEN:x}\r\n"));
            connection.send(pattern(LEN));
            connection.send("\r\n0\r\n\r\n");
            After::Keep
        });
        let proxy = start(driver, &document(&origin, "{max_object: 1MB}"));
        for _ in 0..2 {
            let answer = get(&proxy, "/a", "");
            assert!(answer.body == pattern(LEN));
            assert_eq!(answer.field("x-cache-status"), Some("MISS"));
        }
        assert_eq!(origin.request_count(), 2);
    }

    fn http2_gets_stored_responses_whole_and_in_parts(driver) {
        let origin = Origin::http(|_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"x\"\r\nContent-Length: 300000\r\n\r\n");
            connection.send(pattern(300_000));
            After::Keep
        });
        let file = document(&origin, "{}");
        let builder = Proxy::on(driver);
        let path = builder.folder().join("config.yaml");
        std::fs::write(&path, file).unwrap();
        let secure = h2::secure(builder.env("PROXY_CONFIG", path.to_str().unwrap()));
        let mut peer = h2::H2::connect(&secure);
        for status in ["MISS", "HIT"] {
            let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "app.test"), (":path", "/a")];
            let stream = peer.begin(&fields, true);
            let answer = peer.response(stream);
            assert_eq!((answer.status(), answer.get("x-cache-status")), (200, Some(status)));
            assert!(answer.body == pattern(300_000));
        }
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":authority", "app.test"), (":path", "/a"), ("range", "bytes=100-70000")];
        let stream = peer.begin(&fields, true);
        let part = peer.response(stream);
        assert_eq!(part.status(), 206);
        assert!(part.body == pattern(300_000)[100..=70_000]);
        assert_eq!(origin.request_count(), 1);
    }

    fn slow_responses_push_out_no_stored_ones(driver) {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::http(move |request, connection| {
            let body = pattern(60_000);
            connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
            if request.target().starts_with("/slow") {
                held.pass();
            }
            connection.send(format!("{:x}\r\n", body.len()));
            connection.send(body);
            connection.send("\r\n0\r\n\r\n");
            After::Keep
        });
        let proxy = start(driver, &document(&origin, "{max_size: 1MB}"));
        for number in 0..10 {
            let stored = get(&proxy, &format!("/{number}"), "");
            assert_eq!((stored.body.len(), stored.field("x-cache-status")), (60_001, Some("MISS")));
        }
        let mut slow: Vec<_> = (0..60).map(|_| proxy.client()).collect();
        for (number, client) in slow.iter_mut().enumerate() {
            client.send(format!("GET /slow/{number} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        }
        eventually("the origin is asked", || (origin.request_count() == 70).then_some(()));
        for number in 0..10 {
            assert_eq!(get(&proxy, &format!("/{number}"), "").field("x-cache-status"), Some("HIT"), "{number}");
        }
        slow.iter().for_each(|_| gate.open());
        for client in &mut slow {
            assert_eq!(client.response("GET").body.len(), 60_001);
        }
    }

    fn a_small_cache_stores_chunked_responses(driver) {
        let origin = Origin::http(|_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            connection.send("0\r\n\r\n");
            After::Keep
        });
        let proxy = start(driver, &document(&origin, "{max_size: 64KB}"));
        for status in ["MISS", "HIT"] {
            let answer = get(&proxy, "/a", "");
            assert_eq!((answer.text().as_str(), answer.field("x-cache-status")), ("hello", Some(status)));
        }
    }

    fn only_what_is_stored_is_said_to_be(driver) {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::http(move |request, connection| {
            if request.target() == "/whole" {
                connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nbody");
                return After::Keep;
            }
            connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n\r\nbody");
            held.pass();
            After::Close
        });
        let proxy = start(driver, &document(&origin, "{}"));
        let stored = get(&proxy, "/whole", "");
        assert_eq!(stored.field("cache-status"), Some("ringway; fwd=uri-miss; fwd-status=200; stored"));
        let mut client = proxy.client();
        client.send("GET /cut HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let head = client.response_head("GET");
        assert_eq!(head.field("cache-status"), Some("ringway; fwd=uri-miss; fwd-status=200"));
        gate.open();
    }

    fn visitors_with_a_cookie_share_no_miss_of_those_without(driver) {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = Origin::http(move |request, connection| {
            let text = match request.field("cookie") {
                Some(cookie) => cookie.to_owned(),
                None => {
                    held.pass();
                    "anyone".to_owned()
                }
            };
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
            After::Keep
        });
        let proxy = start(driver, &document(&origin, "{ttl: 60s, coalesce_timeout: 60s}"));
        let (mut anyone, mut alice) = (proxy.client(), proxy.client());
        anyone.send("GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n");
        eventually("the origin is asked", || (origin.request_count() == 1).then_some(()));
        alice.send("GET /a HTTP/1.1\r\nHost: app.test\r\nCookie: alice\r\n\r\n");
        eventually("the other one waits", || {
            let metrics = proxy.api().get("/metrics").message.text();
            metrics.lines().any(|line| line == "proxy_cache_coalesce_waiters{route=\"all\"} 1").then_some(())
        });
        gate.open();
        assert_eq!(anyone.response("GET").text(), "anyone");
        let own = alice.response("GET");
        assert_eq!((own.text().as_str(), own.field("x-cache-status")), ("alice", Some("MISS")));
        assert!(own.field("cache-status").unwrap().ends_with("; detail=cookie"));
        let again = get(&proxy, "/a", "Cookie: bob\r\n");
        assert_eq!((again.text().as_str(), again.field("x-cache-status")), ("bob", Some("MISS")));
        let hit = get(&proxy, "/a", "");
        assert_eq!((hit.text().as_str(), hit.field("x-cache-status")), ("anyone", Some("HIT")));
    }
}
