//! Parsing of certificates and keys, and its errors.

use super::*;
use crate::limits::CERTIFICATE_CHAIN_MAX;
use crate::{Identity, IdentityError, KeyKind};
use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use ringway_model::Timestamp;
use ringway_model::limits::{CERTIFICATE_PEM_BYTES_MAX, KEY_PEM_BYTES_MAX};

fn read(chain: &str, key: &str) -> Result<Identity, IdentityError> {
    Identity::from_pem(chain.as_bytes(), key.as_bytes())
}

#[test]
fn reads_the_properties_of_the_leaf() {
    let (ca, key) = (Ca::new(), key());
    let names = ["Shop.Example", "*.shop.example", "192.0.2.7", "2001:db8::1"];
    let identity = read(&(ca.issue(&key, &names) + &ca.pem()), &key.serialize_pem()).unwrap();
    let facts = identity.facts();
    assert_eq!(facts.names, ["shop.example", "*.shop.example", "192.0.2.7", "2001:db8::1"]);
    assert!(facts.issuer.contains("CN=Test CA 1"), "{}", facts.issuer);
    assert_eq!(facts.key, KeyKind::Ecdsa);
    assert_eq!(facts.fingerprint.len(), 64);
    assert!(facts.fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(facts.serial.contains(':'), "{}", facts.serial);
}

#[test]
fn a_name_covers_itself_and_a_wildcard_one_label() {
    let (ca, key) = (Ca::new(), key());
    let names = ["shop.example", "*.eu.example", "192.0.2.7"];
    let identity = read(&ca.issue(&key, &names), &key.serialize_pem()).unwrap();
    for covered in
        ["shop.example", "SHOP.example", "shop.example.", "a.eu.example", "A.EU.example", "192.0.2.7"]
    {
        assert!(identity.facts().covers(covered), "{covered}");
    }
    for not in ["www.shop.example", "eu.example", ".eu.example", "a.b.eu.example", "example", "", "192.0.2.8"]
    {
        assert!(!identity.facts().covers(not), "{not}");
    }
}

#[test]
fn checks_both_ends_of_the_validity() {
    let (ca, key) = (Ca::new(), key());
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 2);
    let leaf = params.signed_by(&key, &ca.0).unwrap().pem();
    // Expired, which is not an error.
    let facts = read(&leaf, &key.serialize_pem()).unwrap().facts().clone();
    let (begin, end) = (978_307_200_000, 978_393_600_999);
    assert_eq!((facts.not_before, facts.not_after), (Timestamp(begin), Timestamp(end)));
    for (now, valid) in [(begin - 1, false), (begin, true), (end, true), (end + 1, false)] {
        assert_eq!(facts.is_valid_at(Timestamp(now)), valid, "{now}");
    }
}

#[test]
fn accepts_keys_of_all_usual_kinds_and_formats() {
    let ca = Ca::new();
    for (key, kind) in [
        (KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), KeyKind::Ecdsa),
        (KeyPair::generate_for(&PKCS_ED25519).unwrap(), KeyKind::Ed25519),
        (KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(), KeyKind::Rsa),
    ] {
        let identity = read(&ca.issue(&key, &["a.example"]), &key.serialize_pem()).unwrap();
        assert_eq!(identity.facts().key, kind);
    }
    // Created with `openssl ecparam -genkey`, `openssl genrsa -traditional` and `openssl req -x509`.
    for (pem, kind) in [(include_str!("sec1.pem"), KeyKind::Ecdsa), (include_str!("pkcs1.pem"), KeyKind::Rsa)]
    {
        assert_eq!(read(pem, pem).unwrap().facts().key, kind, "both in one file");
    }
}

#[test]
fn errors_name_the_faulty_part() {
    use IdentityError::*;
    let (ca, key, other) = (Ca::new(), key(), super::key());
    let (leaf, root) = (ca.issue(&key, &["a.example"]), ca.pem());
    let (pem, other_pem) = (key.serialize_pem(), other.serialize_pem());
    let damaged = leaf.replacen("\nMII", "\n!II", 1);
    let cut = leaf.replace("-----END CERTIFICATE-----", "");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bad_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                       -----END RSA PRIVATE KEY-----\n";
    for (chain, key, error) in [
        ("", &*pem, NoCertificate { has_key: false }),
        (&pem, &leaf, NoCertificate { has_key: true }),
        (&damaged, &pem, ChainPem(1)),
        (&cut, &pem, ChainPem(1)),
        (&(leaf.clone() + &damaged), &pem, ChainPem(2)),
        (&(leaf.clone() + nonsense), &pem, CertificateUnreadable(2)),
        (&leaf, "", NoKey { has_certificate: false }),
        (&leaf, &leaf, NoKey { has_certificate: true }),
        (&leaf, encrypted, KeyEncrypted),
        (&leaf, traditional, KeyEncrypted),
        (&leaf, &pem.replace("-----END PRIVATE KEY-----", ""), KeyPem),
        (&leaf, bad_key, KeyUnusable),
        (&leaf, &(pem.clone() + &other_pem), SeveralKeys),
        (&leaf, &other_pem, KeyMismatch),
        (&(root + &leaf), &pem, LeafNotFirst(2)),
    ] {
        let result = read(chain, key);
        assert_eq!(result.as_ref().err(), Some(&error), "{result:?}");
        let said = error.to_string();
        assert!(!said.contains('\n') && !said.ends_with('.') && said.len() > 20, "{said}");
    }
}

#[test]
fn checks_both_sides_of_size_limits() {
    let (ca, key) = (Ca::new(), key());
    let (leaf, pem) = (ca.issue(&key, &["a.example"]), key.serialize_pem());
    assert!(read(&leaf.repeat(CERTIFICATE_CHAIN_MAX), &pem).is_ok());
    assert_eq!(read(&leaf.repeat(CERTIFICATE_CHAIN_MAX + 1), &pem).unwrap_err(), IdentityError::ChainTooLong);
    let padded = |text: &str, bytes: usize| text.to_owned() + &"\n".repeat(bytes - text.len());
    assert!(read(&padded(&leaf, CERTIFICATE_PEM_BYTES_MAX), &padded(&pem, KEY_PEM_BYTES_MAX)).is_ok());
    let chain = padded(&leaf, CERTIFICATE_PEM_BYTES_MAX + 1);
    assert_eq!(read(&chain, &pem).unwrap_err(), IdentityError::ChainTooLarge);
    let key = padded(&pem, KEY_PEM_BYTES_MAX + 1);
    assert_eq!(read(&leaf, &key).unwrap_err(), IdentityError::KeyTooLarge);
}

#[test]
fn never_shows_the_key() {
    let (ca, key) = (Ca::new(), key());
    let identity = read(&ca.issue(&key, &["a.example"]), &key.serialize_pem()).unwrap();
    let shown = format!("{identity:?}");
    assert!(shown.contains("a.example") && shown.len() < 500, "{shown}");
    for secret in key.serialized_der().windows(8) {
        assert!(!shown.contains(&format!("{}, {}, {}, {}", secret[0], secret[1], secret[2], secret[3])));
    }
}
