//! Request of a client as scripts see it, over all calls of its hooks and its handler.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ringway_middleware::{Edits, Identity, RequestParts, ResponseHeadView};
use ringway_wire::h1::RequestHead;

use crate::limits;
use crate::outcome::Effects;
use crate::route_table::Parameters;

/// Request of a client as scripts see it: a copy of its head, the edits so far, and what hooks share. Made
/// once for a request that meets a script; each call gets it. Cheap to clone.
#[derive(Clone)]
pub struct ScriptRequest(pub(crate) Rc<RequestState>);

/// Decisions about a request that scripts may make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Pools that it may be sent to; all that the namespace may use, where `None`.
    pub pools: Option<Arc<[Box<str>]>>,
    /// They may set its path: no authentication has judged it yet.
    pub sets_path: bool,
}

pub(crate) struct RequestState {
    head: RequestHead,
    buf: Box<[u8]>,
    pub(crate) client: Box<str>,
    pub(crate) is_secure: bool,
    pub(crate) id: Box<str>,
    pub(crate) route: Box<str>,
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) identity: Option<Identity>,
    pub(crate) parameters: Parameters,
    rights: Rights,
    /// Texts that hooks leave to each other.
    pub(crate) vars: RefCell<Vars>,
    pub(crate) edits: RefCell<Edits>,
    edit_count: Cell<u32>,
    pub(crate) choice: RefCell<Choice>,
    pub(crate) response: RefCell<Option<ResponseState>>,
    body: RefCell<Body>,
}

/// Names and values of `req.vars`.
type Vars = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Decisions of hooks about where a request goes.
#[derive(Clone, Default)]
pub(crate) struct Choice {
    pub(crate) pool: Option<Box<str>>,
    pub(crate) path: Option<Box<str>>,
}

/// Head of the response.
#[derive(Clone)]
pub(crate) struct ResponseState {
    pub(crate) status: u16,
    pub(crate) lines: Vec<u8>,
    pub(crate) edits: Edits,
}

/// State that a failed call gives back.
pub(crate) struct Saved {
    edits: Edits,
    response_edits: Option<Edits>,
    choice: Choice,
    vars: Vars,
}

/// Content of the request.
enum Body {
    Unread,
    /// A call waits for this many bytes at most.
    Wanted(usize, Option<Waker>),
    /// The worker reads it.
    Reading(Option<Waker>),
    Read(Result<Rc<[u8]>, BodyUnavailable>),
}

/// The content of a request is longer than the script reads, or broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyUnavailable;

impl ScriptRequest {
    /// Copies a request. `edits` are those of earlier stages; `identity` is that of authentication.
    pub fn new(
        parts: &RequestParts<'_>,
        edits: Edits,
        identity: Option<Identity>,
        parameters: Parameters,
        rights: Rights,
    ) -> Self {
        Self(Rc::new(RequestState {
            head: parts.head.clone(),
            buf: parts.buf.into(),
            client: parts.client.to_string().into(),
            is_secure: parts.is_secure,
            id: parts.request_id.into(),
            route: parts.route.into(),
            tenant: parts.tenant.map(Into::into),
            identity,
            parameters,
            rights,
            vars: RefCell::default(),
            edits: RefCell::new(edits),
            edit_count: Cell::new(0),
            choice: RefCell::default(),
            response: RefCell::new(None),
            body: RefCell::new(Body::Unread),
        }))
    }

    /// Stands for no request.
    pub(crate) fn empty() -> Self {
        let parts = RequestParts {
            head: &RequestHead::default(),
            buf: b"",
            client: IpAddr::from([0, 0, 0, 0]),
            is_secure: false,
            request_id: "",
            route: "",
            app: "",
            tenant: None,
            certificate: None,
        };
        Self::new(&parts, Edits::default(), None, Parameters::new(), Rights::default())
    }

    /// Adds the response, for hooks of responses. `edits` are those of earlier stages.
    pub fn set_response(&self, head: ResponseHeadView<'_>, edits: Edits) {
        let (status, lines) = match head {
            ResponseHeadView::Endpoint(head, buf) => {
                let mut lines = Vec::new();
                for field in head.fields(buf) {
                    for part in [field.name, b": ", field.value, b"\r\n"] {
                        lines.extend_from_slice(part);
                    }
                }
                (head.status(), lines)
            }
            ResponseHeadView::Local { status, lines, .. } => (status, lines.to_vec()),
        };
        *self.0.response.borrow_mut() = Some(ResponseState { status, lines, edits });
    }

    /// Gives the content that [`Progress::Body`](crate::Progress::Body) asked for, or that it cannot be had.
    pub fn set_body(&self, body: Result<Vec<u8>, BodyUnavailable>) {
        let state = self.0.body.replace(Body::Read(body.map(Into::into)));
        if let Body::Wanted(_, Some(waker)) | Body::Reading(Some(waker)) = state {
            waker.wake();
        }
    }

    /// The content that calls have read: it still has to be sent.
    pub fn read_body(&self) -> Option<Rc<[u8]>> {
        match &*self.0.body.borrow() {
            Body::Read(Ok(bytes)) => Some(bytes.clone()),
            Body::Read(Err(_)) | Body::Unread | Body::Wanted(..) | Body::Reading(_) => None,
        }
    }
}

impl std::fmt::Debug for ScriptRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptRequest").field("id", &self.0.id).finish_non_exhaustive()
    }
}

impl RequestState {
    pub(crate) fn method(&self) -> &str {
        self.head.method_str(&self.buf)
    }

    pub(crate) fn host(&self) -> &str {
        self.head.host()
    }

    pub(crate) fn path(&self) -> &str {
        self.head.path(&self.buf)
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.head.query(&self.buf)
    }

    pub(crate) fn has_edits(&self) -> bool {
        !self.edits.borrow().is_empty()
    }

    /// Names and values of all fields that are received.
    pub(crate) fn received(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.fields(&self.buf).map(|field| (field.name, field.value))
    }

    /// Counts an edit; whether the request may have another one.
    pub(crate) fn count_edit(&self) -> bool {
        let count = self.edit_count.get() + 1;
        self.edit_count.set(count);
        count <= limits::EDITS_MAX
    }

    pub(crate) fn may_use(&self, pool: &str) -> bool {
        self.rights.pools.as_ref().is_none_or(|pools| pools.iter().any(|known| **known == *pool))
    }

    pub(crate) fn may_set_path(&self) -> bool {
        self.rights.sets_path
    }

    pub(crate) fn save(&self) -> Saved {
        Saved {
            edits: self.edits.borrow().clone(),
            response_edits: self.response.borrow().as_ref().map(|response| response.edits.clone()),
            choice: self.choice.borrow().clone(),
            vars: self.vars.borrow().clone(),
        }
    }

    pub(crate) fn restore(&self, saved: Saved) {
        *self.edits.borrow_mut() = saved.edits;
        *self.choice.borrow_mut() = saved.choice;
        *self.vars.borrow_mut() = saved.vars;
        if let (Some(response), Some(edits)) = (self.response.borrow_mut().as_mut(), saved.response_edits) {
            response.edits = edits;
        }
    }

    /// Effects of the calls for the request so far.
    pub(crate) fn request_effects(&self) -> Effects {
        let Choice { pool, path } = self.choice.borrow().clone();
        Effects { edits: self.edits.borrow().clone(), pool, path }
    }

    /// Effects of the calls for the response so far.
    pub(crate) fn response_effects(&self) -> Effects {
        let edits = self.response.borrow().as_ref().map(|response| response.edits.clone());
        Effects { edits: edits.unwrap_or_default(), ..Effects::default() }
    }

    /// Polls the content; asks for it first.
    pub(crate) fn poll_body(
        &self,
        bytes_max: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Rc<[u8]>, BodyUnavailable>> {
        let mut body = self.body.borrow_mut();
        match &mut *body {
            Body::Unread => *body = Body::Wanted(bytes_max, Some(cx.waker().clone())),
            Body::Wanted(_, waker) | Body::Reading(waker) => *waker = Some(cx.waker().clone()),
            Body::Read(result) => return Poll::Ready(result.clone()),
        }
        Poll::Pending
    }

    /// Takes the wish for the content.
    pub(crate) fn take_wanted_body(&self) -> Option<usize> {
        let mut body = self.body.borrow_mut();
        let Body::Wanted(bytes_max, waker) = &mut *body else { return None };
        let (bytes_max, waker) = (*bytes_max, waker.take());
        *body = Body::Reading(waker);
        Some(bytes_max)
    }
}

/// Names and values of lines, each with its CRLF.
pub(crate) fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
        let end = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..end], line[end + 1..].trim_ascii()))
    })
}
