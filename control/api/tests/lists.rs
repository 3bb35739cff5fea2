//! Lists over the wire: filters, pages, long responses.

use ringway_model::limits;
use serde_json::{Value as Json, json};

use super::Api;

fn names(page: &Json, list: &str, name: &str) -> Vec<String> {
    page[list].as_array().unwrap().iter().map(|item| item[name].as_str().unwrap().to_owned()).collect()
}

#[test]
fn filters_narrow_the_lists() {
    let api = Api::start();
    {
        let mut state = api.state();
        state.app("a");
        state.app("b");
        state.instance("a", "a1");
        state.instance("b", "b1");
        state.domain("a", "one.example", Some("t1"));
        state.domain("a", "two.example", Some("t2"));
        state.domain("b", "three.example", Some("t1"));
    }
    let ask = |path: &str| api.ask("GET", path, "").json();
    let domains = |path: &str| names(&ask(path), "domains", "domain");
    assert_eq!(domains("/api/tenants/domains"), ["one.example", "three.example", "two.example"]);
    assert_eq!(domains("/api/tenants/domains?tenant_id=t1"), ["one.example", "three.example"]);
    assert_eq!(domains("/api/tenants/domains?tenant_id=t1&app_id=a"), ["one.example"]);
    assert_eq!(domains("/api/routes?app_id=b"), ["three.example"]);
    assert_eq!(domains("/api/tenants/domains?app_id=nobody"), [""; 0]);
    let instances = |path: &str| names(&ask(path), "instances", "instance_id");
    assert_eq!(instances("/api/status/instances"), ["a1", "b1"]);
    assert_eq!(instances("/api/status/instances?domain=one.example"), ["a1"]);
    assert_eq!(instances("/api/status/instances?domain=one.example&app_id=b"), [""; 0]);
    assert_eq!(instances("/api/apps/instances/list?app_id=b"), ["b1"]);
    assert_eq!(names(&ask("/api/apps?app_id=a"), "apps", "app_id"), ["a"]);
    let app = &ask("/api/apps")["apps"][0];
    assert_eq!((&app["instance_count"], &app["domain_count"]), (&json!(1), &json!(2)));
}

#[test]
fn pages_are_bounded_and_join_without_a_gap() {
    let api = Api::start();
    for n in 0..25 {
        api.state().app(&format!("app{n:02}"));
    }
    let mut seen = Vec::new();
    let mut path = "/api/apps?limit=10".to_owned();
    let mut client = api.connect();
    loop {
        let page = client.ask("GET", &path, &[], "").json();
        assert_eq!(page["total"], 25);
        seen.extend(names(&page, "apps", "app_id"));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/apps?limit=10&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..25).map(|n| format!("app{n:02}")).collect::<Vec<_>>());
    for (limit, status) in [("1", 200), ("0", 422), ("-1", 422), ("x", 422), ("+1", 422), ("", 422)] {
        assert_eq!(api.ask("GET", &format!("/api/apps?limit={limit}"), "").status, status, "{limit:?}");
    }
    let most = limits::PAGE_ITEMS_MAX;
    assert_eq!(api.ask("GET", &format!("/api/apps?limit={most}"), "").status, 200);
    assert_eq!(api.ask("GET", &format!("/api/apps?limit={}", most + 1), "").findings(), ["limit range"]);
    assert_eq!(api.ask("GET", "/api/apps?after=", "").findings(), ["after invalid"]);
    let body = r#"{"app_id":"app00","limit":1}"#;
    assert_eq!(api.ask("POST", "/api/apps/instances/list", body).status, 200);
}

#[test]
fn long_lists_come_in_pieces_and_whole() {
    const COUNT: usize = 3_000;
    let api = Api::start();
    {
        let mut state = api.state();
        state.app("a");
        for n in 0..COUNT {
            state.domain("a", &format!("tenant-{n:06}.example.com"), Some("tenant"));
        }
    }
    let mut client = api.connect();
    let reply = client.ask("GET", "/api/tenants/domains", &[], "");
    assert_eq!(reply.field("transfer-encoding"), Some("chunked"));
    let page = reply.json();
    assert_eq!(page["total"], COUNT);
    let listed = names(&page, "domains", "domain");
    assert_eq!(listed.len(), COUNT);
    assert!(listed.is_sorted());
    let head = client.ask("HEAD", "/api/tenants/domains", &[], "");
    assert_eq!((head.status, head.field("transfer-encoding")), (200, Some("chunked")));
    assert_eq!(client.ask("GET", "/healthz", &[], "").status, 200, "the connection goes on");

    let mut old = api.connect();
    old.send(b"GET /api/tenants/domains HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
    let reply = old.reply(false);
    assert_eq!((reply.field("transfer-encoding"), reply.field("content-length")), (None, None));
    assert_eq!(names(&reply.json(), "domains", "domain").len(), COUNT);

    let details = api.ask("GET", "/api/apps/a", "").json();
    assert_eq!(details["domains"].as_array().unwrap().len(), COUNT);
}
