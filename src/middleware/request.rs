//! Request context of middleware stages.

use std::net::IpAddr;

use ringway_wire::h1::RequestHead;
use ringway_wire::headers::FieldError;

use crate::body::BodyTransform;
use crate::chain::Run;
use crate::identity::Identity;
use crate::services::Services;

/// Request head and its routing result.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    pub(crate) parts: RequestParts<'a>,
}

/// Parts of a [`RequestView`].
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// The head.
    pub head: &'a RequestHead,
    /// The bytes that it was parsed from.
    pub buf: &'a [u8],
    /// The client's address, as forwarded by trusted proxies.
    pub client: IpAddr,
    /// Whether the client uses https, as forwarded by trusted proxies.
    pub is_secure: bool,
    /// Id of the request.
    pub request_id: &'a str,
    /// Id of the route, or the domain.
    pub route: &'a str,
    /// The app or pool; empty for a rule that replies itself.
    pub app: &'a str,
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// Subject of the client certificate that the handshake verified.
    pub certificate: Option<&'a str>,
}

impl<'a> RequestView<'a> {
    /// Returns a view of these parts.
    pub fn new(parts: RequestParts<'a>) -> Self {
        Self { parts }
    }

    pub(crate) fn head(&self) -> &'a RequestHead {
        self.parts.head
    }

    pub(crate) fn buf(&self) -> &'a [u8] {
        self.parts.buf
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.parts.client
    }

    /// Values of a field, one per line.
    pub(crate) fn fields(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.head().field(self.buf(), name)
    }

    /// Values of a cookie (RFC 6265 §4.2.1).
    pub(crate) fn cookies(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.cookie_pairs().filter_map(move |pair| cookie_value(pair, name))
    }

    /// All cookies as `name=value`.
    pub(crate) fn cookie_pairs(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let lines = self.head().field(self.buf(), "cookie");
        lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.parts.is_secure { "https" } else { "http" }
    }
}

/// Value of a pair with this name. Spaces around both do not count, as for servers that trim them.
pub(crate) fn cookie_value<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let end = pair.iter().position(|byte| *byte == b'=')?;
    let is_named = pair[..end].trim_ascii() == name.as_bytes();
    is_named.then(|| pair[end + 1..].trim_ascii())
}

/// Request context of a stage: the head, the edits of the forwarded head, and the stage's state.
pub struct RequestCtx<'a> {
    pub(crate) view: RequestView<'a>,
    pub(crate) services: &'a dyn Services,
    pub(crate) run: &'a mut Run,
}

impl<'a> RequestCtx<'a> {
    /// Returns the context of `view`; `run` keeps edits and state until the response.
    pub fn new(view: RequestView<'a>, services: &'a dyn Services, run: &'a mut Run) -> Self {
        Self { view, services, run }
    }

    /// Services of the core.
    pub fn services(&self) -> &'a dyn Services {
        self.services
    }

    /// The identity that an earlier stage verified.
    pub fn identity(&self) -> Option<&Identity> {
        self.run.identity.as_deref()
    }

    /// The method as sent.
    pub fn method(&self) -> &'a str {
        self.view.head().method_str(self.view.buf())
    }

    /// The host, normalised: lower case, without port.
    pub fn host(&self) -> &'a str {
        self.view.head().host()
    }

    /// The path without its query, as sent.
    pub fn path(&self) -> &'a str {
        self.view.head().path(self.view.buf())
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&'a str> {
        self.view.head().query(self.view.buf())
    }

    /// Values of a field, one per line, as received; the name is case-insensitive.
    pub fn field<'n>(&self, name: &'n str) -> impl Iterator<Item = &'n [u8]> + use<'a, 'n>
    where
        'a: 'n,
    {
        self.view.head().field(self.view.buf(), name)
    }

    /// The client's address, as forwarded by trusted proxies.
    pub fn client(&self) -> IpAddr {
        self.view.client()
    }

    /// Whether the client uses https, as forwarded by trusted proxies.
    pub fn is_secure(&self) -> bool {
        self.view.parts.is_secure
    }

    /// Id of the request.
    pub fn request_id(&self) -> &'a str {
        self.view.parts.request_id
    }

    /// Id of the route, or the domain.
    pub fn route(&self) -> &'a str {
        self.view.parts.route
    }

    /// The app that will serve the request.
    pub fn app(&self) -> &'a str {
        self.view.parts.app
    }

    /// The tenant of the domain.
    pub fn tenant(&self) -> Option<&'a str> {
        self.view.parts.tenant
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
