//! Loom models of fills: joins, leaders that leave, and ends, on two threads. A lost wake-up shows as a
//! deadlock.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-cache --lib --target-dir target/loom models
//! ```
#![allow(clippy::unwrap_used)]

use loom::sync::Notify;
use loom::thread;

use super::*;
use crate::store::purge::{Effect, Purge, Selector};
use crate::testing::{EPOCH, NOW as DATE, head, key, scope, store};

const NOW: Tick = Tick(1);

/// The other core; the first one polls without waiting.
const OTHER: usize = 1;

struct OneCore(Arc<Notify>);

impl Wakeups for OneCore {
    fn wake(&self, core: usize, _: FillId) {
        if core == OTHER {
            self.0.notify();
        }
    }
}

#[derive(Clone)]
struct Fixture {
    store: Arc<Store>,
    scope: Arc<Scope>,
    key: Box<[u8]>,
    fills: Fills<u8>,
    woken: Arc<Notify>,
}

impl Fixture {
    fn new() -> Self {
        let store = store(u64::MAX, u64::MAX);
        let woken = Arc::new(Notify::new());
        let fills = Fills::new(store.clone(), Box::new(OneCore(woken.clone())));
        let scope = scope(&store, "", "r");
        Self { key: key(&scope, "a.test", "/x"), scope, fills, store, woken }
    }

    fn join(&self, core: usize) -> Join<u8> {
        let (scope, key) = (&self.scope, &*self.key);
        let request =
            Request { scope, key, asked: None, epoch: EPOCH, known: None, core, now: NOW, successions: 0 };
        self.fills.join(&request)
    }

    fn lead(&self) -> Lead<u8> {
        match self.join(0) {
            Join::Lead(lead) => lead,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the fill has something for the waiter.
    fn wait(&self, mut waiter: Waiter<u8>) -> Progress<u8> {
        loop {
            match waiter.poll() {
                Progress::Pending(pending) => waiter = pending,
                other => return other,
            }
            self.woken.wait();
        }
    }

    /// Reads to the end; returns the bytes and the last result.
    fn read(&self, mut reader: Reader<u8>) -> (usize, Read) {
        let mut len = 0;
        loop {
            match reader.read(NOW) {
                Read::Bytes(bytes) => len += bytes.len(),
                Read::Pending => self.woken.wait(),
                last => return (len, last),
            }
        }
    }

    fn start(&self) -> Start {
        Start { head: head(&[]), variant: None, expected: Some(2), content_max: 100, core: 0, now: NOW }
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 10_000;
    builder.check(check);
}

#[test]
fn models_a_leader_that_leaves_is_succeeded() {
    model(|| {
        let fixture = Fixture::new();
        let lead = fixture.lead();
        let other = fixture.clone();
        let thread = thread::spawn(move || match other.join(OTHER) {
            Join::Lead(_) => {}
            Join::Wait(waiter) => assert!(matches!(other.wait(waiter), Progress::Lead(_))),
            joined => panic!("{joined:?}"),
        });
        drop(lead);
        thread.join().unwrap();
        assert!(fixture.fills.is_empty());
        assert_eq!(fixture.fills.waiting(), 0);
    });
}

#[test]
fn models_a_failure_reaches_those_that_wait_only() {
    model(|| {
        let fixture = Fixture::new();
        let lead = fixture.lead();
        let other = fixture.clone();
        let thread = thread::spawn(move || match other.join(OTHER) {
            Join::Lead(_) => {}
            Join::Wait(waiter) => assert!(matches!(other.wait(waiter), Progress::Failed(7))),
            joined => panic!("{joined:?}"),
        });
        lead.fail(7);
        thread.join().unwrap();
        assert!(fixture.fills.is_empty());
    });
}

#[test]
fn models_the_origin_is_asked_once_for_a_stored_response() {
    model(|| {
        let fixture = Fixture::new();
        let (mut writer, reader) = fixture.lead().stream(fixture.start());
        let other = fixture.clone();
        let thread = thread::spawn(move || match other.join(OTHER) {
            Join::Found(Found::Entry(entry)) => assert_eq!(entry.body().len(), 2),
            Join::Wait(waiter) => {
                let Progress::Streaming(follower) = other.wait(waiter) else { panic!("it streams") };
                assert_eq!(other.read(follower.follow(NOW).unwrap()), (2, Read::End));
            }
            joined => panic!("{joined:?}"),
        });
        writer.write(b"ab");
        drop(writer.finish(NOW).unwrap());
        drop(reader);
        thread.join().unwrap();
        assert!(fixture.fills.is_empty());
    });
}

#[test]
fn models_a_cut_response_never_ends_cleanly() {
    model(|| {
        let fixture = Fixture::new();
        let lead = fixture.lead();
        let Join::Wait(waiter) = fixture.join(OTHER) else { panic!("there is a leader") };
        let (mut writer, reader) = lead.stream(fixture.start());
        let other = fixture.clone();
        let thread = thread::spawn(move || match other.wait(waiter) {
            Progress::Retry { successions: 1 } => {}
            Progress::Streaming(follower) => {
                // Cut between the look and the first read, too.
                if let Ok(reader) = follower.follow(NOW) {
                    assert_eq!(other.read(reader).1, Read::Cut);
                }
            }
            progress => panic!("{progress:?}"),
        });
        writer.write(b"a");
        writer.flush();
        drop((writer, reader));
        thread.join().unwrap();
        assert!(fixture.fills.is_empty());
        assert_eq!(fixture.store.stats().used.entries, 0);
    });
}

#[test]
fn models_no_request_after_a_purge_gets_what_was_asked_before() {
    model(|| {
        let fixture = Fixture::new();
        let (mut writer, reader) = fixture.lead().stream(fixture.start());
        let other = fixture.clone();
        let thread = thread::spawn(move || {
            let purge = Purge { selector: Selector::All, tenant: None, effect: Effect::Remove };
            other.store.purge(&purge, DATE);
            assert!(matches!(other.join(OTHER), Join::Lead(_)));
        });
        writer.write(b"ab");
        drop((writer.finish(NOW), reader));
        thread.join().unwrap();
    });
}
