#![allow(clippy::unwrap_used)]

use std::fs;

use ringway_bridge::{blocking_mailbox, wake_pair};
use ringway_model::{AppId, CertificateFiles, CoreId, FilePath};

use super::*;
use crate::testing::{host, put_files, valid_pair};

/// Loader without its thread, and the mailboxes of two cores.
struct Setup {
    dir: tempfile::TempDir,
    loader: Loader,
    cores: Vec<MailboxReceiver<SecretUpdate>>,
}

impl Setup {
    fn new(cache: Cache) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(&dir.path().join("certs"));
        files.prepare().unwrap();
        let (senders, cores) = (0..2).map(|_| blocking_mailbox(8)).unzip();
        let (_, requests) = blocking_mailbox(1);
        let (waker, _) = wake_pair().unwrap();
        let (changes, _) = ringway_bridge::mailbox(1, waker);
        let loader = Loader { cache, ..Loader::new(files, requests, senders, None, changes) };
        Self { dir, loader, cores }
    }

    fn put(&self, name: &str) {
        self.loader.files.write_identity(&host(name), &valid_pair(&[name])).unwrap();
    }

    fn request(&mut self, core: u16, key: SecretKey, version: u64) -> Result<Secret, LoadError> {
        self.loader.serve(SecretRequest { core: CoreId(core), key: key.clone(), version });
        let loaded = self.cores[usize::from(core)].try_recv().unwrap();
        assert_eq!((loaded.key, loaded.version), (key, version));
        loaded.result
    }

    fn opened(&self) -> u64 {
        self.loader.files.opened()
    }

    fn path(&self, name: &str, text: &[u8]) -> FilePath {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        FilePath::parse(path.to_str().unwrap()).unwrap()
    }
}

fn of(name: &str) -> SecretKey {
    SecretKey::Identity(IdentityName::Domain(host(name)))
}

fn fingerprint(result: Result<Secret, LoadError>) -> String {
    match result.unwrap() {
        Secret::Identity(identity) => identity.facts().fingerprint.clone(),
        Secret::ClientCa(_) | Secret::Upstream(_) => panic!("an identity was requested"),
    }
}

#[test]
fn a_certificate_is_read_once_for_all_cores() {
    let mut setup = Setup::new(Cache::default());
    setup.put("a.example");
    let before = setup.opened();
    let first = fingerprint(setup.request(0, of("a.example"), 1));
    for core in [1, 0, 1] {
        assert_eq!(fingerprint(setup.request(core, of("a.example"), 1)), first);
    }
    assert_eq!(setup.opened(), before + 1);
}

#[test]
fn a_new_version_is_read_and_an_old_one_does_not_replace_it() {
    let mut setup = Setup::new(Cache::default());
    setup.put("a.example");
    let old = fingerprint(setup.request(0, of("a.example"), 1));
    setup.put("a.example");
    assert_eq!(
        fingerprint(setup.request(0, of("a.example"), 1)),
        old,
        "the published version counts, not the file"
    );
    let new = fingerprint(setup.request(0, of("a.example"), 2));
    assert_ne!(new, old);
    // A core that is behind.
    setup.request(1, of("a.example"), 1).unwrap();
    let opened = setup.opened();
    assert_eq!(fingerprint(setup.request(0, of("a.example"), 2)), new);
    assert_eq!(setup.opened(), opened);
}

#[test]
fn a_broken_certificate_affects_no_other() {
    let mut setup = Setup::new(Cache::default());
    setup.put("good.example");
    setup.put("bad.example");
    setup.put("alien.example");
    let domains = setup.dir.path().join("certs/domains");
    fs::write(domains.join("bad.example/identity.pem"), "nonsense").unwrap();
    fs::copy(domains.join("good.example/identity.pem"), domains.join("alien.example/identity.pem")).unwrap();
    for (name, part) in [
        ("bad.example", "bad.example"),
        ("gone.example", "no certificate for gone.example"),
        ("alien.example", "does not cover"),
    ] {
        let reason = setup.request(0, of(name), 1).unwrap_err().to_string();
        assert!(reason.contains(part), "{reason}");
    }
    assert!(setup.request(0, of("good.example"), 1).is_ok());
    assert!(setup.request(0, SecretKey::Identity(IdentityName::Default), 1).is_err());
}

#[test]
fn a_failure_is_cached_for_a_short_time() {
    let mut setup = Setup::new(Cache::default());
    assert!(setup.request(0, of("a.example"), 1).is_err());
    let opened = setup.opened();
    assert!(setup.request(0, of("a.example"), 1).is_err());
    assert_eq!(setup.opened(), opened);
    setup.put("a.example");
    let later = clock::now().after(FAILURE_AGE_MAX);
    assert!(setup.loader.cache.find(&of("a.example"), 1, later).is_none());
    assert!(setup.request(0, of("a.example"), 2).is_ok());
}

#[test]
fn the_least_recently_used_is_evicted() {
    let mut setup = Setup::new(Cache::new(2));
    for name in ["a.example", "b.example", "c.example"] {
        setup.put(name);
    }
    setup.request(0, of("a.example"), 1).unwrap();
    setup.request(0, of("b.example"), 1).unwrap();
    setup.request(0, of("a.example"), 1).unwrap();
    setup.request(0, of("c.example"), 1).unwrap();
    let opened = setup.opened();
    setup.request(0, of("a.example"), 1).unwrap();
    assert_eq!(setup.opened(), opened, "kept");
    setup.request(0, of("b.example"), 1).unwrap();
    assert_eq!(setup.opened(), opened + 1, "dropped");
    assert_eq!(setup.loader.cache.entries.len(), 2);
}

#[test]
fn client_cas_are_read_again_when_they_change() {
    let mut setup = Setup::new(Cache::default());
    let ca = |setup: &Setup| setup.path("ca.pem", &valid_pair(&["ca.example"]).chain);
    let path = ca(&setup);
    let key = SecretKey::ClientCa(path.clone());
    assert!(matches!(setup.request(0, key.clone(), 0).unwrap(), Secret::ClientCa(_)));
    let opened = setup.opened();
    setup.request(1, key.clone(), 0).unwrap();
    assert_eq!(setup.opened(), opened, "unchanged");
    fs::remove_file(path.as_path()).unwrap();
    ca(&setup);
    setup.request(1, key.clone(), 0).unwrap();
    assert_eq!(setup.opened(), opened + 1, "changed");
    fs::remove_file(path.as_path()).unwrap();
    // The last valid file stays in force, also for a core that requests it for the first time.
    assert!(matches!(setup.request(0, key.clone(), 0).unwrap(), Secret::ClientCa(_)));
    fs::write(path.as_path(), "nonsense").unwrap();
    assert!(matches!(setup.request(1, key.clone(), 0).unwrap(), Secret::ClientCa(_)));
    let opened = setup.opened();
    ca(&setup);
    setup.request(1, key, 0).unwrap();
    assert_eq!(setup.opened(), opened + 1, "and replaced by the next valid file");
}

#[test]
fn a_ca_file_that_was_never_valid_is_an_error() {
    let mut setup = Setup::new(Cache::default());
    let path = setup.path("ca.pem", b"nonsense");
    let key = SecretKey::ClientCa(path.clone());
    assert!(setup.request(0, key.clone(), 0).unwrap_err().to_string().contains("ca.pem"));
    fs::remove_file(path.as_path()).unwrap();
    let reason = setup.request(0, key, 0).unwrap_err().to_string();
    assert!(reason.contains("ca.pem"), "{reason}");
}

#[test]
fn upstream_secrets_have_the_named_files() {
    let mut setup = Setup::new(Cache::default());
    let pair = valid_pair(&["client.example"]);
    let files = put_files(setup.dir.path(), &pair);
    let ca_file = Some(setup.path("ca.pem", &pair.chain));
    let app = AppId::parse("shop").unwrap();
    let key = |tls: UpstreamTls| SecretKey::Upstream(app.clone(), tls);
    let tls = UpstreamTls {
        ca_file,
        client_certificate: Some(files.clone()),
        insecure: true,
        ..UpstreamTls::default()
    };
    let Secret::Upstream(material) = setup.request(0, key(tls.clone()), 0).unwrap() else {
        panic!("not asked for")
    };
    assert!(material.is_insecure());
    let Secret::Upstream(plain) = setup.request(0, key(UpstreamTls::default()), 0).unwrap() else { panic!() };
    assert!(!plain.is_insecure());
    let turned = CertificateFiles { certificate: files.key, key: files.certificate };
    let reason =
        setup.request(0, key(UpstreamTls { client_certificate: Some(turned), ..tls }), 0).unwrap_err();
    assert!(reason.to_string().contains("site.key"), "{reason}");
}

#[test]
fn an_oversized_file_is_refused() {
    let mut setup = Setup::new(Cache::default());
    let path = setup.path("ca.pem", &vec![b'x'; crate::limits::CERTIFICATE_FILE_BYTES_MAX + 1]);
    assert!(setup.request(0, SecretKey::ClientCa(path), 0).unwrap_err().to_string().contains("more than"));
    let pipe = setup.dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let key = SecretKey::ClientCa(FilePath::parse(pipe.to_str().unwrap()).unwrap());
    assert!(setup.request(0, key, 0).is_err(), "a pipe does not block the loader");
}

#[test]
fn a_core_with_a_full_mailbox_does_not_affect_others() {
    let mut setup = Setup::new(Cache::default());
    setup.put("a.example");
    for _ in 0..20 {
        setup.loader.serve(SecretRequest { core: CoreId(0), key: of("a.example"), version: 1 });
    }
    assert!(setup.request(1, of("a.example"), 1).is_ok());
    setup.loader.serve(SecretRequest { core: CoreId(9), key: of("a.example"), version: 1 });
}
