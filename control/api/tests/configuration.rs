//! The configuration API: bodies in JSON and YAML, conditions, trials.

use ringway_net::DriverChoice;
use serde_json::json;

use super::{Api, Reply};
use crate::{Listeners, Settings};

fn post(api: &Api, path: &str, fields: &[(&str, &str)], body: &str) -> Reply {
    api.connect().ask("POST", path, fields, body)
}

/// The last request that the plane received.
fn request(api: &Api) -> String {
    api.state().configuration.requests.pop().unwrap()
}

#[test]
fn documents_are_objects_texts_or_yaml() {
    let api = Api::start();
    let config = r#"{"config":{"routes":[{"id":"a","weight":-1.5,"text":"q\"uo\\te","none":null,"yes":true}]},"owner":"admin"}"#;
    let reply = post(&api, "/api/v2/config/validate", &[], config);
    assert_eq!((reply.status, &reply.json()["valid"]), (200, &json!(true)), "{reply:?}");
    let seen = request(&api);
    let text = r#"{"routes":[{"id":"a","weight":-1.5,"text":"q\"uo\\te","none":null,"yes":true}]}"#;
    assert!(
        seen.contains(&format!("{text:?}")) && seen.contains("Admin") && seen.contains("Merge"),
        "{seen}"
    );
    // A finding of an object has its pointer; the line is nothing that the client has written.
    assert_eq!(
        (&reply.json()["findings"][0]["pointer"], &reply.json()["findings"][0]["line"]),
        (&json!("/cache"), &json!(null))
    );

    let sources = r#"{"sources":[{"name":"a.yaml","text":"routes: []"},{"name":"b.yaml","text":"pools: []"}],"mode":"replace"}"#;
    assert_eq!(post(&api, "/api/v2/config/validate", &[], sources).status, 200);
    let seen = request(&api);
    assert!(seen.contains("a.yaml") && seen.contains("pools: []") && seen.contains("Replace"), "{seen}");

    let yaml = [("Content-Type", "application/yaml; charset=utf-8")];
    let reply = post(&api, "/api/v2/config/validate?mode=replace", &yaml, "routes:\n  - id: \"a\"\n");
    assert_eq!((reply.status, &reply.json()["findings"][0]["line"]), (200, &json!(3)), "{reply:?}");
    let seen = request(&api);
    assert!(seen.contains(r#"routes:\n  - id: \"a\"\n"#) && seen.contains("Replace"), "{seen}");
    // No other operation takes YAML.
    assert_eq!(post(&api, "/api/v2/config/rollback", &yaml, "version: a").status, 415);
    assert_eq!(post(&api, "/api/apps/register", &yaml, "app_id: a").status, 415);
}

#[test]
fn a_request_needs_exactly_one_content() {
    let api = Api::start();
    for (path, body) in [
        ("/api/v2/config/validate", "{}"),
        ("/api/v2/config/validate", r#"{"config":[]}"#),
        ("/api/v2/config/validate", r#"{"sources":[{"name":"a"}]}"#),
        ("/api/v2/config/validate", r#"{"config":{},"owner":"api"}"#),
        ("/api/v2/config/validate", r#"{"config":{},"owner":"resolver"}"#),
        ("/api/v2/config/diff", r#"{"from":"a"}"#),
        ("/api/v2/config/diff", r#"{"config":{},"from":"a","to":"b"}"#),
        ("/api/v2/config/apply", "{}"),
        ("/api/v2/config/apply", r#"{"config":{},"plan":"p"}"#),
        ("/api/v2/config/apply", r#"{"config":{},"canary":"2h"}"#),
        ("/api/v2/config/apply", r#"{"config":{},"reason":"two\nlines"}"#),
        ("/api/v2/config/explain", "{}"),
    ] {
        assert_eq!(post(&api, path, &[], body).code(), "invalid_request", "{path} {body}");
    }
    assert!(api.state().configuration.requests.is_empty(), "nothing of this reaches the plane");
    assert_eq!(
        post(&api, "/api/v2/config/validate", &[], r#"{"config":{"a":1,"a":2}}"#).code(),
        "malformed_body"
    );
}

#[test]
fn a_change_has_its_condition_its_author_and_its_reason() {
    let api = Api::start();
    let body = r#"{"config":{},"reason":"a new route","force_size":true,"canary":false}"#;
    let reply = post(&api, "/api/v2/config/apply", &[("If-Match", "\"aaaaaaaaaaaa\"")], body);
    assert_eq!((reply.status, reply.field("etag")), (200, Some("\"bbbbbbbbbbbb\"")), "{reply:?}");
    let receipt = reply.json();
    assert_eq!((&receipt["previous"], &receipt["version"]), (&json!("aaaaaaaaaaaa"), &json!("bbbbbbbbbbbb")));
    assert_eq!((&receipt["revision"], &receipt["is_unchanged"]), (&json!(9), &json!(false)));
    assert_eq!(receipt["restart_needed"], json!(["/server/http/port"]));
    let seen = request(&api);
    for part in [
        "expect: Some(\"aaaaaaaaaaaa\")",
        "by: \"loopback\"",
        "a new route",
        "force_size: true",
        "bake: Some(0ns)",
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    assert_eq!(post(&api, "/api/v2/config/apply", &[("If-Match", "*")], r#"{"plan":"p"}"#).status, 200);
    assert!(request(&api).contains("expect: None"));
    for wrong in ["aaaa", "\"a\", \"b\"", "W/\"aaaa\"", "\"\"", "\"a b\""] {
        let reply = post(&api, "/api/v2/config/rollback", &[("If-Match", wrong)], "{}");
        assert_eq!(reply.code(), "malformed_header", "{wrong}");
    }
}

#[test]
fn a_trial_is_answered_with_202_and_ended_by_hand() {
    let api = Api::start();
    let get = |path: &str| api.ask("GET", path, "").json();
    assert_eq!(get("/api/v2/config/rollout")["state"], "none");
    for (end, state, reason) in
        [("promote", "promoted", json!(null)), ("abort", "reverted", json!("aborted"))]
    {
        let reply = post(&api, "/api/v2/config/apply", &[], r#"{"config":{},"canary":"15s"}"#);
        assert_eq!((reply.status, &reply.json()["rollout"]["state"]), (202, &json!("running")), "{reply:?}");
        assert_eq!(get("/api/v2/config/rollout")["version"], "bbbbbbbbbbbb");
        let ended = post(&api, &format!("/api/v2/config/rollout/{end}"), &[], "");
        assert_eq!(
            (ended.status, &ended.json()["state"], &ended.json()["reason_code"]),
            (200, &json!(state), &reason)
        );
        assert_eq!(post(&api, &format!("/api/v2/config/rollout/{end}"), &[], "").code(), "no_trial");
    }
}

#[test]
fn history_versions_and_explanations_are_read_by_their_keys() {
    let api = Api::start();
    let get = |path: &str| api.ask("GET", path, "").json();
    assert_eq!(get("/api/v2/config/current")["sets"][0]["config"], json!({ "routes": [] }));
    assert_eq!(get("/api/v2/config/current?owner=file")["sets"][0]["owner"], "file");
    assert_eq!(get("/api/v2/config/history")["versions"][0]["by"], "token:ci");
    assert_eq!(get("/api/v2/config/history")["versions"].as_array().map(Vec::len), Some(2), "both owners");
    assert_eq!(get("/api/v2/config/history?owner=admin")["versions"].as_array().map(Vec::len), Some(1));
    assert_eq!(get("/api/v2/config/versions/aaaaaaaaaaaa?owner=file")["version"], "aaaaaaaaaaaa");
    let path = "/api/v2/config/explain?url=http://a.example/x&method=POST&header=A:%20b&header=C:d";
    assert_eq!(get(path)["status"], 404);
    let seen = request(&api);
    assert!(seen.contains(r#"[("A", "b"), ("C", "d")]"#) && seen.contains("POST"), "{seen}");
    let body = r#"{"url":"a.example","headers":[["A","b"]],"config":{}}"#;
    assert_eq!(post(&api, "/api/v2/config/explain", &[], body).status, 200);
    assert!(request(&api).contains(r#"[("A", "b")]"#));
}

#[test]
fn only_documents_may_be_long() {
    let api = Api::with(Settings::default(), DriverChoice::Auto, Listeners::default());
    let long = format!(r#"{{"sources":[{{"name":"a","text":"{}"}}]}}"#, "x".repeat(2 * 1024 * 1024));
    assert_eq!(post(&api, "/api/v2/config/validate", &[], &long).status, 200);
    assert_eq!(post(&api, "/api/v2/config/rollback", &[], &long).code(), "body_too_large");
    let too_long = (crate::limits::API_CONFIG_BYTES_MAX + 1).to_string();
    let reply = api.connect().ask("POST", "/api/v2/config/apply", &[("Content-Length", &too_long)], "");
    assert_eq!(reply.code(), "body_too_large");
}
