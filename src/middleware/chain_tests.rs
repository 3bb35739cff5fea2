#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ringway_wire::h1::{Limits, ResponseHead};
use ringway_wire::message::Method;

use super::*;
use crate::body::{BodyError, BodyTransform};
use crate::response::ResponseHeadView;
use crate::testing::{self, TestServices};

/// Stage that adds its name and state to both heads.
struct Tag(&'static str);

impl Middleware for Tag {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        if request.field("x-block").any(|value| value == self.0.as_bytes()) {
            return Flow::Reply(LocalReply::error(403));
        }
        if request.field("x-wait").any(|value| value == self.0.as_bytes()) {
            return Flow::Wait;
        }
        *request.state::<String>() = format!("{} of {}", self.0, request.app());
        request.append("X-Seen", self.0.as_bytes()).unwrap();
        Flow::Continue
    }

    fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        let mut is_ready = false;
        Box::pin(async move {
            poll_fn(|_| if std::mem::replace(&mut is_ready, true) { Poll::Ready(()) } else { Poll::Pending })
                .await;
            request.append("X-Waited", self.0.as_bytes()).unwrap();
            match request.path() {
                "/denied" => ControlFlow::Break(LocalReply::new(401, &b"no"[..])),
                _ => ControlFlow::Continue(()),
            }
        })
    }

    fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let state = response.state::<String>().clone();
        response.append("X-State", state.as_bytes()).unwrap();
        if response.is_local() {
            response.append("X-Local", self.0.as_bytes()).unwrap();
        }
    }
}

fn chain(names: &[&'static str]) -> Chain {
    Chain::new(names.iter().map(|name| Stage::Custom(Arc::new(Tag(name)))).collect())
}

fn with_request<T>(text: &str, run: &mut Run, f: impl FnOnce(&mut RequestCtx<'_>) -> T) -> T {
    testing::with_request(text, &TestServices::default(), run, f)
}

fn respond(chain: &Chain, run: &mut Run, reply: &LocalReply) -> String {
    testing::reply_lines(chain, PLAIN, reply, run)
}

/// Awaits the stages of a chain as the exchange does.
async fn resume(chain: &Chain, request: &mut RequestCtx<'_>) -> ControlFlow<LocalReply> {
    loop {
        chain.wait(request).await?;
        request.run.pass();
        match chain.on_request(request) {
            Flow::Continue => return ControlFlow::Continue(()),
            Flow::Reply(reply) => return ControlFlow::Break(reply),
            Flow::Wait => {}
            Flow::Limit(limit) => panic!("limit {limit} of a custom stage"),
            Flow::Script => panic!("script of a custom stage"),
        }
    }
}

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn request_stages_run_in_order() {
    let mut run = Run::default();
    let flow = with_request(PLAIN, &mut run, |request| chain(&["a", "b"]).on_request(request));
    assert!(matches!(flow, Flow::Continue));
    assert_eq!(run.request_edits().lines(), b"X-Seen: a\r\nX-Seen: b\r\n");
}

#[test]
fn response_stages_run_in_reverse_each_with_its_own_state() {
    let (chain, mut run) = (chain(&["a", "b"]), Run::default());
    let flow = with_request(PLAIN, &mut run, |request| chain.on_request(request));
    assert!(matches!(flow, Flow::Continue));
    let text = b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n";
    let mut head = ResponseHead::default();
    head.parse(text, Method::Get, &Limits::default()).unwrap();
    let mut edits = Edits::default();
    let view = ResponseHeadView::Endpoint(&head, text);
    let request = testing::head(PLAIN);
    let mut response = ResponseCtx::new(testing::view(&request, PLAIN), view, &mut edits, &mut run);
    assert_eq!((response.status(), response.is_local()), (204, false));
    assert_eq!(response.field("x-a").collect::<Vec<_>>(), [b"1"]);
    chain.on_response(&mut response);
    assert_eq!(edits.lines(), b"X-State: b of app\r\nX-State: a of app\r\n");
}

#[test]
fn a_reply_ends_the_request_and_runs_the_response_stages_before_it() {
    let (chain, mut run) = (chain(&["a", "b", "c"]), Run::default());
    let text = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Block: b\r\n\r\n";
    let flow = with_request(text, &mut run, |request| chain.on_request(request));
    let Flow::Reply(reply) = flow else { panic!("{flow:?}") };
    assert_eq!((reply.status(), run.request_edits().lines()), (403, &b"X-Seen: a\r\n"[..]));
    let lines = respond(&chain, &mut run, &reply);
    assert_eq!(lines, "X-State: a of app\r\nX-Local: a\r\n");
}

#[test]
fn a_pending_stage_is_awaited_before_the_rest_runs() {
    let (chain, mut run) = (chain(&["a", "b", "c"]), Run::default());
    let text = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Wait: b\r\nX-Wait: c\r\n\r\n";
    with_request(text, &mut run, |request| {
        assert!(matches!(chain.on_request(request), Flow::Wait));
        let mut resumed = pin!(resume(&chain, request));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(resumed.as_mut().poll(cx).is_pending(), "b waits");
        assert!(resumed.as_mut().poll(cx).is_pending(), "c waits");
        assert!(matches!(resumed.as_mut().poll(cx), Poll::Ready(ControlFlow::Continue(()))));
    });
    assert_eq!(run.request_edits().lines(), b"X-Seen: a\r\nX-Waited: b\r\nX-Waited: c\r\n");
    assert_eq!(run.passed, 3);
}

#[test]
fn a_pending_stage_may_reply() {
    let (chain, mut run) = (chain(&["a", "b", "c"]), Run::default());
    let text = "GET /denied HTTP/1.1\r\nHost: a.example\r\nX-Wait: b\r\n\r\n";
    let reply = with_request(text, &mut run, |request| {
        assert!(matches!(chain.on_request(request), Flow::Wait));
        let mut resumed = pin!(resume(&chain, request));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(resumed.as_mut().poll(cx).is_pending());
        match resumed.as_mut().poll(cx) {
            Poll::Ready(ControlFlow::Break(reply)) => reply,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(reply.status(), 401);
    assert_eq!(respond(&chain, &mut run, &reply), "X-State: a of app\r\nX-Local: a\r\n");
}

/// Stage that transforms both bodies.
struct Shout;

struct Upper;

impl BodyTransform for Upper {
    fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        out.extend(data.iter().map(u8::to_ascii_uppercase));
        Ok(())
    }
}

impl Middleware for Shout {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        request.transform_body(Upper);
        Flow::Continue
    }

    fn on_response(&self, response: &mut ResponseCtx<'_>) {
        response.transform_body(Upper);
    }
}

#[test]
fn bodies_are_transformed_only_by_stages_that_add_a_transform() {
    let (plain, mut run) = (chain(&["a"]), Run::default());
    let _ = with_request(PLAIN, &mut run, |request| plain.on_request(request));
    respond(&plain, &mut run, &LocalReply::error(502));
    assert!(run.request_body().is_empty() && run.response_body().is_empty());

    let (shout, mut run) = (Chain::new(vec![Stage::Custom(Arc::new(Shout))]), Run::default());
    let _ = with_request(PLAIN, &mut run, |request| shout.on_request(request));
    respond(&shout, &mut run, &LocalReply::error(502));
    let mut out = Vec::new();
    run.request_body().on_data(b"ab", &mut out).unwrap();
    run.response_body().on_data(b"cd", &mut out).unwrap();
    assert_eq!(out, b"ABCD");
}

#[test]
fn chains_are_equal_when_their_stages_are() {
    let one = chain(&["a", "b"]);
    assert_eq!(one, one.clone());
    assert_ne!(one, chain(&["a", "b"]));
    assert_eq!(Chain::default(), Chain::default());
}
