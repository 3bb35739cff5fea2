//! The public handle, with a control plane that records its calls.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_bridge::blocking_mailbox;
use ringway_model::CoreId;
use ringway_net::spawn;
use ringway_net::yield_now;

use ringway_tls::{IdentityName, Secret, SecretKey, SecretUpdate};

use super::*;
use crate::files::{Files, Pair};
use crate::host::PublishError;
use crate::limits::{CERTIFICATE_SCAN_BATCH, VERIFICATIONS_IN_FLIGHT_MAX, VERIFICATIONS_WAITING_MAX};
use crate::open::{FIRST_VERSION, StartError, open};
use crate::settings::CertificateSettings;
use crate::testing::{FakeHost, domain, host, issue, on_control_thread, put_files, valid_pair};
use crate::verification::ProbeOutcome;
use crate::verification::Readiness;
use ringway_dns::testing::{Server, ip};

use CertificateMode::{Acme, Provided};

/// Certificate directory, and the mailbox of one core.
struct Setup {
    dir: tempfile::TempDir,
    core: MailboxReceiver<SecretUpdate>,
    senders: Vec<MailboxSender<SecretUpdate>>,
}

impl Setup {
    fn new() -> Self {
        let (sender, core) = blocking_mailbox(64);
        Self { dir: tempfile::tempdir().unwrap(), core, senders: vec![sender] }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("certs")
    }

    fn settings(&self) -> CertificateSettings {
        CertificateSettings::new(self.path())
    }

    fn files(&self) -> Files {
        let files = Files::new(&self.path());
        files.prepare().unwrap();
        files
    }

    fn open(&self, settings: CertificateSettings) -> Opened {
        open(settings, self.senders.clone()).unwrap()
    }

    /// Requests a certificate as a core does.
    fn request(
        &self,
        requests: &MailboxSender<SecretRequest>,
        name: IdentityName,
        version: u64,
    ) -> Result<String, String> {
        // Drops secrets that were pushed earlier.
        self.core.drain(usize::MAX).for_each(drop);
        requests.send(SecretRequest { core: CoreId(0), key: SecretKey::Identity(name), version }).unwrap();
        let loaded = self.core.recv_timeout(Duration::from_secs(30)).unwrap();
        match loaded.result {
            Ok(Secret::Identity(identity)) => Ok(identity.facts().fingerprint.clone()),
            Ok(Secret::ClientCa(_) | Secret::Upstream(_)) => panic!("an identity was requested"),
            Err(why) => Err(why.to_string()),
        }
    }
}

fn of(name: &str) -> IdentityName {
    IdentityName::Domain(host(name))
}

/// Creates the handle and runs its tasks.
fn running(opened: Opened, fake: &FakeHost) -> Certificates {
    let certificates = Certificates::new(opened);
    start(&certificates, fake);
    certificates
}

fn start(certificates: &Certificates, fake: &FakeHost) {
    certificates.inner.publisher.attach(fake.clone());
    let (this, fake) = (certificates.clone(), fake.clone());
    spawn(async move { this.run(fake).await }, |panic| panic!("{panic:?}"));
}

fn event(fake: &FakeHost, is_it: impl Fn(&CertificateEvent) -> bool) -> bool {
    fake.recorded().events.borrow().iter().any(is_it)
}

#[test]
fn a_domain_without_a_ca_has_its_reason_at_once() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        let reason = |name: &str| certificates.state(&host(name)).unwrap().reason;
        for name in ["first.example", "later.example"] {
            certificates.put_domain(&domain(name, Acme));
            // The response to the registration shows it.
            assert!(reason(name).unwrap().contains("no CA is configured"));
            certificates.put_domain(&domain(name, Provided));
            assert!(reason(name).unwrap().contains("not been uploaded"));
        }
    });
}

#[test]
fn a_start_opens_no_certificate() {
    let setup = Setup::new();
    let files = setup.files();
    let pair = valid_pair(&["*.example"]);
    let count = 5_000;
    for n in 0..count {
        // Not synced one by one, as the product would.
        let folder = setup.path().join(format!("domains/d{n}.example"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("identity.pem"), [&pair.chain[..], &pair.key].concat()).unwrap();
    }
    drop(files);
    let opened = setup.open(setup.settings());
    let files = opened.files.clone();
    let requests = opened.requests();
    assert_eq!(opened.version(&domain("d4999.example", Acme)), Some(FIRST_VERSION));
    assert_eq!(opened.version(&domain("d4999.example", CertificateMode::None)), None);
    assert_eq!(opened.version(&domain("other.example", Acme)), None);
    on_control_thread(|| async {
        let certificates = Certificates::new(opened);
        for n in 0..count {
            certificates.put_domain(&domain(&format!("d{n}.example"), Acme));
        }
        assert_eq!(files.opened(), 0, "the start opens none");
        assert_eq!(certificates.overview().unread, count);
        for n in [7, 7, 11] {
            setup.request(&requests, of(&format!("d{n}.example")), FIRST_VERSION).unwrap();
        }
        assert_eq!(files.opened(), 2, "only the requested ones, once");
    });
}

#[test]
fn all_certificates_are_read_in_batches() {
    let setup = Setup::new();
    let files = setup.files();
    // More than two batches.
    let count = 2 * CERTIFICATE_SCAN_BATCH + 1;
    let pair = valid_pair(&["*.example"]);
    for n in 0..count {
        files.write_identity(&host(&format!("d{n}.example")), &pair).unwrap();
    }
    let opened = setup.open(setup.settings());
    let files = opened.files.clone();
    on_control_thread(|| async {
        let certificates = Certificates::new(opened);
        for n in 0..count {
            certificates.put_domain(&domain(&format!("d{n}.example"), Acme));
        }
        start(&certificates, &FakeHost::default());
        while certificates.overview().unread > 0 {
            yield_now().await;
        }
        // Certificate, record and order of each, once; and the budgets.
        let opened = files.opened();
        assert!(opened <= 3 * count as u64 + 1, "{opened} files were opened");
        for n in 0..count {
            let name = host(&format!("d{n}.example"));
            let state = certificates.state(&name).unwrap();
            assert!(state.certificate.unwrap().covers(name.as_str()));
        }
        assert_eq!(certificates.overview().damaged, 0);
    });
}

#[test]
fn an_upload_is_live_when_the_call_returns() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    let requests = opened.requests();
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Provided));
        let state = certificates.state(&host("a.example")).unwrap();
        assert_eq!((state.state, state.version), (CertificateState::Provided, None));
        assert!(state.reason.unwrap().contains("has not been uploaded"));

        let (first, second) = (valid_pair(&["a.example"]), valid_pair(&["a.example"]));
        let mut last = None;
        for pair in [first, second] {
            let facts = certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap();
            let (name, version) = fake.recorded().certificates.borrow().last().unwrap().clone();
            assert_eq!(name, "a.example");
            assert!(version > last, "versions grow");
            last = version;
            let served = setup.request(&requests, of("a.example"), version.unwrap()).unwrap();
            assert_eq!(served, facts.fingerprint);
            let state = certificates.state(&host("a.example")).unwrap();
            assert_eq!((state.certificate.unwrap(), state.version, state.reason), (facts, version, None));
        }
        assert!(event(&fake, |event| matches!(event, CertificateEvent::Uploaded { .. })));
    });
}

#[test]
fn a_refused_upload_changes_nothing() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        let pair = valid_pair(&["a.example"]);
        let upload =
            async |name: &str| certificates.upload(&host(name), &pair.chain, &pair.key).await.unwrap_err();
        assert!(matches!(upload("a.example").await, UploadError::UnknownDomain));
        certificates.put_domain(&domain("a.example", Acme));
        assert!(matches!(upload("a.example").await, UploadError::NotProvided));
        certificates.put_domain(&domain("b.example", Provided));
        assert!(matches!(upload("b.example").await, UploadError::WrongName { .. }));
        assert!(fake.recorded().certificates.borrow().is_empty());
        assert!(fs::read_dir(setup.path().join("domains")).unwrap().next().is_none());
    });
}

#[test]
fn a_full_disk_keeps_the_old_certificate_and_is_reported() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    let (requests, faults) = (opened.requests(), opened.files.faults.clone());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Provided));
        let (old, new) = (valid_pair(&["a.example"]), valid_pair(&["a.example"]));
        let facts = certificates.upload(&host("a.example"), &old.chain, &old.key).await.unwrap();
        let version = certificates.state(&host("a.example")).unwrap().version.unwrap();
        faults.refuse(libc::ENOSPC);
        let error = certificates.upload(&host("a.example"), &new.chain, &new.key).await.unwrap_err();
        assert!(
            matches!(&error, UploadError::NotStored(reason) if reason.contains("free some space")),
            "{error}"
        );
        assert_eq!(setup.request(&requests, of("a.example"), version).unwrap(), facts.fingerprint);
        assert!(certificates.overview().directory_problem.is_some());
        assert!(event(&fake, |event| matches!(event, CertificateEvent::DirectoryUnusable { .. })));
        faults.mend();
        certificates.upload(&host("a.example"), &new.chain, &new.key).await.unwrap();
        assert_eq!(certificates.overview().directory_problem, None);
    });
}

#[test]
fn every_core_has_a_new_certificate_before_its_version() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Provided));
        let pair = valid_pair(&["a.example"]);
        let facts = certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap();
        let version = certificates.state(&host("a.example")).unwrap().version.unwrap();
        let given = setup.core.try_recv().unwrap();
        assert_eq!((&given.key, given.version), (&SecretKey::Identity(of("a.example")), version));
        assert!(
            matches!(&given.result, Ok(Secret::Identity(identity)) if identity.facts().fingerprint == facts.fingerprint)
        );
        // A core with a full mailbox may serve the older one for a while, which is reported.
        while setup.senders[0].send(given.clone()).is_ok() {}
        let error = certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap_err();
        assert!(matches!(error, UploadError::NotLive(PublishError::SlowCores)), "{error}");
    });
}

#[test]
fn a_slow_core_is_distinguished_from_a_refusal() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Provided));
        fake.recorded().refusal.set(Some(PublishError::SlowCores));
        let pair = valid_pair(&["a.example"]);
        let error = certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap_err();
        assert!(matches!(error, UploadError::NotLive(PublishError::SlowCores)));
        assert!(certificates.state(&host("a.example")).unwrap().certificate.is_some(), "stored");
    });
}

#[test]
fn a_removed_domain_leaves_nothing_on_the_disk() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Provided));
        certificates.put_domain(&domain("b.example", Provided));
        for name in ["a.example", "b.example"] {
            let pair = valid_pair(&[name]);
            certificates.upload(&host(name), &pair.chain, &pair.key).await.unwrap();
        }
        certificates.remove_domain(&host("a.example"));
        assert!(certificates.state(&host("a.example")).is_none());
        fake.until("removed", |recorded| {
            recorded.events.borrow().iter().any(|event| matches!(event, CertificateEvent::Removed { .. }))
        })
        .await;
        assert!(!setup.path().join("domains/a.example").exists());
        assert!(setup.path().join("domains/b.example").exists());
        assert_eq!(certificates.overview().orphans, 0);
        certificates.put_domain(&domain("a.example", Provided));
        assert_eq!(
            certificates.state(&host("a.example")).unwrap().version,
            None,
            "starts without a certificate"
        );
    });
}

#[test]
fn a_domain_registered_again_at_once_keeps_its_certificate() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Provided));
        let pair = valid_pair(&["a.example"]);
        certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap();
        certificates.remove_domain(&host("a.example"));
        certificates.put_domain(&domain("a.example", Provided));
        // The removal is queued for the disk, with another operation behind it.
        yield_now().await;
        certificates.inner.disk.run(|_| Ok(())).await.unwrap();
        assert!(certificates.state(&host("a.example")).unwrap().version.is_some());
        assert!(setup.path().join("domains/a.example/identity.pem").exists());
        fake.until("published", |recorded| recorded.certificates.borrow().len() >= 2).await;
    });
}

#[test]
fn a_change_of_mode_withdraws_and_restores_the_certificate() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Provided));
        let pair = valid_pair(&["a.example"]);
        certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap();
        certificates.put_domain(&domain("a.example", CertificateMode::None));
        fake.until("withdrawn", |recorded| {
            recorded.certificates.borrow().last().is_some_and(|(_, version)| version.is_none())
        })
        .await;
        certificates.put_domain(&domain("a.example", Acme));
        fake.until("back", |recorded| {
            recorded.certificates.borrow().last().is_some_and(|(_, version)| version.is_some())
        })
        .await;
        let published = fake.recorded().certificates.borrow().len();
        certificates.put_domain(&domain("a.example", Acme));
        certificates.inner.disk.run(|_| Ok(())).await.unwrap();
        assert_eq!(fake.recorded().certificates.borrow().len(), published, "no change, no publication");
    });
}

#[test]
fn a_damaged_certificate_is_withdrawn_and_reported() {
    let setup = Setup::new();
    let files = setup.files();
    for name in ["good.example", "bad.example"] {
        files.write_identity(&host(name), &valid_pair(&[name])).unwrap();
    }
    fs::write(setup.path().join("domains/bad.example/identity.pem"), "nonsense").unwrap();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let certificates = Certificates::new(opened);
        certificates.put_domain(&domain("good.example", Acme));
        certificates.put_domain(&domain("bad.example", Acme));
        let fake = FakeHost::default();
        start(&certificates, &fake);
        fake.until("damage", |recorded| {
            recorded.events.borrow().iter().any(|event| matches!(event, CertificateEvent::Damaged { .. }))
        })
        .await;
        while certificates.overview().unread > 0 {
            yield_now().await;
        }
        assert_eq!(fake.recorded().certificates.borrow()[..], [("bad.example".to_owned(), None)]);
        assert!(certificates.state(&host("bad.example")).unwrap().reason.unwrap().contains("bad.example"));
        assert!(certificates.state(&host("good.example")).unwrap().certificate.is_some());
        let overview = certificates.overview();
        assert_eq!((overview.damaged, overview.expired), (1, 0));
    });
}

#[test]
fn each_core_has_the_default_certificate_at_the_start() {
    let setup = Setup::new();
    let operator = put_files(setup.dir.path(), &valid_pair(&["default.example"]));
    let opened = setup.open(CertificateSettings { default_files: Some(operator), ..setup.settings() });
    let sent: Vec<SecretUpdate> = setup.core.drain(usize::MAX).collect();
    let [SecretUpdate { key: SecretKey::Identity(IdentityName::Default), version, result: Ok(_) }] =
        &sent[..]
    else {
        panic!("{sent:?}");
    };
    assert_eq!(Some(*version), opened.default_version());
}

#[test]
fn an_unusable_directory_does_not_prevent_the_start() {
    let setup = Setup::new();
    fs::write(setup.path(), "a file").unwrap();
    let operator = put_files(setup.dir.path(), &valid_pair(&["default.example"]));
    let opened = setup.open(CertificateSettings { default_files: Some(operator), ..setup.settings() });
    let requests = opened.requests();
    assert_eq!(opened.default_version(), Some(1));
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        fake.until("reported", |recorded| {
            recorded
                .events
                .borrow()
                .iter()
                .any(|event| matches!(event, CertificateEvent::DirectoryUnusable { .. }))
        })
        .await;
        assert!(certificates.overview().directory_problem.unwrap().contains("certs"));
        assert!(setup.request(&requests, IdentityName::Default, 1).is_ok());
        certificates.put_domain(&domain("a.example", Provided));
        let pair = valid_pair(&["a.example"]);
        let error = certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap_err();
        assert!(matches!(error, UploadError::NotStored(_)), "{error}");
        let mut metrics = String::new();
        certificates.render_metrics(&mut metrics);
        assert!(metrics.contains("ringway_certificate_directory_unusable 1\n"), "{metrics}");
        assert!(metrics.contains("ringway_certificate_domains{state=\"provided\"} 1\n"), "{metrics}");
    });
}

#[test]
fn a_directory_that_becomes_usable_is_taken_over() {
    let setup = Setup::new();
    let elsewhere = Files::new(&setup.dir.path().join("elsewhere"));
    elsewhere.prepare().unwrap();
    elsewhere.write_identity(&host("a.example"), &valid_pair(&["a.example"])).unwrap();
    fs::write(setup.path(), "a file").unwrap();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let certificates = Certificates::new(opened);
        certificates.put_domain(&domain("a.example", Acme));
        let fake = FakeHost::default();
        start(&certificates, &fake);
        assert!(certificates.inner.disk.problem().is_some());
        certificates.inner.store.rescan().await;
        assert!(certificates.inner.disk.problem().is_some(), "still unusable");
        fs::remove_file(setup.path()).unwrap();
        fs::rename(setup.dir.path().join("elsewhere"), setup.path()).unwrap();
        certificates.inner.store.rescan().await;
        assert_eq!(certificates.inner.disk.problem(), None);
        assert_eq!(fake.recorded().certificates.borrow()[..], [("a.example".to_owned(), Some(2))]);
        while certificates.overview().unread > 0 {
            yield_now().await;
        }
        assert!(certificates.state(&host("a.example")).unwrap().certificate.is_some());
    });
}

#[test]
fn orphans_are_deleted() {
    let setup = Setup::new();
    let files = setup.files();
    for name in ["a.example", "b.example"] {
        files.write_identity(&host(name), &valid_pair(&[name])).unwrap();
    }
    fs::create_dir(setup.path().join("domains/bare.example")).unwrap();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Acme));
        assert_eq!(certificates.overview().orphans, 2);
        certificates.inner.store.remove_orphans().await;
        assert_eq!(certificates.overview().orphans, 0);
        let left: Vec<_> = fs::read_dir(setup.path().join("domains")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].file_name(), "a.example");
    });
}

#[test]
fn a_domain_covered_by_the_default_certificate_shows_it() {
    let setup = Setup::new();
    let operator = put_files(setup.dir.path(), &valid_pair(&["*.example", "other.test"]));
    let opened = setup.open(CertificateSettings { default_files: Some(operator), ..setup.settings() });
    on_control_thread(|| async {
        let certificates = running(opened, &FakeHost::default());
        for (name, mode) in [
            ("a.example", Acme),
            ("b.example", CertificateMode::None),
            ("c.example", Provided),
            ("elsewhere.test", Acme),
        ] {
            certificates.put_domain(&domain(name, mode));
        }
        let state = |name: &str| certificates.state(&host(name)).unwrap();
        let default = certificates.overview().default.unwrap().facts;
        for name in ["a.example", "b.example"] {
            let state = state(name);
            assert_eq!(
                (state.state, state.certificate.as_ref()),
                (CertificateState::Default, Some(&default)),
                "{name}"
            );
            assert_eq!((state.reason, state.version), (None, None), "{name}");
        }
        // Names that it does not cover, and domains with their own certificate, are not affected.
        assert_eq!(
            (state("elsewhere.test").state, state("elsewhere.test").certificate),
            (CertificateState::None, None)
        );
        assert!(state("elsewhere.test").reason.unwrap().contains("ACME_EMAIL"));
        assert_eq!(state("c.example").state, CertificateState::Provided);
        let mut metrics = String::new();
        certificates.render_metrics(&mut metrics);
        assert!(metrics.contains("ringway_certificate_domains{state=\"default\"} 2\n"), "{metrics}");
        assert!(metrics.contains("ringway_certificate_domains{state=\"none\"} 1\n"), "{metrics}");
        let pair = valid_pair(&["c.example"]);
        certificates.upload(&host("c.example"), &pair.chain, &pair.key).await.unwrap();
        assert_eq!(state("c.example").state, CertificateState::Provided);
    });
}

#[test]
fn an_invalid_default_certificate_fails_the_start() {
    let setup = Setup::new();
    for (pair, part) in [
        (issue(&["a.example"], 2020, 2021), "has expired"),
        (Pair { chain: valid_pair(&["a.example"]).chain, key: valid_pair(&["a.example"]).key }, "site.key"),
    ] {
        let operator = put_files(setup.dir.path(), &pair);
        let settings = CertificateSettings { default_files: Some(operator), ..setup.settings() };
        let error = open(settings, setup.senders.clone()).unwrap_err();
        assert!(matches!(error, StartError::Default(_)) && error.to_string().contains(part), "{error}");
    }
}

#[test]
fn the_default_certificate_is_replaced_without_a_restart() {
    let setup = Setup::new();
    let operator = put_files(setup.dir.path(), &valid_pair(&["default.example"]));
    let opened = setup.open(CertificateSettings { default_files: Some(operator), ..setup.settings() });
    let requests = opened.requests();
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        let first = setup.request(&requests, IdentityName::Default, 1).unwrap();
        let next = valid_pair(&["default.example"]);
        put_files(setup.dir.path(), &next);
        fake.until("replaced", |recorded| recorded.defaults.borrow().last() == Some(&Some(2))).await;
        let second = setup.request(&requests, IdentityName::Default, 2).unwrap();
        assert_ne!(first, second);
        let state = certificates.overview().default.unwrap();
        assert_eq!(
            (state.facts.fingerprint.clone(), state.version, state.problem),
            (second.clone(), 2, None)
        );
        put_files(setup.dir.path(), &Pair { chain: b"nonsense".to_vec(), key: next.key });
        fake.until("refused", |recorded| {
            recorded
                .events
                .borrow()
                .iter()
                .any(|event| matches!(event, CertificateEvent::DefaultRefused { .. }))
        })
        .await;
        assert_eq!(
            setup.request(&requests, IdentityName::Default, 2).unwrap(),
            second,
            "the previous one stays"
        );
        assert!(certificates.overview().default.unwrap().problem.unwrap().contains("site.pem"));
    });
}

/// Serves the published challenges, as the cores do.
pub(crate) struct ChallengeServer {
    pub(crate) port: u16,
    thread: Option<JoinHandle<()>>,
}

impl ChallengeServer {
    pub(crate) fn new(challenges: Arc<Mutex<HashMap<String, String>>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.extend_from_slice(&byte);
                }
                if head.is_empty() {
                    return;
                }
                let head = String::from_utf8(head).unwrap();
                let token = head.split_whitespace().nth(1).unwrap().rsplit('/').next().unwrap().to_owned();
                let answer = challenges.lock().unwrap().get(&token).cloned();
                let (status, body) = answer.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
            }
        });
        Self { port, thread: Some(thread) }
    }
}

impl Drop for ChallengeServer {
    fn drop(&mut self) {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_domain_that_points_here_is_ready() {
    let setup = Setup::new();
    let names = Server::zone(vec![("a.example", ip("127.0.0.1")), ("c.example", ip("127.0.0.1"))]);
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let challenges = Arc::clone(&fake.recorded().challenges);
        let server = ChallengeServer::new(Arc::clone(&challenges));
        let settings = CertificateSettings {
            dns_resolver: Some(names.address),
            http_port: server.port,
            ..setup.settings()
        };
        let certificates = running(setup.open(settings), &fake);
        certificates.put_domain(&domain("a.example", Acme));
        certificates.put_domain(&domain("b.example", Acme));
        let verification = certificates.verify(&host("a.example")).await.unwrap();
        assert_eq!(verification.readiness, Readiness::Ready, "{verification:?}");
        assert_eq!(verification.probes[0].outcome, ProbeOutcome::Reached);
        assert!(challenges.lock().unwrap().is_empty(), "the probe's challenge is withdrawn");
        assert_eq!(certificates.state(&host("a.example")).unwrap().verification, Some(verification));
        let verification = certificates.verify(&host("b.example")).await.unwrap();
        assert_eq!(verification.readiness, Readiness::NoRecords);
        assert!(verification.advice.contains("b.example does not exist in DNS"), "{}", verification.advice);
        assert!(
            certificates.verify(&host("c.example")).await.is_none(),
            "only registered domains are probed"
        );
    });
}

#[test]
fn another_server_is_recognized() {
    let setup = Setup::new();
    let names = Server::zone(vec![("a.example", ip("127.0.0.1"))]);
    // It has none of our challenges.
    let server = ChallengeServer::new(Arc::default());
    let settings =
        CertificateSettings { dns_resolver: Some(names.address), http_port: server.port, ..setup.settings() };
    let opened = setup.open(settings);
    on_control_thread(|| async {
        let fake = FakeHost::default();
        let certificates = running(opened, &fake);
        certificates.put_domain(&domain("a.example", Acme));
        let verification = certificates.verify(&host("a.example")).await.unwrap();
        assert_eq!(verification.readiness, Readiness::Elsewhere);
        fake.recorded().refusal.set(Some(PublishError::Full));
        let verification = certificates.verify(&host("a.example")).await.unwrap();
        assert_eq!(
            verification.readiness,
            Readiness::NotChecked,
            "a local shortage is not the domain's fault"
        );
    });
}

#[test]
fn the_verification_queue_is_bounded() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let certificates = Certificates::new(opened);
        certificates.put_domain(&domain("a.example", Acme));
        let slots = certificates.inner.verifier.slots().clone();
        let mut places = Vec::new();
        for _ in 0..VERIFICATIONS_IN_FLIGHT_MAX {
            places.push(slots.acquire().await.unwrap());
        }
        for _ in 0..VERIFICATIONS_WAITING_MAX {
            let slots = slots.clone();
            spawn(async move { drop(slots.acquire().await) }, |_| {});
        }
        yield_now().await;
        assert!(certificates.verify(&host("a.example")).await.is_none());
    });
}

#[test]
fn changed_domains_are_taken_once() {
    let setup = Setup::new();
    let opened = setup.open(setup.settings());
    on_control_thread(|| async {
        let certificates = Certificates::new(opened);
        certificates.put_domain(&domain("a.example", Acme));
        certificates.put_domain(&domain("a.example", Provided));
        assert_eq!(certificates.inner.registry.take_changed(), [host("a.example")]);
        assert!(certificates.inner.registry.take_changed().is_empty());
        certificates.remove_domain(&host("a.example"));
        certificates.remove_domain(&host("a.example"));
        assert_eq!(certificates.inner.registry.take_changed(), [host("a.example")]);
    });
}
