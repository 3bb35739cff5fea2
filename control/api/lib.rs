//! The admin HTTP API: schema, handlers, problems, OpenAPI.
//!
//! ```text
//! connection ── wire's strict parser ──► Service::admit (head) ──► body ──► Service::respond
//!                                            guard, route                  request ► handlers ► Plane
//! ```
//! Apps register themselves here, and operators read and change the configuration. The API runs on the
//! control thread and uses the rest of the control plane only through the trait [`Plane`]; no request of the
//! data plane passes it.
//!
//! The table in `route` defines the API: requests are matched by it. The OpenAPI document is generated from
//! it, from the functions in `request` that parse requests, and from the types in `views` that responses are
//! serialised from.
#![forbid(unsafe_code)]

mod access;
mod audit;
mod cache_operation;
mod config_operation;
mod connection;
mod content;
#[doc(hidden)]
pub mod fuzzing;
mod handlers;
mod limits;
mod lists;
mod openapi;
mod operation;
mod plane;
mod problem;
mod request;
mod response;
mod route;
mod server;
mod service;
mod views;
mod waits;

pub use access::{
    AccessSettings, AdminTls, AdminTlsError, BindError, NamedToken, Scope, Scopes, Token, TokenDigest,
    TokenError, TokenSet, TokensFile, TokensFileError, TokensLineError,
};
pub use audit::{AuditFault, AuditLog, Verified, audit_files, verify_audit};
pub use plane::Plane;
pub use server::{Listeners, Settings, UnixSocket, bind_unix, serve, service};

/// Lets other tasks of the thread run.
pub(crate) async fn pause() {
    ringway_net::yield_now().await;
}

#[cfg(test)]
mod tests;
