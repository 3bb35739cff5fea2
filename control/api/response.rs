//! Responses of the API, without the fields that all of them have.

use ringway_model::Revision;
use ringway_telemetry::RequestId;

use crate::lists::Pieces;
use crate::problem::{Kind, Problem};

/// A response without the common header fields.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names and values of header fields; the values need no escaping.
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

/// Body of a response.
pub(crate) enum Body {
    Empty,
    Whole(&'static str, Vec<u8>),
    Pieces(Pieces),
}

impl Response {
    /// Creates a response without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: Body::Empty }
    }

    /// Creates a response with a JSON body.
    pub(crate) fn json(status: u16, value: &impl serde::Serialize) -> Self {
        // No view has a map with keys other than strings, and writing to memory cannot fail.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Self { status, fields: Vec::new(), body: Body::Whole("application/json", bytes) }
    }

    /// Adds a header field.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// Adds the revision of the configuration.
    pub(crate) fn at(self, revision: Revision) -> Self {
        self.with("ETag", format_args!("\"{revision}\"")).with("X-Ringway-Revision", revision)
    }

    /// Creates the response of a problem.
    pub(crate) fn problem(problem: &Problem, id: &RequestId) -> Self {
        let mut response = Self {
            status: problem.kind.status(),
            fields: Vec::new(),
            body: Body::Whole("application/problem+json", problem.body(id.as_str())),
        };
        if let Some(revision) = problem.revision {
            response = response.at(revision);
        }
        if let Some(version) = &problem.version {
            response = response.with("ETag", format_args!("\"{version}\""));
        }
        if let Some(seconds) = problem.retry_after_seconds {
            response = response.with("Retry-After", seconds);
        }
        if problem.kind == Kind::Unauthorized {
            response = response.with("WWW-Authenticate", "Bearer realm=\"ringway\"");
        }
        response
    }
}

/// Result of a request.
pub(crate) type ApiResult = Result<Response, Problem>;
