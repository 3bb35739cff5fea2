//! Kit of the unit tests: a host with a virtual clock, requests, and calls that run to their end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_middleware::{CallError, CallResponse, Edits, Identity, RequestParts, ResponseHeadView, Waiting};
use ringway_wire::h1::{Limits as HeadLimits, Parse, RequestHead};

use crate::{
    Bundle, BundleSource, Call, CompileError, Dictionaries, Dictionary, Failure, Fetch, Found, Host, Limits,
    LogLine, Outcome, Progress, RateLimit, Rights, RouteTarget, Running, ScriptRequest, SourceFile,
    SourceKind, Vm,
};

/// Host whose clock moves only where a call sleeps.
#[derive(Default)]
pub(crate) struct TestHost {
    pub(crate) now_us: Rc<Cell<u64>>,
    /// Times at which sleeps end.
    pub(crate) sleeps: Rc<RefCell<Vec<u64>>>,
    /// CPU time is that of the thread; else it stands still.
    pub(crate) real_cpu: bool,
    pub(crate) random: Cell<u64>,
    pub(crate) namespace: String,
    pub(crate) dictionaries: Arc<Dictionaries>,
    /// Responses to fetches, in order, each after this many milliseconds.
    pub(crate) responses: RefCell<Vec<(u64, Result<CallResponse, CallError>)>>,
    pub(crate) fetches: RefCell<Vec<Fetch>>,
    pub(crate) logs: RefCell<Vec<String>>,
    pub(crate) metrics: RefCell<BTreeMap<String, f64>>,
    pub(crate) takes: RefCell<Vec<(RateLimit, Vec<u8>)>>,
}

impl TestHost {
    pub(crate) fn advance(&self, duration: Duration) {
        self.now_us.set(self.now_us.get() + duration.as_micros() as u64);
    }

    /// Moves the clock to the end of the next sleep.
    fn skip(&self) -> bool {
        let now_us = self.now_us.get();
        self.sleeps.borrow_mut().retain(|end| *end > now_us);
        let next = self.sleeps.borrow().iter().copied().min();
        next.inspect(|end| self.now_us.set(*end)).is_some()
    }
}

impl Host for TestHost {
    fn unix_micros(&self) -> u64 {
        1_700_000_000_000_000 + self.now_us.get()
    }

    fn now_micros(&self) -> u64 {
        self.now_us.get()
    }

    fn cpu_micros(&self) -> u64 {
        match self.real_cpu {
            true => thread_cpu_us(),
            false => 0,
        }
    }

    fn random(&self) -> u64 {
        self.random.set(self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.random.get()
    }

    fn sleep(&self, duration: Duration) -> Waiting<'static, ()> {
        let end = self.now_us.get() + duration.as_micros() as u64;
        self.sleeps.borrow_mut().push(end);
        let now_us = self.now_us.clone();
        let poll = move |_: &mut Context<'_>| match now_us.get() >= end {
            true => Poll::Ready(()),
            false => Poll::Pending,
        };
        Box::pin(std::future::poll_fn(poll))
    }

    fn fetch(&self, fetch: Fetch) -> Waiting<'static, Result<CallResponse, CallError>> {
        self.fetches.borrow_mut().push(fetch);
        let mut responses = self.responses.borrow_mut();
        let (millis, response) = match responses.is_empty() {
            true => (0, Err(CallError::Unavailable)),
            false => responses.remove(0),
        };
        let sleep = self.sleep(Duration::from_millis(millis));
        Box::pin(async move {
            sleep.await;
            response
        })
    }

    fn dictionary(&self, name: &str) -> Option<Arc<Dictionary>> {
        self.dictionaries.get(&self.namespace, name)
    }

    fn take(&self, limit: &RateLimit, key: &[u8]) -> Result<(), Duration> {
        let mut takes = self.takes.borrow_mut();
        let taken = takes.iter().filter(|(known, of)| known.name == limit.name && of == key).count();
        if taken as u32 >= limit.burst {
            return Err(limit.per / limit.requests);
        }
        takes.push((limit.clone(), key.to_vec()));
        Ok(())
    }

    fn log(&self, line: LogLine<'_>) {
        let LogLine { level, file, line, request_id, text } = line;
        self.logs.borrow_mut().push(format!("{level:?} {file}:{line} {request_id} {text}"));
    }

    fn count(&self, metric: &str, by: f64) {
        *self.metrics.borrow_mut().entry(metric.to_owned()).or_default() += by;
    }

    fn secret(&self, name: &str) -> Option<Box<str>> {
        (name == "key").then(|| "s3cret".into())
    }
}

/// CPU time of the thread as the kernel accounts for it, in steps of its tick.
pub(crate) fn thread_cpu_us() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default() / 1_000
}

/// Bundle of one script, `test.lua`.
pub(crate) fn source(text: &str) -> BundleSource {
    let kind = SourceKind::Script("test".into());
    let file = SourceFile { path: "test.lua".into(), text: text.into(), kind };
    BundleSource { files: vec![file], ..BundleSource::default() }
}

pub(crate) fn bundle(text: &str) -> Arc<Bundle> {
    match Bundle::compile(&source(text)) {
        Ok(bundle) => Arc::new(bundle),
        Err(errors) => panic!("{errors:?}"),
    }
}

/// The only finding about a script, as text.
pub(crate) fn finding(text: &str) -> String {
    let errors: Vec<CompileError> = Bundle::compile(&source(text)).err().unwrap_or_default();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let text = errors[0].to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// VM of one script with its host.
pub(crate) struct Script {
    pub(crate) vm: Vm,
    pub(crate) host: Rc<TestHost>,
}

impl Script {
    pub(crate) fn new(text: &str) -> Self {
        Self::with_host(text, TestHost::default())
    }

    pub(crate) fn with_host(text: &str, host: TestHost) -> Self {
        Self::with_limits(text, Limits::default(), host)
    }

    pub(crate) fn with_limits(text: &str, limits: Limits, host: TestHost) -> Self {
        let source = BundleSource { limits, ..source(text) };
        let bundle = Arc::new(Bundle::compile(&source).expect("the bundle compiles"));
        let host = Rc::new(host);
        Self { vm: Vm::load(&bundle, host.clone()).expect("the bundle loads"), host }
    }

    /// Runs the hooks and the handler of a request, as a worker does.
    pub(crate) fn get(&self, target: &str) -> Outcome {
        self.send(&request(&format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nCookie: sid=1; a=b\r\n\r\n")))
    }

    pub(crate) fn send(&self, request: &ScriptRequest) -> Outcome {
        let bundle = self.vm.bundle();
        let Some(table) = bundle.tables().get(&None) else { panic!("no routes") };
        let found = table.find(bundle.declarations(), request.0.method(), request.0.path());
        for hook in found.hooks() {
            match self.run(Call::Request(*hook), request) {
                Outcome::Continue(_) => {}
                ended => return ended,
            }
        }
        match found {
            Found::Route(route, _) => match &route.target {
                RouteTarget::Handler(id) => self.run(Call::Handler(*id), request),
                RouteTarget::Proxy(_) => Outcome::Proxy(request.0.request_effects()),
            },
            Found::Fallback(fallback, _) => self.run(Call::Handler(fallback.handler), request),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a call to its end; the body of the request is `body`.
    pub(crate) fn run(&self, call: Call, request: &ScriptRequest) -> Outcome {
        let mut running = self.vm.call(call, request);
        loop {
            match self.wait(&mut running) {
                Progress::Body(_) => request.set_body(Ok(b"body".to_vec())),
                Progress::Done(outcome) => return outcome,
            }
        }
    }

    /// Waits for the progress of a call, and moves the clock where it sleeps.
    pub(crate) fn wait(&self, running: &mut Running) -> Progress {
        let mut next = pin!(running.next());
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match next.as_mut().poll(&mut cx) {
                Poll::Ready(progress) => return progress,
                Poll::Pending => assert!(self.host.skip(), "the call waits for nothing"),
            }
        }
    }

    /// The body that a script replies with to `GET /`.
    pub(crate) fn body(&self) -> String {
        match self.get("/") {
            Outcome::Reply(reply) => match reply.body() {
                ringway_middleware::ReplyBody::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn failure(&self) -> Failure {
        match self.get("/") {
            Outcome::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }
}

/// Value of an expression in a handler, as text.
pub(crate) fn eval(expression: &str) -> String {
    Script::new(&format!("gw.get('/', function(req) return 200, tostring({expression}) end)")).body()
}

/// Message of the error that a statement in a handler raises.
pub(crate) fn error_of(statement: &str) -> String {
    let script = format!("gw.get('/', function(req) {statement} return 200 end)");
    let message = Script::new(&script).failure().message;
    message.lines().next().unwrap_or_default().to_owned()
}

pub(crate) fn request(head: &str) -> ScriptRequest {
    request_with(head, Rights { pools: Some(Arc::from(["api".into(), "auth".into()])), sets_path: true })
}

pub(crate) fn request_with(text: &str, rights: Rights) -> ScriptRequest {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(text.as_bytes(), &HeadLimits::default()), Ok(Parse::Complete));
    let parts = RequestParts {
        head: &head,
        buf: text.as_bytes(),
        client: [192, 0, 2, 7].into(),
        is_secure: true,
        request_id: "req-1",
        route: "test",
        app: "api",
        tenant: Some("acme"),
        certificate: None,
    };
    let identity = Identity { user: "u-1".into(), claims: vec![("role".into(), "admin".into())] };
    let parameters = vec![("id".into(), (*b"42").into())];
    ScriptRequest::new(&parts, Edits::default(), Some(identity), parameters, rights)
}

/// Adds a response to a request.
pub(crate) fn respond(request: &ScriptRequest, status: u16, lines: &str) {
    let head = ResponseHeadView::Local { status, lines: lines.as_bytes(), is_error: false };
    request.set_response(head, Edits::default());
}

/// Body of a reply.
pub(crate) fn bytes(text: &'static str) -> ringway_middleware::ReplyBody {
    ringway_middleware::ReplyBody::Bytes(text.as_bytes().into())
}
