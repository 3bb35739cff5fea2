//! Compaction at a clean close: contents of the new files, and no loss while they replace the old ones.

use std::fs;

use super::*;
use crate::durable;

/// Changes that make a compaction due.
const CHANGES: u64 = 2_500;

/// A closed store with that many changes.
fn aged() -> tempfile::TempDir {
    let place = directory();
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    commit_all(&mut store, 1..=CHANGES);
    assert!(durable::disk_bytes(&place.path().join("live")) > 1 << 20, "too few changes for this test");
    store.close().unwrap();
    place
}

fn assert_whole(place: &Path) {
    let mut store = Fjall::open(place).unwrap();
    let loaded = store.load().unwrap();
    assert!(!loaded.report.is_degraded(), "{}", loaded.report);
    assert_eq!(loaded.revision, Revision(CHANGES));
    assert!(same_records(&loaded, &state_at(CHANGES)));
    commit_all(&mut store, CHANGES + 1..=CHANGES + 50);
    drop(store); // as a crash leaves it
    let loaded = load(place);
    assert!(!loaded.report.is_degraded(), "{}", loaded.report);
    assert!(same_records(&loaded, &state_at(CHANGES + 50)));
    for left in ["live.old", "live.new"] {
        assert!(!place.join(left).exists(), "{left} stays behind");
    }
}

#[test]
fn a_clean_close_drops_the_history() {
    let place = aged();
    let bytes = durable::disk_bytes(&place.path().join("live"));
    assert!(bytes < 200_000, "{bytes} bytes for 100 records");
    assert_whole(place.path());
}

#[test]
fn a_kill_between_the_renames_loses_nothing() {
    for left in [["live.new", "live.old"].as_slice(), &["live.new"], &["live.old"]] {
        let place = aged();
        let live = place.path().join("live");
        for name in left {
            durable::copy_dir(&live, &place.path().join(name)).unwrap();
        }
        fs::remove_dir_all(&live).unwrap();
        assert_whole(place.path());
    }
    for left in ["live.old", "live.new"] {
        let place = aged();
        durable::copy_dir(&place.path().join("live"), &place.path().join(left)).unwrap();
        assert_whole(place.path());
    }
}

#[test]
fn old_files_stay_when_new_ones_cannot_be_written() {
    let place = directory();
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    commit_all(&mut store, 1..=CHANGES);
    let in_the_way = place.path().join("live.new");
    fs::write(&in_the_way, "no folder").unwrap();
    store.close().unwrap();
    drop(store);
    assert!(durable::disk_bytes(&place.path().join("live")) > 1 << 20, "the old files");
    fs::remove_file(in_the_way).unwrap();
    assert_whole(place.path());
}
