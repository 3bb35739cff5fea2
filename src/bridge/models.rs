//! Models for loom: all interleavings of two or three threads.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-bridge --lib --target-dir target/loom
//! ```
//! They run the product's code; [`system`] replaces sockets and channels below it. A lost wake-up shows as a
//! deadlock.
#![allow(clippy::unwrap_used)]

#[path = "models_system.rs"]
pub(crate) mod system;

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::*;
use system::UnixStream;

/// The receiver's side, in the order in which `net::Notified` and `worker::apply` do it.
struct Core {
    source: WakeSource,
    stream: UnixStream,
}

impl Core {
    fn new(source: WakeSource) -> Self {
        Self { stream: source.stream().unwrap(), source }
    }

    /// Waits for a byte; `false` when all wakers were dropped.
    fn wait(&self) -> bool {
        let is_woken = self.stream.read_all() > 0;
        self.source.rearm();
        is_woken
    }
}

/// All interleavings of two threads; with a third one, those with at most three preemptions.
fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

/// The flag alone, with a value that only the wake-up makes visible.
#[test]
fn what_was_stored_before_a_wake_up_is_seen_after_it() {
    model(|| {
        let (waker, source) = wake_pair().unwrap();
        let core = Core::new(source);
        let values = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        for sender in 0..2 {
            let (waker, values) = (waker.clone(), values.clone());
            thread::spawn(move || {
                values[sender].store(1, Ordering::Relaxed);
                waker.wake();
            });
        }
        // `waker` lives on: only wake-ups end the wait.
        while values.iter().map(|value| value.load(Ordering::Relaxed)).sum::<usize>() < 2 {
            core.wait();
        }
        drop(waker);
    });
}

#[test]
fn every_value_of_a_mailbox_arrives() {
    model(|| {
        let (waker, source) = wake_pair().unwrap();
        let core = Core::new(source);
        let (sender, values) = mailbox(2, waker.clone());
        let other = sender.clone();
        thread::spawn(move || sender.send(1).unwrap());
        thread::spawn(move || other.send(2).unwrap());
        let mut received = Vec::new();
        while received.len() < 2 {
            core.wait();
            received.extend(values.drain(usize::MAX));
        }
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        drop(waker);
    });
}

#[test]
fn a_full_mailbox_gives_back_what_it_does_not_take() {
    model(|| {
        let (waker, source) = wake_pair().unwrap();
        let core = Core::new(source);
        let (sender, values) = mailbox(1, waker);
        let thread = thread::spawn(move || {
            let mut refused = Vec::new();
            for value in 1..=3 {
                match sender.send(value) {
                    Ok(()) => {}
                    Err(SendError::Full(back)) => refused.push(back),
                    Err(SendError::Closed(_)) => panic!("the receiver is there"),
                }
            }
            refused
        });
        let mut seen = Vec::new();
        while core.wait() {
            seen.extend(values.drain(usize::MAX));
        }
        seen.extend(values.drain(usize::MAX));
        assert!(seen.is_sorted(), "in their order");
        assert_eq!(values.try_recv(), Err(TryRecvError::Closed));
        seen.extend(thread.join().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    });
}

#[test]
fn both_ends_of_a_mailbox_learn_that_the_other_has_gone() {
    model(|| {
        let (waker, source) = wake_pair().unwrap();
        let core = Core::new(source);
        let (sender, values) = mailbox(2, waker);
        let thread = thread::spawn(move || {
            let first = sender.send(1);
            let second = sender.send(2);
            // Once closed, always closed.
            assert!(first.is_ok() || second == Err(SendError::Closed(2)));
            assert_ne!(second, Err(SendError::Full(2)));
        });
        core.wait();
        drop((core, values));
        thread.join().unwrap();
    });
}

#[test]
fn the_latest_value_wins_and_no_value_is_lost() {
    model(|| {
        let (waker, source) = wake_pair().unwrap();
        let core = Core::new(source);
        let alive = waker.clone();
        let (mut sender, values) = slot(waker);
        let thread =
            thread::spawn(move || (1..=3).filter_map(|value| sender.publish(value)).collect::<Vec<_>>());
        let mut seen = Vec::new();
        while seen.last() != Some(&3) {
            core.wait();
            seen.extend(values.take());
        }
        assert!(seen.is_sorted(), "{seen:?}");
        seen.extend(thread.join().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3], "each is taken or given back");
        drop(alive);
    });
}

#[test]
fn what_was_published_last_is_found_before_the_wake_ups_end() {
    model(|| {
        let (waker, source) = wake_pair().unwrap();
        let core = Core::new(source);
        let (mut sender, values) = slot(waker);
        thread::spawn(move || [1, 2].map(|value| sender.publish(value)));
        let mut seen = None;
        // Not again after the end: the core has ended with it.
        while core.wait() {
            seen = values.take().or(seen);
        }
        assert_eq!(seen, Some(2));
    });
}

/// A core that ends has received everything: senders close their gauges after their last migration, and a
/// core that sees all others closed sees all migrations. The value is made visible by the close alone, since
/// a mailbox has an order of its own.
#[test]
fn who_sees_a_place_closed_sees_what_was_done_before() {
    model(|| {
        let mut places = shared_gauges(2);
        let (own, other) = (places.remove(0), places.remove(0));
        let value = Arc::new(AtomicUsize::new(0));
        let done = value.clone();
        thread::spawn(move || {
            other.write(7);
            done.store(1, Ordering::Relaxed);
            // Closed by the drop.
            drop(other);
        });
        while !own.is_last() {
            assert!([None, Some(0), Some(7)].contains(&own.read(1)));
            thread::yield_now();
        }
        assert_eq!(value.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_question_is_answered_once_or_known_to_be_dropped() {
    model(|| {
        let (sender, receiver) = reply();
        let (dropped, waiting) = reply::<u8>();
        let thread = thread::spawn(move || {
            drop(dropped);
            sender.send(7)
        });
        assert_eq!(waiting.wait(Duration::MAX), Err(ReplyError::Dropped));
        assert_eq!(receiver.wait(Duration::MAX), Ok(7));
        assert_eq!(thread.join().unwrap(), Ok(()));
    });
}

/// Two takers and one permit: one gets it, and after it was given back the pool is as before.
#[test]
fn a_permit_is_taken_once() {
    model(|| {
        let permits = Permits::new(1);
        let other = permits.clone();
        let taker = thread::spawn(move || other.take().map(|_permit| other.taken()));
        let own = permits.take();
        let taken = permits.taken();
        assert!(taken <= 1 && (own.is_none() || taken == 1));
        drop(own);
        assert!(taker.join().unwrap().is_none_or(|taken| taken == 1));
        assert_eq!(permits.taken(), 0);
    });
}
