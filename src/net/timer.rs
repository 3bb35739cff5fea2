//! Timers: waits that end within a few milliseconds of their time.
//!
//! The deadlines of sockets nearly always pass unused, so that the reaper keeps them for the price of a store
//! and to a tenth of a second. A timer is for what has to be punctual: a pause before the next attempt, the
//! delay of a hedge, the timeout of an attempt that is shorter than that tenth, a wait in a queue.
//!
//! It is an entry in the runtime's timing wheel, precise to a millisecond: inserted and removed in constant
//! time, in memory of the core, without a system call. The wheel only shortens the driver's next wait, whose
//! timeout is an argument of `io_uring_enter` and of `epoll_wait` alike, and which the reaper sets in any
//! case while a socket is in use. Code without a timer pays nothing for those of others.
//!
//! To end I/O in time, whose futures must not be dropped, run a timer beside it that cancels it:
//! [`with_side_task`](crate::with_side_task).

use crate::clock;
use ringway_model::Tick;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Waits until `deadline`, or a few milliseconds longer.
pub async fn sleep_until(deadline: Tick) {
    while clock::now() < deadline {
        monoio::time::sleep_until(clock::instant_within_an_hour(deadline).into()).await;
    }
}

/// Waits for `duration`, precise to the runtime's millisecond, without the coarse clock of deadlines.
pub async fn sleep(duration: Duration) {
    const LONG: Duration = Duration::from_secs(3600);
    if duration < LONG {
        monoio::time::sleep(duration).await;
    } else {
        sleep_until(clock::now().after(duration)).await;
    }
}

/// Awaits `future` until `timer` is over, and drops it then: `None`. For futures that may be dropped at any
/// time. A future that is ready together with its timer wins.
pub async fn timeout<F: Future>(future: F, timer: impl Future<Output = ()>) -> Option<F::Output> {
    let (mut future, mut timer) = (pin!(future), pin!(timer));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}
