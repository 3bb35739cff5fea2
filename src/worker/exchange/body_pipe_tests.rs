#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ringway_middleware::{
    BodyError, BodyTransform, Chain, Edits, Middleware, RequestParts, RequestView, ResponseCtx,
    ResponseHeadView, Run, Stage,
};
use ringway_wire::h1::RequestHead;

use super::*;

/// Step of a copy, as a test sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Transformed(usize),
    Yielded,
    Paused,
    Waited,
    Wrote(usize),
    Finished(usize),
}
use Step::{Finished, Paused, Transformed, Waited, Wrote, Yielded};

thread_local! {
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

fn note(step: Step) {
    STEPS.with_borrow_mut(|steps| steps.push(step));
}

/// Transform that holds all of its input until a pause, or until it has 40,000 bytes.
#[derive(Default)]
struct Hold(Vec<u8>);

impl BodyTransform for Hold {
    fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        note(Transformed(data.len()));
        self.0.extend_from_slice(data);
        if self.0.len() >= 40_000 { self.on_end(out) } else { Ok(()) }
    }

    fn on_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        out.append(&mut self.0);
        Ok(())
    }

    fn on_pause(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        note(Paused);
        self.on_end(out)
    }
}

struct Holding;

impl Middleware for Holding {
    fn on_response(&self, response: &mut ResponseCtx<'_>) {
        response.transform_body(Hold::default());
    }
}

/// Transforms as a stage adds them.
fn transforms() -> BodyTransforms {
    let chain = Chain::new(vec![Stage::Custom(Arc::new(Holding))]);
    let (mut run, mut edits, head) = (Run::default(), Edits::default(), RequestHead::default());
    run.pass();
    let request = RequestView::new(RequestParts {
        head: &head,
        buf: b"",
        client: IpAddr::from([127, 0, 0, 1]),
        is_secure: false,
        request_id: "",
        route: "",
        app: "",
        tenant: None,
        certificate: None,
    });
    let response = ResponseHeadView::Local { status: 200, lines: b"", is_error: false };
    chain.on_response(&mut ResponseCtx::new(request, response, &mut edits, &mut run));
    std::mem::take(run.response_body())
}

/// Body in parts; an empty one has not come yet. Without an end it is cut.
struct Parts {
    data: Vec<u8>,
    parts: VecDeque<Vec<u8>>,
    has_end: bool,
}

impl BodySource for Parts {
    fn take(&mut self) -> Result<BodyPart, Failure> {
        let is_last = self.has_end && self.parts.is_empty();
        Ok(if is_last { BodyPart::Last } else { BodyPart::Inner })
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        note(Waited);
        self.parts.pop_front_if(|part| part.is_empty());
        self.data = self.parts.pop_front().ok_or(Failure::ResponseCut)?;
        Ok(())
    }

    fn fill_now(&mut self) -> bool {
        let next = self.parts.pop_front_if(|part| !part.is_empty());
        let is_there = next.is_some();
        self.data = next.unwrap_or_default();
        is_there
    }

    async fn yield_now(&self) {
        note(Yielded);
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    fn trailers(&self) -> &[u8] {
        b"X-Trailer: 1\r\n"
    }
}

#[derive(Default)]
struct Sent {
    data: Vec<u8>,
    trailers: Vec<u8>,
}

impl BodySink for Sent {
    async fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        note(Wrote(data.len()));
        self.data.extend_from_slice(data);
        Ok(())
    }

    async fn finish(&mut self, data: &[u8], trailers: &[u8]) -> Result<(), Failure> {
        note(Finished(data.len()));
        self.data.extend_from_slice(data);
        self.trailers.extend_from_slice(trailers);
        Ok(())
    }
}

/// Copies a body; returns what was sent, and the steps.
fn copied(parts: &[usize], has_end: bool) -> (Result<(), Failure>, Sent, Vec<Step>) {
    STEPS.take();
    let mut parts: VecDeque<Vec<u8>> = parts.iter().map(|bytes| vec![b'x'; *bytes]).collect();
    let mut source = Parts { data: parts.pop_front().unwrap(), parts, has_end };
    let (mut sent, mut bytes) = (Sent::default(), 0);
    let counted = Rc::new(RefCell::new(0));
    let mut transforms = transforms();
    let result = {
        let on_sent = |sent: usize| *counted.borrow_mut() += sent;
        let copy = pin!(copy(&mut source, &mut transforms, &mut sent, on_sent));
        match copy.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("nothing waits here"),
        }
    };
    bytes += *counted.borrow();
    assert_eq!(bytes, sent.data.len());
    (result, sent, STEPS.take())
}

#[test]
fn a_transformed_body_is_moved_in_steps_between_which_others_run() {
    let (result, sent, steps) = copied(&[65_536, 65_536, 10], true);
    assert_eq!((result, sent.data.len(), &*sent.trailers), (Ok(()), 131_082, &b"X-Trailer: 1\r\n"[..]));
    for pair in steps.windows(2) {
        let [one, two] = pair else { continue };
        assert!(!matches!((one, two), (Transformed(_), Transformed(_))), "{steps:?}");
    }
    assert!(steps.iter().all(|step| !matches!(step, Transformed(16_385..))), "{steps:?}");
    // All of it was there: no pause, no wait, and few writes.
    assert!(!steps.contains(&Paused) && !steps.contains(&Waited), "{steps:?}");
    let writes = steps.iter().filter(|step| matches!(step, Wrote(_))).count();
    assert_eq!(writes, 2, "{steps:?}");
}

#[test]
fn what_came_is_sent_before_a_wait() {
    let (result, sent, steps) = copied(&[0, 0, 9, 0, 9], true);
    assert_eq!((result, sent.data.len()), (Ok(()), 18));
    // The head is sent before anything has come.
    let head = [Paused, Wrote(0), Waited];
    let first = [Transformed(9), Yielded, Paused, Wrote(9), Waited];
    let last = [Transformed(9), Finished(9)];
    assert_eq!(steps, [&head[..], &first, &last].concat());
}

#[test]
fn a_body_that_is_always_there_is_sent_now_and_then() {
    let (_, _, steps) = copied(&[1; 20], true);
    let pauses = steps.iter().filter(|step| **step == Paused).count();
    assert_eq!(
        pauses,
        20 / (limits::TRANSFORM_FILLS_MAX + 1) - usize::from(20 % (limits::TRANSFORM_FILLS_MAX + 1) == 0)
    );
}

#[test]
fn a_cut_body_has_no_end() {
    let (result, sent, steps) = copied(&[30_000, 0, 30_000], false);
    assert_eq!((result, sent.data.len(), &*sent.trailers), (Err(Failure::ResponseCut), 60_000, &b""[..]));
    assert!(!steps.iter().any(|step| matches!(step, Finished(_))), "{steps:?}");
}
