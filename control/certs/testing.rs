//! What the tests of this crate share: certificates of a CA of their own, and a control plane that writes down what it is told.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/e2e/kit/pebble.rs"]
pub(crate) mod pebble;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use ringway_model::{
    AppId, CertificateFiles, CertificateMode, Domain, DomainKind, FilePath, Hostname, Owner, Timestamp,
};
use ringway_net::{RuntimeOptions, clock, run};

use crate::files::Pair;
use crate::stir::Stir;
use crate::{CertificateEvent, Host, Unpublished};

pub(crate) fn host(name: &str) -> Hostname {
    Hostname::parse(name).unwrap()
}

pub(crate) fn domain(name: &str, mode: CertificateMode) -> Domain {
    Domain {
        name: host(name),
        owner: Owner::Api,
        app: AppId::parse("shop").unwrap(),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
        certificate: mode,
        client_auth: None,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    }
}

/// A chain of two for these names, valid in these years, and its key.
pub(crate) fn issue(names: &[&str], from: i32, to: i32) -> Pair {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "the tests' own CA");
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    leaf.not_before = date_time_ymd(from, 1, 1);
    leaf.not_after = date_time_ymd(to, 1, 1);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    Pair {
        chain: format!("{}{}", leaf.pem(), ca_certificate.pem()).into_bytes(),
        key: key.serialize_pem().into_bytes(),
    }
}

/// One that is valid now.
pub(crate) fn sound(names: &[&str]) -> Pair {
    issue(names, 2020, 2100)
}

/// Two files with a pair, as an operator has them.
pub(crate) fn put_files(dir: &std::path::Path, pair: &Pair) -> CertificateFiles {
    let (certificate, key) = (dir.join("site.pem"), dir.join("site.key"));
    // As careful operators do: written beside, then renamed, so that nobody reads half a file.
    for (path, bytes) in [(&certificate, &pair.chain), (&key, &pair.key)] {
        let tmp = path.with_added_extension("new");
        std::fs::write(&tmp, bytes).unwrap();
        std::fs::rename(&tmp, path).unwrap();
    }
    let path = |path: &std::path::Path| FilePath::parse(path.to_str().unwrap()).unwrap();
    CertificateFiles { certificate: path(&certificate), key: path(&key) }
}

/// Runs a scenario on a runtime like the control thread's.
pub(crate) fn on_control_thread<T, F: Future<Output = T>>(scenario: impl FnOnce() -> F) -> T {
    let options = RuntimeOptions { blocking_threads: 4, ..RuntimeOptions::default() };
    run(options, |_| scenario()).unwrap()
}

/// A control plane that does nothing but write down.
#[derive(Clone, Default)]
pub(crate) struct Plane(Rc<Told>);

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) certificates: RefCell<Vec<(String, Option<u64>)>>,
    pub(crate) defaults: RefCell<Vec<Option<u64>>>,
    pub(crate) challenges: Arc<Mutex<HashMap<String, String>>>,
    pub(crate) events: RefCell<Vec<CertificateEvent>>,
    /// What publishing answers.
    pub(crate) refusal: Cell<Option<Unpublished>>,
    stir: Stir,
}

impl Plane {
    pub(crate) fn told(&self) -> &Told {
        &self.0
    }

    /// Waits until it was told something.
    pub(crate) async fn until(&self, what: &str, is_told: impl Fn(&Told) -> bool) {
        let deadline = clock::now().after(Duration::from_secs(30));
        while !is_told(&self.0) {
            assert!(clock::now() < deadline, "never told: {what}; events: {:?}", self.0.events.borrow());
            self.0.stir.wait_until(deadline).await;
        }
    }

    fn answer(&self) -> Result<(), Unpublished> {
        self.0.stir.stir();
        self.0.refusal.get().map_or(Ok(()), Err)
    }
}

impl Host for Plane {
    async fn publish_challenge(
        &self,
        token: &str,
        key_authorization: Option<&str>,
    ) -> Result<(), Unpublished> {
        let mut challenges = self.0.challenges.lock().unwrap();
        match key_authorization {
            Some(answer) => challenges.insert(token.to_owned(), answer.to_owned()),
            None => challenges.remove(token),
        };
        self.answer()
    }

    async fn publish_certificate(&self, host: &Hostname, version: Option<u64>) -> Result<(), Unpublished> {
        self.0.certificates.borrow_mut().push((host.to_string(), version));
        self.answer()
    }

    async fn publish_default(&self, version: Option<u64>) -> Result<(), Unpublished> {
        self.0.defaults.borrow_mut().push(version);
        self.answer()
    }

    fn notify(&self, event: CertificateEvent) {
        self.0.events.borrow_mut().push(event);
        self.0.stir.stir();
    }
}
