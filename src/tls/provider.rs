//! What is spoken: versions, suites, groups, and the protocols inside.

use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// The versions that are spoken where nothing else was asked for.
pub const PROTOCOL_VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// The provider of all cryptography: forward secrecy and authenticated encryption only (TLS 1.3, and of TLS 1.2 the
/// ECDHE suites with AES-GCM or ChaCha20-Poly1305).
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: SUITES.to_vec(),
            kx_groups: GROUPS.to_vec(),
            ..default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

/// What is offered inside of a connection (RFC 7301), best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/2, else HTTP/1.1.
    Http2OrHttp1,
    /// HTTP/2 only.
    Http2,
    /// HTTP/1.1 only.
    Http1,
}

impl Alpn {
    /// The names on the wire.
    pub fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http2OrHttp1 => &[b"h2", b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Http1 => &[b"http/1.1"],
        }
    }

    /// As rustls wants them.
    pub(crate) fn to_vec(self) -> Vec<Vec<u8>> {
        self.protocols().iter().map(|name| name.to_vec()).collect()
    }
}

static SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The hybrid first: what is recorded today must not be read by a quantum computer later. It costs some twenty
/// microseconds of a handshake, beside the signature's.
static GROUPS: &[&dyn SupportedKxGroup] =
    &[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
