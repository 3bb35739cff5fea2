//! Hooks around an exchange, for embedders: look at a request or response, change its fields, or answer it.
//!
//! ```text
//! route → Chain::on_request ──Continue──► attempt … response head → Chain::on_response → client
//!                 └──Respond(status)──► the client, no endpoint is asked
//! ```
//! Filters run on the core that serves the request, between two of its I/O operations: they must not block. An
//! empty chain costs one comparison. Bodies pass unseen.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_wire::h1::{RequestHead, ResponseHead};
use ringway_wire::headers::{self, FieldError};

/// A hook around every exchange. One filter serves all cores.
pub trait Filter: Send + Sync + 'static {
    /// Sees a routed request before an endpoint is chosen. Edits apply to what the endpoint gets; the proxy's own
    /// fields (`X-Forwarded-*`, `X-Tenant-ID`, `X-Request-ID`, framing) cannot be edited.
    fn on_request(&self, request: &RequestView<'_>, edits: &mut Edits) -> Verdict {
        let _ = (request, edits);
        Verdict::Continue
    }

    /// Sees a final response before its head goes to the client. Edits apply to what the client gets.
    fn on_response(&self, response: &ResponseView<'_>, edits: &mut Edits) {
        let _ = (response, edits);
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, to the next filter and then to the app.
    Continue,
    /// It is answered with this status, 400 to 599, and an error body; later filters do not see it.
    Respond(u16),
}

/// A request as a filter sees it.
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

    /// The method as sent.
    pub fn method(&self) -> &'a str {
        self.head.method_str(self.buf)
    }

    /// The host, normalised: lower case, without port.
    pub fn host(&self) -> &'a str {
        self.head.host()
    }

    /// The path without its query, as sent.
    pub fn path(&self) -> &'a str {
        self.head.path(self.buf)
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&'a str> {
        self.head.query(self.buf)
    }

    /// The values of a field, one per line, as received; the name in any case.
    pub fn field(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.field(self.buf, name)
    }

    /// The client's address, seen through trusted proxies.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// The app that will serve the request.
    pub fn app(&self) -> &'a str {
        self.app
    }

    /// The tenant of the domain.
    pub fn tenant(&self) -> Option<&'a str> {
        self.tenant
    }
}

/// A response as a filter sees it.
pub struct ResponseView<'a> {
    head: &'a ResponseHead,
    buf: &'a [u8],
}

impl<'a> ResponseView<'a> {
    /// A view of the head that stands in `buf`.
    pub fn new(head: &'a ResponseHead, buf: &'a [u8]) -> Self {
        Self { head, buf }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The values of a field, one per line, as received; the name in any case.
    pub fn field(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.field(self.buf, name)
    }
}

/// Changes of a head's fields: what to remove and what to add. Removals come first, whatever the order of the calls.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    removed: Vec<Box<str>>,
    lines: Vec<u8>,
}

impl Edits {
    /// Removes every line of a field that came with the message.
    pub fn remove(&mut self, name: &str) {
        self.removed.push(name.into());
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When name or value could not stand in a head (RFC 9110 §5.1, §5.5); nothing is added then.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        headers::push_field(&mut self.lines, name, value)
    }

    /// Replaces every line of a field by one.
    ///
    /// # Errors
    /// As [`append`](Self::append); nothing is replaced then.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        self.append(name, value)?;
        self.remove(name);
        Ok(())
    }

    /// The names to remove.
    pub fn removed(&self) -> &[Box<str>] {
        &self.removed
    }

    /// The lines to add, each with its CRLF.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Nothing was edited.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.lines.is_empty()
    }
}

/// Filters in the order in which they see a request. Cloning shares them.
#[derive(Clone, Default)]
pub struct Chain(Arc<[Box<dyn Filter>]>);

impl Chain {
    /// A chain of these filters.
    pub fn new(filters: Vec<Box<dyn Filter>>) -> Self {
        Self(filters.into())
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks each filter in turn, until one answers.
    pub fn on_request(&self, request: &RequestView<'_>, edits: &mut Edits) -> Verdict {
        for filter in self.0.iter() {
            if let Verdict::Respond(status) = filter.on_request(request, edits) {
                return Verdict::Respond(status.clamp(400, 599));
            }
        }
        Verdict::Continue
    }

    /// Shows the response to each filter, the last first: what wraps the request outermost sees the response last.
    pub fn on_response(&self, response: &ResponseView<'_>, edits: &mut Edits) {
        for filter in self.0.iter().rev() {
            filter.on_response(response, edits);
        }
    }
}

impl PartialEq for Chain {
    /// Chains are equal when they are the same one.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Chain {}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} filters)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_wire::h1::{Limits, Parse};

    struct Tag(&'static str);

    impl Filter for Tag {
        fn on_request(&self, request: &RequestView<'_>, edits: &mut Edits) -> Verdict {
            if request.field("x-block").next().is_some() && self.0 == "a" {
                return Verdict::Respond(403);
            }
            edits.append("X-Seen", self.0.as_bytes()).unwrap();
            Verdict::Continue
        }
    }

    fn ask(text: &str) -> (Verdict, Edits) {
        let mut head = RequestHead::default();
        assert_eq!(head.parse(text.as_bytes(), &Limits::default()), Ok(Parse::Complete));
        let chain = Chain::new(vec![Box::new(Tag("a")), Box::new(Tag("b"))]);
        let client = IpAddr::from([192, 0, 2, 1]);
        let mut edits = Edits::default();
        let view = RequestView::new(&head, text.as_bytes(), client, "app", None);
        (chain.on_request(&view, &mut edits), edits)
    }

    #[test]
    fn filters_see_the_request_in_order() {
        let (verdict, edits) = ask("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!((verdict, edits.lines()), (Verdict::Continue, &b"X-Seen: a\r\nX-Seen: b\r\n"[..]));
    }

    #[test]
    fn an_answer_ends_the_chain() {
        let (verdict, edits) = ask("GET / HTTP/1.1\r\nHost: a.example\r\nX-Block: 1\r\n\r\n");
        assert_eq!(verdict, Verdict::Respond(403));
        assert!(edits.is_empty());
    }

    #[test]
    fn a_line_that_would_split_the_head_is_refused() {
        let mut edits = Edits::default();
        assert!(edits.append("X-A", b"1\r\nX-B: 2").is_err());
        assert!(edits.set("X A", b"1").is_err());
        assert!(edits.is_empty());
    }
}
