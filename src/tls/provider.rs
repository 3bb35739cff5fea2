//! Crypto provider: TLS versions, cipher suites, groups, and ALPN protocols.

use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// Default TLS versions.
pub const PROTOCOL_VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Returns the crypto provider: forward secrecy and authenticated encryption only (TLS 1.3, and of TLS 1.2
/// the ECDHE suites with AES-GCM or ChaCha20-Poly1305).
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

/// Protocols offered by ALPN (RFC 7301), in order of preference.
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
    /// Names on the wire.
    pub fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http2OrHttp1 => &[b"h2", b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Http1 => &[b"http/1.1"],
        }
    }

    /// Names in the form of rustls.
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

/// The hybrid first, so that recorded traffic stays secret from future quantum computers. It adds about 20 µs
/// to a handshake.
static GROUPS: &[&dyn SupportedKxGroup] =
    &[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
