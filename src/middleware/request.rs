//! A request as its stages see it.

use std::net::IpAddr;

use ringway_wire::h1::RequestHead;
use ringway_wire::headers::FieldError;

use crate::body::BodyTransform;
use crate::chain::Run;

/// Head of a request and what the match found about it.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
    client: IpAddr,
    app: &'a str,
    tenant: Option<&'a str>,
}

impl<'a> RequestView<'a> {
    /// A view of the head that stands in `buf`.
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

/// A request for one stage: its head, the edits for the endpoint, and the state of the stage.
#[derive(Debug)]
pub struct RequestCtx<'a> {
    view: RequestView<'a>,
    pub(crate) run: &'a mut Run,
}

impl<'a> RequestCtx<'a> {
    /// The request of `view`; `run` keeps what its stages leave until the response.
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

    /// Values of a field, one per line, as received; the name in any case.
    pub fn field<'n>(&self, name: &'n str) -> impl Iterator<Item = &'n [u8]> + use<'a, 'n>
    where
        'a: 'n,
    {
        self.view.head.field(self.view.buf, name)
    }

    /// The client's address, seen through trusted proxies.
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

    /// Removes every line of a field that came with the request.
    pub fn remove(&mut self, name: &str) {
        self.run.edits.remove(name);
    }

    /// Adds a line to the head for the endpoint.
    ///
    /// # Errors
    /// Name or value could not stand in a head (RFC 9110 §5.1, §5.5); nothing is added then.
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

    /// State of this stage for this request, made with its first use; the same for [`on_response`] and no other stage's.
    ///
    /// [`on_response`]: crate::Middleware::on_response
    pub fn state<T: Default + 'static>(&mut self) -> &mut T {
        self.run.state()
    }

    /// Passes the request body through `transform`, behind those of the stages before.
    pub fn transform_body(&mut self, transform: impl BodyTransform + 'static) {
        self.run.request_body.push(transform);
    }
}
