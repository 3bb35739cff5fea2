//! Stages of the configuration.

use std::ops::ControlFlow;
use std::sync::Arc;

use ringway_model::{ExternalFilter, StageSpec};

use crate::external::External;
use crate::reply::LocalReply;
use crate::request::RequestCtx;
use crate::response::ResponseCtx;
use crate::{Flow, Pending};

pub(crate) mod compress;
pub(crate) mod cors;
pub(crate) mod error_pages;
pub(crate) mod header_transform;
pub(crate) mod ip_acl;
pub(crate) mod maintenance;
mod networks;
pub(crate) mod redirect;
pub(crate) mod security_headers;
pub(crate) mod tracing;

use crate::auth::Auth;
use compress::Compress;
use cors::Cors;
use error_pages::ErrorPages;
use header_transform::Headers;
use ip_acl::IpAcl;
use maintenance::Maintenance;
use redirect::{CanonicalHost, Redirect};
use security_headers::SecurityHeaders;
use tracing::Tracing;

/// Stage of the configuration, compiled. Equal to another with the same configuration.
#[derive(Debug)]
pub struct Builtin {
    /// Its configuration.
    spec: StageSpec,
    kind: Kind,
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Self) -> bool {
        // The settings of a plugin are not in the stage, which names it only.
        self.spec == other.spec
            && self.kind.limit() == other.kind.limit()
            && self.kind.filter() == other.kind.filter()
    }
}

impl Eq for Builtin {}

/// Compiled form of a stage.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Field of the response with the request's id.
    RequestId(Arc<str>),
    Tracing(Tracing),
    Headers(Headers),
    Cors(Cors),
    SecurityHeaders(SecurityHeaders),
    Auth(Auth),
    IpAcl(IpAcl),
    Redirect(Redirect),
    CanonicalHost(CanonicalHost),
    Maintenance(Maintenance),
    Compress(Compress),
    ErrorPages(ErrorPages),
    /// Number of the rate limit.
    Limit(usize),
    External(External),
    /// Hooks of a script, with the fields that they set.
    Lua(Box<[Arc<str>]>),
    /// A plugin that is not there, and so cannot decide.
    Closed,
}

impl Kind {
    fn limit(&self) -> Option<usize> {
        match self {
            Self::Limit(limit) => Some(*limit),
            _ => None,
        }
    }

    fn filter(&self) -> Option<&Arc<ExternalFilter>> {
        match self {
            Self::External(external) => Some(external.filter()),
            _ => None,
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

    /// Its configuration.
    pub(crate) fn spec(&self) -> &StageSpec {
        &self.spec
    }

    /// The stage of authentication.
    pub(crate) fn auth(&self) -> Option<&Auth> {
        match &self.kind {
            Kind::Auth(auth) => Some(auth),
            _ => None,
        }
    }

    /// Whether it decides who is served.
    pub(crate) fn is_guard(&self) -> bool {
        matches!(self.kind, Kind::Auth(_) | Kind::IpAcl(_) | Kind::External(_) | Kind::Lua(_) | Kind::Closed)
    }

    /// Names of fields that only it may set.
    pub(crate) fn asserted(&self) -> impl Iterator<Item = &str> {
        let external = match &self.kind {
            Kind::External(external) => Some(external),
            _ => None,
        };
        let of_scripts = match &self.kind {
            Kind::Lua(asserts) => &**asserts,
            _ => &[],
        };
        let of_auth = self.auth().into_iter().flat_map(Auth::asserted);
        let of_others = external.into_iter().flat_map(External::asserted).chain(of_scripts);
        of_auth.chain(of_others).map(|name| &**name)
    }

    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        match &self.kind {
            Kind::Tracing(tracing) => tracing.on_request(request),
            Kind::Headers(headers) => headers.on_request(request),
            Kind::Compress(compress) => compress.on_request(request),
            Kind::Cors(cors) => cors.on_request(request),
            Kind::Auth(auth) => auth.on_request(request),
            Kind::IpAcl(acl) => acl.on_request(request),
            Kind::Redirect(redirect) => redirect.on_request(request),
            Kind::CanonicalHost(host) => host.on_request(request),
            Kind::Maintenance(maintenance) => maintenance.on_request(request),
            Kind::Limit(limit) => Flow::Limit(*limit),
            Kind::External(external) => external.on_request(request),
            Kind::Lua(_) => Flow::Script,
            Kind::Closed => Flow::Reply(closed()),
            Kind::RequestId(_) | Kind::SecurityHeaders(_) | Kind::ErrorPages(_) => Flow::Continue,
        }
    }

    pub(crate) fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        match &self.kind {
            Kind::Auth(auth) => auth.wait(request),
            Kind::External(external) => external.wait(request),
            // The others never wait.
            _ => Box::pin(std::future::ready(ControlFlow::Continue(()))),
        }
    }

    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        match &self.kind {
            Kind::RequestId(header) => {
                let id = response.request.parts.request_id;
                if !response.is_local() {
                    // Name and id can stand in a head. Local replies have the id already.
                    let _ = response.set(header, id.as_bytes());
                }
            }
            Kind::Headers(headers) => headers.on_response(response),
            Kind::Cors(cors) => cors.on_response(response),
            Kind::SecurityHeaders(headers) => headers.on_response(response),
            Kind::Compress(compress) => compress.on_response(response),
            Kind::ErrorPages(pages) => pages.on_response(response),
            Kind::External(external) => external.on_response(response),
            Kind::Tracing(_)
            // Services that authenticate are asked over HTTP, and edit requests only.
            | Kind::Auth(_)
            | Kind::IpAcl(_)
            | Kind::Redirect(_)
            | Kind::CanonicalHost(_)
            | Kind::Maintenance(_)
            | Kind::Closed
            | Kind::Limit(_)
            | Kind::Lua(_) => {}
        }
    }
}

/// The reply of a stage that cannot decide.
pub(crate) fn closed() -> LocalReply {
    LocalReply::refusal(503, "middleware_unavailable", "a stage of the route's middleware is not available")
}

/// A chain of these stages.
#[cfg(test)]
pub(crate) fn test_chain(stages: &[StageSpec]) -> Arc<crate::Chain> {
    let stages: Vec<_> = stages.iter().collect();
    let source = crate::ChainSource {
        custom: None,
        stages: &stages,
        plugin: &|_| None,
        builtins: &crate::Builtins::default(),
    };
    crate::compile(&source).chain.expect("a stage")
}
