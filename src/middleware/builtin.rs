//! Stages of the configuration.

use ringway_model::StageSpec;

use crate::request::RequestCtx;
use crate::response::ResponseCtx;
use crate::{Flow, Pending};

pub(crate) mod header_transform;

use header_transform::Headers;

/// Stage of the configuration, compiled. Equal to another with the same configuration.
#[derive(Debug)]
pub struct Builtin {
    /// Its configuration.
    spec: StageSpec,
    kind: Kind,
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec && self.kind.limit() == other.kind.limit()
    }
}

impl Eq for Builtin {}

/// Compiled form of a stage.
#[derive(Debug)]
pub(crate) enum Kind {
    Headers(Headers),
    /// Number of the rate limit.
    Limit(usize),
}

impl Kind {
    fn limit(&self) -> Option<usize> {
        match self {
            Self::Limit(limit) => Some(*limit),
            Self::Headers(_) => None,
        }
    }
}

impl Builtin {
    pub(crate) fn new(spec: &StageSpec, kind: Kind) -> Self {
        Self { spec: spec.clone(), kind }
    }

    /// Its type in documents.
    pub fn name(&self) -> &'static str {
        self.spec.type_name()
    }

    /// Names of fields that only it may set.
    pub(crate) fn asserted(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        match &self.kind {
            Kind::Headers(headers) => headers.on_request(request),
            Kind::Limit(limit) => Flow::Limit(*limit),
        }
    }

    pub(crate) fn wait<'a>(&'a self, _: &'a mut RequestCtx<'_>) -> Pending<'a> {
        match &self.kind {
            // These never wait.
            Kind::Headers(_) | Kind::Limit(_) => {
                Box::pin(std::future::ready(std::ops::ControlFlow::Continue(())))
            }
        }
    }

    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        match &self.kind {
            Kind::Headers(headers) => headers.on_response(response),
            Kind::Limit(_) => {}
        }
    }
}
