//! The audit log of an API: a line for each change, and none for reads and heartbeats.

use std::fs;
use std::path::PathBuf;

use ringway_model::{Braked, CanaryState, Owner, RouteId, Timestamp};
use ringway_net::DriverChoice;
use serde_json::{Value as Json, json};

use super::{Api, PATIENCE, access};
use crate::{
    AccessSettings, AuditLog, Listeners, Settings, TokenDigest, TokensFile, audit_files, verify_audit,
};

const TOKEN: &str = "a-token-of-the-tests";

/// An API with an audit log, and named tokens `reader` and `web`.
struct Audited {
    api: Api,
    log: AuditLog,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Audited {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = AuditLog::start(path.clone()).unwrap();
        let line = |name: &str, scope: &str| {
            format!("{name} {scope} {}\n", TokenDigest::of(format!("secret-of-{name}").as_bytes()))
        };
        let tokens = folder.path().join("tokens");
        fs::write(&tokens, line("reader", "read") + &line("web", "register")).unwrap();
        let access =
            AccessSettings { tokens: Some(TokensFile::open(&tokens).unwrap()), ..access(Some(TOKEN)) };
        let settings = Settings { access, audit: Some(log.clone()), ..Settings::default() };
        let api = Api::with(settings, DriverChoice::Auto, Listeners::default());
        Self { api, log, path, _folder: folder }
    }

    fn ask(&self, method: &str, path: &str, secret: &str, body: &str) -> u16 {
        let bearer = format!("Bearer {secret}");
        self.api.connect().ask(method, path, &[("Authorization", &bearer)], body).status
    }

    /// Ends the log and returns its lines, whose chain is whole.
    fn lines(&self) -> Vec<Json> {
        self.log.finish();
        verify_audit(&audit_files(&self.path)).unwrap();
        let text = fs::read_to_string(&self.path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn each_change_leaves_a_line_with_its_caller_and_its_result() {
    let audited = Audited::start();
    let body = r#"{"app_id":"app1","instance":{"instance_id":"i1","target":"http://10.0.0.1:80"}}"#;
    assert_eq!(audited.ask("POST", "/api/apps/register", "secret-of-web", body), 201);
    assert_eq!(audited.ask("POST", "/api/apps/heartbeat", "secret-of-web", r#"{"instance_id":"i1"}"#), 204);
    assert_eq!(audited.ask("GET", "/api/apps", "secret-of-web", ""), 200);
    assert_eq!(audited.ask("DELETE", "/api/apps/nope", TOKEN, ""), 404);
    let lines = audited.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let first = &lines[0];
    assert_eq!(
        (&first["who"], &first["action"], &first["owner"]),
        (&json!("token:web"), &json!("registerApp"), &json!("api"))
    );
    assert_eq!(
        first["objects"],
        json!([{ "kind": "app", "id": "app1" }, { "kind": "instance", "id": "i1" }])
    );
    assert_eq!((&first["result"], &first["status"]), (&json!("created"), &json!(201)));
    assert_eq!((&first["before"], &first["after"]), (&json!("0"), &json!("1")));
    assert!(first["at"].as_str().unwrap().ends_with('Z') && first["request_id"].is_string());
    assert!(first["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    let second = &lines[1];
    assert_eq!((&second["who"], &second["result"]), (&json!("token:PROXY_API_TOKEN"), &json!("unknown_app")));
    assert_eq!((&second["objects"][0]["id"], second.get("after")), (&json!("nope"), None));
}

#[test]
fn a_configuration_s_line_names_the_routes_whose_authentication_it_changes() {
    let audited = Audited::start();
    assert_eq!(audited.ask("POST", "/api/v2/config/apply", TOKEN, r#"{"config":{},"canary":false}"#), 200);
    let wrong = r#"{"config":{},"canary":"2h"}"#;
    assert_ne!(audited.ask("POST", "/api/v2/config/apply", TOKEN, wrong), 200);
    let lines = audited.lines();
    assert_eq!(lines[0]["authentication"], json!({ "lost": ["open"], "gained": ["closed"] }));
    assert_eq!(lines[1].get("authentication"), None, "{}", lines[1]);
}

#[test]
fn a_canary_that_ringway_brakes_leaves_a_line_of_its_own() {
    let audited = Audited::start();
    let braked = Braked { at: Timestamp(7), reason: "60 of 200 requests failed".into() };
    let route = RouteId::parse("shop").unwrap();
    let state = CanaryState {
        route,
        owner: Owner::File,
        plan: 1,
        step: 0,
        stepped_at: Timestamp(0),
        braked: Some(braked),
        set_weight: None,
    };
    audited.log.record_own(&ringway_control::OwnEvent::Braked(&state), true);
    let lines = audited.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["who"], &line["action"]), (&json!("ringway"), &json!("canary.brake")));
    assert_eq!(
        (&line["objects"], &line["at"]),
        (&json!([{ "kind": "canary", "id": "shop" }]), &json!("1970-01-01T00:00:00.007Z"))
    );
    assert_eq!((&line["reason"], &line["result"]), (&json!("60 of 200 requests failed"), &json!("done")));
}

#[test]
fn refusals_leave_a_line_and_a_flood_of_them_a_number() {
    let audited = Audited::start();
    let register = r#"{"app_id":"app1"}"#;
    assert_eq!(audited.ask("POST", "/api/apps/register", "secret-of-reader", register), 403);
    assert_eq!(audited.ask("POST", "/api/apps/register", "secret-of-nobody", register), 401);
    assert_eq!(audited.ask("GET", "/api/apps", "secret-of-nobody", ""), 401, "reads with a wrong token too");
    let mut client = audited.api.connect();
    let fields = [("Authorization", "Bearer secret-of-web"), ("Content-Type", "text/plain")];
    assert_eq!(client.ask("POST", "/api/apps/register", &fields, register).status, 415);
    for _ in 0..100 {
        assert_eq!(audited.api.ask("GET", "/api/apps", "").status, 401);
    }
    assert_eq!(audited.ask("POST", "/api/apps/register", "secret-of-web", register), 201);
    let lines = audited.lines();
    let result =
        |line: &Json| (line["who"].as_str().unwrap().to_owned(), line["result"].as_str().unwrap().to_owned());
    let expected = [
        ("token:reader", "missing_scope"),
        ("unknown", "unauthorized"),
        ("unknown", "unauthorized"),
        ("token:web", "unsupported_media_type"),
    ];
    for (line, (who, code)) in lines.iter().zip(expected) {
        assert_eq!(result(line), (who.to_owned(), code.to_owned()), "{line}");
    }
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["action"], &last["suppressed"]),
        (&json!("registerApp"), &json!(42)),
        "102 refusals, 60 lines"
    );
    let text = fs::read_to_string(&audited.path).unwrap();
    assert!(!text.contains("secret-of"), "no secret is in the log");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing_and_is_reported() {
    let log = AuditLog::start(PathBuf::from("/dev/full")).unwrap();
    let settings = Settings { audit: Some(log), ..Settings::default() };
    let api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    let status = || api.ask("GET", "/api/status", "").json();
    assert_eq!(status()["status"], "ready");
    assert_eq!(api.ask("POST", "/api/apps/register", r#"{"app_id":"app1"}"#).status, 201);
    let end = std::time::Instant::now() + PATIENCE;
    while !status()["warnings"].to_string().contains("/dev/full cannot be written") {
        assert!(std::time::Instant::now() < end, "the failure is not reported");
    }
    assert_eq!(status()["status"], "degraded");
    assert_eq!(api.ask("POST", "/api/apps/register", r#"{"app_id":"app2"}"#).status, 201);
}

#[test]
fn a_check_of_a_credential_leaves_a_line_without_it() {
    let audited = Audited::start();
    const SECRET: &str = "eyJhbGciOiJFUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl";
    let ask = |secret: &str, body: &str| {
        let bearer = format!("Bearer {secret}");
        let path = "/api/v2/auth/check";
        audited.api.connect().ask("POST", path, &[("Authorization", &bearer)], body)
    };
    let response = ask(TOKEN, &format!(r#"{{"route":"shop","token":"{SECRET}"}}"#));
    let body: Json = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(
        (response.status, &body["verdict"], &body["reason"]),
        (200, &json!("refused"), &json!("expired"))
    );
    for (secret, body, status) in [
        ("secret-of-reader", format!(r#"{{"route":"shop","token":"{SECRET}"}}"#), 403),
        ("secret-of-web", format!(r#"{{"route":"shop","token":"{SECRET}"}}"#), 403),
        (TOKEN, format!(r#"{{"route":"nope","token":"{SECRET}"}}"#), 404),
        (TOKEN, format!(r#"{{"route":"shop","token":["{SECRET}"]}}"#), 422),
        (TOKEN, format!(r#"{{"route":"shop","token":"{SECRET}","kind":"{SECRET}"}}"#), 422),
        (TOKEN, format!(r#"{{"route":"shop","token":"{SECRET}{}"}}"#, "x".repeat(8192)), 422),
        (TOKEN, format!(r#"{{"route":"shop","token":"{SECRET}"#), 400),
        (TOKEN, format!(r#"{{"route":"shop","token":"{SECRET}","token":"{SECRET}"}}"#), 400),
    ] {
        let response = ask(secret, &body);
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!(response.status, status, "{text}");
        assert!(!text.contains(SECRET), "{text}");
    }
    let in_query = format!("/api/v2/auth/check?route=shop&token={SECRET}");
    assert_eq!(audited.ask("POST", &in_query, TOKEN, ""), 422);
    let lines = audited.lines();
    assert!(!format!("{lines:?}").contains(SECRET), "{lines:?}");
    assert_eq!(
        (&lines[0]["action"], &lines[0]["who"], &lines[0]["objects"]),
        (&json!("checkAuth"), &json!("token:PROXY_API_TOKEN"), &json!([{ "kind": "route", "id": "shop" }]))
    );
    assert_eq!(
        (&lines[0]["result"], lines[0].get("before"), lines[0].get("owner")),
        (&json!("checked"), None, None)
    );
    assert_eq!(lines.len(), 10, "refused ones have lines too: {lines:?}");
}
