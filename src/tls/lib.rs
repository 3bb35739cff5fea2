//! TLS without sockets and clocks: identities, server and client configurations, tickets, and the messages
//! between cores and the certificate loader.
//!
//! ```text
//!  PEM files ─▶ Identity ─┐                       ┌─▶ Arc<rustls::ServerConfig> ─▶ net::tls (front)
//!  CA file ─▶ ClientVerifier ─▶ ServerTls.config ─┘
//!  CA, identity, insecure ─▶ UpstreamSecret.client_config ─▶ Arc<rustls::ClientConfig> ─▶ net::tls (upstream)
//! ```
//!
//! Handshakes are in `net::tls`, the storage of certificates in the control plane's `certs`. The crypto
//! provider is aws-lc-rs, passed to rustls explicitly: no process-wide default is set or read.
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

/// Error of rustls.
pub use rustls::Error;

#[cfg(test)]
mod tests;
