//! Loom models of permits that cores hand to each other's waiters.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-traffic --lib --target-dir target/loom overload
//! ```
//! A waiter without a wake-up shows as a deadlock.

use loom::sync::{Arc as LoomArc, Condvar, Mutex};
use loom::thread;

use super::*;

/// Wake-ups of all cores: a raised flag each.
struct Wakeups {
    raised: Mutex<Vec<bool>>,
    changed: Condvar,
}

impl Wakeups {
    fn new(cores: usize) -> Self {
        Self { raised: Mutex::new(vec![false; cores]), changed: Condvar::new() }
    }

    fn wake(&self, core: usize) {
        self.raised.lock().expect("no thread panicked")[core] = true;
        self.changed.notify_all();
    }

    fn wait(&self, core: usize) {
        let mut raised = self.raised.lock().expect("no thread panicked");
        while !std::mem::take(&mut raised[core]) {
            raised = self.changed.wait(raised).expect("no thread panicked");
        }
    }
}

/// A core with at most one request.
struct Core {
    number: usize,
    limit: LoomArc<LoadLimit>,
    wakeups: LoomArc<Wakeups>,
    has_permit: Cell<bool>,
}

impl Core {
    fn serve(&self) {
        loop {
            match self.limit.next(self.number) {
                Next::Nothing => break,
                Next::Own => {
                    assert!(!self.has_permit.replace(true), "one waiter, one permit");
                    let _ = self.limit.set_head(self.number, None);
                }
                Next::Wake(core) => {
                    self.wakeups.wake(core);
                    break;
                }
            }
        }
    }

    /// Waits for a permit; false when the request is refused.
    fn enter(&self) -> bool {
        match self.limit.admit(self.number) {
            Admission::Admitted => return true,
            Admission::Full => return false,
            Admission::Queued => {}
        }
        self.publish();
        while !self.has_permit.replace(false) {
            self.wakeups.wait(self.number);
            self.serve();
        }
        true
    }

    /// Publishes the waiter that has just been queued.
    fn publish(&self) {
        if self.limit.set_head(self.number, Some(self.number as u64)) {
            self.serve();
        }
    }

    fn exit(&self) {
        if self.limit.release() {
            self.serve();
        }
    }
}

/// Runs a closure per core concurrently, over all interleavings with few preemptions: two
/// cores with any three, three with one.
fn model(max: u32, queue_size: u32, cores: &'static [fn(&Core, &AtomicU32)]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(if cores.len() == 2 { 3 } else { 1 });
    builder.check(move || {
        let settings = LoadSettings {
            max_concurrent: max,
            queue_size,
            queue_timeout: Duration::ZERO,
            adaptive: None,
            dry_run: false,
        };
        let limit = LoomArc::new(LoadLimit::new(settings, Arc::new(LoadState::new(cores.len()))));
        let wakeups = LoomArc::new(Wakeups::new(cores.len()));
        let inside = LoomArc::new(AtomicU32::new(0));
        let threads: Vec<_> = cores
            .iter()
            .enumerate()
            .map(|(number, &run)| {
                let (limit, wakeups, inside) = (limit.clone(), wakeups.clone(), inside.clone());
                thread::spawn(move || {
                    run(&Core { number, limit, wakeups, has_permit: Cell::new(false) }, &inside);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a thread of the model"));
        assert_eq!(limit.state.counts(), Counts::default());
    });
}

fn pass(core: &Core, inside: &AtomicU32) {
    if core.enter() {
        let max = core.limit.settings.max_concurrent;
        assert!(inside.fetch_add(1, Ordering::Relaxed) < max, "more than the limit");
        inside.fetch_sub(1, Ordering::Relaxed);
        core.exit();
    }
}

/// Queues a request, and gives it up at once.
fn give_up(core: &Core, _inside: &AtomicU32) {
    match core.limit.admit(core.number) {
        Admission::Admitted => return core.exit(),
        Admission::Full => return,
        Admission::Queued => {}
    }
    core.publish();
    if core.has_permit.get() {
        return core.exit();
    }
    core.limit.leave();
    // The last action of a core that stops: it has no other chance to pass a wake-up on.
    if core.limit.set_head(core.number, None) {
        core.serve();
    }
}

#[test]
fn every_waiter_is_woken_and_the_limit_is_kept() {
    model(1, 2, &[pass, pass]);
    model(1, 2, &[pass, pass, pass]);
}

#[test]
fn a_full_queue_refuses_and_forgets_nobody() {
    model(1, 1, &[pass, pass, pass]);
}

#[test]
fn a_waiter_that_gives_up_passes_its_permit_on() {
    model(1, 2, &[pass, give_up]);
    model(1, 2, &[pass, give_up, pass]);
}
