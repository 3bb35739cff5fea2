//! Certificate chain with its private key: parsed and checked once, shared by all cores.

use std::fmt;
use std::sync::Arc;

use crate::limits::CERTIFICATE_CHAIN_MAX;
use aws_lc_rs::digest::{SHA256, digest};
use ringway_model::Timestamp;
use ringway_model::limits::{CERTIFICATE_PEM_BYTES_MAX, KEY_PEM_BYTES_MAX};
use rustls::SignatureAlgorithm;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::provider::provider;

/// Certificate chain and private key, ready to sign. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    resolver: Arc<SingleCertAndKey>,
    facts: Facts,
}

/// Properties of the leaf certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Names and addresses that it covers, in lower case and in its order; `*.` stands for one label.
    pub names: Vec<String>,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity, inclusive.
    pub not_after: Timestamp,
    /// Serial number, in hexadecimal pairs with colons.
    pub serial: String,
    /// Issuer.
    pub issuer: String,
    /// SHA-256 fingerprint, in hexadecimal.
    pub fingerprint: String,
    /// Kind of its key.
    pub key: KeyKind,
    /// Whether its extended key usage allows servers, or is absent (RFC 5280 §4.2.1.12).
    pub for_servers: bool,
}

/// Kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// ECDSA, on P-256, P-384 or P-521.
    Ecdsa,
    /// Ed25519, which browsers do not support.
    Ed25519,
}

/// Error of a chain or its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The chain's PEM has more than [`CERTIFICATE_PEM_BYTES_MAX`] bytes.
    ChainTooLarge,
    /// The chain has more than `CERTIFICATE_CHAIN_MAX` certificates.
    ChainTooLong,
    /// The chain has no certificate.
    NoCertificate {
        /// It has a key instead.
        has_key: bool,
    },
    /// The PEM text of this certificate, counted from 1, is damaged.
    ChainPem(usize),
    /// This certificate, counted from 1, cannot be parsed.
    CertificateUnreadable(usize),
    /// The key's PEM has more than [`KEY_PEM_BYTES_MAX`] bytes.
    KeyTooLarge,
    /// The key's PEM has no key.
    NoKey {
        /// It has a certificate instead.
        has_certificate: bool,
    },
    /// The key is encrypted.
    KeyEncrypted,
    /// The key's PEM text is damaged.
    KeyPem,
    /// There is more than one key.
    SeveralKeys,
    /// The key is of a kind or size that is not supported.
    KeyUnusable,
    /// The key belongs to this certificate of the chain, counted from 1, which is not the first.
    LeafNotFirst(usize),
    /// The key belongs to no certificate of the chain.
    KeyMismatch,
}

impl Identity {
    /// Parses a PEM chain, leaf first, and the PEM of its key (PKCS#8, PKCS#1 or SEC 1; exactly one). Both
    /// may be in the same file. The key must be that of the leaf. An expired certificate is not an error; see
    /// [`Facts::is_valid_at`]. Neither the error nor any `Debug` output shows anything of the key.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn from_pem(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, IdentityError> {
        let chain = parse_chain(chain_pem)?;
        let facts = chain.iter().enumerate().map(|(index, certificate)| {
            Facts::of(certificate).ok_or(IdentityError::CertificateUnreadable(index + 1))
        });
        let leaf = facts.collect::<Result<Vec<_>, _>>()?.swap_remove(0);
        let key = parse_key(key_pem)?;
        let key = provider().key_provider.load_private_key(key).map_err(|_| IdentityError::KeyUnusable)?;
        let kind = match key.algorithm() {
            SignatureAlgorithm::RSA => KeyKind::Rsa,
            SignatureAlgorithm::ECDSA => KeyKind::Ecdsa,
            SignatureAlgorithm::ED25519 => KeyKind::Ed25519,
            _ => return Err(IdentityError::KeyUnusable),
        };
        let matches = |chain: Vec<CertificateDer<'static>>| {
            CertifiedKey::new(chain, Arc::clone(&key)).keys_match().is_ok()
        };
        if !matches(vec![chain[0].clone()]) {
            let owner = (1..chain.len()).find(|&index| matches(vec![chain[index].clone()]));
            return Err(
                owner.map_or(IdentityError::KeyMismatch, |index| IdentityError::LeafNotFirst(index + 1))
            );
        }
        let resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
        Ok(Self(Arc::new(Inner { resolver, facts: Facts { key: kind, ..leaf } })))
    }

    /// Properties of its leaf.
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    pub(crate) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::clone(&self.0.resolver)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.facts).finish()
    }
}

impl Facts {
    /// Whether it covers `host`: a name or an address, without port or brackets, in any case. A wildcard
    /// stands for exactly one label (RFC 9525 §6.3).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
            None => name.eq_ignore_ascii_case(host),
        })
    }

    /// Whether it is valid at `now`.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Parses a certificate. The kind of key is a placeholder, which the caller replaces.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        // Must also be readable for rustls and its peers.
        rustls::server::ParsedCertificate::try_from(certificate).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let alternative = parsed.subject_alternative_name().ok()?;
        let names = alternative.map(|names| &*names.value.general_names).unwrap_or_default();
        let usage = parsed.extended_key_usage().ok()?;
        let validity = parsed.validity();
        Some(Self {
            names: names.iter().filter_map(name_text).collect(),
            not_before: timestamp(validity.not_before.timestamp()),
            // Valid until the end of this second.
            not_after: Timestamp(timestamp(validity.not_after.timestamp()).0.saturating_add(999)),
            serial: parsed.raw_serial_as_string(),
            issuer: parsed.issuer().to_string(),
            fingerprint: hex(digest(&SHA256, certificate).as_ref()),
            key: KeyKind::Rsa,
            for_servers: usage.is_none_or(|usage| usage.value.any || usage.value.server_auth),
        })
    }
}

fn parse_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    if pem.len() > CERTIFICATE_PEM_BYTES_MAX {
        return Err(IdentityError::ChainTooLarge);
    }
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        if chain.len() == CERTIFICATE_CHAIN_MAX {
            return Err(IdentityError::ChainTooLong);
        }
        chain.push(certificate.map_err(|_| IdentityError::ChainPem(chain.len() + 1))?);
    }
    if chain.is_empty() {
        return Err(IdentityError::NoCertificate { has_key: contains(pem, b"PRIVATE KEY-----") });
    }
    Ok(chain)
}

fn parse_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    if pem.len() > KEY_PEM_BYTES_MAX {
        return Err(IdentityError::KeyTooLarge);
    }
    // A traditional key states its encryption in a header of its own.
    if contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(pem, b"Proc-Type: 4,ENCRYPTED") {
        return Err(IdentityError::KeyEncrypted);
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(pem);
    let key = match keys.next() {
        Some(key) => key.map_err(|_| IdentityError::KeyPem)?,
        None => {
            let has_certificate = contains(pem, b"-----BEGIN CERTIFICATE-----");
            return Err(IdentityError::NoKey { has_certificate });
        }
    };
    if keys.next().is_some() { Err(IdentityError::SeveralKeys) } else { Ok(key) }
}

/// Returns a name that clients request; other kinds (mail, directories) are ignored.
fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes)
                .map(std::net::IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]).collect()
}

const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl KeyKind {
    /// Name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ecdsa => "ecdsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainTooLarge => write!(
                f,
                "the certificate file has more than {CERTIFICATE_PEM_BYTES_MAX} bytes: it needs the leaf and its \
                 intermediates only"
            ),
            Self::ChainTooLong => write!(
                f,
                "the certificate file has more than {CERTIFICATE_CHAIN_MAX} certificates: it needs the leaf and its \
                 intermediates only"
            ),
            Self::NoCertificate { has_key: true } => f.write_str(
                "the certificate file has a private key and no certificate: were the two files swapped?",
            ),
            Self::NoCertificate { has_key: false } => {
                f.write_str("the certificate file has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
            }
            Self::ChainPem(position) => {
                write!(f, "the PEM text of certificate {position} in the certificate file is damaged: copy it again")
            }
            Self::CertificateUnreadable(position) => {
                write!(f, "certificate {position} in the certificate file is not a usable X.509 certificate")
            }
            Self::KeyTooLarge => {
                write!(f, "the key file has more than {KEY_PEM_BYTES_MAX} bytes: it needs one private key only")
            }
            Self::NoKey { has_certificate: true } => {
                f.write_str("the key file has a certificate and no private key: were the two files swapped?")
            }
            Self::NoKey { has_certificate: false } => {
                f.write_str("the key file has no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
            }
            Self::KeyEncrypted => f.write_str(
                "the private key is encrypted: store it without a passphrase, as `openssl pkey -in key.pem -out \
                 plain.pem` does",
            ),
            Self::KeyPem => f.write_str("the PEM text of the private key is damaged: copy it again"),
            Self::SeveralKeys => f.write_str("the key file has several private keys: leave the one of the leaf"),
            Self::KeyUnusable => f.write_str(
                "the private key is not usable: it must be RSA of at least 2048 bits, ECDSA on P-256, P-384 or P-521, \
                 or Ed25519",
            ),
            Self::LeafNotFirst(position) => write!(
                f,
                "the private key belongs to certificate {position} of the certificate file: that one must come first, \
                 then its issuers"
            ),
            Self::KeyMismatch => f.write_str(
                "the private key does not belong to the certificate: give the key that the certificate was issued for",
            ),
        }
    }
}

impl std::error::Error for IdentityError {}
