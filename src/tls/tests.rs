#![allow(clippy::unwrap_used)]

mod configurations;
mod identities;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// CA of a test.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA 1");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Issues a leaf, as PEM.
    fn issue(&self, key: &KeyPair, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        CertificateParams::new(names).unwrap().signed_by(key, &self.0).unwrap().pem()
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}
