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

/// Two requests at one permit: never both at once, none is in use at the end, and of all interleavings some
/// refuse one and some refuse none.
#[test]
fn no_interleaving_exceeds_the_maximum() {
    let admitted = std::sync::Arc::new(Mutex::new(BTreeSet::new()));
    let all = admitted.clone();
    loom::model(move || {
        let shared = Arc::new((Permits::default(), Count::new(0)));
        let request = |shared: Arc<(Permits, Count)>| {
            let (permits, at_once) = &*shared;
            let Some(_permit) = permits.take(1) else { return false };
            assert_eq!(at_once.fetch_add(1, Ordering::Relaxed), 0);
            at_once.fetch_sub(1, Ordering::Relaxed);
            true
        };
        let of_other = shared.clone();
        let other = thread::spawn(move || request(of_other));
        let own = request(shared.clone());
        let other = other.join().expect("a thread of the model");
        assert!(own || other, "one of two gets it");
        assert_eq!(shared.0.in_use(), 0);
        assert!(shared.0.take(1).is_some(), "it is free at the end");
        all.lock().expect("not poisoned").insert((own, other));
    });
    assert_eq!(admitted.lock().expect("not poisoned").len(), 3);
}
