//! `redirect` and `canonical_host`: redirects by path and by host.

use std::sync::Arc;

use ringway_model::{CanonicalHost as HostSpec, PathRedirect};

use crate::Flow;
use crate::reply::LocalReply;
use crate::request::{RequestCtx, RequestView};

/// Redirect of a path, or of all paths below one.
#[derive(Debug)]
pub(crate) struct Redirect {
    from: Arc<str>,
    /// The rest of the path may follow `from`.
    is_prefix: bool,
    to: Arc<str>,
    /// The rest of the path follows `to`.
    appends_rest: bool,
    status: u16,
}

impl Redirect {
    pub(crate) fn new(spec: &PathRedirect) -> Self {
        let (from, is_prefix) = match spec.from.strip_suffix('*') {
            Some(prefix) => (Arc::from(prefix), true),
            None => (spec.from.clone(), false),
        };
        let (to, appends_rest) = match spec.to.strip_suffix('*') {
            Some(to) => (Arc::from(to), true),
            None => (spec.to.clone(), false),
        };
        Self { from, is_prefix, to, appends_rest, status: spec.status }
    }

    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        let rest = match request.path().strip_prefix(&*self.from) {
            Some(rest) if rest.is_empty() || self.is_prefix => rest,
            // `/old/*` has `/old` too.
            None if self.is_prefix && request.path() == self.from.trim_end_matches('/') => "",
            _ => return Flow::Continue,
        };
        let mut location = String::with_capacity(self.to.len() + rest.len() + 128);
        if self.to.starts_with('/') {
            push_origin(&mut location, &request.view, request.host(), request.view.head().port());
        }
        location.push_str(&self.to);
        if self.appends_rest {
            location.push_str(rest);
        }
        push_query(&mut location, &request.view);
        redirect(self.status, &location)
    }
}

/// Redirect of all other hosts to one.
#[derive(Debug)]
pub(crate) struct CanonicalHost(HostSpec);

impl CanonicalHost {
    pub(crate) fn new(spec: &HostSpec) -> Self {
        Self(spec.clone())
    }

    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        if request.host() == &*self.0.host {
            return Flow::Continue;
        }
        let mut location = String::with_capacity(256);
        push_origin(&mut location, &request.view, &self.0.host, request.view.head().port());
        location.push_str(request.path());
        push_query(&mut location, &request.view);
        redirect(self.0.status, &location)
    }
}

/// The beginning of an absolute URL: of a path alone, `//other.example` would lead to another host.
fn push_origin(location: &mut String, request: &RequestView<'_>, host: &str, port: Option<u16>) {
    location.push_str(request.scheme());
    location.push_str("://");
    location.push_str(host);
    if let Some(port) = port {
        location.push_str(&format!(":{port}"));
    }
}

/// Appends the query of the request, unless the target has one.
fn push_query(location: &mut String, request: &RequestView<'_>) {
    if let Some(query) = request.head().query(request.buf())
        && !location.contains('?')
    {
        location.push('?');
        location.push_str(query);
    }
}

fn redirect(status: u16, location: &str) -> Flow {
    let location: String = location
        .bytes()
        .map(|byte| match byte {
            b'!'..=b'~' => char::from(byte).to_string(),
            // Nothing else can stand in the field (RFC 3986 §2.1).
            _ => format!("%{byte:02X}"),
        })
        .collect();
    match LocalReply::new(status, &b""[..]).with_field("Location", location.as_bytes()) {
        Ok(reply) => Flow::Reply(reply),
        Err(_) => Flow::Reply(LocalReply::error(400)),
    }
}

#[cfg(test)]
#[path = "redirect_tests.rs"]
mod tests;
