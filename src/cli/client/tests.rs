#![allow(clippy::unwrap_used)]
use super::api::{Receipt, append_page};
use super::*;
use clap::Parser;
use ringway_wire::message::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;

#[derive(Debug, Parser)]
struct Program {
    #[command(subcommand)]
    command: ClientCommand,
}

pub(super) fn parse_line(line: &str) -> Result<ClientCommand, clap::Error> {
    let words = std::iter::once("ringway").chain(line.split_whitespace());
    Program::try_parse_from(words).map(|program| program.command)
}

/// Server that sends the next response to each request and returns the requests.
struct Server {
    address: String,
    thread: std::thread::JoinHandle<Vec<String>>,
}

fn server(responses: &[(u16, &str)]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let responses: Vec<(u16, String)> =
        responses.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    let thread = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for (status, body) in responses {
            let mut stream = listener.accept().unwrap().0;
            let mut bytes = Vec::new();
            let mut byte = [0];
            while !bytes.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                bytes.push(byte[0]);
            }
            let head = String::from_utf8(bytes).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .map_or(0, |n| n.parse().unwrap());
            let mut given = vec![0; length];
            stream.read_exact(&mut given).unwrap();
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
            requests.push(format!("{line} {}", String::from_utf8(given).unwrap()).trim_end().to_owned());
            let has_body = status != 204;
            let length = if has_body { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
            stream.write_all(format!("HTTP/1.1 {status} X\r\n{length}\r\n{body}").as_bytes()).unwrap();
        }
        requests
    });
    Server { address, thread }
}

/// Runs a command against a server with these responses. Returns the requests and the result.
pub(super) fn run(line: &str, responses: &[(u16, &str)]) -> (Vec<String>, Result<(), Failure>) {
    let server = server(responses);
    let command = parse_line(&format!("{line} --api {}", server.address)).unwrap();
    let result = match command {
        ClientCommand::Status(args) => args.run(),
        ClientCommand::Apps(args) => args.run(),
        ClientCommand::Instances(args) => args.run(),
        ClientCommand::Breakers(args) => args.run(),
        ClientCommand::Cache(args) => args.run(),
        ClientCommand::Deploy(args) => args.run(),
        ClientCommand::Domains(args) => args.run(),
        ClientCommand::Certificates(args) => args.run(),
        ClientCommand::Auth(args) => args.run(),
        ClientCommand::Canary(args) => args.run(),
        ClientCommand::Pools(args) => args.run(),
        ClientCommand::Webhooks(args) => args.run(),
        ClientCommand::Config(args) => args.run(),
    };
    (server.thread.join().unwrap(), result)
}

#[test]
fn the_argument_definitions_are_consistent() {
    use clap::CommandFactory;
    Program::command().debug_assert();
}

#[test]
fn commands_send_the_documented_requests() {
    for (line, request) in [
        ("apps add shop --name Shop", r#"POST /api/apps/register {"app_id":"shop","app_name":"Shop"}"#),
        (
            "apps add shop --instance shop-1 --target http://127.0.0.1:1 --health-check /health",
            r#"POST /api/apps/register {"app_id":"shop","instance":{"health_check":"/health","instance_id":"shop-1","target":"http://127.0.0.1:1"}}"#,
        ),
        (
            "apps add shop --on-all-unhealthy trickle --failure-statuses 500,502-504 --failure-timeouts never",
            r#"POST /api/apps/register {"app_id":"shop","failures":{"statuses":["500","502-504"],"timeouts":"never"},"on_all_unhealthy":"trickle"}"#,
        ),
        (
            "apps add shop --failure-statuses none",
            r#"POST /api/apps/register {"app_id":"shop","failures":{"statuses":[]}}"#,
        ),
        ("apps remove shop", r#"DELETE /api/apps {"app_id":"shop"}"#),
        (
            "instances add --app shop shop-1 http://127.0.0.1:1 --health-check tcp",
            r#"POST /api/apps/instances {"app_id":"shop","health_check":"tcp","instance_id":"shop-1","target":"http://127.0.0.1:1"}"#,
        ),
        (
            "instances add --app shop shop-1 http://127.0.0.1:1 --health-check /up --health-host shop.test --health-port 9000 --health-method head --health-header X-A:1 --health-header X-B:2 --health-expect-status 200,204 --health-expect-body ok --health-interval 5s --health-timeout 1500ms --health-unhealthy-threshold 2 --health-healthy-threshold 1",
            r#"POST /api/apps/instances {"app_id":"shop","health_check":{"expect":{"body":"ok","status":"200,204"},"headers":{"X-A":"1","X-B":"2"},"healthy_threshold":1,"host":"shop.test","interval":"5000ms","method":"HEAD","path":"/up","port":9000,"timeout":"1500ms","unhealthy_threshold":2},"instance_id":"shop-1","target":"http://127.0.0.1:1"}"#,
        ),
        (
            "apps add shop --instance shop-1 --target http://127.0.0.1:1 --health-check tcp --health-port 9000",
            r#"POST /api/apps/register {"app_id":"shop","instance":{"health_check":{"port":9000},"instance_id":"shop-1","target":"http://127.0.0.1:1"}}"#,
        ),
        (
            "instances rm shop-1 --generation 7",
            r#"DELETE /api/apps/instances {"generation":7,"instance_id":"shop-1"}"#,
        ),
        (
            "instances rm shop-1 --drain 30s",
            r#"DELETE /api/apps/instances {"drain":"30000ms","instance_id":"shop-1"}"#,
        ),
        ("instances heartbeat shop-1", r#"POST /api/apps/heartbeat {"instance_id":"shop-1"}"#),
        (
            "domains add --app shop shop.test",
            r#"POST /api/tenants/domains {"app_id":"shop","domain":"shop.test"}"#,
        ),
        (
            "domains add --app shop --tenant t1 own.test --cname-target t1.shop.test",
            r#"POST /api/tenants/custom-domains {"app_id":"shop","cname_target":"t1.shop.test","domain":"own.test","tenant_id":"t1"}"#,
        ),
        (
            "domains add --app shop --tenant t1 --type cname_target t1.shop.test",
            r#"POST /api/tenants/domains {"app_id":"shop","domain":"t1.shop.test","tenant_id":"t1","type":"cname_target"}"#,
        ),
        (
            "domains update own.test --no-tenant --app blog",
            r#"PUT /api/tenants/domains {"app_id":"blog","domain":"own.test","tenant_id":null}"#,
        ),
        (
            "domains add --app shop shop.test --certificate provided --client-ca /etc/ca.pem --client-certificate optional",
            r#"POST /api/tenants/domains {"app_id":"shop","certificate":"provided","client_auth":{"ca_file":"/etc/ca.pem","mode":"optional"},"domain":"shop.test"}"#,
        ),
        (
            "domains update own.test --certificate none --no-client-ca",
            r#"PUT /api/tenants/domains {"certificate":"none","client_auth":null,"domain":"own.test"}"#,
        ),
        ("certificates remove own.test", r#"DELETE /api/tenants/domains/certificate {"domain":"own.test"}"#),
        ("domains remove own.test", r#"DELETE /api/tenants/domains {"domain":"own.test"}"#),
    ] {
        let (requests, result) = run(line, &[(204, "")]);
        assert!(result.is_ok(), "{line}: {result:?}");
        assert_eq!(requests, [request], "{line}");
    }
}

/// A part of `failures` that is not given stays, and an unknown app is not created.
#[test]
fn an_update_of_an_app_keeps_what_is_not_given() {
    let known = r#"{"app_id":"shop","failures":{"statuses":["502-504"],"timeouts":"always"}}"#;
    let asked = r#"POST /api/apps/get {"app_id":"shop"}"#;
    for (line, request) in [
        ("--on-all-unhealthy panic_open", r#"{"app_id":"shop","on_all_unhealthy":"panic_open"}"#),
        (
            "--failure-timeouts unchecked",
            r#"{"app_id":"shop","failures":{"statuses":["502-504"],"timeouts":"unchecked"}}"#,
        ),
        ("--failure-statuses none", r#"{"app_id":"shop","failures":{"statuses":[],"timeouts":"always"}}"#),
        ("--name Shop", r#"{"app_id":"shop","app_name":"Shop"}"#),
    ] {
        let (requests, result) = run(&format!("apps update shop {line}"), &[(200, known), (204, "")]);
        assert!(result.is_ok(), "{line}: {result:?}");
        assert_eq!(requests, [asked.to_owned(), format!("POST /api/apps/register {request}")], "{line}");
    }
    let (requests, result) = run("apps update shop --name Shop", &[(404, "{}")]);
    assert!(result.is_err());
    assert_eq!(requests, [asked]);
}

#[test]
fn show_and_list_send_the_documented_requests() {
    for (line, request) in [
        ("apps show shop", r#"POST /api/apps/get {"app_id":"shop"}"#),
        ("domains show own.test", r#"POST /api/tenants/domains/get {"domain":"own.test"}"#),
        ("status", "GET /api/status"),
        ("canary", "GET /api/v2/traffic/canary"),
        ("canary ls --json", "GET /api/v2/traffic/canary"),
        ("canary --watch --count 1", "GET /api/v2/traffic/canary"),
        ("pools", "GET /api/v2/pools?limit=10000"),
        ("pools ls --owner file --limit 5", "GET /api/v2/pools?owner=file&limit=5"),
        ("pools show web", "GET /api/v2/pools/web"),
        (
            "pools drain web 10.0.0.1:80 --reason disk",
            r#"PUT /api/v2/pools/web/endpoints/10.0.0.1%3A80 {"drain":true,"reason":"disk"}"#,
        ),
        ("pools weight web a 5", r#"PUT /api/v2/pools/web/endpoints/a {"reason":"","weight":5}"#),
        ("pools reset web a", "DELETE /api/v2/pools/web/endpoints/a"),
        (
            "canary weight shop 12.5 --reason more",
            r#"POST /api/v2/traffic/canary/shop/weight {"reason":"more","weight":12.5}"#,
        ),
        (
            "canary weight shop --reset",
            r#"POST /api/v2/traffic/canary/shop/weight {"reason":"","weight":null}"#,
        ),
        ("canary resume a/b", "POST /api/v2/traffic/canary/a%2Fb/resume {}"),
        ("status --watch --count 1 --json", "GET /api/status"),
        ("apps list", "GET /api/apps?limit=10000"),
        ("domains ls --tenant a&b --limit 5", "GET /api/tenants/domains?tenant_id=a%26b&limit=5"),
        ("instances list --app shop --json", "GET /api/status/instances?app_id=shop&limit=10000"),
    ] {
        let (requests, result) = run(line, &[(200, "{}")]);
        assert!(result.is_ok(), "{line}: {result:?}");
        assert_eq!(requests, [request], "{line}");
    }
}

#[test]
fn all_pages_of_a_list_are_read() {
    let pages = [
        (200, r#"{"apps":[{"app_id":"a"},{"app_id":"b"}],"total":3,"next":"b","revision":1}"#),
        (200, r#"{"apps":[{"app_id":"c"}],"total":3,"next":null,"revision":1}"#),
    ];
    for line in ["apps list", "apps list --json"] {
        let (requests, result) = run(line, &pages);
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(requests, ["GET /api/apps?limit=10000", "GET /api/apps?limit=10000&after=b"]);
    }
}

#[test]
fn pages_are_merged_into_one_object() {
    let mut pages = None;
    for (mut page, items) in [
        (serde_json::json!({ "apps": [1, 2], "total": 3, "next": "2" }), vec![1, 2]),
        (serde_json::json!({ "apps": [3], "total": 3, "next": null }), vec![3]),
    ] {
        page["apps"].take();
        append_page(&mut pages, page, "apps", items.into_iter().map(Value::from).collect());
    }
    assert_eq!(pages.unwrap(), serde_json::json!({ "apps": [1, 2, 3], "total": 3, "next": null }));
}

#[test]
fn a_list_with_a_limit_reads_no_further_page() {
    let (requests, result) =
        run("apps list --limit 1", &[(200, r#"{"apps":[{"app_id":"a"}],"total":3,"next":"a"}"#)]);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(requests, ["GET /api/apps?limit=1"]);
}

#[test]
fn an_error_status_sets_the_exit_code() {
    for (status, exit) in [(404, 3), (409, 4), (422, 2), (503, 1)] {
        let (_, result) = run("domains remove own.test", &[(status, "{}")]);
        assert_eq!(result.unwrap_err().exit(), exit, "{status}");
    }
}

#[test]
fn a_response_of_another_server_is_reported() {
    let (_, result) = run("apps show shop", &[(200, "<html>")]);
    assert!(matches!(result, Err(Failure::Unexpected { status: 200, .. })), "{result:?}");
}

#[test]
fn invalid_arguments_are_refused_without_a_request() {
    for line in [
        "apps",
        "apps add",
        "apps add shop --instance shop-1",
        "apps add shop --on-all-unhealthy open",
        "apps add shop --failure-statuses 404",
        "apps update shop --failure-timeouts sometimes",
        "apps list --api https://127.0.0.1",
        "apps list --timeout 0s",
        "instances add --app shop shop-1",
        "instances remove shop-1 --generation x",
        "domains add shop.test",
        "domains add --app shop --type wildcard shop.test",
        "domains update own.test",
        "domains update own.test --tenant t --no-tenant",
        "status --count 3",
        "status --token a --token-file b",
    ] {
        assert!(parse_line(line).is_err(), "{line}");
    }
}

fn api_args(line: &str) -> ApiArgs {
    match parse_line(line).unwrap() {
        ClientCommand::Apps(args) => args.into_api(),
        other => panic!("{other:?}"),
    }
}

fn environment(values: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let values: BTreeMap<String, String> =
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    move |name| values.get(name).cloned()
}

#[test]
fn the_address_is_found_in_the_environment_of_the_server() {
    for (values, address) in [
        (&[][..], "127.0.0.1:8080"),
        (&[("PROXY_API_PORT", "9090")], "127.0.0.1:9090"),
        (&[("PROXY_API_BIND", "0.0.0.0"), ("PROXY_API_PORT", "1")], "127.0.0.1:1"),
        (&[("PROXY_API_BIND", "10.0.0.7, 127.0.0.1")], "10.0.0.7:8080"),
        (&[("PROXY_API_BIND", "::")], "[::1]:8080"),
        (&[("RINGWAY_API_PORT", "9091"), ("PROXY_API_PORT", "9090")], "127.0.0.1:9091"),
        (&[("PROXY_ADMIN_ADDRESS", "10.0.0.7:9090")], "10.0.0.7:9090"),
        (&[("RINGWAY_API_PORT", "tcp://10.0.0.1:80")], "127.0.0.1:8080"),
        (&[("RINGWAY_API", "unix:/run/x"), ("PROXY_API_PORT", "x")], "unix:/run/x"),
    ] {
        let api = api_args("apps list").open_with(environment(values)).unwrap();
        assert_eq!(api.client.address().to_string(), address);
    }
    let api =
        api_args("apps --api 10.0.0.1:2 list").open_with(environment(&[("RINGWAY_API", "x y")])).unwrap();
    assert_eq!(api.client.address().to_string(), "10.0.0.1:2");
}

#[test]
fn an_invalid_variable_is_a_usage_error_that_names_it() {
    for values in
        [&[("RINGWAY_API", "https://x")][..], &[("PROXY_API_PORT", "0")], &[("PROXY_API_PORT", "http")]]
    {
        let failure = api_args("apps list").open_with(environment(values)).unwrap_err();
        assert_eq!(failure.exit(), 2);
        assert!(failure.to_string().contains(values[0].0), "{failure}");
    }
}

#[test]
fn flags_take_precedence_over_the_environment_for_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from-the-file\n").unwrap();
    let file = file.to_str().unwrap();
    for (line, values, token) in [
        ("apps list", &[][..], None),
        ("apps list", &[("PROXY_API_TOKEN", "from-env")], Some("from-env")),
        ("apps list", &[("RINGWAY_API_TOKEN", "own"), ("PROXY_API_TOKEN", "from-env")], Some("own")),
        ("apps list", &[("PROXY_API_TOKEN_FILE", file)], Some("from-the-file")),
        ("apps list --token from-flag", &[("PROXY_API_TOKEN", "from-env")], Some("from-flag")),
        (
            &format!("apps list --token-file {file}"),
            &[("PROXY_API_TOKEN", "from-env")],
            Some("from-the-file"),
        ),
    ] {
        assert_eq!(api_args(line).token_from(&environment(values)).unwrap().as_deref(), token, "{line}");
    }
    let failure =
        api_args("apps list --token-file /nonexistent/token").open_with(environment(&[])).unwrap_err();
    assert!(failure.to_string().contains("/nonexistent/token"), "{failure}");
    let failure =
        api_args("apps list").open_with(environment(&[("PROXY_API_TOKEN", "a\r\nX: y")])).unwrap_err();
    assert!(!failure.to_string().contains("X: y"), "a token is never repeated: {failure}");
}

#[test]
fn a_receipt_shows_outcome_revision_and_pending_cores() {
    let receipt: Receipt =
        serde_json::from_str(r#"{"revision":7,"outcome":"created","generation":3,"pending":[1,2]}"#).unwrap();
    assert_eq!(
        receipt.text("instance shop-1", Method::Post),
        "instance shop-1: created (revision 7, generation 3); stored, but these cores do not serve it yet: 1, 2\n"
    );
    assert_eq!(Receipt::default().text("app x", Method::Delete), "app x: removed\n");
}

#[test]
fn times_are_shown_to_the_second() {
    assert_eq!(time("2025-01-15T12:00:05.123Z"), "2025-01-15 12:00:05Z");
    assert_eq!(time("2025-01-15T12:00:05Z"), "2025-01-15 12:00:05Z");
    assert_eq!(time("soon"), "soon");
}

const README: &str = include_str!("../../../README.md");

#[test]
fn the_commands_of_the_readme_parse() {
    let mut count = 0;
    for code in README.split('`').skip(1).step_by(2) {
        let Some(line) = code.strip_prefix("ringway ") else { continue };
        let is_ours = ["apps ", "deploy ", "instances ", "domains ", "certificates ", "status"]
            .iter()
            .any(|word| line.starts_with(word));
        if is_ours && !line.contains("--help") {
            parse_line(line).unwrap_or_else(|error| panic!("{code}: {error}"));
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} found");
}

#[test]
fn the_bodies_of_the_readme_are_json() {
    let bodies: Vec<&str> = README.split("-d '").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
    assert!(bodies.len() >= 5);
    for body in bodies {
        serde_json::from_str::<Value>(body).unwrap_or_else(|error| panic!("{body}: {error}"));
    }
}

#[test]
fn the_library_code_of_the_readme_is_from_the_example() {
    let example = include_str!("../../../examples/embed.rs");
    let code = README.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    for line in code.lines() {
        assert!(example.contains(line.trim()), "{line}");
    }
}

#[test]
fn setting_a_webhook_changes_or_creates_it() {
    let unknown = r#"{"title":"The app has no webhook","status":404,"code":"unknown_webhook"}"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "correct-horse-battery\n").unwrap();
    let server =
        server(&[(404, unknown), (201, r#"{"outcome":"created"}"#), (200, r#"{"outcome":"updated"}"#)]);
    let run = |line: &str| {
        let line = format!("webhooks --api {} {line}", server.address);
        let ClientCommand::Webhooks(args) = parse_line(&line).unwrap() else { panic!("{line}") };
        args.run()
    };
    run(&format!("set shop https://h.example/x --secret-file {}", file.display())).unwrap();
    run("set shop https://h.example/y --no-secret").unwrap();
    let requests = server.thread.join().unwrap();
    for (request, line, secret) in [
        (&requests[0], "PUT /api/webhooks", r#""secret":"correct-horse-battery""#),
        (&requests[1], "POST /api/webhooks", r#""secret":"correct-horse-battery""#),
        (&requests[2], "PUT /api/webhooks", r#""secret":null"#),
    ] {
        assert!(request.starts_with(line) && request.contains(secret), "{request}");
    }
    assert!(parse_line("webhooks set shop https://h.example/ --no-secret --secret-file x").is_err());
}
