//! Purges, readings and explanations of the cache, and the limits of a tenant's token.

use std::fs;

use ringway_control::{PurgeEffect, PurgeSelector};
use ringway_net::DriverChoice;
use serde_json::{Value as Json, json};

use super::{Api, Reply, access};
use crate::{
    AccessSettings, AuditLog, Listeners, Settings, TokenDigest, TokensFile, audit_files, verify_audit,
};

const TOKEN: &str = "a-token-of-the-tests";

/// An API with tokens of the tenant `acme` and of an operator.
struct Guarded {
    api: Api,
    log: AuditLog,
    folder: tempfile::TempDir,
}

impl Guarded {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        let line = |name: &str, rest: &str, tail: &str| {
            format!("{name} {rest} {}{tail}\n", TokenDigest::of(format!("secret-of-{name}").as_bytes()))
        };
        fs::write(&tokens, line("acme", "purge", " tenant=acme") + &line("ops", "purge", "")).unwrap();
        let access =
            AccessSettings { tokens: Some(TokensFile::open(&tokens).unwrap()), ..access(Some(TOKEN)) };
        let log = AuditLog::start(folder.path().join("audit.log")).unwrap();
        let settings = Settings { access, audit: Some(log.clone()), ..Settings::default() };
        Self { api: Api::with(settings, DriverChoice::Auto, Listeners::default()), log, folder }
    }

    fn ask(&self, name: &str, method: &str, path: &str, body: &str) -> Reply {
        let bearer = format!("Bearer secret-of-{name}");
        self.api.connect().ask(method, path, &[("Authorization", &bearer)], body)
    }

    fn get(&self, name: &str, path: &str) -> Json {
        let reply = self.ask(name, "GET", path, "");
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json()
    }

    fn audit(&self) -> Vec<Json> {
        self.log.finish();
        let path = self.folder.path().join("audit.log");
        verify_audit(&audit_files(&path)).unwrap();
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_pattern_purges_and_the_five_numbers_are_shown() {
    let api = Api::start();
    let reply = api.ask("DELETE", "/admin/cache?pattern=*.example.com", "");
    assert_eq!((reply.status, reply.json()), (200, json!({ "invalidated": 15, "remaining": 234 })));
    assert_eq!(api.state().purges[0].selector, PurgeSelector::pattern("*.example.com").unwrap());
    let reply = api.ask("DELETE", "/admin/cache", "");
    assert_eq!((reply.status, reply.json()["errors"][0]["field"].as_str()), (422, Some("pattern")));
    assert_eq!(
        api.ask("GET", "/admin/cache/stats", "").json(),
        json!({ "size": 67_108_864, "entries": 234, "hit_rate": 0.73, "miss_rate": 0.27, "evictions": 12 })
    );
}

#[test]
fn the_status_of_the_cache_is_divided_by_route_and_tenant() {
    let api = Api::start();
    let get = |path: &str| api.ask("GET", path, "").json();
    let stats = get("/api/cache/stats");
    assert_eq!(
        (&stats["bytes_max"], &stats["hits"], &stats["purged"]),
        (&json!(256_000_000), &json!(73), &json!(63))
    );
    assert_eq!((&stats["parts"], &stats["parts_total"]), (&json!([]), &json!(0)));
    let by_route = get("/api/cache/stats?by=route&limit=2");
    assert_eq!(by_route["parts_total"], 3);
    let names: Vec<_> = by_route["parts"].as_array().unwrap().iter().map(|part| &part["route"]).collect();
    assert_eq!(names, ["shop", "blog"], "most memory first");
    let shop = &by_route["parts"][0];
    assert_eq!((&shop["tenant"], &shop["hit_rate"]), (&json!("acme"), &json!(0.75)));
    let by_tenant = get("/api/cache/stats?by=tenant");
    assert_eq!(by_tenant["parts_total"], 2);
    let acme = &by_tenant["parts"][0];
    assert_eq!((&acme["bytes"], &acme["hits"], &acme["misses"]), (&json!(300), &json!(30), &json!(20)));
    assert_eq!(
        (&by_tenant["parts"][1]["tenant"], &by_tenant["parts"][1]["route"]),
        (&Json::Null, &Json::Null)
    );
}

#[test]
fn stored_responses_are_listed_to_a_limit() {
    let api = Api::start();
    let page = api.ask("GET", "/api/cache/entries?limit=2", "").json();
    assert_eq!((page["entries"].as_array().unwrap().len(), &page["has_more"]), (2, &json!(true)));
    assert_eq!(page["entries"][1]["url"], "https://acme.example/2?token=x");
    assert_eq!(api.ask("GET", "/api/cache/entries", "").json()["has_more"], false);
}

#[test]
fn an_explanation_names_route_verdict_and_response() {
    let api = Api::start();
    let reply =
        api.ask("POST", "/api/cache/explain", r#"{"url":"acme.example/x","headers":[["Accept","a"]]}"#);
    let view = reply.json();
    assert_eq!((&view["route"], &view["tenant"]), (&json!("shop"), &json!("acme")));
    assert_eq!((&view["cache"]["verdict"], &view["cache"]["response"]["ttl"]), (&json!("hit"), &json!(42)));
    let asked = api.state().configuration.requests.pop().unwrap();
    assert!(asked.contains("Accept") && asked.contains("proposal: None"), "{asked}");
    api.ask("GET", "/api/cache/explain?url=acme.example/x&header=A:+1&header=B:+2", "");
    let asked = api.state().configuration.requests.pop().unwrap();
    assert!(asked.contains(r#"("A", "1"), ("B", "2")"#), "{asked}");
}

#[test]
fn a_tenants_token_reaches_its_own_cache_alone() {
    let guarded = Guarded::start();
    for body in
        [r#"{"all":true}"#, r#"{"url":"other.example/x"}"#, r#"{"tenant":"acme"}"#, r#"{"tags":["a"]}"#]
    {
        assert_eq!(guarded.ask("acme", "POST", "/api/cache/purge", body).status, 200, "{body}");
        let purge = guarded.api.state().purges.pop().unwrap();
        assert_eq!(purge.tenant.as_deref(), Some("acme"), "{body}");
    }
    assert_eq!(guarded.ask("acme", "DELETE", "/admin/cache?pattern=*", "").status, 200);
    assert_eq!(guarded.api.state().purges.pop().unwrap().tenant.as_deref(), Some("acme"));
    for body in [r#"{"tenant":"other"}"#, r#"{"url":"a.example/","tenant":"other"}"#] {
        let reply = guarded.ask("acme", "POST", "/api/cache/purge", body);
        assert_eq!((reply.status, reply.code().as_str()), (403, "foreign_tenant"), "{body}");
        assert!(guarded.api.state().purges.is_empty(), "{body}");
    }
    let stats = guarded.get("acme", "/api/cache/stats?by=route");
    assert_eq!(
        (&stats["bytes"], &stats["bytes_max"], &stats["parts_total"]),
        (&json!(300), &Json::Null, &json!(2))
    );
    let rates = guarded.get("acme", "/admin/cache/stats");
    assert_eq!(
        (&rates["size"], &rates["hit_rate"], &rates["evictions"]),
        (&json!(300), &json!(0.6), &json!(2))
    );
    assert_eq!(guarded.get("acme", "/api/cache/entries")["entries"].as_array().unwrap().len(), 3);
    let explain =
        |url: &str| guarded.ask("acme", "POST", "/api/cache/explain", &json!({ "url": url }).to_string());
    assert_eq!(explain("acme.example/x").status, 200);
    assert_eq!(explain("other.example/x").code(), "unknown_route", "hosts of others look like unknown ones");
    for (method, path) in
        [("GET", "/api/status"), ("GET", "/api/apps"), ("GET", "/metrics"), ("POST", "/admin/reload")]
    {
        assert_eq!(guarded.ask("acme", method, path, "").code(), "missing_scope", "{path}");
    }
    assert_eq!(guarded.ask("ops", "POST", "/api/cache/purge", r#"{"all":true}"#).status, 200);
    assert_eq!(guarded.api.state().purges.pop().unwrap().tenant, None);
}

#[test]
fn each_purge_leaves_a_line_without_the_query() {
    let guarded = Guarded::start();
    let purge = |name: &str, body: &str| guarded.ask(name, "POST", "/api/cache/purge", body).status;
    assert_eq!(purge("ops", r#"{"url":"a.example/x?token=hush","soft":true}"#), 200);
    assert_eq!(purge("acme", r#"{"tenant":"other"}"#), 403);
    assert_eq!(guarded.ask("ops", "DELETE", "/admin/cache?pattern=*.example.com", "").status, 200);
    guarded.get("ops", "/api/cache/stats");
    assert_eq!(guarded.api.state().purges[0].effect, PurgeEffect::Expire);
    let lines = guarded.audit();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (&line["who"], &line["action"], &line["objects"][0]["id"], &line["result"]))
        .map(|(who, action, id, result)| [who, action, id, result].map(|text| text.as_str().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ["token:ops", "purgeCache", "url a.example/x?…", "expired"],
            ["token:acme", "purgeCache", "tenant other", "foreign_tenant"],
            ["token:ops", "purgeCachePattern", "pattern *.example.com", "purged"],
        ]
    );
    assert!(!format!("{lines:?}").contains("hush"));
    assert!(lines.iter().all(|line| line.get("after").is_none()), "no revision changes: {lines:?}");
}
