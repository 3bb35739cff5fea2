//! Waits with deadlines and cancellation for other things than sockets: HTTP/2 streams, queues, windows.

use crate::reaper::{Direction, Registration};
use ringway_model::Tick;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

/// Waits of one reader and one writer, as those of a [`Stream`](crate::Stream): each with a deadline, and
/// with a sticky cancellation.
///
/// No buffer is in the kernel: these futures may be dropped at any time.
pub struct Waits {
    registration: Registration,
}

impl Waits {
    /// No pending waits.
    ///
    /// # Errors
    /// When no runtime runs on this thread.
    pub fn new() -> io::Result<Self> {
        Ok(Self { registration: Registration::new()? })
    }

    /// Waits on the reading side until `poll` is ready, which takes precedence over the deadline and over a
    /// cancellation during the wait.
    ///
    /// # Errors
    /// Those of `poll`; `TimedOut` at `deadline` (or up to `REAP_INTERVAL`
    /// later), `Interrupted` after [`cancel_reads`](Self::cancel_reads).
    pub async fn read<T>(
        &self,
        deadline: Tick,
        poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        self.wait(Direction::Read, deadline, poll).await
    }

    /// Waits on the writing side; see [`read`](Self::read).
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

    /// Ends a pending wait of the reading side, and later ones, with `Interrupted`.
    pub fn cancel_reads(&self) {
        self.registration.cancel(Direction::Read);
    }

    /// Allows waits on the reading side again.
    pub fn resume_reads(&self) {
        self.registration.resume(Direction::Read);
    }

    /// Ends a pending wait of the writing side, and later ones, with `Interrupted`.
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
        let operation = self.registration.begin(direction)?;
        operation.arm(deadline);
        operation.ready(poll_fn(poll)).await
    }
}
