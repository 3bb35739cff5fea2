//! Semantics of the API: registration walk-throughs, conditions, idempotency, fencing.

use std::time::Duration;

use ringway_control::{InFlightStatus, InstanceDrained, InstanceState};
use ringway_model::{CoreId, Health, InstanceId, Kind};
use serde_json::{Value as Json, json};

use super::Api;

fn keys(value: &Json) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_examples_of_the_document_work_as_written() {
    let api = Api::start();
    let reply = api.ask(
        "POST",
        "/api/apps/register",
        r#"{
            "app_id": "app1",
            "app_name": "Main Application",
            "instance": {"instance_id": "app1-prod-node-1", "target": "http://10.0.0.5:3001", "health_check": "/health"}
        }"#,
    );
    assert_eq!(reply.status, 201);
    assert_eq!(reply.field("etag"), Some("\"1\""));
    assert_eq!(reply.field("x-ringway-revision"), Some("1"));
    assert_eq!(reply.field("x-ringway-applied-micros"), Some("42"));
    let body = reply.json();
    assert_eq!((&body["app_id"], &body["app_name"]), (&json!("app1"), &json!("Main Application")));
    assert_eq!(
        (&body["revision"], &body["generation"], &body["outcome"]),
        (&json!(1), &json!(1), &json!("created"))
    );
    assert_eq!(body["instance"]["health_check"], "/health");

    let second = r#"{"app_id": "app1", "instance_id": "app1-prod-node-2", "target": "http://10.0.0.6:3001", "health_check": "/health"}"#;
    let reply = api.ask("POST", "/api/apps/instances", second);
    assert_eq!((reply.status, &reply.json()["generation"]), (201, &json!(2)));

    let reply = api.ask("POST", "/api/apps/heartbeat", r#"{"instance_id": "app1-prod-node-1"}"#);
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(api.state().heartbeats, [(InstanceId::parse("app1-prod-node-1").unwrap(), None)]);

    let subdomain = r#"{"domain": "tenant1.app1.com", "app_id": "app1", "type": "subdomain"}"#;
    assert_eq!(api.ask("POST", "/api/tenants/domains", subdomain).status, 201);
    let custom = r#"{"domain": "customer-brand.com", "app_id": "app1", "tenant_id": "tenant-123", "cname_target": "tenant-123.app1.com"}"#;
    assert_eq!(api.ask("POST", "/api/tenants/custom-domains", custom).status, 201);
    let target = r#"{"domain": "tenant-123.app1.com", "app_id": "app1", "tenant_id": "tenant-123", "type": "cname_target"}"#;
    assert_eq!(api.ask("POST", "/api/tenants/domains", target).status, 201);
    let update = r#"{"domain": "customer-brand.com", "app_id": "app1", "tenant_id": "tenant-456"}"#;
    let reply = api.ask("PUT", "/api/tenants/domains", update);
    assert_eq!((reply.status, &reply.json()["tenant_id"]), (200, &json!("tenant-456")));

    let reply = api.ask("POST", "/api/tenants/domains/get", r#"{"domain": "customer-brand.com"}"#);
    assert_eq!(reply.status, 200);
    let mut body = reply.json();
    body.as_object_mut().unwrap().remove("revision");
    assert_eq!(
        body,
        json!({
            "domain": "customer-brand.com",
            "app_id": "app1",
            "tenant_id": "tenant-456",
            "type": "custom",
            "cname_target": "tenant-123.app1.com",
            "certificate_status": "none",
            "certificate_expiry": null,
            "verified": false,
            "policy": null,
            "certificate": {
                "mode": "acme",
                "status": "none",
                "reason": null,
                "next_try": null,
                "failures": 0,
                "expires_at": null,
                "issuer": null,
                "fingerprint": null,
                "renew_at": null,
                "dns": null,
                "queue": null,
            },
            "client_auth": null,
            "created_at": "2025-01-01T00:00:00Z",
            "updated_at": "2025-01-01T00:00:00Z",
        })
    );

    api.state().health("app1-prod-node-1", Health::Healthy);
    let reply = api.ask("POST", "/api/apps/get", r#"{"app_id": "app1"}"#);
    let body = reply.json();
    assert_eq!(body["domains"], json!(["customer-brand.com", "tenant-123.app1.com", "tenant1.app1.com"]));
    assert_eq!(body["instances"].as_array().unwrap().len(), 2);
    let first = &body["instances"][0];
    assert_eq!(
        (&first["instance_id"], &first["target"], &first["health"], &first["circuit_breaker"]),
        (&json!("app1-prod-node-1"), &json!("http://10.0.0.5:3001"), &json!("healthy"), &json!("closed"))
    );
    for key in ["app_id", "health_check", "last_heartbeat", "registered_at"] {
        assert!(keys(first).contains(&key), "{key}");
    }
    assert_eq!(body["instances"][1]["health"], "unknown");

    let reply = api.ask("DELETE", "/api/apps/instances", r#"{"instance_id": "app1-prod-node-1"}"#);
    assert_eq!((reply.status, reply.body.len(), reply.field("content-length")), (204, 0, None));
    assert_eq!(api.ask("DELETE", "/api/tenants/domains", r#"{"domain": "customer-brand.com"}"#).status, 204);
    let reply = api.ask("GET", "/api/tenants/domains", "");
    let names: Vec<String> =
        reply.json()["domains"].as_array().unwrap().iter().map(|d| d["domain"].to_string()).collect();
    assert_eq!(names, ["\"tenant-123.app1.com\"", "\"tenant1.app1.com\""]);
}

#[test]
fn the_use_cases_work_by_their_short_paths() {
    let api = Api::start();
    for instance in ["app1-prod-1", "app1-prod-2"] {
        let body = format!(
            r#"{{"domain":"app1.com","instance_id":"{instance}","target":"http://10.0.0.5:3001","app_id":"app1","health_check":"/health"}}"#
        );
        let reply = api.ask("POST", "/api/register", &body);
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.json()["domain"]["domain"], "app1.com");
        assert_eq!(reply.json()["instance"]["instance_id"], instance);
    }
    let route = r#"{"domain":"customer-brand.com","app_id":"app1","tenant_id":"tenant-123"}"#;
    let reply = api.ask("POST", "/api/routes", route);
    assert_eq!(
        (reply.status, &reply.json()["type"], &reply.json()["tenant_id"]),
        (201, &json!("custom"), &json!("tenant-123"))
    );

    // A repeated registration keeps the tenant that an operator has added.
    api.ask("PUT", "/api/tenants/domains/app1.com", r#"{"tenant_id":"tenant-9","type":"custom"}"#);
    let again = r#"{"domain":"app1.com","instance_id":"app1-prod-1","target":"http://10.0.0.7:3001","app_id":"app1"}"#;
    let reply = api.ask("POST", "/api/register", again);
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &json!("updated")));
    assert_eq!(
        (&reply.json()["domain"]["tenant_id"], &reply.json()["domain"]["type"]),
        (&json!("tenant-9"), &json!("custom"))
    );

    // It deregisters with the body that it registered with.
    assert_eq!(api.ask("DELETE", "/api/register", again).status, 204);
    assert_eq!(api.ask("DELETE", "/api/register/app1-prod-2", "").status, 204);
    assert_eq!(api.ask("DELETE", "/api/routes?domain=Customer-Brand.COM.", "").status, 204);
    assert_eq!(api.state().desired.count(Kind::Instance), 0);
}

#[test]
fn keys_mean_the_same_wherever_they_stand() {
    let api = Api::start();
    let expect = |method: &str, path: &str, body: &str, status: u16| {
        {
            let mut state = api.state();
            *state = Default::default();
            state.app("app1");
            state.instance("app1", "i:1@x");
            state.domain("app1", "bücher.example", None);
        }
        let reply = api.ask(method, path, body);
        assert_eq!(reply.status, status, "{method} {path} {body}: {reply:?}");
    };
    expect("DELETE", "/api/apps/instances", r#"{"instance_id":"i:1@x"}"#, 204);
    expect("DELETE", "/api/apps/instances/i%3A1%40x", "", 204);
    expect("DELETE", "/api/apps/instances/i:1@x", "", 204);
    expect("DELETE", "/api/apps/instances?instance_id=i%3a1@x", "", 204);
    expect("DELETE", "/api/apps/instances/i:1@x?instance_id=i:1@x", r#"{"instance_id":"i:1@x"}"#, 204);
    expect("POST", "/api/apps/instances/delete", r#"{"instance_id":"i:1@x"}"#, 204);
    expect("GET", "/api/tenants/domains/B%C3%BCcher.example", "", 200);
    expect("GET", "/api/tenants/domains/xn--bcher-kva.example.", r#"{"domain":"bücher.example"}"#, 200);
    expect("GET", "/api/tenants/domains/get?domain=b%C3%BCcher.example", "", 200);
    expect("GET", "/api/apps/app1", "", 200);
    expect("GET", "/api/apps/nope", "", 404);
    expect("GET", "/api/apps/a%2Fb", "", 422);
    expect("GET", "/api/apps/%ff", "", 422);
    expect("GET", "/api/apps/%", "", 422);
    // Only keys and filters may be in the query.
    expect("POST", "/api/apps/instances?app_id=app1", r#"{"instance_id":"i3","target":"http://a:1"}"#, 422);
    expect("DELETE", "/api/apps/instances/i:1@x?force=1", "", 422);
}

#[test]
fn a_change_can_depend_on_the_revision() {
    let api = Api::start();
    let mut client = api.connect();
    assert_eq!(
        client.ask("POST", "/api/apps/register", &[("If-Match", "\"0\"")], r#"{"app_id":"a"}"#).status,
        201
    );
    let reply = client.ask("POST", "/api/apps/register", &[("If-Match", "\"0\"")], r#"{"app_id":"b"}"#);
    assert_eq!((reply.status, reply.field("x-ringway-revision")), (412, Some("1")));
    assert_eq!(
        client.ask("POST", "/api/apps/register", &[("If-Match", "\"7\", \"1\"")], r#"{"app_id":"b"}"#).status,
        201
    );
    assert_eq!(
        client.ask("POST", "/api/apps/register", &[("If-Match", "*")], r#"{"app_id":"c"}"#).status,
        201
    );
    assert_eq!(
        client.ask("POST", "/api/apps/register", &[("If-Match", "W/\"3\"")], r#"{"app_id":"d"}"#).status,
        412
    );
    let etag = client.ask("GET", "/api/apps/a", &[], "").field("etag").unwrap().to_owned();
    assert_eq!(client.ask("DELETE", "/api/apps/a", &[("If-Match", &etag)], "").status, 204);
    assert_eq!(api.state().desired.count(Kind::App), 2);
}

#[test]
fn a_repeated_key_repeats_the_answer_and_not_the_change() {
    let api = Api::start();
    let mut client = api.connect();
    let key = [("Idempotency-Key", "5f3c")];
    let body = r#"{"app_id":"a","instance":{"instance_id":"i","target":"http://a:1"}}"#;
    let first = client.ask("POST", "/api/apps/register", &key, body);
    assert_eq!((first.status, first.field("idempotency-replayed")), (201, None));
    let again = client.ask("POST", "/api/apps/register", &key, body);
    assert_eq!((again.status, again.field("idempotency-replayed")), (201, Some("true")));
    assert_eq!(again.json(), first.json());
    assert_eq!(api.state().desired.revision().0, 1);
    let conditional = [("Idempotency-Key", "77"), ("If-Match", "\"1\"")];
    assert_eq!(client.ask("POST", "/api/apps/register", &conditional, r#"{"app_id":"c"}"#).status, 201);
    let again = client.ask("POST", "/api/apps/register", &conditional, r#"{"app_id":"c"}"#);
    assert_eq!((again.status, again.field("etag")), (201, Some("\"2\"")), "the change itself is no conflict");
    let other = client.ask("POST", "/api/apps/register", &key, r#"{"app_id":"b"}"#);
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
    let elsewhere = client.ask("POST", "/api/apps/instances", &key, body);
    assert_eq!(elsewhere.status, 422);
    assert_eq!(client.ask("POST", "/api/apps/register", &[("Idempotency-Key", "a b")], body).status, 400);
}

#[test]
fn late_messages_of_a_replaced_process_change_nothing() {
    let api = Api::start();
    let register = r#"{"app_id":"a","instance":{"instance_id":"i","target":"http://a:1"}}"#;
    let old = api.ask("POST", "/api/apps/register", register).json()["generation"].as_u64().unwrap();
    let new = api.ask("POST", "/api/apps/register", register).json()["generation"].as_u64().unwrap();
    assert!(new > old);
    let message = |generation: u64| format!(r#"{{"instance_id":"i","generation":{generation}}}"#);
    assert_eq!(api.ask("POST", "/api/apps/heartbeat", &message(old)).status, 409);
    assert_eq!(api.ask("DELETE", "/api/apps/instances", &message(old)).status, 409);
    assert_eq!(api.ask("DELETE", &format!("/api/apps/instances/i?generation={old}"), "").status, 409);
    assert_eq!(api.state().desired.count(Kind::Instance), 1);
    assert_eq!(api.ask("POST", "/api/apps/heartbeat", &message(new)).status, 204);
    assert_eq!(api.ask("DELETE", "/api/apps/instances", &message(new)).status, 204);
    let reply = api.ask("POST", "/api/apps/heartbeat", &message(new));
    assert_eq!(reply.status, 404);
    assert!(reply.json()["detail"].as_str().unwrap().contains("register it again"));
}

#[test]
fn a_removal_that_some_cores_have_not_seen_is_accepted_with_their_names() {
    let api = Api::start();
    api.state().app("a");
    api.state().pending = vec![CoreId(2)];
    let reply = api.ask("DELETE", "/api/apps/a", "");
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json(), json!({ "revision": 2, "outcome": "removed", "pending": [2] }));
}

#[test]
fn the_status_of_an_app_is_that_of_its_instances() {
    let api = Api::start();
    {
        let mut state = api.state();
        state.app("a");
        state.domain("a", "a.example", None);
        state.instance("a", "i1");
        state.instance("a", "i2");
    }
    let status = || {
        let reply = api.ask("POST", "/api/status/app", r#"{"app_id":"a"}"#).json();
        (reply["status"].as_str().unwrap().to_owned(), reply["healthy_instances"].as_u64().unwrap())
    };
    assert_eq!(status(), ("healthy".to_owned(), 2));
    api.state().health("i1", Health::Unhealthy);
    assert_eq!(status(), ("degraded".to_owned(), 1));
    api.state().health("i2", Health::Unhealthy);
    assert_eq!(status(), ("down".to_owned(), 0));
    assert_eq!(api.ask("GET", "/api/status/app/a", "").json()["domains"], json!(["a.example"]));
    assert_eq!(api.ask("GET", "/api/status/app/a", "").json()["outage"], json!(null));
    api.state().outage = true;
    for path in ["/api/status/app/a", "/api/apps/a"] {
        let body = api.ask("GET", path, "").json();
        assert_eq!(body["outage"], "all instances of app a fail their health checks", "{path}");
        assert_eq!(body["on_all_unhealthy"], "reject", "{path}");
    }
}

/// Absent keeps the failure policy of an app, null resets it; both ways to register an app accept it.
#[test]
fn policies_of_an_app_are_kept_until_they_are_taken_back() {
    let api = Api::start();
    let full = r#""domain":"a.example","instance_id":"a-1","target":"http://127.0.0.1:1","app_id":"a""#;
    let default = json!({ "statuses": [], "timeouts": "unchecked" });
    for (path, members, policy, failures) in [
        ("/api/apps/register", r#""app_id":"a""#.to_owned(), "reject", default.clone()),
        (
            "/api/apps/register",
            r#""app_id":"a","on_all_unhealthy":"trickle","failures":{"statuses":["502-504",500]}"#.to_owned(),
            "trickle",
            json!({ "statuses": ["500", "502-504"], "timeouts": "unchecked" }),
        ),
        (
            "/api/register",
            full.to_owned(),
            "trickle",
            json!({ "statuses": ["500", "502-504"], "timeouts": "unchecked" }),
        ),
        (
            "/api/register",
            format!(r#"{full},"on_all_unhealthy":"panic_open","failures":{{"timeouts":"always"}}"#),
            "panic_open",
            json!({ "statuses": [], "timeouts": "always" }),
        ),
        (
            "/api/apps/register",
            r#""app_id":"a","on_all_unhealthy":null,"failures":null"#.to_owned(),
            "reject",
            default,
        ),
    ] {
        let reply = api.ask("POST", path, &format!("{{{members}}}"));
        assert!(matches!(reply.status, 200 | 201), "{path} {members}: {}", reply.status);
        for shown in [reply.json(), api.ask("GET", "/api/apps", "").json()["apps"][0].clone()] {
            assert_eq!(shown["on_all_unhealthy"], policy, "{path} {members}");
            assert_eq!(shown["failures"], failures, "{path} {members}");
        }
    }
    let body = r#"{"app_id":"a","on_all_unhealthy":"open","failures":{"statuses":["404"],"timeouts":1}}"#;
    assert_eq!(
        api.ask("POST", "/api/apps/register", body).findings(),
        ["on_all_unhealthy invalid", "failures.statuses range", "failures.timeouts type"]
    );
}

#[test]
fn health_and_metrics_are_for_machines() {
    let api = Api::start();
    assert_eq!(api.ask("GET", "/healthz", "").json()["status"], "ok");
    let ready = json!({
        "status": "ready",
        "checks": {
            "process": "ok", "configuration": "ok", "workers": "ok", "store": "ok", "cache": "ok",
            "backends": [], "backends_total": 0,
        },
    });
    assert_eq!(api.ask("GET", "/health/readiness", "").json(), ready);
    api.state().is_ready = false;
    let reply = api.ask("GET", "/ready", "");
    assert_eq!((reply.status, &reply.json()["checks"]["process"]), (503, &json!("starting")));
    assert_eq!(api.ask("GET", "/health/liveness", "").status, 200, "alive is not ready");
    let reply = api.ask("GET", "/metrics", "");
    assert_eq!(reply.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(String::from_utf8(reply.body).unwrap().contains("ringway_up 1"));
    let status = api.ask("GET", "/api/status", "").json();
    assert_eq!((&status["version"], &status["workers"][0]["driver"]), (&json!("1.2.3"), &json!("epoll")));
    let health = api.ask("GET", "/admin/health", "").json();
    assert_eq!((&health["version"], &health["tenants"]), (&status["version"], &json!([])));
}

fn registered(api: &Api) {
    let body = r#"{"app_id":"app1","instance":{"instance_id":"i1","target":"http://10.0.0.5:3001"}}"#;
    assert_eq!(api.ask("POST", "/api/apps/register", body).status, 201);
}

#[test]
fn a_drain_is_answered_with_how_it_went() {
    let api = Api::start();
    for (path, body) in [
        ("/api/apps/instances", r#"{"instance_id":"i1","drain":"30s"}"#),
        ("/api/apps/instances?drain=30s", r#"{"instance_id":"i1"}"#),
        ("/api/apps/instances/i1?drain=30s", ""),
        ("/api/register", r#"{"instance_id":"i1","app_id":"app1","drain":"30s"}"#),
    ] {
        registered(&api);
        api.state().drain_end = Some(InstanceDrained {
            took: Duration::from_millis(1_500),
            left: InFlightStatus { requests: 3, tunnels: 2 },
        });
        let reply = api.ask("DELETE", path, body);
        let revision = api.state().desired.revision().0;
        assert_eq!(
            (reply.status, reply.json()),
            (
                200,
                json!({
                    "instance_id": "i1", "drained": false, "took_ms": 1500, "requests_left": 3, "websockets_left": 2,
                    "revision": revision, "outcome": "removed",
                })
            ),
            "{path} {body}"
        );
        let submission = api.state().submissions.last().cloned().unwrap();
        assert!(matches!(submission.change, ringway_model::Change::DrainInstance { .. }), "{submission:?}");
    }
    registered(&api);
    for drain in [r#""3601s""#, r#""soon""#, "true"] {
        let reply =
            api.ask("DELETE", "/api/apps/instances", &format!(r#"{{"instance_id":"i1","drain":{drain}}}"#));
        assert!(reply.status == 422 && reply.findings()[0].starts_with("drain "), "{drain}: {reply:?}");
    }
    let reply =
        api.ask("DELETE", "/api/apps/instances", r#"{"instance_id":"i1","drain":"1s","generation":1}"#);
    assert_eq!((reply.status, reply.code().as_str()), (409, "stale_generation"));
}

#[test]
fn a_drain_that_a_new_registration_ended_is_a_conflict_and_one_of_an_ending_process_is_not_now() {
    let api = Api::start();
    registered(&api);
    api.state().drain_end = None;
    let mut waiting = api.connect();
    waiting.send(&delete_with_drain());
    let id = InstanceId::parse("i1").unwrap();
    while api.state().desired.instance("i1").is_none_or(|instance| instance.draining.is_none()) {
        std::thread::yield_now();
    }
    registered_again(&api);
    let reply = waiting.reply(false);
    assert_eq!((reply.status, reply.code().as_str()), (409, "stale_generation"));
    let mut waiting = api.connect();
    waiting.send(&delete_with_drain());
    while api.state().desired.instance(id.as_str()).is_none_or(|instance| instance.draining.is_none()) {
        std::thread::yield_now();
    }
    api.state().is_ending = true;
    let reply = waiting.reply(false);
    assert_eq!((reply.status, reply.code().as_str()), (503, "shutting_down"));
}

fn registered_again(api: &Api) {
    let body = r#"{"app_id":"app1","instance":{"instance_id":"i1","target":"http://10.0.0.5:3001"}}"#;
    assert_eq!(api.ask("POST", "/api/apps/register", body).status, 200);
}

fn delete_with_drain() -> Vec<u8> {
    let body = r#"{"instance_id":"i1","drain":"60s"}"#;
    format!(
        "DELETE /api/apps/instances HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn a_state_is_waited_for() {
    let api = Api::start();
    registered(&api);
    let path = "/api/status/instances?instance_id=i1&wait=serving&timeout=";
    api.state().stands("i1", InstanceState::Joining, Some("the last probe failed: connection refused"));
    let reply = api.ask("GET", &format!("{path}0s"), "");
    assert_eq!((reply.status, reply.code().as_str()), (504, "state_not_reached"));
    assert_eq!(
        reply.json()["detail"],
        "instance i1 is joining, not serving; the last probe failed: connection refused"
    );
    // It serves after a restart and was not probed yet.
    api.state().stands("i1", InstanceState::Serving, None);
    assert_eq!(
        api.ask("GET", &format!("{path}0s"), "").json()["detail"],
        "instance i1 is serving, not probed successfully"
    );
    api.state().health("i1", Health::Healthy);
    let reply = api.ask("GET", &format!("{path}60s"), "");
    assert_eq!((reply.status, &reply.json()["instances"][0]["state"]), (200, &json!("serving")));
    assert_eq!(reply.json()["total"], 1);
    let reply = api.ask("GET", "/api/status/instances?wait=serving", "");
    assert!(reply.status == 422 && reply.findings()[0].starts_with("wait "), "{reply:?}");
    let reply = api.ask("GET", "/api/status/instances?instance_id=i1&wait=well", "");
    assert!(reply.status == 422 && reply.findings()[0].starts_with("wait "), "{reply:?}");
}
