//! Speaking with CAs (RFC 8555), without any runtime but ours.
//!
//! ```text
//!  Order ──▶ Authority: directory, account ──▶ instant-acme: messages, signatures, nonces
//!                                                   │ HttpClient
//!                                                   ▼
//!                                       Client ─ jobs ─▶ a task: HTTP/1.1 over TLS, connections kept
//! ```
//!
//! `instant-acme` never waits here but for an answer: its own polling needs a timer that we do not have, so orders are
//! polled by [`order`] with ours.

pub(crate) mod authority;
pub(crate) mod fault;
pub(crate) mod order;
pub(crate) mod transport;
