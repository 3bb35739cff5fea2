//! Attacks on the cache: a response that one client, or one tenant, gets stored must not answer others unless
//! it is what they would have got. Judged by the bytes that arrive at the origin.

use crate::kit::*;

/// A document with a cached route on each host, all with the same origin and these settings.
fn document(hosts: &[&str], origin: &Origin, cache: &str) -> String {
    let routes: String = hosts
        .iter()
        .map(|host| {
            let id = host.replace('.', "-");
            format!("  - {{id: {id}, host: {host}, path_prefix: /, pool: one, cache: {cache}}}\n")
        })
        .collect();
    let address = origin.address();
    format!(
        "version: v1\nroutes:\n{routes}pools:\n  - id: one\n    endpoints:\n      - address: \"{address}\"\n"
    )
}

fn start(builder: proxy::Builder, document: &str) -> Proxy {
    let file = builder.folder().join("config.yaml");
    std::fs::write(&file, document).unwrap();
    builder.env("PROXY_CONFIG", file.to_str().unwrap()).start()
}

/// One cached route of app.test, for everyone.
fn open(driver: Driver, origin: &Origin) -> Proxy {
    start(Proxy::on(driver), &document(&["app.test"], origin, "{}"))
}

/// An origin that lets everything be stored, and whose content is the request as it came: whatever an
/// attacker gets through shows.
fn mirror() -> Origin {
    mirror_with("Cache-Control: max-age=600\r\n")
}

fn mirror_with(fields: &'static str) -> Origin {
    Origin::http(move |request, connection| {
        let seen = [request.head.as_slice(), &request.body].concat();
        connection.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", seen.len()));
        connection.send(seen);
        After::Keep
    })
}

fn ask(proxy: &Proxy, head: &str) -> Message {
    let mut client = proxy.client();
    client.send(head);
    client.response(head.split(' ').next().unwrap())
}

/// A request for a target of app.test.
fn get(proxy: &Proxy, target: &str, fields: &str) -> Message {
    ask(proxy, &format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"))
}

fn outcome(message: &Message) -> &str {
    message.field("x-cache-status").unwrap_or("LOCAL")
}

/// Heads of all requests at the origin, as text.
fn heads(origin: &Origin) -> Vec<String> {
    origin.requests().iter().map(|request| String::from_utf8_lossy(&request.head).into_owned()).collect()
}

on_both_drivers! {
    fn tenants_with_one_path_and_one_origin_share_nothing(driver) {
        let origin = mirror();
        let proxy = start(Proxy::on(driver), &document(&["a.test", "b.test"], &origin, "{}"));
        for turn in ["MISS", "HIT"] {
            for host in ["a.test", "b.test"] {
                let answer = ask(&proxy, &format!("GET /same HTTP/1.1\r\nHost: {host}\r\n\r\n"));
                assert_eq!(outcome(&answer), turn, "{host}");
                assert!(answer.text().contains(&format!("\r\nHost: {host}\r\n")), "{host}: {}", answer.text());
            }
        }
        // The other tenant's name in other places of a request reaches its entry by none of them.
        for head in [
            "GET http://a.test/same HTTP/1.1\r\nHost: b.test\r\n\r\n",
            "GET /same HTTP/1.1\r\nHost: b.test\r\nX-Forwarded-Host: a.test\r\n\r\n",
            "GET /same HTTP/1.1\r\nHost: b.test.\r\n\r\n",
            "GET /same HTTP/1.1\r\nHost: B.TEST:80\r\n\r\n",
        ] {
            let answer = ask(&proxy, head);
            let is_a = answer.status() == 200 && answer.text().contains("\r\nHost: a.test\r\n");
            assert!(!is_a || head.starts_with("GET http://a.test"), "{head}: {}", answer.text());
        }
        // A purge by one tenant's unsafe request leaves the other's entry.
        ask(&proxy, "POST /same HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(outcome(&ask(&proxy, "GET /same HTTP/1.1\r\nHost: b.test\r\n\r\n")), "HIT");
    }

    fn forwarding_fields_of_a_client_never_arrive(driver) {
        let origin = mirror();
        let proxy = open(driver, &origin);
        for (number, field) in [
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-Proto: evil",
            "X-Forwarded-For: evil.example",
            "X-Real-IP: evil.example",
            "X-Original-Host: evil.example",
            "X-Forwarded-Host: app.test\r\nX-Forwarded-Host: evil.example",
            "X_FORWARDED_HOST: evil.example",
            "Connection: evil\r\nEvil: x",
        ]
        .into_iter()
        .enumerate()
        {
            let target = format!("/{number}");
            get(&proxy, &target, &format!("{field}\r\n"));
            let victim = get(&proxy, &target, "");
            assert_eq!(outcome(&victim), "HIT", "{field}");
            assert!(!victim.text().to_lowercase().contains("evil"), "{field}: {}", victim.text());
        }
        assert!(heads(&origin).iter().all(|head| !head.to_lowercase().contains("evil")), "{:?}", heads(&origin));
    }

    /// A trusted proxy passes on a name that a client chose.
    fn another_host_by_a_trusted_proxy_is_not_stored(driver) {
        let origin = mirror();
        let builder = Proxy::on(driver).env("PROXY_TRUSTED_PROXIES", "127.0.0.0/8");
        let proxy = start(builder, &document(&["app.test"], &origin, "{}"));
        let other = get(&proxy, "/", "X-Forwarded-Host: evil.example\r\n");
        assert_eq!(outcome(&other), "BYPASS");
        assert!(other.text().contains("X-Forwarded-Host: evil.example\r\n"), "{}", other.text());
        let own = get(&proxy, "/", "X-Forwarded-Host: app.test\r\n");
        assert_eq!((outcome(&own), own.text().contains("evil")), ("MISS", false));
        assert_eq!(outcome(&get(&proxy, "/", "")), "HIT");
        assert_eq!(outcome(&get(&proxy, "/", "X-Forwarded-Host: evil.example\r\n")), "BYPASS");
        // A scheme is part of the key.
        let secure = get(&proxy, "/", "X-Forwarded-Proto: https\r\n");
        assert_eq!(outcome(&secure), "MISS");
        assert!(secure.text().contains("X-Forwarded-Proto: https\r\n"), "{}", secure.text());
        assert!(get(&proxy, "/", "").text().contains("X-Forwarded-Proto: http\r\n"));
    }

    fn a_get_with_a_body_neither_fills_nor_reads(driver) {
        let origin = mirror();
        let proxy = open(driver, &origin);
        let fat = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let mut client = proxy.client();
        client.send(format!("GET /a HTTP/1.1\r\nHost: app.test\r\n{}", fat("evil=1")));
        assert_eq!(outcome(&client.response("GET")), "BYPASS");
        assert_eq!(origin.one_request().body, b"evil=1");
        let victim = get(&proxy, "/a", "");
        assert_eq!((outcome(&victim), victim.text().contains("evil")), ("MISS", false));
        client.send(format!("GET /a HTTP/1.1\r\nHost: app.test\r\n{}", fat("evil=2")));
        assert_eq!(outcome(&client.response("GET")), "BYPASS");
        client.send("GET /a HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevil=3\r\n0\r\n\r\n");
        assert_eq!(outcome(&client.response("GET")), "BYPASS");
        // An empty body is one, too: origins may treat its request otherwise.
        client.send("GET /a HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(outcome(&client.response("GET")), "BYPASS");
        assert_eq!(get(&proxy, "/a", "").text(), victim.text());
    }

    fn overrides_of_method_and_target_neither_fill_nor_read(driver) {
        let origin = mirror();
        let proxy = open(driver, &origin);
        for (number, name) in [
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "x-http-method-override",
            "X-Original-URL",
            "X-Rewrite-URL",
        ]
        .into_iter()
        .enumerate()
        {
            let target = format!("/{number}");
            let attack = get(&proxy, &target, &format!("{name}: /evil\r\n"));
            assert_eq!(outcome(&attack), "BYPASS", "{name}");
            let victim = get(&proxy, &target, "");
            assert_eq!((outcome(&victim), victim.text().contains("evil")), ("MISS", false), "{name}");
            assert_eq!(outcome(&get(&proxy, &target, &format!("{name}: /evil\r\n"))), "BYPASS", "{name}");
        }
        // Fields with `_` never arrive, so that no origin reads one as the same with `-`.
        for name in ["X_HTTP_METHOD_OVERRIDE", "X-HTTP_Method-Override", "X_ORIGINAL_URL"] {
            let target = format!("/{name}");
            get(&proxy, &target, &format!("{name}: evil\r\n"));
            let head = heads(&origin).pop().unwrap();
            assert!(head.contains(&target) && !head.contains("evil"), "{head}");
        }
    }

    /// An account page under the name of a file: by `ttl` alone it would be stored for everyone.
    fn pages_under_the_name_of_a_file_are_not_stored(driver) {
        let origin = Origin::http(|request, connection| {
            let kind = match request.target() {
                "/site.css" => "text/css",
                _ => "text/html",
            };
            let user = request.field("cookie").unwrap_or("nobody").to_owned();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{user}",
                user.len()
            ));
            After::Keep
        });
        let cache = "{ttl: 600s, patterns: [\"*.css\", \"/static/*\"]}";
        let proxy = start(Proxy::on(driver), &document(&["app.test"], &origin, cache));
        for target in [
            "/account/x.css",
            "/account;x.css",
            "/account/%2e%2e/x.css",
            "/account%3bx.css",
            "/account%00.css",
            "/account%23.css",
            "/account%3fx.css",
            "/account\\x.css",
            "/account%5cx.css",
            "/static/../account",
            "/static/..%5caccount",
            "/static/%2e%2e/account",
            "/account/x.css?cb=1",
        ] {
            get(&proxy, target, "Cookie: user=victim\r\n");
            let attacker = get(&proxy, target, "");
            assert!(!attacker.text().contains("victim"), "{target}: {}", attacker.text());
        }
        // Without a cookie, and of the type that the name promises, it is.
        assert_eq!(outcome(&get(&proxy, "/site.css", "")), "MISS");
        assert_eq!(outcome(&get(&proxy, "/site.css", "")), "HIT");
    }

    fn the_order_and_the_form_of_a_query_count(driver) {
        let origin = mirror();
        let proxy = open(driver, &origin);
        let targets = ["/?a=1&b=2", "/?b=2&a=1", "/?a=1&b=2&", "/?a=1&&b=2", "/?a=1;b=2", "/?A=1&b=2", "/?a=%31&b=2", "/?", "/", "/??"];
        for turn in ["MISS", "HIT"] {
            for target in targets {
                let answer = get(&proxy, target, "");
                assert_eq!(outcome(&answer), turn, "{target}");
                assert!(answer.text().starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{target}: {}", answer.text());
            }
        }
        assert_eq!(origin.request_count(), targets.len());
    }

    /// Ignored parameters still arrive: an origin that uses one must not be configured so, and nothing else
    /// than the parameter is merged.
    fn ignored_and_sorted_parameters_merge_nothing_else(driver) {
        let origin = mirror();
        let cache = "{sort_query: true, ignore_params: [utm]}";
        let proxy = start(Proxy::on(driver), &document(&["app.test"], &origin, cache));
        get(&proxy, "/?b=1&a=2", "");
        for (target, expected) in [
            ("/?a=2&b=1", "HIT"),
            ("/?utm=x&a=2&b=1", "HIT"),
            ("/?UTM=x&a=2&b=1", "MISS"),
            ("/?utm%3dx&a=2&b=1", "MISS"),
            ("/?a=2&b=1&b=3", "MISS"),
            ("/?a=2;utm=x&b=1", "MISS"),
            ("/x?a=2&b=1", "MISS"),
        ] {
            assert_eq!(outcome(&get(&proxy, target, "")), expected, "{target}");
        }
    }

    fn ranges_fill_nothing_and_poison_nothing(driver) {
        let origin = Origin::http(|request, connection| {
            match request.field("range") {
                // An origin that answers any range with a part, and says that it may be stored.
                Some(_) => connection.send("HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=600\r\nContent-Range: bytes 0-1/10\r\nContent-Length: 2\r\n\r\n01"),
                None => connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\n0123456789"),
            };
            After::Keep
        });
        let proxy = open(driver, &origin);
        for range in ["bytes=0-1", "bytes=-2", "bytes=0-0,1-1", "bytes=5-1", "x=0-1"] {
            get(&proxy, "/a", &format!("Range: {range}\r\n"));
        }
        let victim = get(&proxy, "/a", "");
        assert_eq!((outcome(&victim), victim.text().as_str()), ("MISS", "0123456789"));
        for (range, status, text) in
            [("bytes=0-1", 206, "01"), ("bytes=90-", 416, ""), ("bytes=5-1", 200, "0123456789"), ("bytes=0-,0-,0-,0-", 200, "0123456789")]
        {
            let part = get(&proxy, "/a", &format!("Range: {range}\r\n"));
            assert_eq!((outcome(&part), part.status(), part.text().as_str()), ("HIT", status, text), "{range}");
        }
        assert_eq!(outcome(&get(&proxy, "/a", "")), "HIT");
        assert_eq!(origin.requests().iter().filter(|request| request.field("range").is_none()).count(), 1);
    }

    /// Errors for requests that are too large, or odd, for the origin are not stored for good ones (CPDoS).
    fn an_error_for_an_oversized_head_is_not_stored(driver) {
        let origin = Origin::http(|request, connection| {
            let is_odd = request.head.len() > 8_000 || request.field("x-meta").is_some();
            match is_odd {
                true => connection.send("HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nbad"),
                false => connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 4\r\n\r\ngood"),
            };
            After::Keep
        });
        let proxy = open(driver, &origin);
        let large = "x".repeat(9_000);
        assert_eq!(get(&proxy, "/a", &format!("X-Large: {large}\r\n")).status(), 400);
        assert_eq!(get(&proxy, "/b", "X-Meta: \x07\r\n").status(), 400);
        assert_eq!(get(&proxy, "/c", "X-Meta: odd\r\n").status(), 400);
        // One that ringway itself refuses reaches no origin and no store.
        let huge = format!("X-Huge: {}\r\n", "x".repeat(70_000));
        let mut client = proxy.client();
        let _ = client.try_send(format!("GET /d HTTP/1.1\r\nHost: app.test\r\n{huge}\r\n"));
        assert!(client.try_response("GET").map_or(true, |answer| answer.status() == 431));
        for target in ["/a", "/b", "/c", "/d"] {
            let victim = get(&proxy, target, "");
            assert_eq!((outcome(&victim), victim.text().as_str()), ("MISS", "good"), "{target}");
        }
    }

    /// The response stored for a key is that of this very request, also while many of them are under way.
    fn responses_under_way_are_not_mixed_up(driver) {
        let origin = mirror();
        let proxy = start(Proxy::on(driver), &document(&["a.test", "b.test"], &origin, "{}"));
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let proxy = &proxy;
                scope.spawn(move || {
                    let mut client = proxy.client();
                    for number in 0..40 {
                        let host = ["a.test", "b.test"][(worker + number) % 2];
                        let target = format!("/{}", number / 4);
                        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
                        let text = client.response("GET").text();
                        assert!(text.starts_with(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n")), "{text}");
                    }
                });
            }
        });
        assert!(origin.request_count() >= 20);
    }

    /// A personal response to one user is no response to another, by cookie, credentials or certificate.
    fn personal_responses_reach_their_user_alone(driver) {
        for fields in ["Cache-Control: max-age=600, private\r\n", "Set-Cookie: id=1\r\nCache-Control: max-age=600\r\n", "Vary: *\r\nCache-Control: max-age=600\r\n"] {
            let origin = mirror_with(fields);
            let proxy = open(driver, &origin);
            get(&proxy, "/a", "Cookie: user=victim\r\n");
            let other = get(&proxy, "/a", "");
            assert_eq!((outcome(&other), other.text().contains("victim")), ("MISS", false), "{fields}");
        }
        let origin = mirror_with("Vary: Cookie\r\nCache-Control: max-age=600\r\n");
        let proxy = open(driver, &origin);
        get(&proxy, "/a", "Cookie: user=victim\r\n");
        let other = get(&proxy, "/a", "Cookie: user=other\r\n");
        assert_eq!((outcome(&other), other.text().contains("victim")), ("MISS", false));
        let origin = mirror();
        let proxy = open(driver, &origin);
        get(&proxy, "/a", "Authorization: Basic dmljdGltOng=\r\n");
        let other = get(&proxy, "/a", "");
        assert_eq!((outcome(&other), other.text().contains("dmljdGltOng=")), ("MISS", false));
    }
}
