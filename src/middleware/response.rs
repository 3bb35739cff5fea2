//! A response as its stages see it.

use ringway_wire::h1::ResponseHead;
use ringway_wire::headers::FieldError;

use crate::body::BodyTransform;
use crate::chain::Run;
use crate::edits::{self, Edits};

/// Head of a response, before any edit.
#[derive(Clone, Copy, Debug)]
pub enum ResponseHeadView<'a> {
    /// Response of an endpoint: the head and its buffer.
    Endpoint(&'a ResponseHead, &'a [u8]),
    /// Local reply of the proxy.
    Local {
        /// The status.
        status: u16,
        /// Field lines, each with its CRLF; those that are added when it is sent are not among them.
        lines: &'a [u8],
    },
}

/// A response for one stage: its head, the edits for the client, and the state of the stage.
#[derive(Debug)]
pub struct ResponseCtx<'a> {
    head: ResponseHeadView<'a>,
    pub(crate) edits: &'a mut Edits,
    pub(crate) run: &'a mut Run,
}

impl<'a> ResponseCtx<'a> {
    /// The response with this head, for stages that collect their edits in `edits`.
    pub fn new(head: ResponseHeadView<'a>, edits: &'a mut Edits, run: &'a mut Run) -> Self {
        Self { head, edits, run }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        match self.head {
            ResponseHeadView::Endpoint(head, _) => head.status(),
            ResponseHeadView::Local { status, .. } => status,
        }
    }

    /// Whether no endpoint sent it.
    pub fn is_local(&self) -> bool {
        matches!(self.head, ResponseHeadView::Local { .. })
    }

    /// Values of a field, one per line, as received; the name in any case.
    pub fn field(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let (endpoint, local) = match self.head {
            ResponseHeadView::Endpoint(head, buf) => (Some(head.field(buf, name)), None),
            ResponseHeadView::Local { lines, .. } => (None, Some(edits::values(lines, name))),
        };
        endpoint.into_iter().flatten().chain(local.into_iter().flatten())
    }

    /// Removes every line of a field that came with the response.
    pub fn remove(&mut self, name: &str) {
        self.edits.remove(name);
    }

    /// Adds a line to the head for the client.
    ///
    /// # Errors
    /// Name or value could not stand in a head (RFC 9110 §5.1, §5.5); nothing is added then.
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

    /// State of this stage for this request: what its request stage left.
    pub fn state<T: Default + 'static>(&mut self) -> &mut T {
        self.run.state()
    }

    /// Passes the response body through `transform`, behind those of the stages that saw the response before.
    pub fn transform_body(&mut self, transform: impl BodyTransform + 'static) {
        self.run.response_body.push(transform);
    }
}
