#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::files::Pair;
use crate::testing::{issue, put_files, valid_pair};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

struct Setup {
    dir: tempfile::TempDir,
    files: Files,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(&dir.path().join("certs"));
        Self { dir, files }
    }

    fn put(&self, pair: &Pair) -> CertificateFiles {
        put_files(self.dir.path(), pair)
    }

    fn load(&self, paths: CertificateFiles) -> Result<DefaultFiles, DefaultCertificateError> {
        DefaultFiles::load(&self.files, paths, NOW)
    }
}

#[test]
fn a_start_without_a_valid_pair_fails_and_names_the_file() {
    let setup = Setup::new();
    let paths = setup.put(&valid_pair(&["a.example"]));
    assert!(setup.load(paths.clone()).is_ok());

    fs::remove_file(paths.key.as_path()).unwrap();
    let error = setup.load(paths.clone()).unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("site.key") && error.contains("No such file"),
        "{error}"
    );
    fs::create_dir(paths.key.as_path()).unwrap();
    let error = setup.load(paths.clone()).unwrap_err().to_string();
    assert!(error.contains("site.key") && error.contains("not a file"), "{error}");
    fs::remove_dir(paths.key.as_path()).unwrap();
    fs::remove_file(paths.certificate.as_path()).unwrap();
    let error = setup.load(paths).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("site.pem"), "{error}");

    let (one, other) = (valid_pair(&["a.example"]), valid_pair(&["a.example"]));
    let error = setup.load(setup.put(&Pair { chain: one.chain, key: other.key })).unwrap_err().to_string();
    assert!(error.contains("site.pem") && error.contains("site.key") && error.contains("key"), "{error}");
    let error = setup.load(setup.put(&issue(&["a.example"], 2020, 2021))).unwrap_err().to_string();
    assert!(error.contains("site.pem has expired on Fri, 01 Jan 2021"), "{error}");
    let error = setup.load(setup.put(&issue(&["a.example"], 2099, 2100))).unwrap_err().to_string();
    assert!(error.contains("not valid before") && error.contains("clock"), "{error}");
}

#[test]
fn a_new_pair_replaces_the_served_one() {
    let setup = Setup::new();
    let mut watched = setup.load(setup.put(&valid_pair(&["a.example"]))).unwrap();
    let first = watched.facts().fingerprint.clone();
    assert!(matches!(watched.check(NOW), FileCheck::Unchanged));
    setup.put(&valid_pair(&["a.example"]));
    assert!(matches!(watched.check(NOW), FileCheck::Replaced));
    assert_ne!(watched.facts().fingerprint, first);
    assert_eq!((watched.version(), watched.identity().facts()), (2, &**watched.facts()));
    assert!(matches!(watched.check(NOW), FileCheck::Unchanged));
}

#[test]
fn unchanged_files_are_not_read_again() {
    let setup = Setup::new();
    let mut watched = setup.load(setup.put(&valid_pair(&["a.example"]))).unwrap();
    let opened = setup.files.opened();
    for _ in 0..10 {
        assert!(matches!(watched.check(NOW), FileCheck::Unchanged));
    }
    assert_eq!(setup.files.opened(), opened);
}

#[test]
fn a_broken_file_keeps_the_old_pair_and_is_reported_once() {
    let setup = Setup::new();
    let good = valid_pair(&["a.example"]);
    let mut watched = setup.load(setup.put(&good)).unwrap();
    let first = watched.facts().fingerprint.clone();
    for broken in [
        Pair { chain: b"nonsense".to_vec(), key: good.key.clone() },
        Pair { chain: good.chain.clone(), key: valid_pair(&["a.example"]).key },
        issue(&["a.example"], 2020, 2021),
    ] {
        setup.put(&broken);
        assert!(matches!(watched.check(NOW), FileCheck::Unchanged), "a replacement may be in progress");
        assert!(matches!(watched.check(NOW), FileCheck::Rejected(_)));
        assert!(matches!(watched.check(NOW), FileCheck::Unchanged), "reported once");
        assert_eq!((watched.facts().fingerprint.clone(), watched.version()), (first.clone(), 1));
    }
    setup.put(&good);
    assert!(matches!(watched.check(NOW), FileCheck::Restored));
    assert!(matches!(watched.check(NOW), FileCheck::Unchanged));
}

#[test]
fn a_replacement_in_two_steps_is_not_rejected() {
    let setup = Setup::new();
    let (old, new) = (valid_pair(&["a.example"]), valid_pair(&["a.example"]));
    let mut watched = setup.load(setup.put(&old)).unwrap();
    setup.put(&Pair { chain: new.chain.clone(), key: old.key });
    assert!(matches!(watched.check(NOW), FileCheck::Unchanged));
    setup.put(&new);
    assert!(matches!(watched.check(NOW), FileCheck::Replaced));
}

#[test]
fn a_deleted_file_keeps_the_old_pair() {
    let setup = Setup::new();
    let paths = setup.put(&valid_pair(&["a.example"]));
    let mut watched = setup.load(paths.clone()).unwrap();
    fs::remove_file(paths.certificate.as_path()).unwrap();
    assert!(matches!(watched.check(NOW), FileCheck::Unchanged));
    assert!(matches!(watched.check(NOW), FileCheck::Rejected(DefaultCertificateError::Unreadable { .. })));
    assert_eq!(watched.version(), 1);
}

#[test]
fn a_changed_link_is_followed() {
    let setup = Setup::new();
    for (name, pair) in [("one", valid_pair(&["a.example"])), ("two", valid_pair(&["a.example"]))] {
        let folder = setup.dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        put_files(&folder, &pair);
    }
    let link = setup.dir.path().join("live");
    std::os::unix::fs::symlink("one", &link).unwrap();
    let path = |name: &str| FilePath::parse(link.join(name).to_str().unwrap()).unwrap();
    let paths = CertificateFiles { certificate: path("site.pem"), key: path("site.key") };
    let mut watched = setup.load(paths).unwrap();
    // As certbot and Kubernetes do.
    std::os::unix::fs::symlink("two", setup.dir.path().join("live.new")).unwrap();
    fs::rename(setup.dir.path().join("live.new"), &link).unwrap();
    assert!(matches!(watched.check(NOW), FileCheck::Replaced));
}

#[test]
fn changed_permissions_are_no_replacement() {
    let setup = Setup::new();
    let paths = setup.put(&valid_pair(&["a.example"]));
    let mut watched = setup.load(paths.clone()).unwrap();
    fs::set_permissions(paths.key.as_path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(watched.check(NOW), FileCheck::Unchanged));
    assert_eq!(watched.version(), 1);
}
