//! Response context of middleware stages.

use ringway_wire::h1::ResponseHead;
use ringway_wire::headers::FieldError;
use ringway_wire::message::Method;

use crate::body::BodyTransform;
use crate::chain::Run;
use crate::edits::{self, Edits};
use crate::request::RequestView;

/// Response head, before any edit.
#[derive(Clone, Copy, Debug)]
pub enum ResponseHeadView<'a> {
    /// Response of an endpoint: the head and its buffer.
    Endpoint(&'a ResponseHead, &'a [u8]),
    /// Local reply of the proxy.
    Local {
        /// The status.
        status: u16,
        /// Field lines, each with its CRLF, without those that are added when it is sent.
        lines: &'a [u8],
        /// Whether it is an error with a code, whose content the proxy makes.
        is_error: bool,
    },
}

/// Response context of a stage: the head, the edits of the client's head, and the stage's state.
#[derive(Debug)]
pub struct ResponseCtx<'a> {
    pub(crate) request: RequestView<'a>,
    head: ResponseHeadView<'a>,
    pub(crate) edits: &'a mut Edits,
    pub(crate) run: &'a mut Run,
}

impl<'a> ResponseCtx<'a> {
    /// Returns the context of a response to a request; stages collect their edits in `edits`.
    pub fn new(
        request: RequestView<'a>,
        head: ResponseHeadView<'a>,
        edits: &'a mut Edits,
        run: &'a mut Run,
    ) -> Self {
        Self { request, head, edits, run }
    }

    /// Values of a field of the request, one per line, as received; the name is case-insensitive.
    pub fn request_field(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.request.head().field(self.request.buf(), name)
    }

    /// The status.
    pub fn status(&self) -> u16 {
        match self.head {
            ResponseHeadView::Endpoint(head, _) => head.status(),
            ResponseHeadView::Local { status, .. } => status,
        }
    }

    /// Whether it is a local reply.
    pub fn is_local(&self) -> bool {
        matches!(self.head, ResponseHeadView::Local { .. })
    }

    /// Whether it is an error of the proxy itself, whose content it makes.
    pub fn is_error(&self) -> bool {
        matches!(self.head, ResponseHeadView::Local { is_error: true, .. })
    }

    /// Values of a field, one per line, as received; the name is case-insensitive.
    pub fn field(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let (endpoint, local) = match self.head {
            ResponseHeadView::Endpoint(head, buf) => (Some(head.field(buf, name)), None),
            ResponseHeadView::Local { lines, .. } => (None, Some(edits::values(lines, name))),
        };
        endpoint.into_iter().flatten().chain(local.into_iter().flatten())
    }

    /// Values of a field in the client's head as it is so far: received ones that no stage has removed, and
    /// those of earlier response stages.
    pub(crate) fn values(&self, name: &'a str) -> impl Iterator<Item = &[u8]> {
        let is_received = !self.edits.removes(name.as_bytes());
        let received = self.field(name).filter(move |_| is_received);
        received.chain(edits::values(self.edits.lines(), name))
    }

    /// The length of the body, where it is known; also of one that a response to HEAD does not have.
    pub(crate) fn content_length(&self) -> Option<u64> {
        match self.head {
            ResponseHeadView::Endpoint(head, _) => head.content_length(),
            ResponseHeadView::Local { .. } => None,
        }
    }

    /// Whether the request was HEAD.
    pub(crate) fn is_head(&self) -> bool {
        self.request.head().method() == Method::Head
    }

    /// Whether the response has a field: received, or of an earlier response stage.
    pub fn has(&self, name: &'a str) -> bool {
        self.field(name).next().is_some() || edits::values(self.edits.lines(), name).next().is_some()
    }

    /// The same, but for received lines that a response stage has removed.
    pub(crate) fn has_kept(&self, name: &str) -> bool {
        let is_removed = self.edits.removes(name.as_bytes());
        let is_received = || match self.head {
            ResponseHeadView::Endpoint(head, buf) => head.field(buf, name).next().is_some(),
            ResponseHeadView::Local { lines, .. } => edits::values(lines, name).next().is_some(),
        };
        (!is_removed && is_received()) || edits::values(self.edits.lines(), name).next().is_some()
    }

    /// Removes all received lines of a field.
    pub fn remove(&mut self, name: &str) {
        self.edits.remove(name);
    }

    /// Adds a line to the client's head.
    ///
    /// # Errors
    /// Name or value is invalid (RFC 9110 §5.1, §5.5); nothing is added then.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        self.edits.append(name, value)
    }

    /// Replaces every line of a field by one.
    ///
    /// # Errors
    /// As [`append`](Self::append); nothing is replaced then.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        self.edits.set(name, value)
    }

    /// State of this stage for this request, as its request stage left it.
    pub fn state<T: Default + 'static>(&mut self) -> &mut T {
        self.run.state()
    }

    /// Adds a transform of the response body, behind those of earlier response stages.
    pub fn transform_body(&mut self, transform: impl BodyTransform + 'static) {
        self.run.response_body.push(transform);
    }
}
