//! Loom models of the table of rate limits, over all interleavings of two cores.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-traffic --lib --target-dir target/loom models
//! ```

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::rate_limit::{Decision, Gcra, Limit};

const NOW_US: u64 = 1_000_000;

/// One request per hour, after a burst.
fn limit(burst: u32) -> Limit {
    Limit { rate: Gcra::new(1, Duration::from_secs(3_600), burst), bans: None }
}

/// Keys of the only set of a table.
fn key(number: u64) -> Key {
    Key((number + 1) << TAT_BITS)
}

fn table() -> Arc<RateLimitTable> {
    let table = RateLimitTable::with_words(WAYS);
    table.prepare();
    Arc::new(table)
}

fn is_admitted(limit: Limit, table: &RateLimitTable, key: Key) -> bool {
    matches!(limit.decide(table, key, NOW_US), Decision::Admitted { .. })
}

/// Lets two cores request concurrently, each for a key, and returns which of them were admitted.
fn concurrently(table: &Arc<RateLimitTable>, limit: Limit, keys: [Key; 2]) -> [bool; 2] {
    keys.map(|key| {
        let table = table.clone();
        thread::spawn(move || is_admitted(limit, &table, key))
    })
    .map(|thread| thread.join().expect("a thread of the model"))
}

#[test]
fn the_last_request_of_a_known_key_is_admitted_once() {
    loom::model(|| {
        let (table, limit) = (table(), limit(2));
        assert!(is_admitted(limit, &table, key(0)));
        let admitted = concurrently(&table, limit, [key(0); 2]);
        assert_eq!(admitted.into_iter().filter(|admitted| *admitted).count(), 1, "{admitted:?}");
        assert!(!is_admitted(limit, &table, key(0)));
    });
}

#[test]
fn a_new_key_is_admitted_once_by_two_cores_that_insert_it() {
    loom::model(|| {
        let (table, limit) = (table(), limit(1));
        let admitted = concurrently(&table, limit, [key(0); 2]);
        assert_eq!(admitted.into_iter().filter(|admitted| *admitted).count(), 1, "{admitted:?}");
        assert!(!is_admitted(limit, &table, key(0)));
    });
}

#[test]
fn two_new_keys_of_a_set_get_a_word_each() {
    loom::model(|| {
        let (table, limit) = (table(), limit(1));
        assert_eq!(concurrently(&table, limit, [key(0), key(1)]), [true; 2]);
        assert!(!is_admitted(limit, &table, key(0)) && !is_admitted(limit, &table, key(1)));
        assert_eq!(table.evictions(), 0);
    });
}

/// A key that is used again at the moment at which another core clears the words whose TAT has passed.
#[test]
fn a_key_in_use_is_not_cleared() {
    loom::model(|| {
        let (table, limit) = (table(), limit(1));
        for number in [0, 1] {
            let earlier = Limit { rate: Gcra::new(1, Duration::from_millis(1), 1), ..limit };
            earlier.decide(&table, key(number), 0);
        }
        assert_eq!(concurrently(&table, limit, [key(1), key(2)]), [true; 2]);
        assert!(!is_admitted(limit, &table, key(1)) && !is_admitted(limit, &table, key(2)));
    });
}
