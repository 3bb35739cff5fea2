//! The admin HTTP API: schema, handlers, problems, OpenAPI.
//!
//! ```text
//! connection ── wire's strict parser ──► Service::admit (head) ──► body ──► Service::answer
//!                                            guard, route                  reader ► handlers ► Plane
//! ```
//! Apps register themselves here, and operators look at what is there. It runs on the control thread and speaks to
//! the rest of the control plane through the trait [`Plane`] alone; no request of the data plane ever comes by.
//!
//! The table in `route` is the API: the server finds its way by it, and the OpenAPI document is made from it, from
//! the same functions that read requests and from the types that answers are written from.
#![forbid(unsafe_code)]

mod audit;
mod connection;
mod content;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
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

pub use guard::{BindError, Token, TokenError, check_bind};
pub use plane::Plane;
pub use server::{Listeners, Settings, UnixSocket, bind_unix, serve, service};

/// Lets other tasks of the thread run.
pub(crate) async fn pause() {
    ringway_net::yield_now().await;
}

#[cfg(test)]
mod tests;
