//! API of scripts: whatever the body of a hook calls it with, the outcome can stand in a head, changes no
//! field of the gateway, and comes within the limits.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_middleware::{
    CallError, CallResponse, Edits, LocalReply, RequestParts, ResponseHeadView, Waiting,
};
use ringway_model::Direction;
use ringway_script::{
    Bundle, BundleSource, Call, Dictionary, Effects, Fetch, Host, Limits, LogLine, Outcome, Progress,
    RateLimit, Rights, ScriptRequest, SourceFile, SourceKind, Vm,
};
use ringway_wire::h1::RequestHead;
use ringway_wire::headers;

pub(crate) fn check(bytes: &[u8]) {
    let body = String::from_utf8_lossy(bytes);
    let text = format!(
        "local dict, limit = gw.shared('d'), gw.limit{{name = 'l', rate = 1}}
        local function f(req, res) {body}\nend
        gw.use{{request = f, response = f, log = f}}
        gw.get('/', f)"
    );
    let file = SourceFile { path: "f.lua".into(), text: text.into(), kind: SourceKind::Script("f".into()) };
    let limits = Limits { steps: STEPS, memory_bytes: 4 << 20, ..Limits::default() };
    let source = BundleSource { files: vec![file], limits, ..BundleSource::default() };
    let Ok(bundle) = Bundle::compile(&source) else { return };
    let Ok(vm) = Vm::load(&Arc::new(bundle), Rc::new(Still(Arc::default()))) else { return };
    let request = request();
    for hook in vm.bundle().declarations().scripts.iter().flat_map(|script| script.hooks.clone()) {
        outcome(&vm, Call::Request(hook), &request, Direction::Request);
        let head = ResponseHeadView::Local { status: 200, lines: b"Server: x\r\n", is_error: false };
        request.set_response(head, Edits::default());
        outcome(&vm, Call::Response(hook), &request, Direction::Response);
        outcome(&vm, Call::Log(hook), &request, Direction::Response);
    }
    for route in &vm.bundle().declarations().routes {
        if let ringway_script::RouteTarget::Handler(id) = route.target {
            outcome(&vm, Call::Handler(id), &request, Direction::Request);
        }
    }
}

/// Steps of a call; charges for bytes may exceed them once.
const STEPS: u32 = 2_000;

fn outcome(vm: &Vm, call: Call, request: &ScriptRequest, direction: Direction) {
    let mut running = vm.call(call, request);
    let mut cx = Context::from_waker(Waker::noop());
    let outcome = loop {
        match pin!(running.next()).poll(&mut cx) {
            Poll::Ready(Progress::Body(bytes_max)) => request.set_body(Ok(vec![b'b'; bytes_max.min(9)])),
            Poll::Ready(Progress::Done(outcome)) => break outcome,
            Poll::Pending => panic!("the deadline of the call is over"),
        }
    };
    assert_eq!(vm.waiting(), 0);
    match outcome {
        Outcome::Continue(effects) | Outcome::Proxy(effects) => check_effects(&effects, direction),
        Outcome::Reply(reply) => check_reply(&reply),
        Outcome::Failed(failure) => assert!(failure.message.len() <= 4_096, "{failure}"),
    }
}

fn check_effects(effects: &Effects, direction: Direction) {
    check_lines(effects.edits.lines(), direction);
    for name in effects.edits.removed() {
        assert!(headers::is_token(name.as_bytes()) && !direction.protects(name), "{name:?} is removed");
    }
    assert!(effects.pool.as_deref().is_none_or(|pool| pool == "api"), "{effects:?}");
    let is_plain = |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(effects.path.as_deref().is_none_or(is_plain), "{effects:?}");
}

fn check_reply(reply: &LocalReply) {
    assert!((200..600).contains(&reply.status()));
    check_lines(reply.lines(), Direction::Response);
}

fn check_lines(lines: &[u8], direction: Direction) {
    assert!(lines.is_empty() || lines.ends_with(b"\r\n"));
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"\r").expect("a line ends with CRLF");
        let colon = line.iter().position(|byte| *byte == b':').expect("a line has a colon");
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        assert!(headers::is_token(name) && headers::is_field_value(value), "{}", line.escape_ascii());
        assert!(!direction.protects(&String::from_utf8_lossy(name)), "{}", line.escape_ascii());
    }
}

fn request() -> ScriptRequest {
    const TEXT: &[u8] = b"GET /a?x=1 HTTP/1.1\r\nHost: a.test\r\nCookie: sid=1\r\nX-A: 1\r\n\r\n";
    let mut head = RequestHead::default();
    let parsed = head.parse(TEXT, &ringway_wire::h1::Limits::default());
    assert!(parsed.is_ok());
    let parts = RequestParts {
        head: &head,
        buf: TEXT,
        client: [192, 0, 2, 7].into(),
        is_secure: true,
        request_id: "r-1",
        route: "r",
        app: "api",
        tenant: None,
        certificate: None,
    };
    let rights = Rights { pools: Some(Arc::from(["api".into()])), sets_path: true };
    ScriptRequest::new(&parts, Edits::default(), None, Vec::new(), rights)
}

/// Host that never waits, and whose clocks stand still.
struct Still(Arc<Dictionary>);

impl Host for Still {
    fn unix_micros(&self) -> u64 {
        1
    }

    fn now_micros(&self) -> u64 {
        1
    }

    fn cpu_micros(&self) -> u64 {
        1
    }

    fn random(&self) -> u64 {
        7
    }

    fn sleep(&self, _: Duration) -> Waiting<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn fetch(&self, fetch: Fetch) -> Waiting<'static, Result<CallResponse, CallError>> {
        check_lines(&fetch.lines, Direction::Request);
        assert!(headers::is_token(fetch.method.as_bytes()), "{fetch:?}");
        assert!(fetch.path.starts_with('/') && fetch.path.bytes().all(|byte| byte.is_ascii_graphic()));
        let response = CallResponse { status: 200, lines: b"X-A: 1\r\n".to_vec(), body: fetch.body };
        Box::pin(std::future::ready(Ok(response)))
    }

    fn dictionary(&self, _: &str) -> Option<Arc<Dictionary>> {
        Some(self.0.clone())
    }

    fn take(&self, _: &RateLimit, key: &[u8]) -> Result<(), Duration> {
        if key.len().is_multiple_of(2) { Ok(()) } else { Err(Duration::from_millis(1)) }
    }

    fn log(&self, line: LogLine<'_>) {
        assert!(!line.text.contains(char::is_control), "{:?}", line.text);
    }

    fn count(&self, metric: &str, by: f64) {
        assert!(!metric.is_empty() && by >= 0.0);
    }

    fn secret(&self, name: &str) -> Option<Box<str>> {
        Some(name.into())
    }
}
