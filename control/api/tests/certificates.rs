//! Certificates over the API: status, upload, removal, verification.

use std::sync::Arc;

use ringway_certs::{
    AuthorityState, BudgetState, CertificateState as Stand, DefaultState, PublishError, QueuePosition,
    UploadError,
};
use ringway_model::{CertificateMode, ClientAuthNeed, Hostname, Timestamp};
use serde_json::{Value as Json, json};

use super::fake::{NOW, facts, stand, verification};
use super::{Api, Reply};

const UPLOAD: &str = "/api/tenants/domains/certificate";

/// With `app1` and the domains `a.example` to `c.example`.
fn api() -> Api {
    let api = Api::start();
    {
        let mut state = api.state();
        state.app("app1");
        for name in ["a.example", "b.example", "c.example"] {
            state.domain("app1", name, (name == "b.example").then_some("t1"));
        }
    }
    api
}

fn host(name: &str) -> Hostname {
    Hostname::parse(name).unwrap()
}

fn upload_body(key: &str) -> String {
    json!({ "domain": "a.example", "certificate": "a chain", "key": key }).to_string()
}

fn domain(api: &Api, name: &str) -> Json {
    api.ask("GET", &format!("/api/tenants/domains/{name}"), "").json()
}

fn told(reply: &Reply) -> (u16, String) {
    (reply.status, reply.code())
}

#[test]
fn a_domain_tells_where_its_certificate_stands() {
    let api = api();
    let mut known = stand(CertificateMode::Acme, Stand::Failed);
    known.reason = Some("the record leads elsewhere".to_owned());
    known.next_try = Some(Timestamp(NOW.0 + 60_000));
    known.renewal_at = Some(Timestamp(NOW.0 + 120_000));
    known.failures = 2;
    known.certificate = Some(Arc::new(facts("a.example")));
    known.queue_position = Some(QueuePosition { position: 3, expected_at: Some(NOW) });
    known.verification = Some(Arc::new(verification()));
    api.state().certificates.states.insert(host("a.example"), known);

    let shown = domain(&api, "a.example");
    assert_eq!(shown["certificate_status"], "failed");
    assert_eq!(shown["certificate_expiry"], "2025-04-01T00:00:00Z");
    assert_eq!(shown["verified"], false);
    assert_eq!(
        shown["certificate"],
        json!({
            "mode": "acme",
            "status": "failed",
            "reason": "the record leads elsewhere",
            "next_try": "2025-01-01T00:01:00Z",
            "failures": 2,
            "expires_at": "2025-04-01T00:00:00Z",
            "issuer": "CN=A CA",
            "fingerprint": "ab".repeat(32),
            "renew_at": "2025-01-01T00:02:00Z",
            "dns": {
                "checked_at": "2025-01-01T00:00:00Z",
                "verdict": "elsewhere",
                "advice": "point it here",
                "expected": [{ "type": "A", "value": "203.0.113.7" }],
                "found": [
                    { "type": "CNAME", "value": "edge.example.net" },
                    { "type": "A", "value": "198.51.100.1" },
                ],
                "problem": null,
                "caa": { "verdict": "forbidden", "at": "example", "issuers": ["other.example"], "problem": null },
                "probes": [{ "address": "198.51.100.1:80", "outcome": "foreign", "status": 404 }],
            },
            "queue": { "position": 3, "expected_at": "2025-01-01T00:00:00Z" },
        })
    );
    let active = stand(CertificateMode::Acme, Stand::Active);
    api.state().certificates.states.insert(host("b.example"), active);
    assert_eq!(domain(&api, "b.example")["verified"], true);
    let listed = api.ask("GET", "/api/tenants/domains", "").json();
    assert_eq!(listed["domains"][0], {
        let mut shown = shown;
        shown.as_object_mut().unwrap().remove("revision");
        shown
    });
}

#[test]
fn who_brings_the_certificate_and_who_may_connect_is_said_with_the_domain() {
    let api = api();
    let body = r#"{"domain":"d.example","app_id":"app1","certificate":"provided","client_auth":{"ca_file":"/etc/ca.pem"}}"#;
    let reply = api.ask("POST", "/api/tenants/domains", body);
    assert_eq!((reply.status, &reply.json()["certificate"]["mode"]), (201, &json!("provided")));
    assert_eq!(reply.json()["client_auth"], json!({ "ca_file": "/etc/ca.pem", "mode": "required" }));

    // Absent fields are kept.
    let body = r#"{"domain":"d.example","tenant_id":"t2"}"#;
    let reply = api.ask("PUT", "/api/tenants/domains", body);
    assert_eq!(reply.json()["client_auth"]["ca_file"], "/etc/ca.pem");
    assert_eq!(reply.json()["certificate"]["mode"], "provided");
    let body = r#"{"client_auth":{"ca_file":"/etc/other.pem","mode":"optional"},"certificate":"none"}"#;
    let reply = api.ask("PUT", "/api/tenants/domains/d.example", body);
    assert_eq!(reply.json()["client_auth"], json!({ "ca_file": "/etc/other.pem", "mode": "optional" }));
    assert_eq!(reply.json()["certificate"]["mode"], "none");
    // Null removes.
    let reply = api.ask("PUT", "/api/tenants/domains/d.example", r#"{"client_auth":null}"#);
    assert_eq!(reply.json()["client_auth"], Json::Null);

    let body = r#"{"domain":"e.example","app_id":"app1","certificate":"maybe","client_auth":{"ca_file":"ca.pem","mode":"always","x":1}}"#;
    assert_eq!(
        api.ask("POST", "/api/routes", body).findings(),
        [
            "certificate invalid",
            "client_auth.ca_file invalid",
            "client_auth.mode invalid",
            "client_auth.x unknown"
        ]
    );
    let body = r#"{"domain":"d.example","client_auth":{}}"#;
    assert_eq!(api.ask("PUT", "/api/tenants/domains", body).findings(), ["client_auth.ca_file missing"]);
}

#[test]
fn a_file_that_cannot_be_used_is_refused_when_it_is_named_and_not_when_it_is_repeated() {
    let api = api();
    let good = r#"{"client_auth":{"ca_file":"/etc/ca.pem"}}"#;
    assert_eq!(api.ask("PUT", "/api/tenants/domains/a.example", good).status, 200);
    let app = r#"{"app_id":"app1","upstream_tls":{"ca_file":"/etc/ca.pem"}}"#;
    assert_eq!(api.ask("POST", "/api/apps/register", app).status, 200);
    api.state().certificates.files = Some("cannot open /etc/x.pem: it is gone");
    let revision = api.state().desired.revision();
    let body = r#"{"client_auth":{"ca_file":"/etc/x.pem"}}"#;
    let reply = api.ask("PUT", "/api/tenants/domains/a.example", body);
    assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_request"));
    assert_eq!(reply.findings(), ["client_auth.ca_file invalid"]);
    assert_eq!(reply.json()["errors"][0]["pointer"], "/client_auth/ca_file");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with("cannot be used: cannot open /etc/x.pem: it is gone"), "{detail}");
    let body = r#"{"app_id":"app1","upstream_tls":{"ca_file":"/etc/x.pem"}}"#;
    assert_eq!(api.ask("POST", "/api/apps/register", body).findings(), ["upstream_tls invalid"]);
    assert_eq!(api.state().desired.revision(), revision);
    // Files that are in use are not checked again.
    let again = r#"{"client_auth":{"ca_file":"/etc/ca.pem","mode":"optional"}}"#;
    assert_eq!(api.ask("PUT", "/api/tenants/domains/a.example", again).status, 200);
    assert_eq!(api.ask("POST", "/api/apps/register", app).status, 200);
    let body = r#"{"app_id":"app1","upstream_tls":{"insecure":true}}"#;
    assert_eq!(api.ask("POST", "/api/apps/register", body).status, 200);
}

#[test]
fn an_instance_that_registers_again_leaves_what_the_operator_decided() {
    let api = api();
    let body = r#"{"certificate":"none","client_auth":{"ca_file":"/etc/ca.pem","mode":"optional"}}"#;
    assert_eq!(api.ask("PUT", "/api/tenants/domains/a.example", body).status, 200);
    let body = r#"{"domain":"a.example","instance_id":"i1","target":"http://10.0.0.5:1","app_id":"app1"}"#;
    assert_eq!(api.ask("POST", "/api/register", body).status, 201);
    let state = api.state();
    let kept = state.desired.domain("a.example").unwrap();
    assert_eq!(kept.certificate, CertificateMode::None);
    assert_eq!(kept.client_auth.as_ref().map(|auth| auth.need), Some(ClientAuthNeed::Optional));
}

#[test]
fn an_upload_is_answered_with_what_the_certificate_says() {
    let api = api();
    let reply = api.ask("POST", UPLOAD, &upload_body("a key"));
    assert_eq!(
        reply.json(),
        json!({
            "domain": "a.example",
            "names": ["a.example"],
            "issuer": "CN=A CA",
            "serial": "01:02",
            "fingerprint": "ab".repeat(32),
            "key_type": "ecdsa",
            "not_before": "2025-01-01T00:00:00Z",
            "expires_at": "2025-04-01T00:00:00Z",
            "revision": 5,
            "outcome": "updated",
        })
    );
    assert_eq!((reply.status, reply.field("etag")), (200, Some("\"5\"")));
    let uploads = api.state().certificates.uploads.clone();
    assert_eq!(uploads, [(host("a.example"), "a chain".to_owned(), "a key".to_owned())]);
    let shown = domain(&api, "a.example");
    assert_eq!(
        (&shown["certificate_status"], &shown["certificate"]["mode"]),
        (&json!("provided"), &json!("provided"))
    );
    // The next one changes the certificate, not the configuration.
    let reply =
        api.ask("PUT", "/api/tenants/domains/a.example/certificate", r#"{"certificate":"b","key":"c"}"#);
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &json!("unchanged")));
    assert_eq!(api.state().certificates.uploads.len(), 2);
}

#[test]
fn a_certificate_that_cannot_be_used_changes_nothing() {
    let api = api();
    api.state().certificates.unusable =
        Some(UploadError::WrongName { host: host("a.example"), names: vec!["other.example".to_owned()] });
    let reply = api.ask("POST", UPLOAD, &upload_body("the-secret-key"));
    assert_eq!(told(&reply), (422, "certificate_unusable".to_owned()));
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("a.example") && detail.contains("other.example"), "{detail}");
    assert!(!String::from_utf8_lossy(&reply.body).contains("the-secret-key"));
    let state = api.state();
    assert!(state.submissions.is_empty() && state.certificates.uploads.is_empty());
    assert_eq!(state.desired.domain("a.example").unwrap().certificate, CertificateMode::Acme);
}

#[test]
fn a_key_never_comes_back() {
    let api = api();
    for body in [
        upload_body("the-secret-key"),
        r#"{"domain":"a.example","key":"the-secret-key"}"#.to_owned(),
        r#"{"domain":"a.example","certificate":7,"key":["the-secret-key"]}"#.to_owned(),
        r#"{"domain":"a.example","certificate":"x","key":"the-secret-key","key":"the-secret-key"}"#
            .to_owned(),
        r#"{"domain":"a.example","certificate":"x","key":"the-secret-key""#.to_owned(),
        json!({ "domain": "a.example", "certificate": "x", "key": "the-secret-key".repeat(10_000) })
            .to_string(),
    ] {
        let reply = api.ask("POST", UPLOAD, &body);
        assert!(!String::from_utf8_lossy(&reply.body).contains("the-secret-key"), "{reply:?}");
    }
    let reply = api.ask(
        "POST",
        &format!("{UPLOAD}?key=the-secret-key"),
        r#"{"domain":"a.example","certificate":"x"}"#,
    );
    assert_eq!(reply.findings(), ["key missing", "key unknown"]);
    assert!(!String::from_utf8_lossy(&reply.body).contains("the-secret-key"), "{reply:?}");
    for path in ["/api/tenants/domains/a.example", "/api/status/certificates", "/api/status", "/metrics"] {
        let reply = api.ask("GET", path, "");
        assert!(reply.status == 200 && !String::from_utf8_lossy(&reply.body).contains("the-secret-key"));
    }
    let held = format!("{:?}", api.state().submissions);
    assert!(!held.contains("the-secret-key"), "{held}");
}

#[test]
fn an_upload_that_is_not_live_everywhere_says_so() {
    let api = api();
    api.state().certificates.stuck = Some(UploadError::NotLive(PublishError::SlowCores));
    let reply = api.ask("POST", UPLOAD, &upload_body("a key"));
    assert_eq!((reply.status, &reply.json()["fingerprint"]), (202, &json!("ab".repeat(32))));
    api.state().certificates.stuck = Some(UploadError::NotStored("the disk is full".to_owned()));
    let reply = api.ask("POST", UPLOAD, &upload_body("a key"));
    assert_eq!(told(&reply), (503, "storage_unavailable".to_owned()));
    assert!(reply.json()["detail"].as_str().unwrap().contains("the disk is full"), "{reply:?}");
}

#[test]
fn an_upload_under_a_key_is_made_once_and_repeated_while_it_has_not_come_through() {
    let api = api();
    let field = [("Idempotency-Key", "k1")];
    api.state().certificates.stuck = Some(UploadError::Busy);
    let reply = api.connect().ask("POST", UPLOAD, &field, &upload_body("a key"));
    assert_eq!(told(&reply), (503, "busy".to_owned()));
    for expected in [1, 1] {
        let reply = api.connect().ask("POST", UPLOAD, &field, &upload_body("a key"));
        assert_eq!((reply.status, reply.field("idempotency-replayed")), (200, Some("true")));
        assert_eq!(api.state().certificates.uploads.len(), expected);
    }
    let reply = api.connect().ask("POST", UPLOAD, &field, &upload_body("another key"));
    assert_eq!(told(&reply), (422, "idempotency_key_reused".to_owned()));
    let reply = api.connect().ask("POST", UPLOAD, &[("If-Match", "\"1\"")], &upload_body("a key"));
    assert_eq!(told(&reply), (412, "revision_mismatch".to_owned()));
    assert_eq!(api.state().certificates.uploads.len(), 1);
}

#[test]
fn a_certificate_that_is_removed_gives_the_domain_back_to_the_ca() {
    let api = api();
    assert_eq!(api.ask("POST", UPLOAD, &upload_body("a key")).status, 200);
    let field = [("Idempotency-Key", "k1")];
    for _ in 0..2 {
        let reply = api.connect().ask("DELETE", "/api/tenants/domains/a.example/certificate", &field, "");
        assert_eq!((reply.status, reply.body.len()), (204, 0), "{reply:?}");
    }
    assert_eq!(domain(&api, "a.example")["certificate"]["mode"], "acme");
    assert_eq!(api.state().certificates.discarded, [host("a.example")]);
    let reply = api.ask("POST", "/api/tenants/domains/certificate/delete", r#"{"domain":"a.example"}"#);
    assert_eq!(told(&reply), (409, "certificate_not_provided".to_owned()));
    assert_eq!(api.state().certificates.discarded.len(), 1);
}

#[test]
fn a_verification_says_what_was_expected_and_what_was_found() {
    let api = api();
    let reply = api.ask("POST", "/api/tenants/domains/verify", r#"{"domain":"a.example"}"#);
    let shown = reply.json();
    assert_eq!(
        (reply.status, &shown["domain"], &shown["verified"]),
        (200, &json!("a.example"), &json!(false))
    );
    assert_eq!((&shown["verdict"], &shown["advice"]), (&json!("elsewhere"), &json!("point it here")));
    assert_eq!(shown["expected"], json!([{ "type": "A", "value": "203.0.113.7" }]));
}

#[test]
fn the_list_of_certificates_is_filtered_paged_and_has_the_whole_picture() {
    let api = api();
    {
        let mut state = api.state();
        let certificates = &mut state.certificates;
        for (name, word) in
            [("a.example", Stand::Failed), ("b.example", Stand::Active), ("c.example", Stand::Failed)]
        {
            certificates.states.insert(host(name), stand(CertificateMode::Acme, word));
        }
        let overview = &mut certificates.overview;
        overview.states = vec![(Stand::Active, 1), (Stand::Failed, 2)];
        overview.queued = 4;
        overview.orders_in_flight = 5;
        overview.queue_ends_at = Some(NOW);
        overview.default = Some(DefaultState {
            facts: Arc::new(facts("*.example")),
            version: 1,
            problem: Some("the key does not match".to_owned()),
        });
        overview.authorities.push(AuthorityState {
            url: "https://ca.example/directory".to_owned(),
            is_usable: false,
            problem: Some("it does not answer".to_owned()),
            paused_until: Some(NOW),
            orders_in_flight: 5,
        });
        overview.budgets.push(BudgetState {
            limit: "certificates per registered domain",
            authority: "https://ca.example/directory".to_owned(),
            subject: Some("example".to_owned()),
            left: 0,
            capacity: 50,
            next_at: Some(NOW),
        });
    }
    let names = |path: &str| -> Vec<String> {
        let page = api.ask("GET", path, "").json();
        let items = page["certificates"].as_array().unwrap();
        items.iter().map(|item| item["domain"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/api/status/certificates"), ["a.example", "b.example", "c.example"]);
    assert_eq!(names("/api/status/certificates?state=failed"), ["a.example", "c.example"]);
    assert_eq!(names("/api/status/certificates?state=active&tenant_id=t1"), ["b.example"]);
    assert_eq!(names("/api/status/certificates?app_id=nobody"), [""; 0]);
    let page = api.ask("GET", "/api/status/certificates?state=failed&limit=1", "").json();
    assert_eq!(
        (&page["total"], &page["next"], &page["revision"]),
        (&json!(2), &json!("a.example"), &json!(4))
    );
    assert_eq!(
        (&page["certificates"][0]["status"], &page["certificates"][0]["mode"]),
        (&json!("failed"), &json!("acme"))
    );
    let overview = &page["overview"];
    assert_eq!(overview["states"], json!({ "active": 1, "failed": 2 }));
    assert_eq!(overview["queue"], json!({ "waiting": 4, "in_flight": 5, "ends_at": "2025-01-01T00:00:00Z" }));
    assert_eq!(overview["default"]["problem"], "the key does not match");
    assert_eq!(
        (&overview["authorities"][0]["usable"], &overview["budgets"][0]["left"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(overview["budgets"][0]["next_at"], "2025-01-01T00:00:00Z");
    assert_eq!(api.ask("GET", "/api/status", "").json()["certificates"], *overview);
    assert_eq!(api.ask("GET", "/api/status/certificates?state=nowhere", "").findings(), ["state invalid"]);

    api.state().certificates.is_on = false;
    assert_eq!(api.ask("GET", "/api/status", "").json()["certificates"], Json::Null);
    assert_eq!(names("/api/status/certificates?state=none").len(), 3);
}
