//! Runtime of a core: time, tasks, and the set of idle connections. The implementation in production is on
//! monoio; the simulator has a virtual clock, with static dispatch and at no cost.

use std::future::Future;
use std::time::Duration;

use ringway_model::{Tick, Timestamp};
use ringway_net::PanicMessage;

use crate::connector::Connector;
use crate::session::downstream::IdleConn;

/// Runtime of one core, with its [`Connector`].
pub(crate) trait Runtime: Connector {
    /// Monotonic time, for deadlines.
    fn now(&self) -> Tick;

    /// The same clock in microseconds, for measurements.
    fn now_micros(&self) -> u64;

    /// Wall-clock time, for people.
    fn timestamp(&self) -> Timestamp;

    /// Waits for a duration.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

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
