//! The audit trail: every change, refused ones too, and no secret.

use std::fmt::{self, Write as _};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use ringway_wire::message::Method;

use super::fake::{FakePlane, State};
use crate::Token;
use crate::access::{AccessControl, AccessSettings, Credentials, Listener, Peer};
use crate::service::{Admission, Head, Service};
use crate::waits::Waits;

const TOKEN: &str = "a-token-of-the-tests";

/// Keeps every event as one line.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The log of one request, and its id.
fn logged(method: Method, path: &str, query: Option<&str>, body: &str) -> (Vec<String>, String) {
    let plane = FakePlane(Arc::new(Mutex::new(State::default())));
    plane.0.lock().unwrap().app("app1");
    let token = Some(Token::parse(TOKEN).unwrap());
    let access = AccessControl::new(&AccessSettings { token, ..AccessSettings::default() });
    let service = Service::new(Rc::new(plane), Rc::new(access), Waits::new(1), None);
    let authorization = format!("Bearer {TOKEN}");
    let from = Credentials {
        host: "localhost",
        authority: "localhost",
        authorization: Some(authorization.as_bytes()),
        ..Credentials::default()
    };
    let peer = Peer { address: Some("127.0.0.1:5000".parse().unwrap()), ..Peer::default() };
    let head = Head { method, path, query, from, has_body: !body.is_empty(), ..Head::default() };
    let id = service.draw_id();
    let capture = Capture::default();
    tracing::subscriber::with_default(capture.clone(), || {
        let listener = Listener::Tcp("127.0.0.1:8080".parse().unwrap());
        let Admission::Admitted(admitted) = service.admit(&listener, &peer, &head, &id) else {
            panic!("it is admitted")
        };
        let mut body = body.as_bytes().to_vec();
        let mut answer = std::pin::pin!(service.respond(admitted, &mut body, &peer, &id, &|| true));
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => {}
            Poll::Pending => panic!("this plane answers at once"),
        }
    });
    let lines = capture.0.lock().unwrap().clone();
    (lines, id.to_string())
}

#[test]
fn a_change_leaves_one_line_that_says_who_did_what() {
    let body = r#"{"app_id":"app1","instance":{"instance_id":"i1","target":"http://10.1.2.3:99"}}"#;
    let (lines, id) = logged(Method::Post, "/api/apps/register", None, body);
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for part in [
        "ringway::audit",
        "method=POST",
        "path=\"/api/apps/register\"",
        "subject=\"app app1, instance i1\"",
        "outcome=\"created\"",
        "revision=2",
        "remote=127.0.0.1:5000",
        &format!("request_id={id}"),
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn a_refused_change_leaves_its_reason() {
    let (lines, _) = logged(Method::Delete, "/api/apps/instances/nope", None, "");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(
        line.contains("outcome=\"unknown_instance\"") && line.contains("subject=\"instance nope\""),
        "{line}"
    );
    let (lines, _) = logged(Method::Post, "/api/apps/register", None, "{");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.contains("outcome=\"malformed_body\""), "{line}");
}

#[test]
fn no_secret_no_body_and_no_query_is_logged() {
    let body = r#"{"app_id":"app1","app_name":"the-secret-name","x":"the-secret-value"}"#;
    let (lines, _) = logged(Method::Post, "/api/apps/register", Some("token=the-secret-query"), body);
    assert_eq!(lines.len(), 1);
    for secret in [TOKEN, "the-secret-name", "the-secret-value", "the-secret-query"] {
        assert!(!lines[0].contains(secret), "{secret} in {}", lines[0]);
    }
}

#[test]
fn an_upload_is_told_without_chain_and_key() {
    let body = r#"{"domain":"one.example","certificate":"the-secret-chain","key":"the-secret-key"}"#;
    let (lines, _) = logged(Method::Post, "/api/tenants/domains/certificate", None, body);
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.contains("subject=\"certificate one.example\""), "{line}");
    assert!(line.contains("outcome=\"unknown_domain\"") && !line.contains("the-secret"), "{line}");
}

#[test]
fn questions_leave_no_line() {
    assert!(logged(Method::Get, "/api/apps", None, "").0.is_empty());
    assert!(logged(Method::Post, "/api/apps/get", None, r#"{"app_id":"app1"}"#).0.is_empty());
}
