#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::files::Pair;
use crate::testing::{issue, put_files, sound};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

struct Scene {
    dir: tempfile::TempDir,
    files: Files,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(&dir.path().join("certs"));
        Self { dir, files }
    }

    fn put(&self, pair: &Pair) -> CertificateFiles {
        put_files(self.dir.path(), pair)
    }

    fn load(&self, paths: CertificateFiles) -> Result<Watched, DefaultError> {
        Watched::load(&self.files, paths, NOW)
    }
}

#[test]
fn a_start_without_a_sound_pair_fails_and_says_which_file() {
    let scene = Scene::new();
    let paths = scene.put(&sound(&["a.example"]));
    assert!(scene.load(paths.clone()).is_ok());

    fs::remove_file(paths.key.as_path()).unwrap();
    let error = scene.load(paths.clone()).unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("site.key") && error.contains("No such file"),
        "{error}"
    );
    fs::create_dir(paths.key.as_path()).unwrap();
    let error = scene.load(paths.clone()).unwrap_err().to_string();
    assert!(error.contains("site.key") && error.contains("not a file"), "{error}");
    fs::remove_dir(paths.key.as_path()).unwrap();
    fs::remove_file(paths.certificate.as_path()).unwrap();
    let error = scene.load(paths).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("site.pem"), "{error}");

    let (one, other) = (sound(&["a.example"]), sound(&["a.example"]));
    let error = scene.load(scene.put(&Pair { chain: one.chain, key: other.key })).unwrap_err().to_string();
    assert!(error.contains("site.pem") && error.contains("site.key") && error.contains("key"), "{error}");
    let error = scene.load(scene.put(&issue(&["a.example"], 2020, 2021))).unwrap_err().to_string();
    assert!(error.contains("site.pem has expired on Fri, 01 Jan 2021"), "{error}");
    let error = scene.load(scene.put(&issue(&["a.example"], 2099, 2100))).unwrap_err().to_string();
    assert!(error.contains("not valid before") && error.contains("clock"), "{error}");
}

#[test]
fn another_pair_replaces_the_one_that_is_served() {
    let scene = Scene::new();
    let mut watched = scene.load(scene.put(&sound(&["a.example"]))).unwrap();
    let first = watched.facts().fingerprint.clone();
    assert!(matches!(watched.look(NOW), Look::Same));
    scene.put(&sound(&["a.example"]));
    assert!(matches!(watched.look(NOW), Look::Replaced));
    assert_ne!(watched.facts().fingerprint, first);
    assert_eq!((watched.version(), watched.identity().facts()), (2, &**watched.facts()));
    assert!(matches!(watched.look(NOW), Look::Same));
}

#[test]
fn what_is_unchanged_is_not_read_again() {
    let scene = Scene::new();
    let mut watched = scene.load(scene.put(&sound(&["a.example"]))).unwrap();
    let opened = scene.files.opened();
    for _ in 0..10 {
        assert!(matches!(watched.look(NOW), Look::Same));
    }
    assert_eq!(scene.files.opened(), opened);
}

#[test]
fn a_broken_file_keeps_the_old_and_is_told_once() {
    let scene = Scene::new();
    let good = sound(&["a.example"]);
    let mut watched = scene.load(scene.put(&good)).unwrap();
    let first = watched.facts().fingerprint.clone();
    for broken in [
        Pair { chain: b"nonsense".to_vec(), key: good.key.clone() },
        Pair { chain: good.chain.clone(), key: sound(&["a.example"]).key },
        issue(&["a.example"], 2020, 2021),
    ] {
        scene.put(&broken);
        assert!(matches!(watched.look(NOW), Look::Same), "it may be half way through");
        assert!(matches!(watched.look(NOW), Look::Refused(_)));
        assert!(matches!(watched.look(NOW), Look::Same), "told once");
        assert_eq!((watched.facts().fingerprint.clone(), watched.version()), (first.clone(), 1));
    }
    scene.put(&good);
    assert!(matches!(watched.look(NOW), Look::Restored));
    assert!(matches!(watched.look(NOW), Look::Same));
}

#[test]
fn two_files_replaced_one_after_the_other_are_no_alarm() {
    let scene = Scene::new();
    let (old, new) = (sound(&["a.example"]), sound(&["a.example"]));
    let mut watched = scene.load(scene.put(&old)).unwrap();
    scene.put(&Pair { chain: new.chain.clone(), key: old.key });
    assert!(matches!(watched.look(NOW), Look::Same));
    scene.put(&new);
    assert!(matches!(watched.look(NOW), Look::Replaced));
}

#[test]
fn a_file_that_goes_away_keeps_the_old() {
    let scene = Scene::new();
    let paths = scene.put(&sound(&["a.example"]));
    let mut watched = scene.load(paths.clone()).unwrap();
    fs::remove_file(paths.certificate.as_path()).unwrap();
    assert!(matches!(watched.look(NOW), Look::Same));
    assert!(matches!(watched.look(NOW), Look::Refused(DefaultError::Unreadable { .. })));
    assert_eq!(watched.version(), 1);
}

#[test]
fn a_link_that_is_turned_elsewhere_is_followed() {
    let scene = Scene::new();
    for (name, pair) in [("one", sound(&["a.example"])), ("two", sound(&["a.example"]))] {
        let folder = scene.dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        put_files(&folder, &pair);
    }
    let link = scene.dir.path().join("live");
    std::os::unix::fs::symlink("one", &link).unwrap();
    let path = |name: &str| FilePath::parse(link.join(name).to_str().unwrap()).unwrap();
    let paths = CertificateFiles { certificate: path("site.pem"), key: path("site.key") };
    let mut watched = scene.load(paths).unwrap();
    // As certbot and Kubernetes do.
    std::os::unix::fs::symlink("two", scene.dir.path().join("live.new")).unwrap();
    fs::rename(scene.dir.path().join("live.new"), &link).unwrap();
    assert!(matches!(watched.look(NOW), Look::Replaced));
}

#[test]
fn only_permissions_changed_is_nothing_new() {
    let scene = Scene::new();
    let paths = scene.put(&sound(&["a.example"]));
    let mut watched = scene.load(paths.clone()).unwrap();
    fs::set_permissions(paths.key.as_path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(watched.look(NOW), Look::Same));
    assert_eq!(watched.version(), 1);
}
