//! ACME client (RFC 8555).
//!
//! ```text
//!  Order ──▶ Authority: directory, account ──▶ instant-acme: messages, signatures, nonces
//!                                                   │ HttpClient
//!                                                   ▼
//!                                       transport: HTTP/1.1 over TLS, idle connections kept
//! ```
//!
//! Only the requests of `instant-acme` are used: its own polling needs a timer of another runtime, so that
//! [`order`] polls with ours.

pub(crate) mod authority;
pub(crate) mod failure;
pub(crate) mod order;
pub(crate) mod transport;
