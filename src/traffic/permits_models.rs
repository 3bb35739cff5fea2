//! Loom models of permits that several cores take and give back, over all interleavings.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-traffic --lib --target-dir target/loom models
//! ```

use std::collections::BTreeSet;
use std::sync::Mutex;

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32 as Count;
use loom::thread;

use super::*;

/// Three requests at two permits: never three at once, none is in use at the end, and of all interleavings
/// some refuse one and some refuse none.
#[test]
fn no_interleaving_exceeds_the_maximum() {
    const MAX: u32 = 2;
    let admitted = std::sync::Arc::new(Mutex::new(BTreeSet::new()));
    let all = admitted.clone();
    loom::model(move || {
        let shared = Arc::new((Permits::default(), Count::new(0)));
        let request = |shared: Arc<(Permits, Count)>| {
            let (permits, at_once) = &*shared;
            let Some(_permit) = permits.take(MAX) else { return 0 };
            assert!(at_once.fetch_add(1, Ordering::SeqCst) < MAX);
            at_once.fetch_sub(1, Ordering::SeqCst);
            1
        };
        let others: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || request(shared))
            })
            .collect();
        let mut count = request(shared.clone());
        for other in others {
            count += other.join().expect("a thread of the model");
        }
        assert_eq!(shared.0.in_use(), 0);
        assert!(!shared.0.is_full(1), "a permit that was given back is free");
        all.lock().expect("not poisoned").insert(count);
    });
    assert_eq!(*admitted.lock().expect("not poisoned"), BTreeSet::from([2, 3]));
}

/// A request that finds no permit while another is given back: it is refused only by one that was in use.
#[test]
fn a_single_permit_is_never_lost() {
    let admitted = std::sync::Arc::new(Mutex::new(BTreeSet::new()));
    let all = admitted.clone();
    loom::model(move || {
        let permits = Arc::new(Permits::default());
        let held = permits.clone();
        let first = thread::spawn(move || held.take(1).is_some());
        let second = permits.take(1).is_some();
        let first = first.join().expect("a thread of the model");
        assert!(first || second, "one of two gets it");
        assert!(permits.take(1).is_some(), "it is free at the end");
        all.lock().expect("not poisoned").insert((first, second));
    });
    assert_eq!(admitted.lock().expect("not poisoned").len(), 3);
}
