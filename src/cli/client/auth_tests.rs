#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::json;

use super::{CheckView, read};
use crate::cli::client::Failure;
use crate::cli::client::tests::{parse_line, run};
use crate::cli::client::text::Style;

const REFUSED: &str = r#"{"verdict":"refused","status":401,"reason":"expired","message":"m","kind":"token","place":"p",
    "user":null,"claims":{},"is_verified":false,"methods":[],"request":{"removed":[],"added":[]},"sources":[]}"#;

#[test]
fn the_credential_comes_from_a_file_without_its_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "a.b.c\r\n").unwrap();
    let line = format!("auth check --route api --kind token --file {}", path.display());
    let (requests, result) = run(&line, &[(200, REFUSED)]);
    assert_eq!(requests, [r#"POST /api/v2/auth/check {"kind":"token","route":"api","token":"a.b.c"}"#]);
    assert!(matches!(result, Err(Failure::Reported(5))), "{result:?}");
    let admitted = REFUSED.replace("refused", "admitted");
    assert!(run(&line, &[(200, &admitted)]).1.is_ok());
}

#[test]
fn files_that_are_no_credential_are_refused_without_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    for content in [&b""[..], b"\n", b"\xff\xfe", &[b'a'; 70_000]] {
        fs::write(&path, content).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(&error, Failure::Usage(text) if text.contains("token ")), "{error}");
    }
    assert!(matches!(read(&folder.path().join("nothing")), Err(Failure::File { .. })));
}

#[test]
fn a_credential_is_no_argument() {
    for line in ["auth check --route api a.b.c", "auth check"] {
        assert!(parse_line(line).is_err(), "{line}");
    }
}

#[test]
fn a_verdict_is_shown_with_reason_claims_and_fields() {
    let view: CheckView = serde_json::from_value(json!({
        "verdict": "refused", "status": 401, "reason": "wrong_audience", "message": "the token is for another audience",
        "kind": "token", "place": "Authorization: Bearer", "user": null,
        "claims": { "aud": "shop", "sub": "al\u{1b}[2Jice" }, "is_verified": false,
        "methods": [
            { "method": "basic", "place": "Authorization: Basic", "outcome": "absent", "reason": null },
            { "method": "jwt", "place": "Authorization: Bearer", "outcome": "refuses", "reason": "wrong_audience" }
        ],
        "request": { "removed": [], "added": [] },
        "sources": [{ "name": "keys of issuer https://a", "entries": null }]
    }))
    .unwrap();
    assert_eq!(
        view.text("api", Style::PLAIN),
        "refused by route api: 401, wrong_audience (the token is for another audience)\n\
         token in Authorization: Bearer\n  \
         basic in Authorization: Basic: absent\n  \
         jwt in Authorization: Bearer: refuses (wrong_audience)\n\
         claims, not verified:\n  aud = shop\n  sub = al\\u{1b}[2Jice\n\
         keys of issuer https://a: not loaded yet\n"
    );
    let view: CheckView = serde_json::from_value(json!({
        "verdict": "admitted", "status": null, "reason": null, "message": null, "kind": "token", "place": "p",
        "user": "alice", "claims": {}, "is_verified": true, "methods": [],
        "request": { "removed": ["x-user", "authorization"], "added": [{ "name": "x-user", "value": "alice" }] },
        "sources": [{ "name": "users in /u", "entries": 2 }]
    }))
    .unwrap();
    assert_eq!(
        view.text("api", Style::PLAIN),
        "admitted by route api\ntoken in p\nuser alice\nendpoint gets x-user: alice\n\
         endpoint does not get authorization\nusers in /u: 2 loaded\n"
    );
}
