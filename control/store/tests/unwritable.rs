//! Directories that cannot be written: their contents are served unchanged, and they are used again once they
//! can be written.
//!
//! The tests may run as root, who ignores file modes: a folder in place of the lock file stops writing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::*;
use crate::StoreError;

const LAST: u64 = 150;

pub(super) fn refuse_writing(place: &Path) {
    fs::remove_file(place.join("LOCK")).unwrap();
    fs::create_dir(place.join("LOCK")).unwrap();
}

pub(super) fn allow_writing(place: &Path) {
    fs::remove_dir(place.join("LOCK")).unwrap();
}

/// All files with their sizes and times of modification.
pub(super) fn everything(place: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(place).unwrap().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if meta.is_dir() {
            found.extend(everything(&path));
        }
        found.insert(path, (meta.len(), meta.mtime(), meta.mtime_nsec()));
    }
    found
}

fn commit(store: &mut Fjall, revision: u64) -> Result<(), StoreError> {
    store.commit(&Batch { revision: Revision(revision), deltas: &deltas_of(revision) })
}

#[test]
fn its_contents_are_served_unchanged_until_it_can_be_written() {
    use Ended::{Clean, Killed};
    for (ended, has_scratch) in [(Clean, true), (Clean, false), (Killed, true), (Killed, false)] {
        let case = format!("ended: {ended:?}, room for a copy: {has_scratch}");
        let place = made(LAST, ended);
        refuse_writing(place.path());
        let before = everything(place.path());
        let mut store = Fjall::open(place.path()).unwrap();
        if !has_scratch {
            store = store.without_scratch();
        }
        for _ in 0..2 {
            let loaded = store.load().unwrap();
            assert!(!loaded.report.is_degraded(), "{case}: {}", loaded.report);
            assert_eq!(loaded.revision, Revision(LAST), "{case}");
            assert!(same_records(&loaded, &state_at(LAST)), "{case}");
            let refused = commit(&mut store, LAST + 1).unwrap_err();
            assert!(matches!(&refused, StoreError::NotWritable { .. }), "{case}: {refused}");
            assert!(refused.to_string().contains(place.path().to_str().unwrap()), "{case}: {refused}");
            store.maintain().unwrap();
            let warnings = store.describe().warnings;
            assert!(
                warnings.iter().any(|warning| warning.contains("cannot be written")),
                "{case}: {warnings:?}"
            );
        }
        assert_eq!(everything(place.path()), before, "{case}");

        allow_writing(place.path());
        commit(&mut store, LAST + 1).unwrap();
        assert_eq!(store.describe().warnings, [] as [String; 0], "{case}");
        drop(store);
        let loaded = load(place.path());
        assert_eq!(loaded.revision, Revision(LAST + 1), "{case}");
        assert!(same_records(&loaded, &state_at(LAST + 1)), "{case}");
    }
}

#[test]
fn maintenance_uses_it_again_without_a_change() {
    let place = made(LAST, Ended::Clean);
    refuse_writing(place.path());
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    allow_writing(place.path());
    store.maintain().unwrap();
    assert_eq!(store.describe().warnings, [] as [String; 0]);
}

#[test]
fn it_is_still_locked() {
    let place = made(LAST, Ended::Clean);
    refuse_writing(place.path());
    let first = Fjall::open(place.path()).unwrap();
    assert!(matches!(Fjall::open(place.path()), Err(StoreError::Locked { .. })));
    drop(first);
    Fjall::open(place.path()).unwrap();
}

#[test]
fn a_damaged_store_is_served_and_repaired_once_it_can_be_written() {
    for has_scratch in [true, false] {
        let place = made(LAST, Ended::Killed);
        let journal = fs::read_dir(place.path().join("live")).unwrap().flatten().map(|entry| entry.path());
        let journal =
            journal.into_iter().find(|path| path.extension().is_some_and(|end| end == "jnl")).unwrap();
        let used = fs::metadata(&journal).unwrap().blocks() * 512;
        fs::File::options().write(true).open(&journal).unwrap().set_len(used / 2).unwrap();
        refuse_writing(place.path());
        let before = everything(place.path());
        let mut store = Fjall::open(place.path()).unwrap();
        if !has_scratch {
            store = store.without_scratch();
        }
        let loaded = store.load().unwrap();
        assert!(loaded.report.is_degraded() && !loaded.resources.is_empty(), "{}", loaded.report);
        assert!(loaded.revision > Revision(LAST), "revision {} has two meanings", loaded.revision);
        commit(&mut store, loaded.revision.0 + 1).unwrap_err();
        assert_eq!(everything(place.path()), before);
        allow_writing(place.path());
        let next = loaded.revision.0 + 1;
        let committed = commit(&mut store, next);
        assert!(place.path().join("aside/0001").exists(), "the damaged files are kept");
        match committed {
            Ok(()) => {}
            // The engine may now open the files, and reads other records than the salvage.
            Err(StoreError::Diverged { .. }) if !has_scratch => {
                drop(store);
                let mut store = Fjall::open(place.path()).unwrap();
                store.load().unwrap();
                commit(&mut store, next).unwrap();
            }
            Err(error) => panic!("room for a copy: {has_scratch}: {error}"),
        }
    }
}

#[test]
fn a_store_that_was_changed_meanwhile_refuses_changes() {
    let place = made(LAST, Ended::Clean);
    refuse_writing(place.path());
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    allow_writing(place.path());
    {
        let mut other = Fjall::open(place.path()).unwrap();
        other.load().unwrap();
        commit_all(&mut other, [LAST + 1]);
        other.close().unwrap();
    }
    for _ in 0..2 {
        let refused = commit(&mut store, LAST + 1).unwrap_err();
        assert!(matches!(refused, StoreError::Diverged { .. }), "{refused}");
        assert_eq!(store.load().unwrap().revision, Revision(LAST), "the served state is unchanged");
    }
    drop(store);
    assert!(same_records(&load(place.path()), &state_at(LAST + 1)));
}

#[test]
fn an_empty_directory_that_cannot_be_written_is_refused() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("LOCK")).unwrap();
    assert!(matches!(Fjall::open(place.path()), Err(StoreError::NotWritable { .. })));
    // A directory that cannot be created is refused, too.
    assert!(matches!(Fjall::open("/proc/ringway/store"), Err(StoreError::NotWritable { .. })));
}
