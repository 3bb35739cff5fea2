#![allow(clippy::unwrap_used)]
use super::super::tests::{parse_line, run};
use super::*;
use std::path::Path;

const YAML: &str = "server: {port: 8081}\n";

/// A configuration in a file of its own.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// The exit code of a command.
fn exit(result: Result<(), Failure>) -> u8 {
    result.err().map_or(0, |failure| failure.exit())
}

#[test]
fn commands_send_the_documented_requests() {
    let (_folder, path) = file(YAML);
    let sources = format!(r#"[{{"name":"{path}","text":"server: {{port: 8081}}\n"}}]"#);
    for (line, request) in [
        (
            format!("config diff {path} --owner admin"),
            format!(r#"POST /api/v2/config/diff {{"mode":"merge","owner":"admin","sources":{sources}}}"#),
        ),
        (
            "config diff --between aa bb".into(),
            r#"POST /api/v2/config/diff {"from":"aa","mode":"merge","owner":"admin","to":"bb"}"#.into(),
        ),
        (
            format!("config apply {path} --reason more --yes --replace --no-canary --force-size"),
            format!(
                r#"POST /api/v2/config/apply {{"canary":false,"force_size":true,"mode":"replace","owner":"admin","reason":"more","sources":{sources}}}"#
            ),
        ),
        (
            "config apply --plan 12ab --reason more --bake 1m".into(),
            r#"POST /api/v2/config/apply {"canary":"60000ms","plan":"12ab","reason":"more"}"#.into(),
        ),
        ("config current".into(), "GET /api/v2/config/current".into()),
        ("config current --owner file".into(), "GET /api/v2/config/current?owner=file".into()),
        ("config history".into(), "GET /api/v2/config/history".into()),
        ("config show 12ab --owner file".into(), "GET /api/v2/config/versions/12ab?owner=file".into()),
        (
            "config rollback 12ab --reason back".into(),
            r#"POST /api/v2/config/rollback {"owner":"admin","reason":"back","version":"12ab"}"#.into(),
        ),
        (
            "config rollback --reason back".into(),
            r#"POST /api/v2/config/rollback {"owner":"admin","reason":"back","version":null}"#.into(),
        ),
        ("config rollout".into(), "GET /api/v2/config/rollout".into()),
        ("config rollout promote".into(), "POST /api/v2/config/rollout/promote {}".into()),
        ("config rollout abort".into(), "POST /api/v2/config/rollout/abort {}".into()),
        (
            "config explain http://a.test/v1 -X POST -H X-A:1".into(),
            r#"POST /api/v2/config/explain {"headers":[["X-A","1"]],"method":"POST","url":"http://a.test/v1"}"#
                .into(),
        ),
        (
            "config explain a.test --client ::1".into(),
            r#"POST /api/v2/config/explain {"client":"::1","headers":[],"method":"GET","url":"a.test"}"#.into(),
        ),
        (
            format!("config simulate {path}"),
            format!(r#"POST /api/v2/config/simulate {{"mode":"merge","owner":"admin","sources":{sources}}}"#),
        ),
        ("config reload".into(), r#"POST /admin/reload {"force_size":false,"reason":""}"#.into()),
    ] {
        let (requests, result) = run(&line, &[(200, "{}")]);
        assert_eq!(requests, [request], "{line}");
        result.unwrap();
    }
}

#[test]
fn a_difference_has_an_exit_code_of_its_own() {
    let (_folder, path) = file(YAML);
    let changed =
        r#"{"plan":"p","owner":"admin","to":"v2","changes":[{"op":"add","kind":"route","id":"a"}]}"#;
    let (_, result) = run(&format!("config diff {path}"), &[(200, changed)]);
    assert_eq!(exit(result), 5);
    let (_, result) = run(&format!("config diff {path}"), &[(200, r#"{"changes":[]}"#)]);
    assert_eq!(exit(result), 0);
}

#[test]
fn without_a_terminal_a_change_is_not_asked_for() {
    let (_folder, path) = file(YAML);
    let changed = r#"{"plan":"p","to":"v2","changes":[{"op":"add","kind":"route","id":"a"}]}"#;
    // A test has no terminal on its standard input, or nobody who types.
    if std::io::stdin().is_terminal() {
        return;
    }
    let (requests, result) = run(&format!("config apply {path} --reason r"), &[(200, changed)]);
    assert!(requests.len() == 1 && requests[0].starts_with("POST /api/v2/config/diff"), "{requests:?}");
    let failure = result.unwrap_err();
    assert!(failure.to_string().contains("--yes"), "{failure}");
    assert_eq!(failure.exit(), 2);
}

#[test]
fn a_refusal_shows_its_findings() {
    let (_folder, path) = file("routes:\n  - hosts: a\n");
    let problem = format!(
        r#"{{"title":"The configuration has mistakes","code":"config_invalid","findings":[
            {{"severity":"error","code":"unknown","pointer":"/routes/0/hosts","message":"is not known here","file":"{path}","line":2,"column":5}}]}}"#
    );
    let (_, result) = run(&format!("config apply {path} --reason r --yes"), &[(422, &problem)]);
    let failure = result.unwrap_err();
    let text = failure.to_string();
    assert!(text.contains(&format!("{path}:2:5: error: /routes/0/hosts is not known here")), "{text}");
    assert_eq!(failure.exit(), 2);
    let (_, result) = run(&format!("config apply {path} --reason r --yes --if-version ab"), &[(412, "{}")]);
    assert_eq!(exit(result), 4);
}

#[test]
fn a_configuration_is_checked_without_a_server() {
    for (text, code) in [
        (YAML, 0),
        ("server: {port: eighty}\n", 2),
        ("server: {workers: 0}\n", 2),
        ("server: {prt: 8081}\n", 2),
        ("listeners: [{address: ':8081'}, {address: ':8081'}]\n", 2),
        ("server: [\n", 2),
        ("admin_address: ':9090'\n", 0),
    ] {
        let (_folder, path) = file(text);
        let command = parse_line(&format!("config validate {path}")).unwrap();
        let super::super::ClientCommand::Config(args) = command else { panic!("not config") };
        assert_eq!(exit(args.run()), code, "{text}");
    }
}

#[test]
fn problems_of_settings_have_their_places() {
    let source = Source { name: "c.yaml".into(), text: "server:\n  workers: 0\n".into() };
    let checked = documents::check(&[source]);
    let [finding] = &checked.findings[..] else { panic!("{:?}", checked.findings) };
    assert!(finding.is_error());
    let text = findings::render(&checked.findings, &[], Style::PLAIN);
    assert!(text.starts_with("c.yaml:2:12: error: /server/workers must be a whole number"), "{text}");
}

#[test]
fn a_missing_file_is_named() {
    let failure = documents::read(Path::new("/nowhere/c.yaml")).unwrap_err();
    assert!(failure.to_string().contains("/nowhere/c.yaml"), "{failure}");
    assert_eq!(failure.exit(), 2);
}

#[test]
fn versions_are_hexadecimal() {
    assert_eq!(segment("12abEF").unwrap(), "12abEF");
    for wrong in ["", "..", "a/b", "12g"] {
        assert!(segment(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn responses_are_shown_as_text() {
    let diff: DiffView = serde_json::from_str(
        r#"{"plan":"p1","owner":"admin","from":"v1","to":"v2","changes":[
            {"op":"add","kind":"route","id":"a"},{"op":"remove","kind":"pool","id":"p"},
            {"op":"change","kind":"policy","id":"s","path":"/timeout","from":"3s","to":"5s"}],
            "effects":{"hosts_added":["a.test"],"endpoints_removed":2,"sampled":{"requests":10,"rerouted":3}}}"#,
    )
    .unwrap();
    assert_eq!(
        diff.text(Style::PLAIN),
        "+ route a\n- pool p\n~ policy s /timeout: 3s -> 5s\n\nnew hosts: a.test\nendpoints: 0 added, 2 removed\n\
         sampled recent requests that would be routed otherwise: 3 of 10\nconfiguration of admin: v1 -> v2\n\
         apply exactly this with: ringway config apply --plan p1\n"
    );
    let receipt: ReceiptView = serde_json::from_str(
        r#"{"owner":"file","version":"v2","previous":"v1","revision":7,"changes":{"count":2},"restart_needed":["/server/port"]}"#,
    )
    .unwrap();
    assert_eq!(
        receipt.text(Style::PLAIN),
        "configuration of file: v2 is in force (2 changes, before: v1, revision 7)\n\
         a restart is needed for: /server/port\n"
    );
    let explain: ExplainView = serde_json::from_str(
        r#"{"host":"a.test","tier":"exact","pattern":"a.test","route":{"id":"api","owner":"file","pool":"p","timeout":"3s","requires_tls":true,"place":"c.yaml:12"},
            "candidates":[{"id":"b","is_match":false,"why":"path_prefix /v2 does not match"},{"id":"api","is_match":true}],
            "candidates_total":5,"reason":""}"#,
    )
    .unwrap();
    assert_eq!(
        explain.text(Style::PLAIN),
        "route api of file, pool p (c.yaml:12)\nhost a.test: a.test (exact)\n  ✗ b: path_prefix /v2 does not match\n  \
         ✓ api\n  and 3 more\ntimeout 3s, TLS required\n"
    );
    let none: RolloutView = serde_json::from_str(r#"{"state":"none","owner":null,"version":null}"#).unwrap();
    assert_eq!(none.text(Style::PLAIN), "no configuration is on trial\n");
    let running: RolloutView = serde_json::from_str(
        r#"{"state":"running","owner":"file","version":"v2","core":1,"requests":9,"errors":1}"#,
    )
    .unwrap();
    assert_eq!(
        running.text(Style::PLAIN),
        "configuration of file: v2 is on trial on core 1 (9 requests there, 1 failed)\n"
    );
    let hostile: ExplainView = serde_json::from_str(r#"{"host":"\u001b[2J"}"#).unwrap();
    assert!(!hostile.text(Style::PLAIN).contains('\u{1b}'));
}

#[test]
fn header_fields_come_from_a_file_too() {
    let (_folder, path) = file("X-A: 1\n\nAuthorization: Bearer a.b\n");
    let (requests, result) = run(&format!("config explain a.test -H X-B:2 --headers {path}"), &[(200, "{}")]);
    result.unwrap();
    let fields = r#"[["X-B","2"],["X-A","1"],["Authorization","Bearer a.b"]]"#;
    assert!(requests[0].contains(fields), "{requests:?}");
    let (_folder, path) = file("X-A: 1\na-secret\n");
    let error = documents::read_fields(Path::new(&path)).unwrap_err().to_string();
    assert!(error.contains("line 2") && !error.contains("a-secret"), "{error}");
}

#[test]
fn stages_are_shown_in_their_order_with_what_they_change() {
    let explain: ExplainView = serde_json::from_str(
        r#"{"host":"a.test","tier":"exact","pattern":"a.test","route":{"id":"api","owner":"file","pool":"p"},
            "status":401,"reason":"invalid_credentials: the token has expired","candidates":[],"stripped":["X-User"],
            "stages":[
              {"stage":"cors","verdict":"passes","response":{"removed":["a","b","c","d","e","f"],"added":[{"name":"Vary","value":"Origin"}]}},
              {"stage":"ip_acl","verdict":"undecided","detail":"decided by the client's address, which is not given"},
              {"stage":"rate_limit","verdict":"limits","detail":"policy strict: 10 per second"},
              {"stage":"header_transform","verdict":"passes","request":{"removed":["x-a","x-b"],"added":[{"name":"x-a","value":"1"}]}},
              {"stage":"auth","verdict":"replies","detail":"401 invalid_credentials: the token has expired",
               "methods":[{"method":"jwt","place":"Authorization: Bearer","outcome":"refuses","reason":"expired"}]},
              {"stage":"redirect","verdict":"not_reached"}],
            "rewritten":"/users"}"#,
    )
    .unwrap();
    assert_eq!(
        explain.text(Style::PLAIN),
        "route api of file, pool p: 401, invalid_credentials: the token has expired
host a.test: a.test (exact)
stages:
  - X-User of the client removed: only stages may set it
  ✓ cors
      response: sets Vary: Origin
      response: removes a, b, c, d and 2 more
  ? ip_acl            decided by the client's address, which is not given
  ~ rate_limit        policy strict: 10 per second
  ✓ header_transform
      request: sets x-a: 1
      request: removes x-b
  ✗ auth              replies 401 invalid_credentials: the token has expired
      jwt in Authorization: Bearer: refuses (expired)
  - redirect          not reached
  > endpoint gets the path /users
"
    );
}
