//! Waiting with deadlines and cancellation for what is no socket: a stream within a connection, a queue, a window.

use crate::reaper::{Direction, Registration};
use ringway_model::Tick;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

/// One reader and one writer that wait for something, as those of a [`Stream`](crate::Stream) do: each with a deadline,
/// and with a cancellation that sticks until it is taken back.
///
/// Nothing is in the kernel meanwhile: these futures may be dropped at any time.
pub struct Waits {
    registration: Registration,
}

impl Waits {
    /// A pair of sides with nothing pending.
    ///
    /// # Errors
    /// When no runtime of ours runs on this thread.
    pub fn new() -> io::Result<Self> {
        Ok(Self { registration: Registration::new()? })
    }

    /// Waits on the reading side until `poll` is ready. What is ready wins over the deadline and over a cancellation
    /// that came while it waited.
    ///
    /// # Errors
    /// Those of `poll`; `TimedOut` at `deadline` (or up to [`REAP_INTERVAL`](crate::limits::REAP_INTERVAL)
    /// later), `Interrupted` after [`cancel_reads`](Self::cancel_reads).
    pub async fn read<T>(
        &self,
        deadline: Tick,
        poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        self.wait(Direction::Read, deadline, poll).await
    }

    /// Waits on the writing side, as [`read`](Self::read) does on the other.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn write<T>(
        &self,
        deadline: Tick,
        poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        self.wait(Direction::Write, deadline, poll).await
    }

    /// Ends a pending wait of the reading side, and those that begin later, with `Interrupted`.
    pub fn cancel_reads(&self) {
        self.registration.cancel(Direction::Read);
    }

    /// Allows waits on the reading side again.
    pub fn resume_reads(&self) {
        self.registration.resume(Direction::Read);
    }

    /// Ends a pending wait of the writing side, and those that begin later, with `Interrupted`.
    pub fn cancel_writes(&self) {
        self.registration.cancel(Direction::Write);
    }

    /// Allows waits on the writing side again.
    pub fn resume_writes(&self) {
        self.registration.resume(Direction::Write);
    }

    async fn wait<T>(
        &self,
        direction: Direction,
        deadline: Tick,
        poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let turn = self.registration.begin(direction)?;
        turn.arm(deadline);
        turn.ready(poll_fn(poll)).await
    }
}
