//! Request context of middleware stages.

use std::net::IpAddr;

use ringway_wire::h1::RequestHead;
use ringway_wire::headers::FieldError;

use crate::body::BodyTransform;
use crate::chain::Run;

/// Request head and its routing result.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
    client: IpAddr,
    app: &'a str,
    tenant: Option<&'a str>,
}

impl<'a> RequestView<'a> {
    /// Returns a view of the head in `buf`.
    pub fn new(
        head: &'a RequestHead,
        buf: &'a [u8],
        client: IpAddr,
        app: &'a str,
        tenant: Option<&'a str>,
    ) -> Self {
        Self { head, buf, client, app, tenant }
    }
}

/// Request context of a stage: the head, the edits of the forwarded head, and the stage's state.
#[derive(Debug)]
pub struct RequestCtx<'a> {
    view: RequestView<'a>,
    pub(crate) run: &'a mut Run,
}

impl<'a> RequestCtx<'a> {
    /// Returns the context of `view`; `run` keeps edits and state until the response.
    pub fn new(view: RequestView<'a>, run: &'a mut Run) -> Self {
        Self { view, run }
    }

    /// The method as sent.
    pub fn method(&self) -> &'a str {
        self.view.head.method_str(self.view.buf)
    }

    /// The host, normalised: lower case, without port.
    pub fn host(&self) -> &'a str {
        self.view.head.host()
    }

    /// The path without its query, as sent.
    pub fn path(&self) -> &'a str {
        self.view.head.path(self.view.buf)
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&'a str> {
        self.view.head.query(self.view.buf)
    }

    /// Values of a field, one per line, as received; the name is case-insensitive.
    pub fn field<'n>(&self, name: &'n str) -> impl Iterator<Item = &'n [u8]> + use<'a, 'n>
    where
        'a: 'n,
    {
        self.view.head.field(self.view.buf, name)
    }

    /// The client's address, as forwarded by trusted proxies.
    pub fn client(&self) -> IpAddr {
        self.view.client
    }

    /// The app that will serve the request.
    pub fn app(&self) -> &'a str {
        self.view.app
    }

    /// The tenant of the domain.
    pub fn tenant(&self) -> Option<&'a str> {
        self.view.tenant
    }

    /// Removes all received lines of a field.
    pub fn remove(&mut self, name: &str) {
        self.run.edits.remove(name);
    }

    /// Adds a line to the forwarded head.
    ///
    /// # Errors
    /// Name or value is invalid (RFC 9110 §5.1, §5.5); nothing is added then.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        self.run.edits.append(name, value)
    }

    /// Replaces every line of a field by one.
    ///
    /// # Errors
    /// As [`append`](Self::append); nothing is replaced then.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        self.run.edits.set(name, value)
    }

    /// State of this stage for this request, created at its first use and shared with [`on_response`] only.
    ///
    /// [`on_response`]: crate::Middleware::on_response
    pub fn state<T: Default + 'static>(&mut self) -> &mut T {
        self.run.state()
    }

    /// Adds a transform of the request body, behind those of earlier stages.
    pub fn transform_body(&mut self, transform: impl BodyTransform + 'static) {
        self.run.request_body.push(transform);
    }
}
