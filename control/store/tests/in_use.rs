//! Stores that are read while another process holds them.

use super::*;
use crate::StoreError;

fn commit(store: &mut Fjall, revision: u64) {
    store.commit(&Batch { revision: Revision(revision), deltas: &deltas_of(revision) }).unwrap();
}

#[test]
fn a_store_in_use_is_read_completely_at_every_revision() {
    let place = tempfile::tempdir().unwrap();
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    for revision in 1..=20 {
        commit(&mut store, revision);
        let loaded = Fjall::read_in_use(place.path()).unwrap();
        assert_eq!(loaded.revision, Revision(revision));
        assert!(same_records(&loaded, &state_at(revision)), "{revision}");
    }
}

#[test]
fn reading_during_writes_yields_one_acknowledged_revision() {
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
            match Fjall::read_in_use(place.path()) {
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
    assert_eq!(
        Fjall::read_in_use(place.path()).unwrap().revision,
        Revision(LAST),
        "also when it is not in use"
    );
}

#[test]
fn a_read_never_creates_a_store() {
    let place = tempfile::tempdir().unwrap();
    let nowhere = place.path().join("nowhere");
    assert!(matches!(Fjall::read_in_use(&nowhere), Err(StoreError::NotADirectory { .. })));
    assert!(!nowhere.exists());
    assert!(matches!(Fjall::read_in_use(place.path()), Err(StoreError::Changing { .. })));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

const LAST: u64 = 200;
