//! Access to the admin API: scopes of tokens, client certificates, the metrics listener, the audit log.

use std::fs;
use std::net::SocketAddr;

use crate::kit::*;

/// Creates a token with the command line; returns the secret and the line of the file.
fn token(proxy: &Proxy, name: &str, scope: &str) -> (String, String) {
    let output = proxy.command(&["token", "create", name, "--scope", scope, "--json"]);
    assert!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    (made["token"].as_str().unwrap().to_owned(), made["line"].as_str().unwrap().to_owned())
}

fn ask(api: &Api, secret: &str, method: &str, path: &str, body: Option<&Value>) -> u16 {
    api.call_with(method, path, &[("Authorization", &format!("Bearer {secret}"))], body).status
}

/// The first address under a name of the ready line.
fn address(proxy: &Proxy, name: &str, at: usize) -> SocketAddr {
    proxy.ready()[name][at].as_str().unwrap().parse().unwrap()
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

on_both_drivers! {
    fn tokens_have_scopes_and_a_removed_one_is_refused(driver) {
        let helper = Proxy::start(driver);
        let (reader, reading) = token(&helper, "grafana", "read");
        let (web, registering) = token(&helper, "web", "register");
        let builder = Proxy::on(driver);
        let file = builder.folder().join("tokens");
        fs::write(&file, format!("# tokens\n{reading}\n{registering}\n")).unwrap();
        let proxy = builder.env("PROXY_API_TOKENS_FILE", file.to_str().unwrap()).start();
        let api = proxy.api();
        let app = json!({ "app_id": "app" });
        assert_eq!(ask(&api, &reader, "GET", "/api/status", None), 200);
        assert_eq!(ask(&api, &reader, "POST", "/api/apps/register", Some(&app)), 403);
        assert_eq!(ask(&api, &web, "POST", "/api/apps/register", Some(&app)), 201);
        assert_eq!(ask(&api, &web, "GET", "/api/apps", None), 200);
        assert_eq!(ask(&api, &web, "GET", "/api/status", None), 403);
        assert_eq!(ask(&api, &web, "POST", "/api/v2/config/apply", Some(&json!({ "config": {} }))), 403);
        assert_eq!(ask(&api, "not-a-token-of-anyone", "GET", "/api/status", None), 401);
        api.get("/api/apps").is(401);
        api.get("/ready").is(200);
        fs::write(&file, format!("{registering}\n")).unwrap();
        eventually("the removed token is refused", || (ask(&api, &reader, "GET", "/api/status", None) == 401).then_some(()));
        assert_eq!(ask(&api, &web, "GET", "/api/apps", None), 200);
        for secret in [&reader, &web] {
            assert!(!proxy.log().join("\n").contains(secret.as_str()), "a token is in the log");
        }
    }

    fn beyond_loopback_a_certificate_and_a_token_are_required(driver) {
        let authority = Authority::new("Operators");
        let secret = "0123456789abcdef0123456789abcdef";
        let builder = Proxy::on(driver);
        let (certificate, key) = authority.server(&["admin.test"]).write(builder.folder(), "api");
        let ca = builder.folder().join("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        let proxy = builder
            .env("PROXY_API_BIND", "127.0.0.1,0.0.0.0")
            .env("PROXY_API_CERT", certificate.to_str().unwrap())
            .env("PROXY_API_KEY", key.to_str().unwrap())
            .env("PROXY_API_CLIENT_CA", ca.to_str().unwrap())
            .env("PROXY_API_TOKEN", secret)
            .start();
        let outside = SocketAddr::from(([127, 0, 0, 1], address(&proxy, "api_addresses", 1).port()));
        let operator = Tls::new(&authority, "admin.test").alpn(&["http/1.1"]).certificate(&authority.client("ops"));
        let get = |client: &mut Client, authorization: &str| {
            client.send(format!("GET /api/apps HTTP/1.1\r\nHost: admin.test\r\n{authorization}\r\n"));
            client.response("GET").status()
        };
        let mut client = operator.connect(outside);
        assert_eq!(get(&mut client, ""), 401);
        assert_eq!(get(&mut client, &format!("Authorization: Bearer {secret}\r\n")), 200);
        // Without a certificate, and with one of another CA, there is no connection.
        Tls::new(&authority, "admin.test").alpn(&["http/1.1"]).refusal(outside);
        let stranger = Authority::new("Strangers").client("ops");
        Tls::new(&authority, "admin.test").alpn(&["http/1.1"]).certificate(&stranger).refusal(outside);
        // On the loopback address everything is as before.
        assert_eq!(ask(&proxy.api(), secret, "GET", "/api/apps", None), 200);
    }

    fn metrics_and_probes_have_a_listener_of_their_own(driver) {
        let proxy = Proxy::on(driver).env("PROXY_METRICS_ADDRESS", "127.0.0.1:0").env("PROXY_API_TOKEN", "0123456789abcdef").start();
        let metrics = Api::new(address(&proxy, "metrics", 0));
        for path in ["/metrics", "/healthz", "/ready", "/health/liveness", "/health/readiness", "/health/startup"] {
            metrics.get(path).is(200);
        }
        for path in ["/api/status", "/api/apps", "/admin/health", "/"] {
            metrics.get(path).is(404);
        }
        metrics.post("/api/apps/register", &json!({ "app_id": "app" })).is(404);
        let ready = metrics.get("/ready").json;
        assert_eq!((&ready["status"], &ready["checks"]["configuration"]), (&json!("ready"), &json!("ok")));
    }

    fn the_audit_log_is_a_chain_that_an_edit_breaks(driver) {
        let builder = Proxy::on(driver);
        let path = builder.folder().join("changes.log");
        let builder = builder.env("PROXY_AUDIT_LOG", path.to_str().unwrap());
        let proxy = builder.start();
        let api = proxy.api();
        for number in 1..=3 {
            api.post("/api/apps/register", &json!({ "app_id": format!("app{number}") })).is(201);
        }
        api.call("DELETE", "/api/apps/nobody", None).is(404);
        api.get("/api/apps").is(200);
        let written = eventually("the lines are written", || Some(lines(&path)).filter(|lines| lines.len() == 4));
        assert_eq!((&written[0]["who"], &written[0]["action"]), (&json!("loopback"), &json!("registerApp")));
        assert_eq!((&written[3]["result"], &written[3]["status"]), (&json!("unknown_app"), &json!(404)));
        // The chain goes on after a restart.
        let proxy = proxy.stop().start();
        proxy.api().post("/api/apps/register", &json!({ "app_id": "app4" })).is(201);
        eventually("the line is written", || (lines(&path).len() == 5).then_some(()));
        let verify = || proxy.command(&["audit", "verify", path.to_str().unwrap()]);
        let output = verify();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("5 lines"), "{output:?}");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("app2", "appX")).unwrap();
        let output = verify();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("changes.log:2: the line was changed"), "{output:?}");
    }

    fn a_configuration_is_applied_and_audited_with_its_versions(driver) {
        let origin = Origin::named("a");
        let builder = Proxy::on(driver);
        let path = builder.folder().join("changes.log");
        let proxy = builder.env("PROXY_AUDIT_LOG", path.to_str().unwrap()).start();
        let api = proxy.api();
        let endpoint = origin.target().replace("http://", "");
        let config = json!({
            "routes": [{ "id": "web", "host": "web.test", "pool": "web" }],
            "pools": [{ "id": "web", "endpoints": [{ "address": endpoint }] }],
        });
        let body = json!({ "config": config, "reason": "first", "canary": false });
        let valid = api.post("/api/v2/config/validate", &json!({ "config": config })).is(200).json;
        assert_eq!(valid["valid"], true, "{valid}");
        let receipt = api.post("/api/v2/config/apply", &body).is(200).json;
        let version = receipt["version"].as_str().unwrap().to_owned();
        assert_eq!(version.len(), 12);
        assert_eq!(proxy.get("web.test", "/").status(), 200);
        let wrong = json!({ "config": { "routes": [{ "id": "web", "hosts": "web.test" }] } });
        let refused = api.post("/api/v2/config/apply", &wrong).is(422).json;
        assert_eq!((&refused["code"], refused["findings"].is_array()), (&json!("config_invalid"), true));
        let stale = api.call_with("POST", "/api/v2/config/apply", &[("If-Match", "\"000000000000\"")], Some(&body));
        assert_eq!(stale.status, 412);
        let current = api.get("/api/v2/config/current?owner=admin").is(200).json;
        assert_eq!((&current["sets"][0]["version"], &current["sets"][0]["by"]), (&json!(version), &json!("loopback")));
        let pool = api.get("/api/v2/pools/web/health").is(200).json;
        assert_eq!((&pool["owner"], &pool["total_endpoints"]), (&json!("admin"), &json!(1)));
        let written = eventually("the lines are written", || Some(lines(&path)).filter(|lines| lines.len() == 3));
        let first = &written[0];
        assert_eq!((&first["action"], &first["owner"], &first["result"]), (&json!("applyConfig"), &json!("admin"), &json!("applied")));
        assert_eq!((&first["after"], &first["reason"]), (&json!(version), &json!("first")));
        assert_eq!((&written[1]["result"], &written[2]["result"]), (&json!("config_invalid"), &json!("stale_version")));
    }
}
