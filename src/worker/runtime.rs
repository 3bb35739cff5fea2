//! Runtime of a core: time, tasks, and the set of idle connections. The implementation in production is on
//! monoio; the simulator has a virtual clock, with static dispatch and at no cost.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use ringway_model::{Tick, Timestamp};
use ringway_net::PanicMessage;

use crate::accept::listener::Admission;
use crate::connector::Connector;

/// Runtime of one core, with its [`Connector`].
pub(crate) trait Runtime: Connector {
    /// Monotonic time, for deadlines.
    fn now(&self) -> Tick;

    /// The same clock in microseconds, for measurements.
    fn now_micros(&self) -> u64;

    /// CPU time of the thread in microseconds; it stands still under a virtual clock.
    #[cfg(feature = "lua")]
    fn cpu_micros(&self) -> u64 {
        0
    }

    /// Wall-clock time, for people.
    fn timestamp(&self) -> Timestamp;

    /// Waits for a duration, precise to a millisecond: the fine timer, for what the deadlines of I/O,
    /// kept to a tenth of a second, are too coarse for. May be dropped at any time.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// Awaits `future` for `duration`, and drops it then: `None`. For futures that may be dropped at any
    /// time; I/O is cancelled by a [`sleep`](Self::sleep) beside it.
    fn timeout<F: Future>(&self, future: F, duration: Duration) -> impl Future<Output = Option<F::Output>> {
        ringway_net::timeout(future, self.sleep(duration))
    }

    /// Lets other tasks, completed I/O and timers of this core run. May be dropped at any time.
    fn yield_now(&self) -> impl Future<Output = ()>;

    /// Runs `future` as a task of this core. A panic ends this task only, and is reported to `on_panic`.
    fn spawn<F, P>(&self, future: F, on_panic: P)
    where
        F: Future<Output = ()> + 'static,
        P: FnOnce(PanicMessage) + 'static;

    /// Moves a connection to the idle set, which resumes its session when it becomes readable. `false` for
    /// one that its session has to keep.
    fn park(&self, _stream: &Self::Stream, _idle: IdleConn) -> bool {
        false
    }

    /// Takes all connections out of the idle set; one without a stream has expired.
    fn take_idle(&self) -> Vec<(Option<Self::Stream>, IdleConn)> {
        Vec::new()
    }

    /// Number of connections in the idle set.
    fn idle_count(&self) -> usize {
        0
    }
}

/// Idle client connection without TLS, as it is kept in the idle set; the rest is derived from it.
#[derive(Debug)]
pub(crate) struct IdleConn {
    pub(crate) peer: IpAddr,
    pub(crate) admission: Admission,
    /// Requests that it has carried.
    pub(crate) exchanges: u32,
    /// Deadline of the first byte of its next request.
    pub(crate) deadline: Tick,
}
