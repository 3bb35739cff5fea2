//! Authentication from the operators' side: credentials are checked, requests explained, and refusals
//! counted.

use std::process::Output;

use aws_lc_rs::hmac;

use crate::kit::*;

const SECRET: [u8; 32] = [7; 32];

/// Base64 for URLs, without padding (RFC 4648 §5).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |digit| char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]))
    });
    digits.collect()
}

/// A token of the tests' issuer, signed with the key of the file.
fn token(claims: Value) -> String {
    let part = |value: &Value| base64(value.to_string().as_bytes());
    let message =
        format!("{}.{}", part(&json!({ "alg": "HS256", "kid": "k1", "typ": "JWT" })), part(&claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), message.as_bytes());
    format!("{message}.{}", base64(signature.as_ref()))
}

fn claims() -> Value {
    json!({ "iss": "https://i.example", "aud": "api", "sub": "alice", "exp": 4_000_000_000_u64 })
}

fn start(driver: Driver, origin: &Origin) -> Proxy {
    let builder = Proxy::on(driver);
    let keys = builder.folder().join("keys.json");
    let jwk = json!({ "keys": [{ "kty": "oct", "alg": "HS256", "kid": "k1", "k": base64(&SECRET) }] });
    std::fs::write(&keys, jwk.to_string()).unwrap();
    let document = format!(
        "version: v1
routes:
  - id: api
    host: app.test
    pool: p
    middleware:
      - {{type: cors, config: {{allow_origins: [\"https://app.example\"]}}}}
      - {{type: ip_acl, config: {{allow: [127.0.0.0/8]}}}}
      - {{type: access_log, config: {{enabled: false}}}}
      - type: auth
        config:
          jwt: {{issuer: \"https://i.example\", audience: api, jwks_file: {}, claims: {{sub: X-User}}, forward: false}}
      - {{type: header_transform, config: {{set: {{X-Who: \"${{user}}\"}}}}}}
      - {{type: body_limit, config: {{size: 1KB}}}}
  - {{id: open, host: open.test, pool: p}}
  - {{id: lax, host: lax.test, pool: p, middleware: [{{type: plugin, ref: gone}}]}}
plugins:
  - {{id: gone, type: external_http, pool: filter, fail_mode: open}}
pools:
  - id: filter
    endpoints: [{{address: \"127.0.0.1:1\"}}]
  - id: p
    endpoints: [{{address: \"{}\"}}]
",
        keys.display(),
        origin.address()
    );
    let file = builder.folder().join("config.yaml");
    std::fs::write(&file, document).unwrap();
    let log = builder.folder().join("audit.log");
    builder.env("PROXY_AUDIT_LOG", log.to_str().unwrap()).env("PROXY_CONFIG", file.to_str().unwrap()).start()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

on_both_drivers! {
    fn a_token_is_checked_as_the_route_would_judge_it(driver) {
        let origin = Origin::named("a");
        let proxy = start(driver, &origin);
        let api = proxy.api();
        let check = |token: &str| {
            api.post("/api/v2/auth/check", &json!({ "route": "api", "token": token })).is(200).json
        };
        // The process may be ready before it has read the file of keys.
        let good = eventually("the keys are loaded", || {
            Some(check(&token(claims()))).filter(|checked| checked["reason"] != "keys_not_loaded")
        });
        assert_eq!((&good["verdict"], &good["user"]), (&json!("admitted"), &json!("alice")), "{good}");
        assert_eq!(good["request"]["added"], json!([{ "name": "x-user", "value": "alice" }]));
        assert_eq!(good["sources"][0]["entries"], 1);
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            token(claims)
        };
        let mut forged = token(claims());
        forged.truncate(forged.len() - 4);
        for (token, reason) in [
            (with("exp", json!(5)), "expired"),
            (with("aud", json!("shop")), "wrong_audience"),
            (with("iss", json!("https://evil.example")), "wrong_issuer"),
            (format!("{forged}AAAA"), "wrong_signature"),
            ("junk".to_owned(), "malformed_token"),
        ] {
            let refused = check(&token);
            assert_eq!((&refused["verdict"], &refused["reason"]), (&json!("refused"), &json!(reason)), "{refused}");
            assert!(!refused.to_string().contains(&token), "{refused}");
            // The data plane says the same.
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"));
            let answer = client.response("GET");
            assert_eq!(json!(answer.status()), refused["status"]);
            assert_eq!(answer.json()["error"]["message"], refused["message"]);
        }
        assert_eq!(proxy.metric("proxy_credentials_entries", &["source=\"keys in "]), 1.0);
        assert_eq!(proxy.metric("proxy_credentials_failures_total", &["reason=\"file\""]), 0.0);
        api.post("/api/v2/auth/check", &json!({ "route": "open", "token": "t" })).is(409);
        api.post("/api/v2/auth/check", &json!({ "route": "nope", "token": "t" })).is(404);
        let good = token(claims());
        let lines = proxy.audited(|line| line["result"] == "unknown_route");
        assert!(lines.iter().any(|line| line["action"] == "checkAuth" && line["objects"][0]["id"] == "api"));
        let everything = format!("{lines:?} {:?}", proxy.log());
        assert!(!everything.contains(&good) && !everything.contains("junk"), "{everything}");
    }

    fn a_credential_is_checked_from_a_terminal(driver) {
        let origin = Origin::named("a");
        let proxy = start(driver, &origin);
        let file = proxy.store().with_file_name("token");
        let check = |token: &str| {
            std::fs::write(&file, format!("{token}\n")).unwrap();
            proxy.command(&["auth", "check", "--route", "api", "--file", file.to_str().unwrap()])
        };
        let good = check(&token(claims()));
        assert_eq!(good.status.code(), Some(0), "{}", text(&good));
        for part in ["admitted by route api", "user alice", "endpoint gets x-user: alice", "does not get authorization"] {
            assert!(text(&good).contains(part), "{part}: {}", text(&good));
        }
        let mut old = claims();
        old["exp"] = json!(5);
        let refused = check(&token(old));
        assert_eq!(refused.status.code(), Some(5));
        assert!(text(&refused).starts_with("refused by route api: 401, expired"), "{}", text(&refused));
        let unknown = proxy.command(&["auth", "check", "--route", "nope", "--file", file.to_str().unwrap()]);
        assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown));
        let empty = check("");
        assert!(empty.status.code() == Some(2) && text(&empty).contains("is empty"), "{}", text(&empty));
    }

    fn an_explanation_shows_the_stages_of_a_request(driver) {
        let origin = Origin::named("a");
        let proxy = start(driver, &origin);
        let fields = proxy.store().with_file_name("fields");
        std::fs::write(&fields, format!("Authorization: Bearer {}\nX-User: root\n", token(claims()))).unwrap();
        let explain = |more: &[&str]| {
            let words = ["config", "explain", "http://app.test/a"];
            text(&proxy.command(&[&words, more].concat()))
        };
        let admitted = explain(&["--client", "127.0.0.9", "--headers", fields.to_str().unwrap()]);
        for part in [
            "X-User of the client removed",
            "\u{2713} cors",
            "\u{2713} ip_acl",
            "jwt in Authorization: Bearer: admits",
            "request: sets x-user: alice",
            "request: sets X-Who: alice",
            "response: sets Vary: Origin",
        ] {
            assert!(admitted.contains(part), "{part}: {admitted}");
        }
        let line = |text: &str, stage: &str| text.lines().find(|line| line.contains(stage)).unwrap().to_owned();
        let (log, limit) = (line(&admitted, "access_log"), line(&admitted, "body_limit"));
        assert!(log.contains('\u{2713}') && log.contains("requests are not logged"), "{admitted}");
        assert!(limit.contains('\u{2713}') && limit.contains("up to 1000 bytes"), "{admitted}");
        let order = ["cors", "ip_acl", "access_log", "auth", "header_transform", "body_limit"];
        let places = order.map(|stage| admitted.find(&format!("\u{2713} {stage}")).unwrap());
        assert!(places.is_sorted(), "{places:?} {admitted}");
        let stranger = explain(&["--client", "192.0.2.1"]);
        assert!(line(&stranger, "body_limit").contains("not reached"), "{stranger}");
        assert!(line(&stranger, "access_log").contains('\u{2713}'), "{stranger}");
        assert!(stranger.contains("\u{2717} ip_acl") && stranger.contains("- auth"), "{stranger}");
        let anyone = explain(&[]);
        assert!(anyone.contains("? ip_acl") && anyone.contains("replies 401 unauthenticated"), "{anyone}");
        assert_eq!(origin.request_count(), 0);
    }

    fn refused_and_unprotected_requests_are_in_the_audit_log(driver) {
        let origin = Origin::named("a");
        let proxy = start(driver, &origin);
        let mut old = claims();
        old["exp"] = json!(5);
        let old = token(old);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {old}\r\n\r\n"));
            assert_eq!(client.response("GET").status(), 401);
        }
        client.send("GET / HTTP/1.1\r\nHost: lax.test\r\n\r\n");
        assert_eq!(client.response("GET").status(), 200);
        let is_open = |line: &Value| line["action"] == "filter.failed_open";
        let open = proxy.audited(is_open).into_iter().find(is_open).unwrap();
        let objects = json!([{ "kind": "route", "id": "lax" }, { "kind": "pool", "id": "filter" }]);
        assert_eq!((&open["objects"], &open["result"]), (&objects, &json!("passed")), "{open}");
        assert_eq!(proxy.metric("proxy_auth_refusals_total", &["reason=\"expired\""]), 3.0);
        // The rest of them is reported at the end of the interval, or of the process.
        let path = proxy.store().with_file_name("audit.log");
        let log = proxy.log().join("\n");
        let _builder = proxy.stop();
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let refused: Vec<_> = lines.filter(|line| line["action"] == "auth.refused").collect();
        assert_eq!(refused[0]["objects"], json!([{ "kind": "route", "id": "api" }]), "{text}");
        assert_eq!((&refused[0]["reason"], &refused[0]["remote"]), (&json!("expired"), &json!("127.0.0.1")));
        assert_eq!(refused.iter().filter_map(|line| line["count"].as_u64()).sum::<u64>(), 3, "{text}");
        assert!(!text.contains(&old) && !log.contains(&old), "{text} {log}");
    }
    fn changes_of_authentication_are_named_in_the_audit_log(driver) {
        let origin = Origin::named("a");
        let proxy = start(driver, &origin);
        let route = |id: &str, middleware: Value| {
            json!({ "id": id, "host": format!("{id}.test"), "pool": "own", "middleware": middleware })
        };
        let apply = |routes: Value| {
            let pools = json!([{ "id": "own", "endpoints": [{ "address": origin.address() }] }]);
            let body = json!({ "config": { "routes": routes, "pools": pools }, "canary": false });
            let receipt = proxy.api().post("/api/v2/config/apply", &body).is(200).json;
            let version = receipt["version"].clone();
            let is_this = |line: &Value| line["after"] == version && line["action"] == "applyConfig";
            proxy.audited(is_this).into_iter().find(is_this).unwrap()["authentication"].clone()
        };
        let forward = |path: &str| json!([{ "type": "auth", "config": { "forward": { "pool": "own", "path": path } } }]);
        let first = apply(json!([route("one", forward("/a")), route("two", json!([])), route("three", forward("/a"))]));
        assert_eq!(first, json!({ "gained": ["one", "three"] }));
        let second = apply(json!([route("one", json!([])), route("two", forward("/a")), route("three", forward("/b"))]));
        assert_eq!(second, json!({ "lost": ["one"], "changed": ["three"], "gained": ["two"] }));
        let third = apply(json!([route("two", forward("/a")), route("three", forward("/b"))]));
        assert!(third.is_null(), "a route without authentication is removed: {third}");
    }
}
