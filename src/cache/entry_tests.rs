#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{insert, scope, store};

fn entry() -> Arc<Entry> {
    let store = store(u64::MAX, u64::MAX);
    let scope = scope(&store, "t", "r");
    insert(&store, &scope, "/", 10).unwrap()
}

#[test]
fn one_refresh_runs_at_a_time() {
    let entry = entry();
    let first = entry.begin_refresh(Tick(10)).unwrap();
    assert!(entry.begin_refresh(Tick(10)).is_none());
    assert!(entry.begin_refresh(Tick(100_000)).is_none(), "however long it takes");
    first.fail(Tick(100_000));
    assert!(entry.begin_refresh(Tick(100_999)).is_none());
    assert!(entry.begin_refresh(Tick(101_000)).is_some());
}

#[test]
fn pauses_between_failed_refreshes_double_up_to_half_a_minute() {
    let entry = entry();
    let mut now = Tick(0);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        entry.begin_refresh(now).unwrap().fail(now);
        let end = now.after(Duration::from_secs(seconds));
        assert!(entry.begin_refresh(Tick(end.0 - 1)).is_none(), "{seconds} s");
        now = end;
    }
}

#[test]
fn a_refresh_that_is_dropped_has_failed() {
    let entry = entry();
    drop(entry.begin_refresh(Tick(0)));
    assert!(entry.begin_refresh(Tick(999)).is_none());
    assert!(entry.begin_refresh(Tick(1_000)).is_some());
}

#[test]
fn uses_are_counted_up_to_three() {
    let entry = entry();
    (0..9).for_each(|_| entry.touch());
    assert_eq!(entry.frequency(), FREQUENCY_MAX);
}

#[test]
fn the_first_of_two_coded_bodies_is_kept() {
    let store = store(u64::MAX, u64::MAX);
    let scope = scope(&store, "t", "r");
    let entry = insert(&store, &scope, "/", 10).unwrap();
    let used = store.stats().used.bytes;
    let coded = |text: &'static [u8]| {
        store.keep_coded(&scope, &entry, Coding::Gzip, vec![Bytes::from_static(text)]).unwrap().clone()
    };
    assert_eq!(coded(b"first").chunks(), [&b"first"[..]]);
    assert_eq!(coded(b"other").chunks(), [&b"first"[..]]);
    assert!(entry.body().coded(Coding::Zstd).is_none());
    assert_eq!(store.stats().used.bytes, used + Body::bytes_of(5, 1), "one of them counts");
}
