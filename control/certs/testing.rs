//! Test kit of this crate: certificates of a test CA, and a control plane that records its calls.
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
use ringway_net::sync::Notify;
use ringway_net::{RuntimeOptions, clock, run};

use crate::files::Pair;
use crate::{CertificateEvent, Host, PublishError};

pub(crate) fn host(name: &str) -> Hostname {
    Hostname::parse(name).unwrap()
}

pub(crate) fn domain(name: &str, mode: CertificateMode) -> Domain {
    Domain {
        policy: None,
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

/// Issues a chain of two for these names, valid in these years, with its key.
pub(crate) fn issue(names: &[&str], from: i32, to: i32) -> Pair {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "test CA");
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

/// Issues a pair that is valid now.
pub(crate) fn valid_pair(names: &[&str]) -> Pair {
    issue(names, 2020, 2100)
}

/// Writes a pair to two files, as an operator does.
pub(crate) fn put_files(dir: &std::path::Path, pair: &Pair) -> CertificateFiles {
    let (certificate, key) = (dir.join("site.pem"), dir.join("site.key"));
    // Written beside, then renamed, so that no partial file is read.
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

/// Control plane that records its calls.
#[derive(Clone, Default)]
pub(crate) struct FakeHost(Rc<Recorded>);

#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) certificates: RefCell<Vec<(String, Option<u64>)>>,
    pub(crate) defaults: RefCell<Vec<Option<u64>>>,
    pub(crate) challenges: Arc<Mutex<HashMap<String, String>>>,
    pub(crate) events: RefCell<Vec<CertificateEvent>>,
    /// Error that publishing returns.
    pub(crate) refusal: Cell<Option<PublishError>>,
    called: Notify,
}

impl FakeHost {
    pub(crate) fn recorded(&self) -> &Recorded {
        &self.0
    }

    /// Waits until the recorded calls meet a condition.
    pub(crate) async fn until(&self, what: &str, is_met: impl Fn(&Recorded) -> bool) {
        let deadline = clock::now().after(Duration::from_secs(30));
        while !is_met(&self.0) {
            assert!(clock::now() < deadline, "never recorded: {what}; events: {:?}", self.0.events.borrow());
            self.0.called.notified_until(deadline).await;
        }
    }

    fn respond(&self) -> Result<(), PublishError> {
        self.0.called.notify();
        self.0.refusal.get().map_or(Ok(()), Err)
    }
}

impl Host for FakeHost {
    async fn publish_challenge(
        &self,
        token: &str,
        key_authorization: Option<&str>,
    ) -> Result<(), PublishError> {
        let mut challenges = self.0.challenges.lock().unwrap();
        match key_authorization {
            Some(response) => challenges.insert(token.to_owned(), response.to_owned()),
            None => challenges.remove(token),
        };
        self.respond()
    }

    async fn publish_certificate(&self, host: &Hostname, version: Option<u64>) -> Result<(), PublishError> {
        self.0.certificates.borrow_mut().push((host.to_string(), version));
        self.respond()
    }

    async fn publish_default(&self, version: Option<u64>) -> Result<(), PublishError> {
        self.0.defaults.borrow_mut().push(version);
        self.respond()
    }

    fn notify(&self, event: CertificateEvent) {
        self.0.events.borrow_mut().push(event);
        self.0.called.notify();
    }
}
