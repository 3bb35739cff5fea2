//! Engine of a run: virtual time, tasks in a seeded order, trace and violations.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// SplitMix64: the only source of randomness of a run.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Action = Box<dyn FnOnce()>;

struct Event {
    at: u64,
    number: u64,
    action: Action,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The earliest is the greatest: a heap pops it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Tasks that are ready to be polled.
type Ready = Arc<Mutex<Vec<usize>>>;

struct TaskWaker {
    task: usize,
    queued: AtomicBool,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Relaxed)
            && let Ok(mut ready) = self.ready.lock()
        {
            ready.push(self.task);
        }
    }
}

struct Slot {
    task: Option<Task>,
    waker: Arc<TaskWaker>,
    is_product: bool,
}

/// Engine of one run.
pub(super) struct Engine {
    now: Cell<u64>,
    numbers: Cell<u64>,
    rng: RefCell<Rng>,
    events: RefCell<BinaryHeap<Event>>,
    slots: RefCell<Vec<Slot>>,
    ready: Ready,
    product_tasks: Cell<usize>,
    violations: RefCell<Vec<String>>,
    trace: RefCell<Option<String>>,
    ending: Cell<bool>,
}

impl Engine {
    pub(super) fn new(seed: u64, traced: bool) -> Rc<Self> {
        Rc::new(Self {
            now: Cell::new(1_000_000),
            numbers: Cell::new(0),
            rng: RefCell::new(Rng::new(seed)),
            events: RefCell::default(),
            slots: RefCell::default(),
            ready: Arc::default(),
            product_tasks: Cell::new(0),
            violations: RefCell::default(),
            trace: RefCell::new(traced.then(String::new)),
            ending: Cell::new(false),
        })
    }

    /// Virtual time in microseconds.
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.rng.borrow_mut().next() % end.max(1)
    }

    /// True with a probability of `percent`.
    pub(super) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Schedules `action`.
    pub(super) fn at(&self, at: u64, action: impl FnOnce() + 'static) {
        let number = self.numbers.replace(self.numbers.get() + 1);
        let at = at.max(self.now());
        self.events.borrow_mut().push(Event { at, number, action: Box::new(action) });
    }

    pub(super) fn wake_at(&self, at: u64, waker: &Waker) {
        let waker = waker.clone();
        self.at(at, move || waker.wake());
    }

    /// Waits for `micros` microseconds.
    pub(super) async fn sleep(&self, micros: u64) {
        let until = self.now() + micros;
        let mut is_armed = false;
        poll_fn(|cx| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut is_armed, true) {
                self.wake_at(until, cx.waker());
            }
            Poll::Pending
        })
        .await;
    }

    /// Spawns a task of the core, or of a simulated peer.
    pub(super) fn spawn(&self, is_product: bool, task: impl Future<Output = ()> + 'static) {
        if self.ending.get() {
            return;
        }
        let mut slots = self.slots.borrow_mut();
        let ready = self.ready.clone();
        let waker = Arc::new(TaskWaker { task: slots.len(), queued: AtomicBool::new(false), ready });
        slots.push(Slot { task: Some(Box::pin(task)), waker: waker.clone(), is_product });
        waker.wake();
        if is_product {
            self.product_tasks.set(self.product_tasks.get() + 1);
        }
    }

    /// Number of tasks of the core that have not ended.
    pub(super) fn product_tasks(&self) -> usize {
        self.product_tasks.get()
    }

    /// Polls one ready task, or advances the time to the next event; false when neither exists.
    pub(super) fn step(&self) -> bool {
        let next = {
            let mut ready = self.ready.lock().expect("no task panicked with it");
            let count = ready.len() as u64;
            (count > 0).then(|| ready.swap_remove(self.below(count) as usize))
        };
        if let Some(index) = next {
            self.poll(index);
            return true;
        }
        let Some(event) = self.events.borrow_mut().pop() else { return false };
        self.now.set(event.at);
        (event.action)();
        true
    }

    fn poll(&self, index: usize) {
        let (task, waker) = {
            let slot = &mut self.slots.borrow_mut()[index];
            slot.waker.queued.store(false, Relaxed);
            (slot.task.take(), slot.waker.clone())
        };
        let Some(mut task) = task else { return };
        let waker = Waker::from(waker);
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.slots.borrow_mut()[index].task = Some(task),
            Poll::Ready(()) => {
                if self.slots.borrow()[index].is_product {
                    self.product_tasks.set(self.product_tasks.get() - 1);
                }
                drop(task);
            }
        }
    }

    /// Drops all tasks and events.
    pub(super) fn end(&self) {
        self.ending.set(true);
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        drop(slots);
        let events = std::mem::take(&mut *self.events.borrow_mut());
        drop(events);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Adds a line to the trace, if one is kept.
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut *self.trace.borrow_mut() {
            let now = self.now();
            let _ = writeln!(trace, "{:>5}.{:06}  {}", now / 1_000_000, now % 1_000_000, text());
        }
    }

    /// Records a violated invariant.
    pub(super) fn violate(&self, text: String) {
        if self.is_ending() {
            return;
        }
        self.note(|| format!("VIOLATION {text}"));
        self.violations.borrow_mut().push(text);
    }

    pub(super) fn check(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.violate(text());
        }
    }

    pub(super) fn is_violated(&self) -> bool {
        !self.violations.borrow().is_empty()
    }

    pub(super) fn take_result(&self) -> (Vec<String>, String) {
        (self.violations.take(), self.trace.take().unwrap_or_default())
    }
}
