//! Hostile and mistyped bodies.

use proptest::prelude::*;
use ringway_model::limits;

use super::Api;
use crate::request::shapes;
use ringway_config::{Input, json, read_request as read};

#[test]
fn all_mistakes_are_told_at_once() {
    let api = Api::start();
    let reply = api.ask(
        "POST",
        "/api/apps/register",
        r#"{
            "app_id": "-bad", "app_name": 7, "nmae": "x",
            "instance": {"target": "ftp://a:1", "health_check": {"interval": "0s", "path": "x", "pth": 1}, "weight": 2}
        }"#,
    );
    assert_eq!(reply.status, 422);
    assert_eq!(
        reply.findings(),
        [
            "app_id invalid",
            "app_name type",
            "instance.instance_id missing",
            "instance.target invalid",
            "instance.health_check.path invalid",
            "instance.health_check.interval range",
            "instance.health_check.pth unknown",
            "instance.weight unknown",
            "nmae unknown",
        ]
    );
    let errors = reply.json()["errors"].clone();
    assert_eq!(errors[4]["pointer"], "/instance/health_check/path");
    assert!(errors[8]["message"].as_str().unwrap().contains("app_name"), "the known names are told");
    assert!(api.state().submissions.is_empty());
}

#[test]
fn wrong_types_are_told_for_every_field() {
    let api = Api::start();
    for value in ["1", "true", "[]", "[[\"a\"]]", "{}", "1.5", "-1"] {
        let body = format!(
            r#"{{"domain":{value},"app_id":{value},"type":{value},"tenant_id":{value},"cname_target":{value}}}"#
        );
        let reply = api.ask("POST", "/api/tenants/domains", &body);
        assert_eq!(
            reply.findings(),
            ["domain type", "app_id type", "type type", "tenant_id type", "cname_target type"],
            "{value}"
        );
    }
    let reply = api.ask("POST", "/api/tenants/domains", r#"{"domain":null,"app_id":null}"#);
    assert_eq!(reply.findings(), ["domain missing", "app_id missing"]);
    let reply = api.ask("POST", "/api/tenants/domains", "");
    assert_eq!(
        (reply.status, reply.findings()),
        (422, vec!["domain missing".into(), "app_id missing".into()])
    );
    for instance in ["1", "\"x\"", "[]", "true"] {
        let body = format!(r#"{{"app_id":"a","instance":{instance}}}"#);
        assert_eq!(api.ask("POST", "/api/apps/register", &body).findings(), ["instance type"], "{instance}");
    }
    for generation in ["\"1\"", "-1", "1.5", "[]", "18446744073709551616"] {
        let body = format!(r#"{{"instance_id":"i","generation":{generation}}}"#);
        assert!(matches!(api.ask("POST", "/api/apps/heartbeat", &body).status, 400 | 422), "{generation}");
    }
    let body = r#"{"domain":"a.example","app_id":"a","cname_target":"A.example."}"#;
    assert_eq!(api.ask("POST", "/api/tenants/domains", body).findings(), ["cname_target invalid"]);
}

#[test]
fn hostile_bodies_get_precise_answers() {
    let api = Api::start();
    let name = |text: String| format!(r#"{{"app_id":"{text}"}}"#);
    let long = "x".repeat(1_000_000);
    for (body, status, code) in [
        ("{".to_owned(), 400, "malformed_body"),
        ("[]".to_owned(), 400, "malformed_body"),
        ("null".to_owned(), 400, "malformed_body"),
        (" ".to_owned(), 400, "malformed_body"),
        (r#"{"app_id":"a"}{"app_id":"b"}"#.to_owned(), 400, "malformed_body"),
        (r#"{"app_id":"a","app_id":"a"}"#.to_owned(), 400, "malformed_body"),
        (r#"{"app_id":"a","instance":{"target":"x","target":"y"}}"#.to_owned(), 400, "malformed_body"),
        (format!(r#"{{"app_id":"a","x":{}{}}}"#, "[".repeat(100), "]".repeat(100)), 400, "malformed_body"),
        ("[".repeat(1_000_000), 400, "malformed_body"),
        (r#"{"a":"#.repeat(150_000), 400, "malformed_body"),
        (r#"{"app_id":1e400}"#.to_owned(), 400, "malformed_body"),
        (format!(r#"{{"app_id":{}}}"#, "9".repeat(10_000)), 400, "malformed_body"),
        ("{\"app_id\":\"a\0b\"}".to_owned(), 400, "malformed_body"),
        (name("a\\u0000b".to_owned()), 422, "invalid_request"),
        (name("a\\r\\nX-Evil: 1".to_owned()), 422, "invalid_request"),
        (name("../../etc/passwd".to_owned()), 422, "invalid_request"),
        (name("\\ud83d\\ude00".to_owned()), 422, "invalid_request"),
        (name(long.clone()), 422, "invalid_request"),
        (format!(r#"{{"{long}":1}}"#), 422, "invalid_request"),
        (
            format!("{{{}}}", (0..50_000).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(",")),
            422,
            "invalid_request",
        ),
    ] {
        let reply = api.ask("POST", "/api/apps/register", &body);
        let shown: String = body.chars().take(60).collect();
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{shown}");
        assert!(reply.body.len() < 64 * 1024, "{shown}: {} bytes of answer", reply.body.len());
        assert!(reply.findings().len() <= limits::FINDINGS_MAX);
    }
    assert!(api.state().submissions.is_empty());
    assert_eq!(api.ask("GET", "/healthz", "").status, 200);
}

#[test]
fn bodies_that_are_not_utf_8_are_refused() {
    let api = Api::start();
    for body in [b"{\"app_id\":\"\xff\"}".as_slice(), b"\xed\xa0\x80", b"{\"\xc0\x80\":1}", b"\xff\xfe{\0}\0"]
    {
        let mut client = api.connect();
        client.send(
            format!(
                "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        );
        client.send(body);
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.code().as_str()), (400, "malformed_body"));
    }
}

proptest! {
    /// Every body yields a value or findings.
    #[test]
    fn reading_any_bytes_ends_well(mut bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(object) = json::parse(&mut bytes) {
            let input = Input { body: Some(object), ..Input::default() };
            if let Err(findings) = read(&input, shapes::register) {
                prop_assert!(!findings.is_empty());
            }
        }
    }

    #[test]
    fn reading_any_object_of_known_names_ends_well(
        members in prop::collection::btree_map(
            prop::sample::select(vec!["app_id", "app_name", "domain", "instance", "instance_id", "target", "health_check", "tenant_id", "type", "cname_target", "x"]),
            prop::sample::select(vec!["null", "1", "-1", "1.5", "\"a\"", "\"a.example\"", "\"http://a:1\"", "\"\"", "[]", "{}", "{\"path\":\"/h\",\"interval\":1}", "true"]),
            0..11,
        )
    ) {
        let text = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",");
        let mut bytes = format!("{{{text}}}").into_bytes();
        let input = Input { body: Some(json::parse(&mut bytes).unwrap()), ..Input::default() };
        for outcome in [
            read(&input, shapes::register_app).map(|_| ()),
            read(&input, shapes::register).map(|_| ()),
            read(&input, shapes::deregister).map(|_| ()),
            read(&input, shapes::add_instance).map(|_| ()),
            read(&input, shapes::add_domain).map(|_| ()),
            read(&input, shapes::add_custom_domain).map(|_| ()),
            read(&input, shapes::add_route).map(|_| ()),
            read(&input, shapes::update_domain).map(|_| ()),
            read(&input, shapes::instance_page).map(|_| ()),
        ] {
            if let Err(findings) = outcome {
                prop_assert!(!findings.is_empty());
            }
        }
    }
}
