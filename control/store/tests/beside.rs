//! Stores that are read while somebody else has them open.

use super::*;
use crate::StoreError;

fn commit(store: &mut Fjall, revision: u64) {
    store.commit(&Batch { revision: Revision(revision), deltas: &deltas_of(revision) }).unwrap();
}

#[test]
fn a_store_in_use_is_read_whole_at_every_revision() {
    let place = tempfile::tempdir().unwrap();
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    for revision in 1..=20 {
        commit(&mut store, revision);
        let loaded = Fjall::read_beside(place.path()).unwrap();
        assert_eq!(loaded.revision, Revision(revision));
        assert!(same_records(&loaded, &state_at(revision)), "{revision}");
    }
}

#[test]
fn what_is_read_beside_a_busy_writer_is_one_revision_that_was_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    let acknowledged = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for revision in 1..=LAST {
                commit(&mut store, revision);
                acknowledged.store(revision, std::sync::atomic::Ordering::SeqCst);
            }
        });
        while !writer.is_finished() {
            let before = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
            match Fjall::read_beside(place.path()) {
                Ok(loaded) => {
                    assert!(loaded.revision.0 >= before, "{:?} after {before}", loaded.revision);
                    assert!(same_records(&loaded, &state_at(loaded.revision.0)), "{:?}", loaded.revision);
                }
                Err(StoreError::Changing { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    drop(store);
    assert_eq!(Fjall::read_beside(place.path()).unwrap().revision, Revision(LAST), "also when nobody has it");
}

#[test]
fn what_is_no_store_is_not_made_one() {
    let place = tempfile::tempdir().unwrap();
    let nowhere = place.path().join("nowhere");
    assert!(matches!(Fjall::read_beside(&nowhere), Err(StoreError::NotADirectory { .. })));
    assert!(!nowhere.exists());
    assert!(matches!(Fjall::read_beside(place.path()), Err(StoreError::Changing { .. })));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

const LAST: u64 = 200;
