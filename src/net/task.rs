//! Tasks whose panics end only themselves, and futures that run side by side.

use crate::core::current;
use crate::limits::{PANIC_CHARS_MAX, STOP_ROUNDS_MAX};
use crate::runtime::Driver;
use slab::Slab;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Poll, Waker};

/// Message of a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicMessage(String);

/// Runs `future` as a task of this core. A panic ends this task only, and is passed to `on_panic`.
///
/// When [`run`](crate::run) ends, tasks that have not ended are dropped where they wait.
///
/// # Panics
/// Outside of [`run`](crate::run).
pub fn spawn<F, P>(future: F, on_panic: P)
where
    F: Future<Output = ()> + 'static,
    P: FnOnce(PanicMessage) + 'static,
{
    let core = current().expect("tasks are spawned inside of ringway_net::run");
    let key = core.tasks.wakers.borrow_mut().insert(None);
    // Boxed: the runtime moves futures several times, and this one may be kilobytes.
    let mut slot = Some(Box::pin(future));
    // The handle only awaits the end; the task goes on without it.
    drop(monoio::spawn(async move {
        let panicked = poll_fn(|cx| {
            if core.tasks.stopping.get() {
                return Poll::Ready(None);
            }
            core.tasks.keep_waker(key, cx.waker());
            let Some(future) = &mut slot else {
                return Poll::Ready(None);
            };
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(polled) => polled.map(|()| None),
                Err(payload) => Poll::Ready(Some(payload)),
            }
        })
        .await;
        // The future is dropped here, which may panic too.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(slot.take())));
        let waker = core.tasks.wakers.borrow_mut().remove(key);
        drop(waker);
        if let Some(payload) = panicked.or(dropped.err()) {
            let message = PanicMessage::from_payload(payload);
            // A panic of the report must not end the core either.
            let _ = catch_unwind(AssertUnwindSafe(|| on_panic(message)));
        }
    }));
}

/// Yields to other tasks, completed I/O and timers.
///
/// Goes through the driver: a task that only wakes itself would starve I/O and timers.
pub async fn yield_now() {
    let Ok(core) = current() else { return };
    match core.driver {
        Driver::IoUring { .. } => core.yielder.through_ring().await,
        Driver::Epoll => core.yielder.through_epoll().await,
    }
}

/// Runs both futures until both are done. Pin large futures first: one that is passed by value enlarges the
/// caller's own future by its size.
pub async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    join_until_impl(a, b, None::<fn()>).await
}

/// Runs both futures until `main` is done; then calls `stop_side`, which makes `side` end soon (by cancelling
/// its I/O), and awaits it, so that no buffer is dropped while the kernel uses it.
///
/// When `side` ends first, `main` goes on.
pub async fn join_until<A: Future, B: Future>(
    main: A,
    side: B,
    stop_side: impl FnOnce(),
) -> (A::Output, B::Output) {
    join_until_impl(main, side, Some(stop_side)).await
}

/// Awaits `main`, and polls `side` beside it until either ends. `side` is then dropped, and must allow that.
pub async fn with_side_task<A: Future>(main: A, side: impl Future<Output = ()>) -> A::Output {
    let (mut main, mut side) = (pin!(main), pin!(side));
    let mut is_over = false;
    poll_fn(|cx| {
        // First, since it may end `main`.
        is_over = is_over || side.as_mut().poll(cx).is_ready();
        main.as_mut().poll(cx)
    })
    .await
}

async fn join_until_impl<A: Future, B: Future>(
    main: A,
    side: B,
    mut stop_side: Option<impl FnOnce()>,
) -> (A::Output, B::Output) {
    let (mut main, mut side) = (pin!(main), pin!(side));
    let (mut main_output, mut side_output) = (None, None);
    poll_fn(|cx| {
        // First: when both are done, `main` sees the effects of `side`.
        if side_output.is_none()
            && let Poll::Ready(output) = side.as_mut().poll(cx)
        {
            side_output = Some(output);
        }
        if main_output.is_none()
            && let Poll::Ready(output) = main.as_mut().poll(cx)
        {
            main_output = Some(output);
            if let Some(stop_side) = stop_side.take()
                && side_output.is_none()
            {
                stop_side();
                // A cancelled operation may end at once.
                if let Poll::Ready(output) = side.as_mut().poll(cx) {
                    side_output = Some(output);
                }
            }
        }
        match (main_output.take(), side_output.take()) {
            (Some(main), Some(side)) => Poll::Ready((main, side)),
            (main, side) => {
                main_output = main;
                side_output = side;
                Poll::Pending
            }
        }
    })
    .await
}

/// Yields to all tasks that are runnable now, without a turn of the driver.
async fn yield_to_runnable() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        // The runtime queues a task that wakes itself first, and a new task last.
        let waker = cx.waker().clone();
        drop(monoio::spawn(async move { waker.wake() }));
        Poll::Pending
    })
    .await;
}

/// Awaits `future`; returns its panic as an error.
pub(crate) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(payload)),
    })
    .await
}

/// Running tasks of one core.
#[derive(Default)]
pub(crate) struct Tasks {
    /// Waker of each task, from its first poll on.
    wakers: RefCell<Slab<Option<Waker>>>,
    stopping: Cell<bool>,
}

impl Tasks {
    /// Ends every task where it waits. Without this, tasks and driver would keep each other and the sockets
    /// alive when the runtime is dropped: a listener that stays open swallows connections.
    pub(crate) async fn stop(&self) {
        self.stopping.set(true);
        // A task's drop may spawn others, which end at their first poll: a few rounds suffice.
        for _ in 0..STOP_ROUNDS_MAX {
            if self.wakers.borrow().is_empty() {
                return;
            }
            let wakers: Vec<_> =
                self.wakers.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
            wakers.into_iter().for_each(Waker::wake);
            yield_to_runnable().await;
        }
    }

    fn keep_waker(&self, key: usize, waker: &Waker) {
        if let Some(kept) = self.wakers.borrow_mut().get_mut(key)
            && kept.is_none()
        {
            *kept = Some(waker.clone());
        }
    }
}

/// Yields through the driver.
pub(crate) struct Yielder {
    /// Socket that is always writable, and readable only within a round.
    stream: monoio::net::UnixStream,
    /// The same socket, to read the byte of a round.
    drain: std::os::unix::net::UnixStream,
    /// Other end, to send it.
    peer: std::os::unix::net::UnixStream,
    /// Tasks that wait for the end of the next round, on epoll.
    waiting: RefCell<Vec<Waker>>,
    rounds: Cell<u64>,
    task: Cell<Option<Waker>>,
}

impl Yielder {
    pub(crate) fn new() -> io::Result<Self> {
        let (stream, peer) = std::os::unix::net::UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        peer.set_nonblocking(true)?;
        let drain = stream.try_clone()?;
        Ok(Self {
            stream: monoio::net::UnixStream::from_std(stream)?,
            drain,
            peer,
            waiting: RefCell::default(),
            rounds: Cell::new(0),
            task: Cell::new(None),
        })
    }

    /// Goes through the ring once: the kernel completes a wait on a socket that is always writable.
    pub(crate) async fn through_ring(&self) {
        let _ = self.stream.writable(false).await;
    }

    /// Waits for the end of a round that starts after this call.
    async fn through_epoll(&self) {
        let rounds = self.rounds.get();
        poll_fn(|cx| {
            if self.rounds.get() > rounds {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            if let Some(task) = self.task.take() {
                task.wake();
            }
            Poll::Pending
        })
        .await;
    }

    /// Runs the rounds on epoll, where a socket known to be ready is not polled again: starts to wait for a
    /// byte and then sends it, so that the byte is an event of the driver's next turn.
    pub(crate) async fn run_rounds(&self) {
        loop {
            poll_fn(|cx| {
                if !self.waiting.borrow().is_empty() {
                    return Poll::Ready(());
                }
                self.task.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            let mut readable = pin!(self.stream.readable(false));
            let mut sent = false;
            poll_fn(|cx| {
                let polled = readable.as_mut().poll(cx);
                if polled.is_pending() && !std::mem::replace(&mut sent, true) {
                    // It cannot be full: every byte is read before the next is sent.
                    let _ = (&self.peer).write(&[0]);
                }
                polled.map(drop)
            })
            .await;
            let _ = (&self.drain).read(&mut [0; 8]);
            self.rounds.update(|rounds| rounds + 1);
            let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl PanicMessage {
    fn from_payload(payload: Box<dyn Any + Send>) -> Self {
        let mut text = if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "a panic without a message".to_owned()
        };
        // Dropping a payload runs foreign code, which may panic again.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        if let Some((end, _)) = text.char_indices().nth(PANIC_CHARS_MAX) {
            text.truncate(end);
        }
        Self(text)
    }
}

impl fmt::Display for PanicMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
