#![allow(clippy::unwrap_used)]

use std::time::Duration;

use prost::Message as _;
use ringway_model::{
    AppId, AuthMethod, AuthStage, DecisionCache, HeaderEdits, HeaderTransform, PluginId, PluginKind,
    PluginRef, PluginSpec, StageSpec, Template,
};
use ringway_wire::h1::{RequestRewrite, write_request};

use super::messages::{
    AppendAction, BoolValue, CheckRequest, CheckResponse, Denied, Header, HeaderOption, HttpStatus, Okay,
    QueryParameter, Status, Verdict,
};
use super::*;
use crate::auth::explain::ready;
use crate::auth::reason::Reason;
use crate::chain::{Chain, Run};
use crate::compile::{Builtins, ChainSource, CompiledChain, compile};
use crate::reply::ReplyBody;
use crate::services::{CallError, CallFailure, CallResponse, PartialResponse};
use crate::testing::{self, TestServices, with_request};

const PLAIN: &str = "GET /a?b=c HTTP/1.1\r\nHost: a.example:8080\r\n\r\n";

fn filter(protocol: ExternalProtocol) -> ExternalFilter {
    ExternalFilter {
        pool: AppId::parse("plugin.auth").unwrap(),
        protocol,
        timeout: Duration::from_millis(50),
        fail_mode: FailMode::Closed,
        send: Box::default(),
        asserts: ["x-user".into(), "x-role".into()].into(),
        failed_open_header: None,
        cache: None,
    }
}

fn http() -> ExternalFilter {
    filter(ExternalProtocol::Http { path: "/check".into() })
}

fn open(filter: ExternalFilter) -> ExternalFilter {
    ExternalFilter { fail_mode: FailMode::Open, ..filter }
}

fn cached(filter: ExternalFilter, key: &[&str]) -> ExternalFilter {
    let key = key.iter().map(|part| Arc::from(*part)).collect();
    ExternalFilter { cache: Some(DecisionCache { key, ttl: Duration::from_secs(10) }), ..filter }
}

fn compiled(stages: &[StageSpec], kind: Option<&PluginKind>, builtins: &Builtins) -> CompiledChain {
    let stages: Vec<_> = stages.iter().collect();
    let plugin = |id: &PluginId| kind.map(|kind| Arc::new(PluginSpec { id: id.clone(), kind: kind.clone() }));
    compile(&ChainSource { custom: None, stages: &stages, plugin: &plugin, builtins })
}

fn plugin() -> StageSpec {
    StageSpec::Plugin(PluginRef { plugin: PluginId::parse("auth").unwrap() })
}

/// A chain with one plugin.
fn chain(filter: &ExternalFilter) -> Arc<Chain> {
    let kind = PluginKind::External(filter.clone());
    compiled(&[plugin()], Some(&kind), &Builtins::default()).chain.unwrap()
}

fn answering(responses: Vec<Result<CallResponse, CallFailure>>) -> TestServices {
    TestServices { responses: responses.into(), ..TestServices::default() }
}

fn response(status: u16, lines: &str, body: &str) -> Result<CallResponse, CallFailure> {
    Ok(CallResponse { status, lines: lines.into(), body: body.into() })
}

/// Runs the request stages; the head that the endpoint gets, or the reply.
fn run(chain: &Chain, text: &str, services: &TestServices, run: &mut Run) -> Result<String, LocalReply> {
    let reply = with_request(text, services, run, |request| {
        loop {
            match chain.on_request(request) {
                Flow::Continue => return None,
                Flow::Reply(reply) => return Some(reply),
                Flow::Wait => match ready(Box::pin(chain.wait(request))).expect("the services never wait") {
                    ControlFlow::Continue(()) => request.run.pass(),
                    ControlFlow::Break(reply) => return Some(reply),
                },
                Flow::Limit(limit) => panic!("no limit {limit}"),
                Flow::Script => panic!("no script"),
            }
        }
    });
    match reply {
        Some(reply) => Err(reply),
        None => {
            let (head, mut out, edits) = (testing::head(text), Vec::new(), run.request_edits());
            let rewrite = RequestRewrite {
                remove: edits.removed_names(),
                append: [edits.lines(), b""],
                ..Default::default()
            };
            write_request(&mut out, text.as_bytes(), &head, &rewrite);
            Ok(String::from_utf8(out).unwrap())
        }
    }
}

fn judge(filter: &ExternalFilter, text: &str, services: &TestServices) -> Result<String, LocalReply> {
    run(&chain(filter), text, services, &mut Run::default())
}

fn request_with(lines: &str) -> String {
    format!("GET /a?b=c HTTP/1.1\r\nHost: a.example:8080\r\n{lines}\r\n")
}

fn code(reply: &LocalReply) -> &str {
    match reply.body() {
        ReplyBody::Error { code, .. } => code,
        ReplyBody::Bytes(_) => "bytes",
    }
}

fn lines(reply: &LocalReply) -> String {
    String::from_utf8(reply.lines().to_vec()).unwrap()
}

// --- HTTP -------------------------------------------------------------------------------------------------

#[test]
fn statuses_allow_deny_or_fail_and_failures_follow_the_fail_mode() {
    for status in [200, 201, 204, 206, 299] {
        let services = answering(vec![response(status, "", "")]);
        assert!(judge(&http(), PLAIN, &services).is_ok(), "{status}");
        assert_eq!(*services.decisions.borrow(), [DecisionResult::Allowed]);
    }
    for status in [300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 407, 429, 499] {
        for filter in [http(), open(http())] {
            let services = answering(vec![response(status, "", "")]);
            let reply = judge(&filter, PLAIN, &services).unwrap_err();
            assert_eq!(reply.status(), status);
            assert_eq!(*services.decisions.borrow(), [DecisionResult::Denied]);
        }
    }
    for (cut, status) in [(302, 403), (403, 403), (401, 401), (429, 429)] {
        for error in [CallError::Timeout, CallError::TooLarge, CallError::Broken] {
            let services = answering(vec![cut_off(error, cut, b"content")]);
            let reply = judge(&open(http()), PLAIN, &services).unwrap_err();
            assert_eq!((reply.status(), code(&reply)), (status, "filter_denied"), "{error:?}");
            assert_eq!(*services.decisions.borrow(), [DecisionResult::Denied]);
        }
    }
    let failures = [304, 500, 502, 503, 504, 599, 600, 999].map(|status| response(status, "", "no"));
    let errors = [
        CallError::Unavailable,
        CallError::Busy,
        CallError::Connect,
        CallError::Broken,
        CallError::Timeout,
        CallError::Invalid,
        CallError::TooLarge,
        CallError::Status,
        CallError::CircuitOpen { retry_after: Duration::from_secs(1) },
    ];
    let errors = errors.map(|error| Err(error.into()));
    let cut = [200, 304, 500].map(|status| cut_off(CallError::Timeout, status, b"no"));
    for failure in failures.into_iter().chain(errors).chain(cut) {
        let reason = failure.as_ref().map_or_else(|failure| failure.error.as_str(), |_| "status");
        let services = answering(vec![failure.clone()]);
        let reply = judge(&http(), PLAIN, &services).unwrap_err();
        assert_eq!((reply.status(), code(&reply)), (503, "filter_unavailable"), "{failure:?}");
        assert_eq!(*services.decisions.borrow(), [DecisionResult::FailedClosed(reason)]);
        let services = answering(vec![failure.clone()]);
        assert!(judge(&open(http()), PLAIN, &services).is_ok(), "{failure:?}");
        assert_eq!(*services.decisions.borrow(), [DecisionResult::FailedOpen(reason)]);
    }
}

/// A response whose head came with this status, and of whose content this came before the error.
fn cut_off(error: CallError, status: u16, content: &[u8]) -> Result<CallResponse, CallFailure> {
    Err(CallFailure { error, partial: Some(PartialResponse { status, content: content.to_vec() }) })
}

#[test]
fn a_refusal_without_decision_says_when_to_come_back_where_a_breaker_is_open() {
    let after = |millis| CallError::CircuitOpen { retry_after: Duration::from_millis(millis) };
    let errors = [
        (after(1), Some("1"), "1"),
        (after(1_000), Some("1"), "1"),
        (after(1_001), Some("2"), "2"),
        (CallError::Timeout, None, "5"),
    ];
    for (error, plugin, auth) in errors {
        let retry_after = |reply: &LocalReply| {
            reply.field("Retry-After").map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let services = answering(vec![Err(error.into()), Err(error.into())]);
        let reply = judge(&http(), PLAIN, &services).unwrap_err();
        assert_eq!((code(&reply), retry_after(&reply).as_deref()), ("filter_unavailable", plugin));
        let stage = AuthStage { any_of: [AuthMethod::Forward(http())].into(), optional: false };
        let chain = compiled(&[StageSpec::Auth(stage)], None, &Builtins::default()).chain.unwrap();
        let reply = run(&chain, PLAIN, &services, &mut Run::default()).unwrap_err();
        assert_eq!((code(&reply), retry_after(&reply).as_deref()), ("auth_unavailable", Some(auth)));
    }
}

#[test]
fn a_grpc_message_that_is_cut_off_denies_where_the_denial_is_certain() {
    let grpc = filter(ExternalProtocol::Grpc);
    let whole = |answer: CheckResponse| answer.encode_to_vec();
    let long = "x".repeat(100);
    let denied = |code: Option<i32>, status: Option<i32>| {
        let denied = Denied {
            status: status.map(|code| HttpStatus { code }),
            headers: vec![option("x-a", "b")],
            body: long.clone(),
        };
        whole(CheckResponse {
            status: code.map(|code| Status { code }),
            verdict: Some(Verdict::Denied(denied)),
        })
    };
    let allowed = |code: Option<i32>| {
        let okay = Okay { headers: vec![option("x-a", &long)], ..Okay::default() };
        whole(CheckResponse { status: code.map(|code| Status { code }), verdict: Some(Verdict::Ok(okay)) })
    };
    let judge = |content: &[u8]| {
        let services = answering(vec![cut_off(CallError::Timeout, 200, content)]);
        judge(&open(grpc.clone()), PLAIN, &services).map_or_else(|reply| reply.status(), |_| 200)
    };
    // All of the message but its last bytes, and all of it: the call did not end.
    for (message, expected) in [
        (denied(Some(7), Some(401)), 401),
        (denied(Some(7), None), 403),
        (denied(Some(7), Some(302)), 403),
        (denied(None, Some(429)), 429),
        (allowed(Some(16)), 403),
        (allowed(Some(0)), 200),
        (allowed(None), 200),
        (denied(Some(0), Some(401)), 200),
    ] {
        for bytes in [message.len() - 10, message.len()] {
            assert_eq!(judge(&message[..bytes]), expected, "{bytes} of {message:?}");
        }
    }
    // Beginnings decide nothing before they say no.
    let message = denied(Some(7), Some(401));
    for bytes in 0..message.len() {
        let expected = [200, 403, 401];
        assert!(expected.contains(&judge(&message[..bytes])), "{bytes}");
    }
    assert_eq!((judge(&message[..3]), judge(&message[..4]), judge(b"")), (200, 403, 200));
    // An error of the service is no denial, wherever it stands.
    let error = whole(CheckResponse {
        status: Some(Status { code: 7 }),
        verdict: Some(Verdict::Error(Denied::default())),
    });
    assert_eq!(judge(&error), 200);
    for message in [allowed(Some(0)), allowed(None), whole(CheckResponse::default())] {
        for bytes in 0..=message.len() {
            assert_eq!(judge(&message[..bytes]), 200, "{bytes} of {message:?}");
        }
    }
}

/// Spellings that apps may take for the asserted field.
const SPELLINGS: [&str; 9] =
    ["X-User", "x-user", "X-USER", "X_User", "x_user", "X.User", "X~User", "X'User", "x!uSeR"];

#[test]
fn asserted_fields_are_of_the_service_alone_in_all_spellings_and_whatever_it_decides() {
    let spoofed: String = SPELLINGS.iter().map(|name| format!("{name}: admin\r\n")).collect();
    let text =
        request_with(&format!("Connection: X-User, X-Role\r\n{spoofed}X-Role: root\r\nX-Other: kept\r\n"));
    let none = "GET /a?b=c HTTP/1.1\r\nHost: a.example:8080\r\nX-Other: kept\r\n\r\n";
    for (answer, expected) in [
        (
            response(200, "x-user: alice\r\nX-Other: service\r\n", ""),
            none.replace("\r\n\r\n", "\r\nx-user: alice\r\n\r\n"),
        ),
        (
            response(200, "X-User: a\r\nX-USER: b\r\nX-Role: r\r\n", ""),
            none.replace("\r\n\r\n", "\r\nx-user: a\r\nx-user: b\r\nx-role: r\r\n\r\n"),
        ),
        (response(200, "", ""), none.to_owned()),
        (response(500, "x-user: alice\r\n", ""), none.to_owned()),
        (Err(CallError::Timeout.into()), none.to_owned()),
    ] {
        let services = answering(vec![answer.clone()]);
        assert_eq!(judge(&open(http()), &text, &services).as_deref(), Ok(&*expected), "{answer:?}");
        let (_, sent) = &services.calls.borrow()[0];
        assert!(!sent.contains("admin") && !sent.contains("root"), "the service gets none of them: {sent}");
    }
}

#[test]
fn the_service_gets_what_the_endpoint_would_and_our_own_forwarding_fields() {
    let text = request_with(
        "X-Forwarded-For: 203.0.113.9\r\nX_Forwarded_Uri: /public\r\nX-Forwarded-Method: HEAD\r\n\
         Forwarded: for=203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nX-Request-ID: mine\r\nX-Tenant-ID: mine\r\n\
         Cookie: a=1\r\nAuthorization: Bearer t\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nRange: bytes=0-1\r\n\
         If-None-Match: \"x\"\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nX-Hop: 1\r\nTE: trailers\r\n\
         X_Account: me\r\nX-Account: other\r\nProxy-Authorization: p\r\nConnection: X-Hop\r\n",
    );
    let services = answering(vec![response(200, "", "")]);
    judge(&http(), &text, &services).unwrap();
    let forwarded = "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example:8080\r\n\
                     X-Forwarded-Uri: /a?b=c\r\nX-Forwarded-For: 192.0.2.1\r\n";
    let calls = services.calls.borrow();
    let (pool, sent) = &calls[0];
    assert_eq!(pool, "plugin.auth");
    assert_eq!(
        *sent,
        format!("{forwarded}Cookie: a=1\r\nAuthorization: Bearer t\r\nAccept: */*\r\nX-Account: other\r\n")
    );
    for (send, expected) in [
        (&["cookie"][..], "Cookie: a=1\r\n"),
        (&["authorization", "if-none-match", "x-hop"], "Authorization: Bearer t\r\nIf-None-Match: \"x\"\r\n"),
        (&["host", "x-forwarded-for", "x-request-id", "accept-encoding"], ""),
    ] {
        let send = send.iter().map(|name| Arc::from(*name)).collect();
        let services = answering(vec![response(200, "", "")]);
        judge(&ExternalFilter { send, ..http() }, &text, &services).unwrap();
        assert_eq!(services.calls.borrow()[0].1, format!("{forwarded}{expected}"));
    }
}

#[test]
fn edits_of_earlier_stages_are_seen_and_their_asserted_fields_replaced() {
    let fields = |fields: &[(&str, &str)]| -> Box<[(Arc<str>, Template)]> {
        fields.iter().map(|(name, value)| (Arc::from(*name), Template::parse(value).unwrap())).collect()
    };
    let edits = HeaderEdits {
        add: fields(&[("x-added", "1"), ("x-user", "of a stage")]),
        set: Box::default(),
        remove: ["x-secret".into()].into(),
    };
    let transform =
        StageSpec::HeaderTransform(HeaderTransform { request: edits, ..HeaderTransform::default() });
    let kind = PluginKind::External(http());
    let chain = compiled(&[transform, plugin()], Some(&kind), &Builtins::default()).chain.unwrap();
    let services = answering(vec![response(200, "X-User: alice\r\n", "")]);
    let head = run(&chain, &request_with("X-Secret: s\r\n"), &services, &mut Run::default()).unwrap();
    assert!(head.ends_with("Host: a.example:8080\r\nx-added: 1\r\nx-user: alice\r\n\r\n"), "{head}");
    let sent = services.calls.borrow()[0].1.clone();
    assert!(sent.ends_with("x-added: 1\r\nx-user: of a stage\r\n") && !sent.contains("X-Secret"), "{sent}");
}

#[test]
fn a_denial_has_its_content_and_the_listed_fields() {
    let fields = "WWW-Authenticate: Bearer\r\nLocation: /login\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                  Cache-Control: no-store\r\nRetry-After: 5\r\nContent-Type: text/html\r\nX-Internal: secret\r\n\
                  Server: s\r\nX-Request-ID: theirs\r\n";
    let services = answering(vec![response(302, fields, "go")]);
    let reply = judge(&http(), PLAIN, &services).unwrap_err();
    assert_eq!(*reply.body(), ReplyBody::Bytes(b"go".to_vec().into()));
    assert_eq!(lines(&reply), fields[..fields.find("X-Internal").unwrap()]);
    let services = answering(vec![response(403, "Location: /\r\n", "<script>")]);
    let reply = judge(&http(), PLAIN, &services).unwrap_err();
    assert_eq!(
        lines(&reply),
        "Location: /\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
    );
    let services =
        answering(vec![response(401, "WWW-Authenticate: Basic\r\nContent-Type: text/html\r\n", "")]);
    let reply = judge(&http(), PLAIN, &services).unwrap_err();
    assert_eq!((code(&reply), &*lines(&reply)), ("filter_denied", "WWW-Authenticate: Basic\r\n"));
}

#[test]
fn clients_of_grpc_get_errors_of_their_own_form() {
    let text = "POST /p.S/M HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Type: application/grpc+proto\r\n\r\n";
    for (status, expected) in [(302, 403), (401, 401), (403, 403), (404, 403), (429, 503)] {
        let services = answering(vec![response(status, "Location: /login\r\n", "page")]);
        let reply = judge(&http(), text, &services).unwrap_err();
        assert_eq!((reply.status(), code(&reply), lines(&reply)), (expected, "filter_denied", String::new()));
    }
}

#[test]
fn the_endpoint_learns_of_a_failure_where_that_is_configured() {
    let filter = ExternalFilter { failed_open_header: Some("x-open".into()), ..open(http()) };
    let text = request_with("X-Open: no\r\nX_OPEN: no\r\n");
    let head = |answer| judge(&filter, &text, &answering(vec![answer])).unwrap();
    assert!(head(Err(CallError::Timeout.into())).ends_with("8080\r\nx-open: timeout\r\n\r\n"));
    assert!(head(response(500, "", "")).ends_with("8080\r\nx-open: status\r\n\r\n"));
    assert!(head(response(200, "", "")).ends_with("8080\r\n\r\n"), "a client's own is removed");
}

// --- gRPC -------------------------------------------------------------------------------------------------

fn grpc() -> ExternalFilter {
    filter(ExternalProtocol::Grpc)
}

fn message(message: &CheckResponse) -> Result<CallResponse, CallFailure> {
    let lines = "content-type: application/grpc\r\n".into();
    Ok(CallResponse { status: 200, lines, body: message.encode_to_vec() })
}

fn verdict(code: Option<i32>, verdict: Option<Verdict>) -> CheckResponse {
    CheckResponse { status: code.map(|code| Status { code }), verdict }
}

fn option(name: &str, value: &str) -> HeaderOption {
    let header = Some(Header { key: name.into(), value: value.into(), raw_value: Vec::new() });
    HeaderOption { header, ..HeaderOption::default() }
}

fn judge_grpc(answer: &CheckResponse, text: &str) -> (Result<String, LocalReply>, DecisionResult) {
    let services = answering(vec![message(answer)]);
    let result = judge(&grpc(), text, &services);
    let noted = services.decisions.borrow()[0];
    (result, noted)
}

#[test]
fn a_check_request_describes_the_request() {
    let services = TestServices { now: 7, ..answering(vec![]) };
    let text = request_with(
        "Cookie: a=1\r\nCookie: b=2\r\nX-A: 1\r\nx-a: 2\r\nX-User: me\r\nX-Forwarded-For: 203.0.113.9\r\n",
    );
    let _ = judge(&grpc(), &text, &services);
    let request = CheckRequest::decode(&**services.body.borrow()).unwrap();
    let attributes = request.attributes.unwrap();
    let source = attributes.source.unwrap();
    assert_eq!(source.address.unwrap().socket_address.unwrap().address, "192.0.2.1");
    let mut extensions: Vec<_> = attributes.context_extensions.into_iter().collect();
    extensions.sort();
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    assert_eq!(extensions, [("app", "app"), ("route", "route"), ("tenant", "tenant-1")].map(pair));
    let request = attributes.request.unwrap();
    assert_eq!(request.time.unwrap().seconds, 7);
    let http = request.http.unwrap();
    assert_eq!((&*http.method, &*http.path, &*http.host), ("GET", "/a?b=c", "a.example:8080"));
    assert_eq!((&*http.scheme, http.size, &*http.protocol), ("https", 0, "HTTP/1.1"));
    let mut headers: Vec<_> = http.headers.into_iter().collect();
    headers.sort();
    let expected = [
        (":authority", "a.example:8080"),
        (":method", "GET"),
        (":path", "/a?b=c"),
        (":scheme", "https"),
        ("cookie", "a=1; b=2"),
        ("x-a", "1,2"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "a.example:8080"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-uri", "/a?b=c"),
        ("x-request-id", "0123456789abcdef0123456789abcdef"),
    ];
    assert_eq!(headers, expected.map(pair));
}

#[test]
fn codes_and_verdicts_that_agree_decide_and_others_fail() {
    let okay = || Some(Verdict::Ok(Okay::default()));
    let denied = || Some(Verdict::Denied(Denied::default()));
    let error = || Some(Verdict::Error(Denied::default()));
    for (answer, expected) in [
        (verdict(Some(0), None), DecisionResult::Allowed),
        (verdict(Some(0), okay()), DecisionResult::Allowed),
        (verdict(None, okay()), DecisionResult::Allowed),
        (verdict(Some(7), None), DecisionResult::Denied),
        (verdict(Some(7), denied()), DecisionResult::Denied),
        (verdict(None, denied()), DecisionResult::Denied),
        (verdict(Some(16), okay()), DecisionResult::Denied),
        (verdict(Some(-1), okay()), DecisionResult::Denied),
        (verdict(Some(0), denied()), DecisionResult::FailedClosed("invalid")),
        (verdict(None, None), DecisionResult::FailedClosed("invalid")),
        (verdict(Some(0), error()), DecisionResult::FailedClosed("error")),
        (verdict(Some(7), error()), DecisionResult::FailedClosed("error")),
        (verdict(None, error()), DecisionResult::FailedClosed("error")),
    ] {
        let (result, noted) = judge_grpc(&answer, PLAIN);
        assert_eq!(noted, expected, "{answer:?}");
        assert_eq!(result.is_ok(), noted == DecisionResult::Allowed);
    }
}

#[test]
fn messages_that_are_cut_or_damaged_never_set_an_asserted_field_of_another_value() {
    let okay = Okay { headers: vec![option("x-user", "alice")], ..Okay::default() };
    let whole = verdict(Some(0), Some(Verdict::Ok(okay))).encode_to_vec();
    let text = request_with("X-User: admin\r\n");
    for at in 0..whole.len() {
        for bit in 0..9 {
            let mut body = whole.clone();
            match bit {
                8 => body.truncate(at),
                bit => body[at] ^= 1 << bit,
            }
            let services = answering(vec![Ok(CallResponse { status: 200, lines: Vec::new(), body })]);
            if let Ok(head) = judge(&grpc(), &text, &services) {
                assert!(!head.contains("admin"), "{at} {bit}: {head}");
            }
        }
    }
}

#[test]
fn a_denial_has_its_status_fields_and_content() {
    let denied = |status: Option<i32>, headers: Vec<HeaderOption>, body: &str| {
        let status = status.map(|code| HttpStatus { code });
        let (result, noted) = judge_grpc(
            &verdict(Some(7), Some(Verdict::Denied(Denied { status, headers, body: body.into() }))),
            PLAIN,
        );
        assert_eq!(noted, DecisionResult::Denied);
        result.unwrap_err()
    };
    for (given, status) in [
        (None, 403),
        (Some(0), 403),
        (Some(-200), 403),
        (Some(200), 403),
        (Some(299), 403),
        (Some(300), 300),
        (Some(302), 302),
        (Some(304), 403),
        (Some(401), 401),
        (Some(503), 503),
        (Some(599), 599),
        (Some(600), 403),
        (Some(65_736), 403),
    ] {
        assert_eq!(denied(given, vec![], "no").status(), status, "{given:?}");
    }
    let bad = [
        option("X-Split", "a\r\nX-B: c"),
        option("X Y", "1"),
        option("", "1"),
        option("Content-Length", "9"),
        option("Transfer-Encoding", "chunked"),
        option("Connection", "close"),
        option("X_Request_ID", "theirs"),
        HeaderOption::default(),
    ];
    let good = [
        option("WWW-Authenticate", "Basic"),
        option("Content-Type", "application/json"),
        option("X-Why", "1"),
    ];
    let reply = denied(Some(401), bad.into_iter().chain(good).collect(), "{}");
    assert_eq!(
        lines(&reply),
        "WWW-Authenticate: Basic\r\nContent-Type: application/json\r\nX-Why: 1\r\nCache-Control: no-store\r\n"
    );
    assert_eq!(*reply.body(), ReplyBody::Bytes(b"{}".to_vec().into()));
    let many = (0..1000).map(|number| option("X-Many", &number.to_string())).collect();
    let reply = denied(None, many, "no");
    assert_eq!(lines(&reply).matches("X-Many").count(), limits::DECISION_EDITS_MAX);
}

fn acting(name: &str, value: &str, append: Option<bool>, action: AppendAction) -> HeaderOption {
    let append = append.map(|value| BoolValue { value });
    HeaderOption { append, append_action: action as i32, ..option(name, value) }
}

#[test]
fn requests_are_edited_as_the_options_say() {
    use AppendAction::{AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd};
    let text = request_with("X-A: client\r\nAuthorization: secret\r\n");
    let edited = |headers: Vec<HeaderOption>, remove: &[&str]| {
        let headers_to_remove = remove.iter().map(|name| (*name).to_owned()).collect();
        let okay = Okay { headers, headers_to_remove, ..Okay::default() };
        let (result, noted) = judge_grpc(&verdict(Some(0), Some(Verdict::Ok(okay))), &text);
        result.map_err(|_| noted)
    };
    let head = |lines: &str| Ok(request_with(lines));
    for (append, action, expected) in [
        (None, AppendIfExistsOrAdd, "Authorization: secret\r\nX-A: s\r\n"),
        (Some(false), AddIfAbsent, "Authorization: secret\r\nX-A: s\r\n"),
        (Some(true), OverwriteIfExists, "X-A: client\r\nAuthorization: secret\r\nX-A: s\r\n"),
        (None, AddIfAbsent, "X-A: client\r\nAuthorization: secret\r\n"),
        (None, OverwriteIfExistsOrAdd, "Authorization: secret\r\nX-A: s\r\n"),
        (None, OverwriteIfExists, "Authorization: secret\r\nX-A: s\r\n"),
    ] {
        assert_eq!(
            edited(vec![acting("X-A", "s", append, action)], &[]),
            head(expected),
            "{append:?} {action:?}"
        );
    }
    let absent = "X-A: client\r\nAuthorization: secret\r\n";
    assert_eq!(edited(vec![acting("X-B", "s", None, OverwriteIfExists)], &[]), head(absent));
    assert_eq!(
        edited(vec![acting("X-B", "s", None, AddIfAbsent)], &[]),
        head(&format!("{absent}X-B: s\r\n"))
    );
    assert_eq!(
        edited(vec![option("x-b", "1"), option("X-B", "2")], &[]),
        head(&format!("{absent}X-B: 2\r\n"))
    );
    assert_eq!(edited(vec![], &["AUTHORIZATION", "x-none"]), head("X-A: client\r\n"));
    let raw = Header { key: "X-Raw".into(), value: String::new(), raw_value: b"\xc3\xa9".to_vec() };
    let raw = HeaderOption { header: Some(raw), ..HeaderOption::default() };
    assert_eq!(edited(vec![raw], &[]), head(&format!("{absent}X-Raw: \u{e9}\r\n")));
}

#[test]
fn edits_that_no_filter_may_make_fail_the_decision() {
    let failed = |okay: Okay| {
        let (result, noted) = judge_grpc(&verdict(Some(0), Some(Verdict::Ok(okay))), PLAIN);
        result.is_err() && noted == DecisionResult::FailedClosed("invalid")
    };
    for name in [
        ":path",
        ":method",
        ":authority",
        "Host",
        "host",
        "X-Forwarded-For",
        "x_forwarded_host",
        "X-Tenant-ID",
        "X.Tenant.ID",
        "X-Request-ID",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Upgrade",
        "Sec-WebSocket-Key",
        "Via",
        "X-Real-IP",
        "X-Client-Cert",
        "",
        "X A",
        "X\r\nA",
    ] {
        assert!(failed(Okay { headers: vec![option(name, "1")], ..Okay::default() }), "{name:?}");
        assert!(failed(Okay { headers_to_remove: vec![name.into()], ..Okay::default() }), "{name:?}");
    }
    for name in ["Content-Length", "Transfer-Encoding", "Connection", "X-Request-ID", "Date", "", "a b"] {
        assert!(
            failed(Okay { response_headers_to_add: vec![option(name, "1")], ..Okay::default() }),
            "{name:?}"
        );
    }
    for value in ["a\r\nX-B: c", "a\nb", "a\0b", " a", "a\t"] {
        assert!(failed(Okay { headers: vec![option("X-A", value)], ..Okay::default() }), "{value:?}");
    }
    assert!(failed(Okay { headers: vec![HeaderOption::default()], ..Okay::default() }));
    let unknown = HeaderOption { append_action: 4, ..option("X-A", "1") };
    assert!(failed(Okay { headers: vec![unknown], ..Okay::default() }));
    let contrary =
        Okay { headers: vec![option("X-A", "1")], headers_to_remove: vec!["x-a".into()], ..Okay::default() };
    assert!(failed(contrary));
    let query = vec![QueryParameter { key: "admin".into() }];
    assert!(failed(Okay { query_parameters_to_set: query, ..Okay::default() }));
    assert!(failed(Okay { query_parameters_to_remove: vec!["token".into()], ..Okay::default() }));
    let many =
        |count: usize| (0..count).map(|number| option(&format!("x-{number}"), "1")).collect::<Vec<_>>();
    // Two are the removals of the asserted fields.
    assert!(!failed(Okay { headers: many(limits::DECISION_EDITS_MAX - 2), ..Okay::default() }));
    assert!(failed(Okay { headers: many(limits::DECISION_EDITS_MAX - 1), ..Okay::default() }));
}

#[test]
fn responses_are_edited_as_the_options_say() {
    let options = vec![
        acting("X-Set", "service", None, AppendAction::OverwriteIfExistsOrAdd),
        option("Set-Cookie", "a=1"),
        acting("X-Absent", "1", None, AppendAction::AddIfAbsent),
        acting("X-Present", "1", None, AppendAction::AddIfAbsent),
    ];
    let okay = Okay { response_headers_to_add: options, ..Okay::default() };
    let services = answering(vec![message(&verdict(Some(0), Some(Verdict::Ok(okay))))]);
    let (chain, mut state) = (chain(&grpc()), Run::default());
    assert!(run(&chain, PLAIN, &services, &mut state).is_ok());
    let reply =
        LocalReply::error(404).with_field("X-Set", b"own").unwrap().with_field("x-present", b"own").unwrap();
    let edited = testing::reply_lines(&chain, PLAIN, &reply, &mut state);
    assert_eq!(edited, "X-Set: service\r\nSet-Cookie: a=1\r\nX-Absent: 1\r\n");
    // Nothing of it is left for the next request.
    let services = answering(vec![message(&verdict(Some(0), None))]);
    let mut state = Run::default();
    assert!(run(&chain, PLAIN, &services, &mut state).is_ok());
    assert_eq!(testing::reply_lines(&chain, PLAIN, &reply, &mut state), "");
}

// --- Cache ------------------------------------------------------------------------------------------------

#[test]
fn a_kept_decision_holds_for_the_same_values_alone() {
    let chain = chain(&cached(http(), &["authorization", "path", "x-forwarded-for"]));
    let mut services = answering(vec![]);
    let ask = |services: &TestServices, text: &str| {
        let before = services.calls.borrow().len();
        services.responses.borrow_mut().clear();
        let user = format!("x-user: {before}\r\n");
        services.responses.borrow_mut().push(response(200, &user, ""));
        let head = run(&chain, text, services, &mut Run::default()).unwrap();
        let user = head.split("x-user: ").nth(1).unwrap().trim().parse::<usize>().unwrap();
        (user, services.calls.borrow().len() > before)
    };
    let request = |path: &str, lines: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let first = request("/", "Authorization: one\r\n");
    assert_eq!(ask(&services, &first), (0, true));
    assert_eq!(ask(&services, &first), (0, false));
    // The client's address is the one that the service gets, not what the client claims.
    assert_eq!(
        ask(&services, &request("/", "Authorization: one\r\nX-Forwarded-For: 203.0.113.9\r\nX-Other: 1\r\n")),
        (0, false)
    );
    for (number, text) in [
        request("/", ""),
        request("/", "Authorization: two\r\n"),
        request("/", "Authorization: one\r\nAuthorization: one\r\n"),
        request("/", "Authorization: oneone\r\n"),
        request("/?", "Authorization: one\r\n"),
        request("/?authorization=one", ""),
        request("/", "Authorization: one\r\nContent-Type: application/grpc\r\n"),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(ask(&services, text), (number + 1, true), "{text}");
        assert_eq!(ask(&services, text), (number + 1, false), "{text}");
    }
    assert_eq!(ask(&services, &first), (0, false));
    services.revision += 1;
    assert!(ask(&services, &first).1, "another configuration");
    services.now += 10;
    assert!(ask(&services, &first).1, "its time is over");
    assert_eq!(
        services.decisions.borrow().iter().filter(|result| **result == DecisionResult::Cached).count(),
        10
    );
}

#[test]
fn failures_cookies_and_large_decisions_are_not_kept_and_denials_are() {
    let filter = cached(http(), &["path"]);
    let large = "x".repeat(limits::DECISION_CACHED_BYTES_MAX);
    for (answer, calls) in [
        (response(403, "", "no"), 1),
        (response(401, "WWW-Authenticate: Basic\r\n", ""), 1),
        (response(302, "Location: /login\r\nSet-Cookie: state=1\r\n", ""), 2),
        (response(403, "", &large), 2),
        (response(200, &format!("x-user: {large}\r\n"), ""), 2),
        (response(500, "", ""), 2),
        (Err(CallError::Timeout.into()), 2),
    ] {
        let (chain, services) = (chain(&filter), answering(vec![answer.clone(), answer.clone()]));
        let first = run(&chain, PLAIN, &services, &mut Run::default());
        assert_eq!(run(&chain, PLAIN, &services, &mut Run::default()), first);
        assert_eq!(services.calls.borrow().len(), calls, "{answer:?}");
    }
    let cookie = Okay { response_headers_to_add: vec![option("set-cookie", "a=1")], ..Okay::default() };
    let answer = message(&verdict(Some(0), Some(Verdict::Ok(cookie))));
    let (chain, services) = (chain(&cached(grpc(), &["path"])), answering(vec![answer.clone(), answer]));
    for _ in 0..2 {
        assert!(run(&chain, PLAIN, &services, &mut Run::default()).is_ok());
    }
    assert_eq!(services.calls.borrow().len(), 2);
}

#[test]
fn filters_with_other_settings_share_no_decision() {
    let services = answering(vec![response(200, "x-user: a\r\n", ""), response(403, "", "")]);
    let one = cached(http(), &["path"]);
    let other = ExternalFilter { asserts: Box::default(), ..one.clone() };
    assert!(judge(&one, PLAIN, &services).is_ok());
    assert!(judge(&other, PLAIN, &services).is_err());
    assert!(judge(&one, PLAIN, &services).is_err(), "the other's took the place");
}

#[test]
fn the_cache_is_bounded() {
    let (chain, services) = (chain(&cached(http(), &["path"])), answering(vec![]));
    for number in 0..limits::DECISIONS_CACHED_MAX * 2 {
        services.responses.borrow_mut().push(response(200, "", ""));
        let text = format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(run(&chain, &text, &services, &mut Run::default()).is_ok());
    }
    assert!(services.core.decisions.borrow().len() <= limits::DECISIONS_CACHED_MAX);
}

// --- Compilation, and forward authentication ---------------------------------------------------------------

struct Tag;

impl crate::Middleware for Tag {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        request.append("X-Tag", b"1").unwrap();
        Flow::Continue
    }
}

#[test]
fn plugins_that_are_not_there_refuse_unless_they_may_fail() {
    let mut builtins = Builtins::default();
    builtins.add("tag", Tag);
    let builtin = |name: &str, fail_mode| PluginKind::Builtin { name: name.into(), fail_mode };
    let head = |kind: Option<PluginKind>| {
        let compiled = compiled(&[plugin()], kind.as_ref(), &builtins);
        let chain = compiled.chain.unwrap_or_default();
        let result = run(&chain, PLAIN, &TestServices::default(), &mut Run::default());
        (result.map_err(|reply| (reply.status(), code(&reply).to_owned())), compiled.is_logged)
    };
    let refused = Err((503, "middleware_unavailable".to_owned()));
    assert_eq!(head(None).0, refused);
    assert_eq!(head(Some(builtin("none", FailMode::Closed))).0, refused);
    assert_eq!(head(Some(builtin("none", FailMode::Open))).0.as_deref(), Ok(PLAIN));
    assert_eq!(
        head(Some(builtin("tag", FailMode::Closed))).0,
        Ok(PLAIN.replace("\r\n\r\n", "\r\nX-Tag: 1\r\n\r\n"))
    );
    assert_eq!(
        head(Some(builtin("structured_logger", FailMode::Closed))),
        (Ok(PLAIN.to_owned()), Some(true))
    );
}

#[test]
fn a_chain_is_another_one_where_the_settings_of_its_plugin_are() {
    assert_eq!(chain(&http()), chain(&http()));
    assert_ne!(chain(&http()), chain(&open(http())));
    assert_ne!(chain(&http()), compiled(&[plugin()], None, &Builtins::default()).chain.unwrap());
}

fn auth(any_of: Vec<AuthMethod>) -> Arc<Chain> {
    let stage = StageSpec::Auth(AuthStage { any_of: any_of.into(), optional: true });
    compiled(&[stage], None, &Builtins::default()).chain.unwrap()
}

#[test]
fn forward_authentication_is_always_closed() {
    let chain = auth(vec![AuthMethod::Forward(open(http()))]);
    let judge = |answer| {
        let (services, mut state) = (answering(vec![answer]), Run::default());
        let result = run(&chain, &request_with("X-User: admin\r\n"), &services, &mut state);
        (result.map_err(|reply| (reply.status(), code(&reply).to_owned())), state.refusal)
    };
    assert_eq!(judge(response(200, "X-User: alice\r\n", "")), (Ok(request_with("x-user: alice\r\n")), None));
    assert_eq!(judge(response(403, "", "")), (Err((403, "filter_denied".into())), Some(Reason::Denied)));
    for failure in [response(500, "", ""), Err(CallError::Timeout.into()), Err(CallError::Unavailable.into())]
    {
        let refused = (Err((503, "auth_unavailable".into())), Some(Reason::NoDecision));
        assert_eq!(judge(failure), refused);
    }
}

#[test]
fn a_service_decides_whatever_methods_stand_behind_it() {
    let chain = auth(vec![AuthMethod::Forward(http()), AuthMethod::ClientCertificate {}]);
    let services = answering(vec![response(401, "", "")]);
    assert_eq!(run(&chain, PLAIN, &services, &mut Run::default()).unwrap_err().status(), 401);
    let cached = auth(vec![AuthMethod::Forward(cached(http(), &["path"]))]);
    let services = answering(vec![response(200, "x-user: a\r\n", "")]);
    for _ in 0..2 {
        assert!(run(&cached, PLAIN, &services, &mut Run::default()).unwrap().contains("x-user: a"));
    }
    assert_eq!(*services.decisions.borrow(), [DecisionResult::Allowed, DecisionResult::Cached]);
}
