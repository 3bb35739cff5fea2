use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn no_more_than_the_maximum_are_in_use() {
    let permits = Permits::default();
    let (one, two) = (permits.take(2).expect("none is in use"), permits.take(2).expect("one is in use"));
    assert!(permits.is_full(2) && permits.take(2).is_none());
    assert_eq!(permits.in_use(), 2);
    drop(one);
    assert!(!permits.is_full(2) && permits.take(2).is_some());
    drop(two);
    assert_eq!(permits.in_use(), 0);
    assert!(permits.take(0).is_none());
}

#[test]
fn a_lowered_maximum_holds_for_later_requests() {
    let permits = Permits::default();
    let held: Vec<_> = (0..3).filter_map(|_| permits.take(3)).collect();
    assert_eq!(held.len(), 3);
    assert!(permits.take(2).is_none() && permits.take(4).is_some());
    drop(held);
    assert_eq!(permits.in_use(), 0);
}

/// Permits of several threads, with a count beside them that would show one too many.
#[test]
fn threads_together_keep_the_maximum() {
    const MAX: u32 = 3;
    let (permits, at_once) = (Permits::default(), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut taken = 0;
                while taken < 10_000 {
                    let Some(_permit) = permits.take(MAX) else {
                        std::hint::spin_loop();
                        continue;
                    };
                    assert!(at_once.fetch_add(1, Ordering::SeqCst) < MAX);
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    taken += 1;
                }
            });
        }
    });
    assert_eq!(permits.in_use(), 0);
}
