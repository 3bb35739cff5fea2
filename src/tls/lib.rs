//! TLS without sockets and without clocks: identities, what a server and a client insist on, tickets, and the words
//! in which the planes speak of certificates.
//!
//! ```text
//!  PEM files ─▶ Identity ─┐                       ┌─▶ Arc<rustls::ServerConfig> ─▶ net::tls (front)
//!  CA file ─▶ ClientVerifier ─▶ ServerTls.config ─┘
//!  CA, identity, insecure ─▶ UpstreamSecret.client_config ─▶ Arc<rustls::ClientConfig> ─▶ net::tls (upstream)
//! ```
//!
//! Who does the handshake is `net::tls`; who keeps certificates is the control plane's `certs`. The one provider of
//! cryptography is aws-lc-rs, handed to rustls by name: no process-wide default is set or read.
#![forbid(unsafe_code)]

mod client;
mod identity;
mod limits;
mod provider;
mod secrets;
mod server;
mod upstream;

pub use client::ClientCertificate;
pub use identity::{Facts, Identity, IdentityError, KeyKind};
pub use provider::{Alpn, PROTOCOL_VERSIONS, provider};
pub use secrets::{IdentityName, LoadError, Secret, SecretKey, SecretRequest, SecretUpdate};
pub use server::{ClientVerifier, ServerSettings, ServerTls};
pub use upstream::{CaError, UpstreamSecret, server_name, trust_store};

/// What TLS itself finds wrong.
pub use rustls::Error;

#[cfg(test)]
mod tests;
