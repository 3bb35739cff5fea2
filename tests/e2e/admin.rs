//! The admin API over the network: paths, status codes, conditional requests, authorization.

use crate::kit::*;

on_both_drivers! {
    fn the_walk_through_of_the_document(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let target = origin.target();
        api.post("/api/apps/register", &json!({
            "app_id": "app1", "app_name": "Main Application",
            "instance": { "instance_id": "app1-prod-node-1", "target": target, "health_check": "/health" },
        })).is(201);
        api.post("/api/apps/instances", &json!({
            "app_id": "app1", "instance_id": "app1-prod-node-2", "target": target, "health_check": "/health",
        })).is(201);
        api.post("/api/apps/heartbeat", &json!({ "instance_id": "app1-prod-node-1" })).is(204);
        api.post("/api/tenants/domains", &json!({ "domain": "tenant1.app1.com", "app_id": "app1", "type": "subdomain" })).is(201);
        api.post("/api/tenants/custom-domains", &json!({
            "domain": "customer-brand.com", "app_id": "app1", "tenant_id": "tenant-123", "cname_target": "tenant-123.app1.com",
        })).is(201);
        let domain = api.post("/api/tenants/domains/get", &json!({ "domain": "customer-brand.com" })).is(200).json;
        assert_eq!(domain["domain"], "customer-brand.com");
        assert_eq!((&domain["app_id"], &domain["tenant_id"], &domain["type"]), (&json!("app1"), &json!("tenant-123"), &json!("custom")));
        assert_eq!(domain["cname_target"], "tenant-123.app1.com");
        assert!(domain["created_at"].as_str().unwrap().ends_with('Z'));
        for name in ["certificate_status", "certificate_expiry", "verified"] {
            assert!(domain.get(name).is_some(), "{name} in {domain}");
        }
        api.put("/api/tenants/domains", &json!({ "domain": "customer-brand.com", "app_id": "app1", "tenant_id": "tenant-456" })).is(200);
        let app = api.app("app1");
        assert_eq!(app["app_name"], "Main Application");
        assert_eq!(app["domains"], json!(["customer-brand.com", "tenant1.app1.com"]));
        let first = &app["instances"][0];
        assert_eq!(first["instance_id"], "app1-prod-node-1");
        assert_eq!((&first["health_check"], &first["circuit_breaker"]), (&json!("/health"), &json!("closed")));
        assert!(first["last_heartbeat"].is_string() && first["registered_at"].is_string());
        let instances = api.post("/api/apps/instances/list", &json!({ "app_id": "app1" })).is(200).json;
        assert_eq!(instances["instances"].as_array().unwrap().len(), 2);
        assert_eq!(api.get("/api/apps").is(200).json["apps"][0]["app_id"], "app1");
        assert_eq!(api.get("/api/tenants/domains").is(200).json["domains"].as_array().unwrap().len(), 2);
        assert_eq!(api.get("/api/status/instances").is(200).json["instances"].as_array().unwrap().len(), 2);
        let status = api.post("/api/status/app", &json!({ "app_id": "app1" })).is(200).json;
        assert_eq!(status["total_instances"], 2);
        api.delete("/api/apps/instances", &json!({ "instance_id": "app1-prod-node-1" })).is(204);
        api.delete("/api/tenants/domains", &json!({ "domain": "customer-brand.com" })).is(204);
        api.post("/api/tenants/domains/get", &json!({ "domain": "customer-brand.com" })).is(404);
    }

    fn a_key_may_stand_in_the_body_the_query_or_the_path(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let api = proxy.api();
        for number in 2..=4 {
            api.add("app", &format!("app-{number}"), &origin.target());
        }
        api.delete("/api/apps/instances", &json!({ "instance_id": "app-2" })).is(204);
        api.call("DELETE", "/api/apps/instances/app-3", None).is(204);
        api.call("DELETE", "/api/apps/instances?instance_id=app-4", None).is(204);
        api.call("DELETE", "/api/apps/instances/app-1?instance_id=app-9", None).is(400);
        api.post("/api/apps/instances/delete", &json!({ "instance_id": "app-1" })).is(204);
        api.call("DELETE", "/api/apps/instances", None).is(422);
        api.get("/api/tenants/domains/app.test").is(200);
        api.call("DELETE", "/api/tenants/domains/app.test", None).is(204);
        api.call("DELETE", "/api/tenants/domains/app.test", None).is(404);
    }

    fn all_invalid_fields_are_reported_at_once(driver) {
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let before = api.get("/api/status").is(200).json["revision"].clone();
        let answer = api.post("/api/apps/register", &json!({
            "app_id": "", "app_nam": "typo",
            "instance": { "instance_id": 7, "target": "ftp://x", "health_check": "no-slash" },
        })).is(422);
        assert_eq!(answer.message.field("content-type"), Some("application/problem+json"));
        let told = answer.message.text();
        for field in ["app_id", "app_nam", "instance_id", "target", "health_check"] {
            assert!(told.contains(field), "{field} in {told}");
        }
        assert!(answer.json["errors"].as_array().unwrap().len() >= 5, "{told}");
        assert_eq!(api.get("/api/status").is(200).json["revision"], before, "a rejected change is none");
        assert_eq!(api.get("/api/apps").is(200).json["apps"].as_array().map(Vec::len), Some(0));
    }

    fn bad_values_are_refused_field_by_field(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let api = proxy.api();
        for domain in ["", "-a.test", "a..test", "a b.test", "*.a.test", "http://a.test", "a.test/x", "1.2.3.4", &"a".repeat(64), &"a.".repeat(130)] {
            let answer = api.post("/api/tenants/domains", &json!({ "domain": domain, "app_id": "app", "type": "subdomain" }));
            assert_eq!(answer.status, 422, "{domain:?}: {}", answer.message.text());
        }
        for target in ["", "10.0.0.1:80", "http://", "http://a:0", "http://a:99999", "ftp://a", "http://u:p@a", "http://a/path", "http://a?x", "unix:/x"] {
            let answer = api.post("/api/apps/instances", &json!({ "app_id": "app", "instance_id": "x", "target": target }));
            assert_eq!(answer.status, 422, "{target:?}: {}", answer.message.text());
        }
        for (kind, status) in [("subdomain", 201), ("wildcard", 422)] {
            let body = json!({ "domain": format!("{kind}.test"), "app_id": "app", "type": kind });
            assert_eq!(api.post("/api/tenants/domains", &body).status, status, "{kind}");
        }
    }

    fn what_is_not_there_is_404_and_what_is_taken_is_409(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        proxy.serve("other", "other.test", &origin);
        let api = proxy.api();
        api.post("/api/apps/get", &json!({ "app_id": "nobody" })).is(404);
        api.post("/api/apps/instances", &json!({ "app_id": "nobody", "instance_id": "x", "target": origin.target() })).is(404);
        api.post("/api/tenants/domains", &json!({ "domain": "x.test", "app_id": "nobody" })).is(404);
        api.put("/api/tenants/domains", &json!({ "domain": "x.test", "app_id": "app" })).is(404);
        api.delete("/api/apps/instances", &json!({ "instance_id": "nobody" })).is(404);
        // The same once more is no conflict; the same name for another app is.
        let again = api.post("/api/tenants/domains", &json!({ "domain": "app.test", "app_id": "app", "type": "subdomain" }));
        assert!([200, 201].contains(&again.status), "{again:?}");
        api.post("/api/tenants/domains", &json!({ "domain": "app.test", "app_id": "other", "type": "subdomain" })).is(409);
        api.post("/api/apps/instances", &json!({ "app_id": "other", "instance_id": "app-1", "target": origin.target() })).is(409);
        api.get("/api/nowhere").is(404);
        let wrong = api.call("PATCH", "/api/apps/register", None).is(405);
        assert!(wrong.message.lists("allow", "POST"), "{wrong:?}");
    }

    fn a_change_may_ask_for_the_revision_it_was_made_for(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let api = proxy.api();
        let seen = api.get("/api/tenants/domains/app.test").is(200);
        let tag = seen.message.field("etag").map_or_else(|| format!("\"{}\"", seen.revision()), str::to_owned);
        let update = |tenant: &str| json!({ "domain": "app.test", "app_id": "app", "tenant_id": tenant });
        let first = api.call_with("PUT", "/api/tenants/domains", &[("If-Match", &tag)], Some(&update("one"))).is(200);
        assert!(first.revision() > seen.revision());
        api.call_with("PUT", "/api/tenants/domains", &[("If-Match", &tag)], Some(&update("two"))).is(412);
        assert_eq!(api.get("/api/tenants/domains/app.test").is(200).json["tenant_id"], "one");
    }

    fn concurrent_writers_with_if_match_never_overwrite_each_other(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let api = proxy.api();
        let tag = format!("\"{}\"", api.get("/api/status").is(200).json["revision"]);
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let tag = tag.clone();
                std::thread::spawn(move || {
                    let body = json!({ "domain": "app.test", "tenant_id": format!("t{number}") });
                    api.call_with("PUT", "/api/tenants/domains", &[("If-Match", &tag)], Some(&body)).status
                })
            })
            .collect();
        let mut statuses: Vec<u16> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    }

    fn a_repeated_key_repeats_the_answer_not_the_change(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let api = proxy.api();
        let body = json!({ "app_id": "app", "instance_id": "app-2", "target": origin.target() });
        let key: &[(&str, &str)] = &[("Idempotency-Key", "key-1")];
        let first = api.call_with("POST", "/api/apps/instances", key, Some(&body)).is(201);
        let second = api.call_with("POST", "/api/apps/instances", key, Some(&body)).is(201);
        assert_eq!((first.revision(), &first.json["generation"]), (second.revision(), &second.json["generation"]));
        let other = json!({ "app_id": "app", "instance_id": "app-3", "target": origin.target() });
        let answer = api.call_with("POST", "/api/apps/instances", key, Some(&other));
        assert!([409, 422].contains(&answer.status), "{answer:?}");
        assert_eq!(api.app("app")["instances"].as_array().unwrap().len(), 2);
    }

    fn every_revision_is_one_higher_than_the_last(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let mut last = api.register("app", "app-1", &origin.target()).revision();
        for number in 0..10 {
            let next = api.domain(&format!("d{number}.test"), "app", None).revision();
            assert_eq!(next, last + 1);
            last = next;
        }
        assert_eq!(api.get("/api/status").is(200).json["revision"], last);
    }

    fn what_is_not_json_is_refused(driver) {
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let send = |kind: &str, body: &str| {
            let address = api.address();
            api.raw("POST", &format!(
                "POST /api/apps/register HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )).status
        };
        for body in ["{", "[]", "null", "{\"app_id\":\"a\",\"app_id\":\"b\"}", "{\"app_id\":\"a\"} x", &"[".repeat(100_000)] {
            assert_eq!(send("application/json", body), 400, "{:.40}", body);
        }
        assert_eq!(send("application/json", ""), 422, "all fields are missing");
        assert_eq!(send("text/plain", "{\"app_id\":\"a\"}"), 415);
        assert_eq!(send("application/json", &format!("{{\"app_id\":\"{}\"}}", "a".repeat(2_000_000))), 413);
        assert_eq!(send("application/json; charset=utf-8", "{\"app_id\":\"a\"}"), 201);
    }

    fn a_page_in_a_browser_cannot_speak_to_it(driver) {
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let address = api.address();
        let ask = |head: &str| api.raw("GET", &format!("GET /api/apps HTTP/1.1\r\nConnection: close\r\n{head}\r\n")).status;
        assert_eq!(ask(&format!("Host: {address}\r\n")), 200);
        assert_eq!(ask(&format!("Host: localhost:{}\r\n", address.port())), 200);
        // DNS rebinding: the name of the attacker's page points to 127.0.0.1.
        assert_eq!(ask(&format!("Host: evil.test:{}\r\n", address.port())), 421);
        assert_eq!(ask(&format!("Host: {address}\r\nOrigin: http://evil.test\r\n")), 403);
        assert_eq!(ask(&format!("Host: {address}\r\nSec-Fetch-Site: cross-site\r\n")), 403);
        assert_eq!(ask(&format!("Host: {address}\r\nOrigin: null\r\n")), 403);
    }

    fn it_cannot_be_published_through_the_proxy(driver) {
        let token = "0123456789abcdef";
        for via in ["edge", "off"] {
            let proxy = Proxy::on(driver).env("PROXY_VIA", via).start();
            let api = proxy.api();
            api.register("api", "api-1", &format!("http://{}", proxy.api_address()));
            api.domain("localhost", "api", None);
            let mut client = proxy.client();
            let mut ask = |request: &str| client.send(request).response("GET");
            let answer = ask("GET /api/apps HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!((answer.status(), &answer.json()["code"]), (403, &json!("cross_site")), "{via}");
            let hiding = "Via: 1.1 a\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: via, x-forwarded-for, forwarded";
            let body = r#"{"app_id":"mine"}"#;
            let post = format!(
                "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\n{hiding}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            assert_eq!(ask(&post).status(), 403, "{via}");
            assert_eq!(api.get("/api/apps").is(200).json["total"], 1);
        }
        // With the token, requests from anywhere are allowed.
        let proxy = Proxy::on(driver).env("PROXY_API_TOKEN", token).start();
        let headers = [("Authorization", "Bearer 0123456789abcdef"), ("Via", "1.1 a")];
        Api::new(proxy.api_address()).call_with("GET", "/api/apps", &headers, None).is(200);
    }

    fn a_bind_beyond_loopback_needs_a_token(driver) {
        let output = Proxy::on(driver).env("PROXY_API_BIND", "0.0.0.0").run();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("token"), "{said}");
        let token = "0123456789abcdef0123456789abcdef";
        let proxy = Proxy::on(driver).env("PROXY_API_BIND", "0.0.0.0").env("PROXY_API_TOKEN", token).start();
        let api = Api::new(([127, 0, 0, 1], proxy.api_address().port()).into());
        api.get("/api/apps").is(401);
        api.call_with("GET", "/api/apps", &[("Authorization", "Bearer 0123456789abcdef0123456789abcdee")], None).is(401);
        api.call_with("GET", "/api/apps", &[("Authorization", &format!("Bearer {token}"))], None).is(200);
        assert_eq!(api.get("/healthz").status, 200);
        assert!(!proxy.log().join("\n").contains(token), "the token is in the log");
    }

    fn the_description_of_the_api_names_every_path(driver) {
        let proxy = Proxy::start(driver);
        let document = proxy.api().get("/api/openapi.json").is(200).json;
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        for (path, method) in [
            ("/api/apps/register", "post"), ("/api/apps/instances", "post"), ("/api/apps/instances", "delete"),
            ("/api/apps/heartbeat", "post"), ("/api/apps", "get"), ("/api/apps/get", "post"),
            ("/api/apps/instances/list", "post"), ("/api/tenants/domains", "post"), ("/api/tenants/custom-domains", "post"),
            ("/api/tenants/domains", "put"), ("/api/tenants/domains", "delete"), ("/api/tenants/domains", "get"),
            ("/api/tenants/domains/get", "post"), ("/api/status", "get"), ("/api/status/instances", "get"),
            ("/api/status/app", "post"), ("/api/register", "post"), ("/api/register", "delete"), ("/api/routes", "post"),
            ("/healthz", "get"), ("/ready", "get"), ("/metrics", "get"),
        ] {
            assert!(document["paths"][path][method].is_object(), "{method} {path}");
        }
    }

    fn the_same_strict_parser_stands_before_it(driver) {
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let address = api.address();
        for request in [
            format!("POST /api/apps/register HTTP/1.1\r\nHost: {address}\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            format!("GET /api/apps HTTP/1.1\r\nHost: {address}\nX: y\r\n\r\n"),
            format!("GET /api/apps HTTP/1.1\r\nHost: {address}\r\nHost: {address}\r\n\r\n"),
        ] {
            assert_eq!(api.raw("GET", &request).status, 400, "{request}");
        }
    }
}
