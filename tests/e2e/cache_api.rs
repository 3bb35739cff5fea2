//! The cache as operators see it: purges, readings, explanations, its part in metrics and logs, and the
//! limits of a tenant's token.

use std::path::PathBuf;

use crate::kit::*;

/// A document with the route `shop` of the tenant `acme` on acme.test, and `site` of the operator on
/// site.test; both have a cache.
fn document(origin: &Origin) -> String {
    format!(
        "version: v1\nroutes:\n\
         - {{id: shop, host: acme.test, path_prefix: /, pool: one, tenant: acme, cache: {{vary_headers: [X-Group]}}}}\n\
         - {{id: site, host: site.test, path_prefix: /, pool: one, cache: true}}\n\
         - {{id: plain, host: plain.test, path_prefix: /, pool: one}}\n\
         pools:\n- {{id: one, endpoints: [{{address: \"{}\"}}]}}\n",
        origin.address()
    )
}

/// An origin whose responses are fresh for an hour, with a tag of their path.
fn origin() -> Origin {
    Origin::http(|request, connection| {
        let path = request.target().split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nETag: \"v1\"\r\nCache-Tag: {path}\r\nContent-Length: 5\r\n\r\nhello"
        ));
        After::Keep
    })
}

/// A proxy with this configuration, and the configuration's file. `settings` are further ones.
fn start_with(driver: Driver, document: &str, settings: &[(&str, &str)]) -> (Proxy, PathBuf) {
    let builder = Proxy::on(driver);
    let file = builder.folder().join("config.yaml");
    std::fs::write(&file, document).unwrap();
    let builder = builder.env("PROXY_CONFIG", file.to_str().unwrap());
    (settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start(), file)
}

fn start(driver: Driver, document: &str) -> Proxy {
    start_with(driver, document, &[]).0
}

/// Asks for a URL and returns what the cache did.
fn status_of(proxy: &Proxy, host: &str, target: &str) -> String {
    let mut client = proxy.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.response("GET").field("x-cache-status").unwrap_or("none").to_owned()
}

/// Fills the cache with these URLs.
fn fill(proxy: &Proxy, urls: &[(&str, &str)]) {
    for (host, target) in urls {
        status_of(proxy, host, target);
        assert_eq!(status_of(proxy, host, target), "HIT", "{host}{target}");
    }
}

fn purge(proxy: &Proxy, body: &Value) -> (u64, u64) {
    let view = proxy.api().post("/api/cache/purge", body).is(200).json;
    (view["invalidated"].as_u64().unwrap(), view["remaining"].as_u64().unwrap())
}

on_both_drivers! {
    fn each_kind_of_purge_is_in_force_when_it_returns(driver) {
        let origin = origin();
        let proxy = start(driver, &document(&origin));
        let urls = [("acme.test", "/img/a"), ("acme.test", "/img/b?x=1"), ("acme.test", "/c"), ("site.test", "/img/a")];
        for (body, misses) in [
            (json!({ "url": "acme.test/img/a" }), &urls[..1]),
            // Also the one of http.
            (json!({ "url": "https://acme.test/img/b?x=1" }), &urls[1..2]),
            (json!({ "url": "acme.test/img/b" }), &[]),
            (json!({ "prefix": "acme.test/img/" }), &urls[..2]),
            (json!({ "pattern": "*.test/img/*" }), &[urls[0], urls[1], urls[3]]),
            (json!({ "tags": ["c", "nothing"] }), &urls[2..3]),
            (json!({ "tags": ["img/a"], "tenant": "acme" }), &urls[..1]),
            (json!({ "route": "shop" }), &urls[..3]),
            (json!({ "tenant": "acme" }), &urls[..3]),
            (json!({ "all": true }), &urls[..]),
        ] {
            fill(&proxy, &urls);
            let mut dry_run = body.clone();
            dry_run["dry_run"] = json!(true);
            assert_eq!(purge(&proxy, &dry_run).0, misses.len() as u64, "{body}");
            let (invalidated, remaining) = purge(&proxy, &body);
            assert_eq!(invalidated, misses.len() as u64, "{body}");
            let of_tenant = if body.get("tenant").is_some() { 3 } else { 4 };
            assert_eq!(remaining, of_tenant - invalidated, "{body}");
            for url in &urls {
                let expected = if misses.contains(url) { "MISS" } else { "HIT" };
                assert_eq!(status_of(&proxy, url.0, url.1), expected, "{body} {url:?}");
            }
        }
        let purged = proxy.api().call("DELETE", "/admin/cache?pattern=*.test", None).is(200).json;
        assert_eq!(purged, json!({ "invalidated": 4, "remaining": 0 }));
        assert_eq!(status_of(&proxy, "site.test", "/img/a"), "MISS");
    }

    fn a_soft_purge_asks_before_the_next_use(driver) {
        let origin = Origin::http(|request, connection| {
            match request.field("if-none-match") {
                Some(_) => connection.send("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=3600\r\n\r\n"),
                None => connection.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nETag: \"v1\"\r\nContent-Length: 2\r\n\r\nhi"),
            };
            After::Keep
        });
        let proxy = start(driver, &document(&origin));
        fill(&proxy, &[("acme.test", "/a")]);
        assert_eq!(purge(&proxy, &json!({ "url": "acme.test/a", "soft": true })), (1, 1));
        assert_eq!(status_of(&proxy, "acme.test", "/a"), "REVALIDATED");
        assert_eq!(status_of(&proxy, "acme.test", "/a"), "HIT");
    }

    fn the_status_counts_what_clients_saw(driver) {
        let origin = origin();
        let proxy = start(driver, &document(&origin));
        fill(&proxy, &[("acme.test", "/a"), ("acme.test", "/b"), ("site.test", "/a")]);
        status_of(&proxy, "plain.test", "/a");
        // Counted at the end of an exchange, which may be after its last byte has arrived.
        let stats = eventually("all requests are counted", || {
            let stats = proxy.api().get("/api/cache/stats?by=route").json;
            (stats["hits"] == 3 && stats["misses"] == 3).then_some(stats)
        });
        assert_eq!((&stats["entries"], &stats["bypasses"], &stats["hit_rate"]), (&json!(3), &json!(0), &json!(0.5)));
        let part = |route: &str| {
            stats["parts"].as_array().unwrap().iter().find(|part| part["route"] == route).unwrap().clone()
        };
        let (shop, site) = (part("shop"), part("site"));
        assert_eq!((&shop["tenant"], &shop["entries"], &shop["hits"]), (&json!("acme"), &json!(2), &json!(2)));
        assert_eq!((&site["tenant"], &site["entries"], &site["misses"]), (&Value::Null, &json!(1), &json!(1)));
        let rates = proxy.api().get("/admin/cache/stats").json;
        assert_eq!((&rates["entries"], &rates["hit_rate"], &rates["miss_rate"]), (&json!(3), &json!(0.5), &json!(0.5)));
        assert!(rates["size"].as_u64().unwrap() > 15 && rates["evictions"] == 0, "{rates}");
        let page = proxy.api().get("/api/cache/entries?host=acme.test&limit=1").json;
        assert_eq!((page["entries"].as_array().unwrap().len(), &page["has_more"]), (1, &json!(true)));
        let page = proxy.api().get("/api/cache/entries?route=site").json;
        assert_eq!(page["entries"][0]["url"], "http://site.test/a");
        purge(&proxy, &json!({ "tags": ["a"] }));
        let metrics = proxy.api().get("/metrics").message.text();
        for line in [
            "proxy_cache_requests_total{route=\"shop\",result=\"hit\"} 2",
            "proxy_cache_requests_total{route=\"site\",result=\"miss\"} 1",
            "proxy_cache_fills_total{outcome=\"stored\"} 3",
            "proxy_cache_purged_total{by=\"tags\"} 2",
            "proxy_cache_entries 1",
            "proxy_cache_hit_ratio 0.5",
        ] {
            assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
        }
        assert!(!metrics.contains("proxy_cache_requests_total{route=\"plain\""));
    }

    fn an_explanation_says_what_the_next_request_gets(driver) {
        let origin = origin();
        let proxy = start(driver, &document(&origin));
        let explain = |url: &str, headers: Value| {
            proxy.api().post("/api/cache/explain", &json!({ "url": url, "headers": headers })).is(200).json
        };
        let verdict = |view: &Value| view["cache"]["verdict"].as_str().unwrap_or("none").to_owned();
        let before = explain("http://acme.test/a", json!([]));
        assert_eq!((verdict(&before).as_str(), &before["route"], &before["tenant"]), ("miss", &json!("shop"), &json!("acme")));
        assert_eq!(origin.request_count(), 0, "nothing is sent");
        fill(&proxy, &[("acme.test", "/a")]);
        for url in ["http://acme.test/a", "acme.test/a"] {
            let hit = explain(url, json!([]));
            assert_eq!((verdict(&hit).as_str(), &hit["cache"]["response"]["etag"]), ("hit", &json!("\"v1\"")), "{url}");
        }
        assert_eq!(verdict(&explain("https://acme.test/a", json!([]))), "miss", "another scheme");
        let mut client = proxy.client();
        client.send("GET /port HTTP/1.1\r\nHost: acme.test:8443\r\n\r\n").response("GET");
        for (url, expected) in [("acme.test/port", "hit"), ("http://acme.test/port", "hit"), ("acme.test:8443/port", "hit"), ("acme.test:80/port", "miss")] {
            assert_eq!(verdict(&explain(url, json!([]))), expected, "{url}");
        }
        let keyed = explain("acme.test/a", json!([["X-Group", "one"]]));
        assert_eq!((verdict(&keyed).as_str(), &keyed["cache"]["key_fields"]), ("miss", &json!(["x-group"])));
        let bypass = explain("acme.test/a", json!([["Authorization", "Bearer hush"]]));
        assert!(verdict(&bypass) == "bypass" && !bypass.to_string().contains("hush"), "{bypass}");
        let refused = explain("acme.test/b", json!([["Cache-Control", "only-if-cached"]]));
        assert_eq!(verdict(&refused), "refused");
        purge(&proxy, &json!({ "url": "acme.test/a", "soft": true }));
        assert_eq!(verdict(&explain("acme.test/a", json!([]))), "revalidate");
        let plain = explain("plain.test/", json!([]));
        assert_eq!((&plain["cache"], &plain["reason"]), (&Value::Null, &json!("the route has no cache")));
        let unknown = explain("nobody.test/", json!([]));
        assert_eq!((&unknown["route"], &unknown["reason"]), (&Value::Null, &json!("no owner has this host")));
        let whole = proxy.api().post("/api/v2/config/explain", &json!({ "url": "site.test/a" })).json;
        assert_eq!((&whole["route"]["id"], &whole["cache"]["verdict"]), (&json!("site"), &json!("miss")));
    }

    fn a_route_that_comes_back_caches_again(driver) {
        let origin = origin();
        let (proxy, file) = start_with(driver, &document(&origin), &[]);
        fill(&proxy, &[("site.test", "/a"), ("acme.test", "/a")]);
        let without: String =
            document(&origin).lines().filter(|line| !line.contains("id: site")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, without).unwrap();
        let parts = || proxy.api().get("/api/cache/stats?by=route").json["parts_total"].as_u64();
        eventually("the content of the route is dropped", || (parts() == Some(1)).then_some(()));
        assert_eq!(status_of(&proxy, "acme.test", "/a"), "HIT", "others keep theirs");
        std::fs::write(&file, document(&origin)).unwrap();
        eventually("the route is back", || (status_of(&proxy, "site.test", "/b") != "none").then_some(()));
        assert_eq!(status_of(&proxy, "site.test", "/a"), "MISS");
        assert_eq!(status_of(&proxy, "site.test", "/a"), "HIT");
    }

    fn the_log_has_the_part_of_the_cache(driver) {
        let origin = origin();
        let (proxy, _) = start_with(driver, &document(&origin), &[("ACCESS_LOG", "stdout")]);
        fill(&proxy, &[("acme.test", "/a")]);
        status_of(&proxy, "plain.test", "/a");
        let lines = eventually("three lines are written", || {
            let parse = |line: &String| serde_json::from_str::<Value>(line).ok();
            let lines: Vec<Value> = proxy.log().iter().filter_map(parse).collect();
            let lines: Vec<Value> = lines.into_iter().filter(|line| line["path"] == "/a").collect();
            (lines.len() == 3).then_some(lines)
        });
        let part = |line: &Value| (line["cache"].clone(), line["cache_hit"].clone());
        // Of several cores, in any order.
        for expected in [(json!("miss"), json!(false)), (json!("hit"), json!(true)), (Value::Null, Value::Null)] {
            assert!(lines.iter().any(|line| part(line) == expected), "{expected:?}: {lines:?}");
        }
    }

    fn a_tenants_token_and_the_audit_log(driver) {
        let origin = origin();
        let helper = Proxy::start(driver);
        let token = |name: &str, tail: &[&str]| {
            let arguments = [&["token", "create", name, "--scope", "purge", "--json"], tail].concat();
            let output = helper.command(&arguments);
            assert!(output.status.success(), "{output:?}");
            let made: Value = serde_json::from_slice(&output.stdout).unwrap();
            (made["token"].as_str().unwrap().to_owned(), made["line"].as_str().unwrap().to_owned())
        };
        let ((acme, acme_line), (ops, ops_line)) = (token("acme", &["--tenant", "acme"]), token("ops", &[]));
        let folder = tempfile::tempdir().unwrap();
        let (tokens, audit) = (folder.path().join("tokens"), folder.path().join("audit.log"));
        std::fs::write(&tokens, format!("{acme_line}\n{ops_line}\n")).unwrap();
        let settings = [
            ("PROXY_API_TOKENS_FILE", tokens.to_str().unwrap()),
            ("PROXY_AUDIT_LOG", audit.to_str().unwrap()),
        ];
        let (proxy, _) = start_with(driver, &document(&origin), &settings);
        let purge = |secret: &str, body: &Value| {
            let field = [("Authorization", format!("Bearer {secret}"))];
            let fields: Vec<(&str, &str)> = field.iter().map(|(name, value)| (*name, value.as_str())).collect();
            proxy.api().call_with("POST", "/api/cache/purge", &fields, Some(body))
        };
        fill(&proxy, &[("acme.test", "/a"), ("site.test", "/a")]);
        for body in [json!({ "url": "site.test/a" }), json!({ "route": "site" }), json!({ "tags": ["nothing"] })] {
            assert_eq!(purge(&acme, &body).is(200).json, json!({ "invalidated": 0, "remaining": 1 }), "{body}");
        }
        let foreign = purge(&acme, &json!({ "tenant": "other" })).is(403);
        assert_eq!(foreign.json["code"], "foreign_tenant");
        assert_eq!(purge(&acme, &json!({ "all": true })).is(200).json["invalidated"], 1);
        assert_eq!(status_of(&proxy, "acme.test", "/a"), "MISS");
        assert_eq!(status_of(&proxy, "site.test", "/a"), "HIT", "what others have stays");
        assert_eq!(purge(&ops, &json!({ "url": "site.test/a?secret=hush" })).is(200).json["invalidated"], 0);
        assert_eq!(purge(&ops, &json!({ "all": true })).is(200).json["remaining"], 0);
        let lines = eventually("each purge has its line", || {
            let text = std::fs::read_to_string(&audit).unwrap_or_default();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let purges: Vec<Value> = lines.into_iter().filter(|line| line["action"] == "purgeCache").collect();
            (purges.len() == 7).then_some(purges)
        });
        let line = |at: usize| {
            let line: &Value = &lines[at];
            [&line["who"], &line["objects"][0]["id"], &line["result"]].map(|text| text.as_str().unwrap().to_owned())
        };
        assert_eq!(line(0), ["token:acme", "url site.test/a", "purged"]);
        assert_eq!(line(3), ["token:acme", "tenant other", "foreign_tenant"]);
        assert_eq!(line(5), ["token:ops", "url site.test/a?…", "purged"]);
    }

    fn the_command_line_purges_and_explains(driver) {
        let origin = origin();
        let proxy = start(driver, &document(&origin));
        fill(&proxy, &[("acme.test", "/a"), ("site.test", "/a")]);
        let run = |arguments: &[&str]| {
            let output = proxy.command(&[&["cache"], arguments].concat());
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(run(&["explain", "acme.test/a"]).starts_with("hit: fresh for "));
        assert_eq!(run(&["purge", "--tag", "a", "--dry-run"]), "2 stored responses would be removed, 2 in the cache\n");
        assert_eq!(run(&["purge", "acme.test/a"]), "1 stored response removed, 1 in the cache\n");
        assert!(run(&["explain", "acme.test/a"]).starts_with("miss: nothing is stored for the URL\n"));
        assert!(run(&["entries"]).contains("http://site.test/a"));
        assert!(run(&["--by", "route"]).contains("acme"));
        let view: Value = serde_json::from_str(&run(&["stats", "--json"])).unwrap();
        assert_eq!(view["entries"], 1);
        let wrong = proxy.command(&["cache", "purge", "ftp://a.test/"]);
        assert!(!wrong.status.success());
        assert!(String::from_utf8(wrong.stderr).unwrap().contains("another scheme than http and https"));
        for (arguments, message) in [
            (["purge", "--route", "nosuch"], "there is no route nosuch"),
            (["purge", "--tenant", "nosuch"], "no route is one of tenant nosuch"),
            (["purge", "--prefix", "user@a.test"], "has a user name (user@)"),
            (["explain", "ftp://a.test/", "--json"], "another scheme than http and https"),
            (["explain", "", "--json"], "has no host"),
            (["explain", "http://user@a.test/", "--json"], "has a user name (user@)"),
        ] {
            let wrong = proxy.command(&[&["cache"][..], &arguments].concat());
            assert!(!wrong.status.success(), "{arguments:?}");
            let text = String::from_utf8(wrong.stderr).unwrap();
            assert!(text.contains(message) && !text.contains("configuration has mistakes"), "{text}");
        }
        assert!(run(&["explain", "HTTP://site.test/a"]).starts_with("hit: "));
    }

    fn a_process_without_a_cache_says_so(driver) {
        let origin = origin();
        let (proxy, _) = start_with(driver, &document(&origin), &[("CACHE_ENABLED", "false")]);
        assert_eq!(status_of(&proxy, "acme.test", "/a"), "none");
        for (method, path) in [("GET", "/api/cache/stats"), ("GET", "/admin/cache/stats"), ("DELETE", "/admin/cache?pattern=*")] {
            assert_eq!(proxy.api().call(method, path, None).is(409).json["code"], "cache_off");
        }
        assert_eq!(proxy.api().get("/health/readiness").json["checks"]["cache"], "off");
    }
}
