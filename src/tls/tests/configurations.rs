//! Server and client configurations. Handshakes are tested in `net`.

use super::*;
use crate::limits::{CA_CERTIFICATES_MAX, CA_PEM_BYTES_MAX};
use crate::{
    Alpn, CaError, ClientVerifier, Identity, ServerSettings, ServerTls, UpstreamSecret, provider, trust_store,
};
use ringway_model::ClientAuthNeed;
use rustls::{CipherSuite, NamedGroup};
use std::sync::Arc;

fn identity(ca: &Ca) -> Identity {
    let key = key();
    Identity::from_pem(ca.issue(&key, &["a.example"]).as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

#[test]
fn only_suites_with_forward_secrecy_and_authenticated_encryption() {
    use CipherSuite::*;
    let suites: Vec<CipherSuite> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
    assert_eq!(
        suites,
        [
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ]
    );
    let groups: Vec<NamedGroup> = provider().kx_groups.iter().map(|group| group.name()).collect();
    let expected =
        [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1];
    assert_eq!(groups, expected);
    assert!(rustls::crypto::CryptoProvider::get_default().is_none(), "no default is set for the process");
}

#[test]
fn tickets_are_shared_and_not_issued_with_client_authentication() {
    let ca = Ca::new();
    let tls = ServerTls::new(ServerSettings::default()).unwrap();
    let (one, other) =
        (tls.config(&identity(&ca), None, Alpn::Http1), tls.config(&identity(&ca), None, Alpn::Http2OrHttp1));
    assert!(one.ticketer.enabled());
    let ticket = one.ticketer.encrypt(b"session").unwrap();
    assert_eq!(other.ticketer.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
    let elsewhere = ServerTls::new(ServerSettings::default()).unwrap();
    assert_eq!(elsewhere.config(&identity(&ca), None, Alpn::Http1).ticketer.decrypt(&ticket), None);

    let verifier = ClientVerifier::from_pem(ca.pem().as_bytes()).unwrap();
    for need in [ClientAuthNeed::Optional, ClientAuthNeed::Required] {
        let config = tls.config(&identity(&ca), Some((&verifier, need)), Alpn::Http1);
        assert!(!config.ticketer.enabled() && !config.session_storage.can_cache());
        assert_eq!(config.send_tls13_tickets, 0);
    }
    assert_eq!((one.max_early_data_size, one.session_storage.can_cache()), (0, false));
    assert_eq!(other.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn a_ca_file_has_a_bounded_number_of_certificates() {
    let pem = Ca::new().pem();
    let read = |text: &str| ClientVerifier::from_pem(text.as_bytes()).map(drop);
    assert_eq!(read(&pem), Ok(()));
    assert_eq!(read(""), Err(CaError::Empty));
    assert_eq!(read("no PEM"), Err(CaError::Empty));
    assert_eq!(read(&key().serialize_pem()), Err(CaError::Empty));
    assert_eq!(read(&(pem.clone() + &pem.replacen("\nMII", "\n!II", 1))), Err(CaError::Pem(2)));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(read(nonsense), Err(CaError::Unreadable(1)));
    assert_eq!(read(&pem.repeat(CA_CERTIFICATES_MAX)), Ok(()));
    assert_eq!(read(&pem.repeat(CA_CERTIFICATES_MAX + 1)), Err(CaError::TooLarge));
    let padded = pem.clone() + &"\n".repeat(CA_PEM_BYTES_MAX - pem.len());
    assert_eq!(read(&padded), Ok(()));
    assert_eq!(read(&(padded + "\n")), Err(CaError::TooLarge));
}

#[test]
fn upstreams_are_verified_unless_insecure() {
    let pem = Ca::new().pem();
    for (ca_pem, insecure) in [(None, false), (Some(pem.as_bytes()), false), (None, true)] {
        let material = UpstreamSecret::new(ca_pem, None, insecure).unwrap();
        assert_eq!(material.is_insecure(), insecure);
        assert_eq!(material.client_config(Alpn::Http2).alpn_protocols, [b"h2".to_vec()]);
    }
    assert_eq!(UpstreamSecret::new(Some(b""), None, true).unwrap_err(), CaError::Empty);
    assert!(!trust_store().is_empty());
    assert!(Arc::ptr_eq(&trust_store(), &trust_store()), "read once");
}
