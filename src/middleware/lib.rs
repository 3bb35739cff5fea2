//! Middleware around an exchange: stages that process a request, may reply to it, and process its response.
//!
//! ```text
//! match ─► Chain::on_request ─ Continue ─► attempt … response head ──┐
//!              │ Wait ─► Chain::wait ─► on_request again             ▼
//!              └ Reply(LocalReply) ─────────────────────► Chain::on_response ─► client
//! ```
//! - A [`Middleware`] is one stage; a [`Chain`] is the compiled list of a rule's stages. A rule without
//!   stages has no chain.
//! - Response stages run in reverse order, on responses of endpoints and on local replies alike.
//! - Stages edit header fields. Bodies bypass them, unless a stage adds a [`BodyTransform`].
//! - Stages run on the core that serves the request, between two of its I/O operations: they must not block.
//!   A stage that has to wait returns [`Flow::Wait`]; a future is boxed only in this case.
//!
//! - Stages of the configuration are compiled from its chains (module `compile`), each is a module of
//!   `builtin`.
//!
//! The crate is pure: it has no sockets, no clock and no snapshots. What a stage needs of its core, it gets
//! by [`Services`].
//!
//! # Example
//! ```
//! use ringway_middleware::{Flow, LocalReply, Middleware, RequestCtx, ResponseCtx};
//!
//! /// Keeps a part of every app private and counts how many fields each request had.
//! struct Private;
//!
//! impl Middleware for Private {
//!     fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
//!         if request.path().starts_with("/internal/") {
//!             return Flow::Reply(LocalReply::error(403));
//!         }
//!         *request.state::<usize>() = request.field("cookie").count();
//!         match request.set("X-Checked", b"yes") {
//!             Ok(()) => Flow::Continue,
//!             Err(_) => Flow::Reply(LocalReply::error(500)),
//!         }
//!     }
//!
//!     fn on_response(&self, response: &mut ResponseCtx<'_>) {
//!         let cookies = response.state::<usize>().to_string();
//!         // The name and the digits can stand in a head.
//!         let _ = response.set("X-Cookies", cookies.as_bytes());
//!     }
//! }
//! ```
#![forbid(unsafe_code)]

mod auth;
mod body;
mod builtin;
mod chain;
mod compile;
mod credentials;
mod edits;
mod explain;
mod external;
mod field_names;
mod identity;
mod limits;
mod reply;
mod request;
mod response;
mod services;
mod template;
#[cfg(test)]
mod testing;

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;

pub use auth::explain::{CredentialKind, MethodExplanation, Outcome};
pub use auth::proxy_login::{PasswordHash, ProxyLogin};
pub use auth::reason::Reason;
pub use body::{BodyError, BodyTransform, BodyTransforms, Coded};
pub use builtin::Builtin;
pub use chain::{Chain, Run, Stage};
pub use compile::{Builtins, ChainSource, CompiledChain, compile};
pub use credentials::{ApiKeyTable, Credentials, KeyError, KeySet, KnownCredentials, LineError, Users};
pub use edits::Edits;
pub use explain::{
    AuthCheck, ChainExplanation, CheckError, FieldChanges, StageExplanation, StageVerdict, check_auth,
    explain,
};
pub use field_names::FieldNames;
pub use identity::Identity;
pub use reply::{LocalReply, ReplyBody};
pub use request::{RequestCtx, RequestParts, RequestView};
pub use response::{ResponseCtx, ResponseHeadView};
pub use ringway_wire::headers::FieldError;
pub use services::{
    Call, CallError, CallFailure, CallKind, CallResponse, CoreState, DecisionResult, PartialResponse,
    Services, Waiting,
};

/// Stage around every exchange of its rules. One instance serves all cores.
pub trait Middleware: Send + Sync + 'static {
    /// Processes a request, after its rule was found and before an endpoint is chosen. Edits apply to the
    /// forwarded head; the proxy's own fields (`X-Forwarded-*`, `X-Tenant-ID`, `X-Request-ID`, framing)
    /// cannot be edited.
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        let _ = request;
        Flow::Continue
    }

    /// Completes the decision for which [`on_request`](Self::on_request) returned [`Flow::Wait`]. It is
    /// dropped after the rule's response timeout, for which the request gets 504 `middleware_timeout`, and
    /// when the client leaves.
    fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        let _ = request;
        Box::pin(std::future::ready(ControlFlow::Continue(())))
    }

    /// Processes a final response before its head is sent to the client: of an endpoint, or a local reply.
    /// Edits apply to the client's head.
    ///
    /// Called for stages that let the request continue; the stage that replied does not process its own
    /// reply.
    fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let _ = response;
    }
}

/// Decision of a stage about a request.
#[derive(Debug)]
#[must_use = "a reply that is dropped is not sent"]
pub enum Flow {
    /// Continues with the next stage, and then with the rule's action.
    Continue,
    /// Sends this reply; later stages and endpoints do not get the request.
    Reply(LocalReply),
    /// The decision is pending: [`Middleware::wait`] completes it.
    Wait,
    /// Continues if the rate limit with this number admits the request. Limits belong to the rule; only
    /// stages of the configuration have any.
    Limit(usize),
    /// The worker runs the hooks of a script.
    Script,
}

/// Pending decision of [`Middleware::wait`].
pub type Pending<'a> = Pin<Box<dyn Future<Output = ControlFlow<LocalReply>> + 'a>>;
