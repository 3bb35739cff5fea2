//! `cors`: admits pages of other origins (Fetch standard, CORS protocol). Preflights are answered here,
//! before any authentication: they carry no credentials.

use std::sync::Arc;

use ringway_model::Cors as Spec;
use ringway_wire::headers::is_field_value;

use crate::Flow;
use crate::reply::LocalReply;
use crate::request::{RequestCtx, RequestView};
use crate::response::ResponseCtx;

/// The stage.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Box<[Origin]>,
    allows_all: bool,
    allow_credentials: bool,
    methods: Box<[u8]>,
    /// Empty: the fields that a preflight asks for.
    headers: Box<[u8]>,
    expose: Box<[u8]>,
    max_age: Box<[u8]>,
}

/// Origin that is admitted.
#[derive(Debug)]
enum Origin {
    Exact(Arc<str>),
    /// `https://` and `.example.com`, with one label between them.
    OneLabel(Box<str>, Box<str>),
}

impl Origin {
    fn parse(text: &Arc<str>) -> Self {
        match text.split_once('*') {
            Some((scheme, suffix)) => Self::OneLabel(scheme.into(), suffix.into()),
            None => Self::Exact(text.clone()),
        }
    }

    fn admits(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(known) => known.as_bytes() == origin,
            Self::OneLabel(scheme, suffix) => {
                let label = origin
                    .strip_prefix(scheme.as_bytes())
                    .and_then(|rest| rest.strip_suffix(suffix.as_bytes()))
                    .unwrap_or_default();
                !label.is_empty() && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            }
        }
    }
}

/// Fields of the protocol that only the stage may set: an app with an opinion of its own would contradict it.
const RESPONSE_FIELDS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
];

impl Cors {
    pub(crate) fn new(spec: &Spec) -> Self {
        let list = |names: &[Arc<str>]| names.join(", ").into_bytes().into();
        Self {
            origins: spec
                .allow_origins
                .iter()
                .filter(|origin| &***origin != "*")
                .map(Origin::parse)
                .collect(),
            allows_all: spec.allow_origins.iter().any(|origin| &**origin == "*"),
            allow_credentials: spec.allow_credentials,
            methods: list(&spec.allow_methods),
            headers: list(&spec.allow_headers),
            expose: list(&spec.expose_headers),
            max_age: spec.max_age.as_secs().to_string().into_bytes().into(),
        }
    }

    /// Answers preflights.
    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        if request.method() != "OPTIONS" {
            return Flow::Continue;
        }
        let asked = request.field("access-control-request-method").next();
        let (Some(origin), Some(_)) = (origin_of(&request.view), asked) else { return Flow::Continue };
        let mut lines =
            vec![("Vary", &b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"[..])];
        let wanted = request.field("access-control-request-headers").next().unwrap_or_default();
        if let Some(admitted) = self.admitted(origin) {
            lines.push(("Access-Control-Allow-Origin", admitted));
            lines.push(("Access-Control-Allow-Methods", &self.methods));
            let headers = if self.headers.is_empty() { wanted } else { &self.headers };
            if !headers.is_empty() && headers.len() <= REQUESTED_HEADERS_MAX {
                lines.push(("Access-Control-Allow-Headers", headers));
            }
            if self.allow_credentials {
                lines.push(("Access-Control-Allow-Credentials", b"true"));
            }
            lines.push(("Access-Control-Max-Age", &self.max_age));
        }
        let reply = lines
            .into_iter()
            .try_fold(LocalReply::new(204, &b""[..]), |reply, (name, value)| reply.with_field(name, value));
        Flow::Reply(reply.unwrap_or_else(|_| LocalReply::error(400)))
    }

    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        for name in RESPONSE_FIELDS {
            response.remove(name);
        }
        // Whether or not this request has an origin: a cache must not give its response to one that has.
        if !self.allows_all {
            push(response, "Vary", b"Origin");
        }
        let Some(origin) = origin_of(&response.request) else { return };
        let Some(admitted) = self.admitted(origin) else { return };
        push(response, "Access-Control-Allow-Origin", admitted);
        if self.allow_credentials {
            push(response, "Access-Control-Allow-Credentials", b"true");
        }
        if !self.expose.is_empty() {
            push(response, "Access-Control-Expose-Headers", &self.expose);
        }
    }

    /// Value of `Access-Control-Allow-Origin` for a request of an origin.
    fn admitted<'o>(&self, origin: &'o [u8]) -> Option<&'o [u8]> {
        if self.allows_all {
            return Some(b"*");
        }
        let is_good = is_field_value(origin) && self.origins.iter().any(|known| known.admits(origin));
        is_good.then_some(origin)
    }
}

/// Longest list of fields that a preflight gets back.
const REQUESTED_HEADERS_MAX: usize = 1024;

/// The one origin of a request.
fn origin_of<'a>(request: &RequestView<'a>) -> Option<&'a [u8]> {
    let mut origins = request.head().field(request.buf(), "origin");
    match (origins.next(), origins.next()) {
        (Some(origin), None) => Some(origin),
        _ => None,
    }
}

fn push(response: &mut ResponseCtx<'_>, name: &str, value: &[u8]) {
    // Names are fixed, and values were checked.
    let _ = response.append(name, value);
}

#[cfg(test)]
#[path = "cors_tests.rs"]
mod tests;
