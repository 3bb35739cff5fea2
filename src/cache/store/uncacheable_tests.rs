#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::super::account::Level;
use super::*;

const NOW: Tick = Tick(1_000);

fn keys(bytes: u64) -> Uncacheable {
    Uncacheable::new(Arc::new(Account::new(Level::Store, None, Usage { bytes, ..Usage::UNLIMITED })))
}

#[test]
fn a_key_is_remembered_for_two_minutes() {
    let keys = keys(1_000);
    assert!(!keys.contains(1, NOW));
    keys.insert(1, NOW);
    assert!(keys.contains(1, NOW.after(Duration::from_millis(119_999))));
    assert!(!keys.contains(1, NOW.after(Duration::from_secs(120))));
    assert!(!keys.contains(2, NOW));
}

#[test]
fn a_key_is_forgotten_when_its_response_was_stored() {
    let keys = keys(1_000);
    keys.insert(1, NOW);
    keys.remove(1);
    assert!(!keys.contains(1, NOW));
}

#[test]
fn a_key_that_is_inserted_again_outlives_its_first_time() {
    let keys = keys(1_000);
    let later = NOW.after(Duration::from_secs(100));
    keys.insert(1, NOW);
    keys.insert(1, later);
    keys.insert(2, NOW.after(Duration::from_secs(130)));
    assert!(keys.contains(1, NOW.after(Duration::from_secs(219))));
}

#[test]
fn the_oldest_key_makes_room_for_a_new_one() {
    let keys = keys(u64::MAX);
    for hash in 0..=limits::UNCACHEABLE_KEYS_MAX as u64 {
        keys.insert(hash, NOW);
    }
    assert!(!keys.contains(0, NOW));
    assert!(keys.contains(1, NOW) && keys.contains(limits::UNCACHEABLE_KEYS_MAX as u64, NOW));
}

#[test]
fn memory_is_shared_bounded_and_given_back() {
    let keys = keys(3 * KEY_BYTES);
    for hash in 0..5 {
        keys.insert(hash, NOW);
    }
    assert!(keys.contains(2, NOW) && !keys.contains(3, NOW), "three keys have room");
    assert_eq!(keys.memory.used().bytes, 3 * KEY_BYTES);
    keys.sweep(NOW.after(limits::UNCACHEABLE_TIME));
    assert_eq!(keys.memory.used().bytes, 0);
    keys.insert(9, NOW);
    assert!(keys.contains(9, NOW));
}
