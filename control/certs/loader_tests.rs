#![allow(clippy::unwrap_used)]

use std::fs;

use ringway_bridge::{blocking_mailbox, wake_pair};
use ringway_model::{AppId, CertificateFiles, CoreId, FilePath};

use super::*;
use crate::testing::{host, put_files, valid_pair};

/// A loader that is asked by hand, and what the cores get.
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

    fn ask(&mut self, core: u16, key: SecretKey, version: u64) -> Result<Secret, LoadError> {
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
        Secret::ClientCa(_) | Secret::Upstream(_) => panic!("an identity was asked for"),
    }
}

#[test]
fn a_certificate_is_read_once_for_all_cores() {
    let mut setup = Setup::new(Cache::default());
    setup.put("a.example");
    let before = setup.opened();
    let first = fingerprint(setup.ask(0, of("a.example"), 1));
    for core in [1, 0, 1] {
        assert_eq!(fingerprint(setup.ask(core, of("a.example"), 1)), first);
    }
    assert_eq!(setup.opened(), before + 1);
}

#[test]
fn a_new_version_is_read_anew_and_an_old_one_does_not_displace_it() {
    let mut setup = Setup::new(Cache::default());
    setup.put("a.example");
    let old = fingerprint(setup.ask(0, of("a.example"), 1));
    setup.put("a.example");
    assert_eq!(
        fingerprint(setup.ask(0, of("a.example"), 1)),
        old,
        "published is what counts, not what is there"
    );
    let new = fingerprint(setup.ask(0, of("a.example"), 2));
    assert_ne!(new, old);
    // A core that is behind.
    setup.ask(1, of("a.example"), 1).unwrap();
    let opened = setup.opened();
    assert_eq!(fingerprint(setup.ask(0, of("a.example"), 2)), new);
    assert_eq!(setup.opened(), opened);
}

#[test]
fn one_broken_certificate_harms_no_other() {
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
        let why = setup.ask(0, of(name), 1).unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
    }
    assert!(setup.ask(0, of("good.example"), 1).is_ok());
    assert!(setup.ask(0, SecretKey::Identity(IdentityName::Default), 1).is_err());
}

#[test]
fn what_cannot_be_loaded_is_not_read_for_every_handshake_but_again_soon() {
    let mut setup = Setup::new(Cache::default());
    assert!(setup.ask(0, of("a.example"), 1).is_err());
    let opened = setup.opened();
    assert!(setup.ask(0, of("a.example"), 1).is_err());
    assert_eq!(setup.opened(), opened);
    setup.put("a.example");
    let later = clock::now().after(FAILURE_AGE_MAX);
    assert!(setup.loader.cache.find(&of("a.example"), 1, later).is_none());
    assert!(setup.ask(0, of("a.example"), 2).is_ok());
}

#[test]
fn the_least_recently_wanted_makes_room() {
    let mut setup = Setup::new(Cache::new(2));
    for name in ["a.example", "b.example", "c.example"] {
        setup.put(name);
    }
    setup.ask(0, of("a.example"), 1).unwrap();
    setup.ask(0, of("b.example"), 1).unwrap();
    setup.ask(0, of("a.example"), 1).unwrap();
    setup.ask(0, of("c.example"), 1).unwrap();
    let opened = setup.opened();
    setup.ask(0, of("a.example"), 1).unwrap();
    assert_eq!(setup.opened(), opened, "kept");
    setup.ask(0, of("b.example"), 1).unwrap();
    assert_eq!(setup.opened(), opened + 1, "dropped");
    assert_eq!(setup.loader.cache.entries.len(), 2);
}

#[test]
fn client_cas_are_read_again_when_they_change() {
    let mut setup = Setup::new(Cache::default());
    let ca = |setup: &Setup| setup.path("ca.pem", &valid_pair(&["ca.example"]).chain);
    let path = ca(&setup);
    let key = SecretKey::ClientCa(path.clone());
    assert!(matches!(setup.ask(0, key.clone(), 0).unwrap(), Secret::ClientCa(_)));
    let opened = setup.opened();
    setup.ask(1, key.clone(), 0).unwrap();
    assert_eq!(setup.opened(), opened, "unchanged");
    fs::remove_file(path.as_path()).unwrap();
    ca(&setup);
    setup.ask(1, key.clone(), 0).unwrap();
    assert_eq!(setup.opened(), opened + 1, "changed");
    fs::remove_file(path.as_path()).unwrap();
    // What was good stays in force, also on a core that asks for the first time.
    assert!(matches!(setup.ask(0, key.clone(), 0).unwrap(), Secret::ClientCa(_)));
    fs::write(path.as_path(), "nonsense").unwrap();
    assert!(matches!(setup.ask(1, key.clone(), 0).unwrap(), Secret::ClientCa(_)));
    let opened = setup.opened();
    ca(&setup);
    setup.ask(1, key, 0).unwrap();
    assert_eq!(setup.opened(), opened + 1, "and is replaced as soon as there is something good");
}

#[test]
fn a_ca_file_that_was_never_good_is_not_to_be_had() {
    let mut setup = Setup::new(Cache::default());
    let path = setup.path("ca.pem", b"nonsense");
    let key = SecretKey::ClientCa(path.clone());
    assert!(setup.ask(0, key.clone(), 0).unwrap_err().to_string().contains("ca.pem"));
    fs::remove_file(path.as_path()).unwrap();
    let why = setup.ask(0, key, 0).unwrap_err().to_string();
    assert!(why.contains("ca.pem"), "{why}");
}

#[test]
fn upstream_material_is_what_was_asked_for() {
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
    let Secret::Upstream(material) = setup.ask(0, key(tls.clone()), 0).unwrap() else {
        panic!("not asked for")
    };
    assert!(material.is_insecure());
    let Secret::Upstream(plain) = setup.ask(0, key(UpstreamTls::default()), 0).unwrap() else { panic!() };
    assert!(!plain.is_insecure());
    let turned = CertificateFiles { certificate: files.key, key: files.certificate };
    let why = setup.ask(0, key(UpstreamTls { client_certificate: Some(turned), ..tls }), 0).unwrap_err();
    assert!(why.to_string().contains("site.key"), "{why}");
}

#[test]
fn too_large_a_file_is_refused() {
    let mut setup = Setup::new(Cache::default());
    let path = setup.path("ca.pem", &vec![b'x'; crate::limits::CERTIFICATE_FILE_BYTES_MAX + 1]);
    assert!(setup.ask(0, SecretKey::ClientCa(path), 0).unwrap_err().to_string().contains("more than"));
    let pipe = setup.dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let key = SecretKey::ClientCa(FilePath::parse(pipe.to_str().unwrap()).unwrap());
    assert!(setup.ask(0, key, 0).is_err(), "and a pipe does not hang the loader");
}

#[test]
fn a_core_that_takes_nothing_costs_the_others_nothing() {
    let mut setup = Setup::new(Cache::default());
    setup.put("a.example");
    for _ in 0..20 {
        setup.loader.serve(SecretRequest { core: CoreId(0), key: of("a.example"), version: 1 });
    }
    assert!(setup.ask(1, of("a.example"), 1).is_ok());
    setup.loader.serve(SecretRequest { core: CoreId(9), key: of("a.example"), version: 1 });
}
