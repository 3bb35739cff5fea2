//! Kit of the unit tests: a request with its context, and services without a core.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_model::{AppId, CredentialSource};
use ringway_wire::h1::{Limits, Parse, RequestHead};

use crate::chain::{Chain, Run};
use crate::edits::Edits;
use crate::reply::LocalReply;
use crate::request::{RequestCtx, RequestParts, RequestView};
use crate::response::{ResponseCtx, ResponseHeadView};
use crate::services::{
    Call, CallError, CallFailure, CallResponse, CoreState, DecisionResult, Services, Waiting,
};
use crate::{Credentials, Flow};

/// Services that a test scripts.
#[derive(Default)]
pub(crate) struct TestServices {
    pub(crate) now: u64,
    pub(crate) revision: u64,
    pub(crate) core: CoreState,
    pub(crate) credentials: HashMap<CredentialSource, Arc<Credentials>>,
    /// Responses to calls, in order.
    pub(crate) responses: RefCell<Vec<Result<CallResponse, CallFailure>>>,
    /// Calls that were made: pool and field lines.
    pub(crate) calls: RefCell<Vec<(String, String)>>,
    /// Content of the last call.
    pub(crate) body: RefCell<Vec<u8>>,
    /// Results of asking external filters.
    pub(crate) decisions: RefCell<Vec<DecisionResult>>,
    /// Credentials after a refresh, where they are others.
    pub(crate) newest: HashMap<CredentialSource, Arc<Credentials>>,
    /// Result of the verification of a password.
    pub(crate) password: Option<bool>,
}

impl Services for TestServices {
    fn now(&self) -> u64 {
        self.now
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn core(&self) -> &CoreState {
        &self.core
    }

    fn credentials(&self, source: &CredentialSource) -> Option<&Arc<Credentials>> {
        self.credentials.get(source)
    }

    fn now_micros(&self) -> u64 {
        self.now * 1_000_000
    }

    fn refresh<'s>(&'s self, source: &'s CredentialSource) -> Waiting<'s, Option<Arc<Credentials>>> {
        let newest = self.newest.get(source).or_else(|| self.credentials.get(source));
        Box::pin(std::future::ready(newest.cloned()))
    }

    fn verify_password(&self, _: Arc<str>, _: Box<[u8]>) -> Waiting<'_, Option<bool>> {
        Box::pin(std::future::ready(self.password))
    }

    fn call<'s>(&'s self, call: Call<'s>) -> Waiting<'s, Result<CallResponse, CallFailure>> {
        let lines = String::from_utf8_lossy(call.lines).into_owned();
        self.calls.borrow_mut().push((call.pool.to_owned(), lines));
        *self.body.borrow_mut() = call.body.to_vec();
        let mut responses = self.responses.borrow_mut();
        let response = match responses.is_empty() {
            true => Err(CallError::Unavailable.into()),
            false => responses.remove(0),
        };
        Box::pin(std::future::ready(response))
    }

    fn note_decision(&self, _: &AppId, result: DecisionResult, _: u64) {
        self.decisions.borrow_mut().push(result);
    }
}

pub(crate) fn head(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(text.as_bytes(), &Limits::default()), Ok(Parse::Complete));
    head
}

/// View of a request of 192.0.2.1 over https for the app `app`, route `route`.
pub(crate) fn view<'a>(head: &'a RequestHead, text: &'a str) -> RequestView<'a> {
    RequestView::new(RequestParts {
        head,
        buf: text.as_bytes(),
        client: IpAddr::from([192, 0, 2, 1]),
        is_secure: true,
        request_id: "0123456789abcdef0123456789abcdef",
        route: "route",
        app: "app",
        tenant: Some("tenant-1"),
        certificate: None,
    })
}

/// Calls `f` with the context of a request.
pub(crate) fn with_request<T>(
    text: &str,
    services: &TestServices,
    run: &mut Run,
    f: impl FnOnce(&mut RequestCtx<'_>) -> T,
) -> T {
    let head = head(text);
    f(&mut RequestCtx::new(view(&head, text), services, run))
}

/// Runs the request stages of a chain.
pub(crate) fn request(chain: &Chain, text: &str, services: &TestServices, run: &mut Run) -> Flow {
    with_request(text, services, run, |request| chain.on_request(request))
}

/// Lines that the response stages add to a local reply to the request.
pub(crate) fn reply_lines(chain: &Chain, text: &str, reply: &LocalReply, run: &mut Run) -> String {
    let (head, mut edits) = (head(text), Edits::default());
    let is_error = matches!(reply.body(), crate::ReplyBody::Error { .. });
    let local = ResponseHeadView::Local { status: reply.status(), lines: reply.lines(), is_error };
    chain.on_response(&mut ResponseCtx::new(view(&head, text), local, &mut edits, run));
    String::from_utf8(edits.lines().to_vec()).expect("lines of tests are text")
}
