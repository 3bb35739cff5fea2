//! Relay of a tunnel: bytes in both directions, not looked at.
//!
//! ```text
//! wait without a buffer ─► read into one ─► write ─► read … silent for a second ─► wait without a buffer
//!                              └─ a full buffer: more follows ─► splice in the kernel until it pauses
//! ```
//! It ends when both sides have ended, when it was silent for too long, and at the end of its life.

use std::cell::Cell;
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use ringway_forward::limits;
use ringway_model::Tick;
use ringway_net::{SenderLimits, Stream, WriteRate, join};

use crate::connector::{Splice, SpliceError};
use crate::core::Core;
use crate::limits::{FORWARD_BUFFER_BYTES, IDLE_BUFFER_GRACE};
use crate::runtime::Runtime;

/// Both ends of a tunnel.
pub(crate) struct Ends<'a, S> {
    pub(crate) client: &'a S,
    pub(crate) target: &'a S,
}

/// State that the two directions share.
struct Shared {
    last_byte: Cell<Tick>,
    half_closed: Cell<bool>,
    /// One direction broke: the other cannot go on.
    over: Cell<bool>,
    ends: Tick,
}

/// Relays until the tunnel is over; `early` came from the client before. Returns the bytes of both
/// directions: from the client, from the target.
pub(crate) async fn relay<R: Runtime>(
    core: &Core<R>,
    ends: Ends<'_, R::Stream>,
    early: Vec<u8>,
) -> (u64, u64) {
    let now = core.runtime.now();
    let shared = Shared {
        last_byte: Cell::new(now),
        half_closed: Cell::new(false),
        over: Cell::new(false),
        ends: now.after(limits::TUNNEL_LIFE_MAX),
    };
    let Ends { client, target } = ends;
    let up = Direction { core, from: client, to: target, shared: &shared };
    let down = Direction { core, from: target, to: client, shared: &shared };
    join(pin!(up.run(early)), pin!(down.run(Vec::new()))).await
}

struct Direction<'a, R: Runtime> {
    core: &'a Core<R>,
    from: &'a R::Stream,
    to: &'a R::Stream,
    shared: &'a Shared,
}

impl<R: Runtime> Direction<'_, R> {
    /// Sends `buf`, then relays; returns the bytes.
    async fn run(self, mut buf: Vec<u8>) -> u64 {
        let mut bytes = 0;
        loop {
            if !buf.is_empty() {
                bytes += buf.len() as u64;
                self.shared.last_byte.set(self.core.runtime.now());
                let is_full = buf.len() >= FORWARD_BUFFER_BYTES && buf.len() == buf.capacity();
                let (written, back) = self.to.write_all(buf, WriteRate::stall(STALL)).await;
                buf = back;
                buf.clear();
                if buf.capacity() < FORWARD_BUFFER_BYTES {
                    // The one with the early bytes, which is too small to go on with.
                    buf = Vec::new();
                }
                if written.is_err() {
                    self.break_off();
                    return bytes;
                }
                if is_full && self.core.runtime.can_splice(self.from, self.to) {
                    match self.splice().await {
                        Ok(moved) => bytes += moved,
                        Err(moved) => {
                            self.break_off();
                            return bytes + moved;
                        }
                    }
                }
            }
            if self.shared.over.get() {
                return bytes;
            }
            let now = self.core.runtime.now();
            let deadline = self.deadline();
            if buf.capacity() == 0 {
                match self.from.readable(deadline).await {
                    Ok(()) => buf.reserve_exact(FORWARD_BUFFER_BYTES),
                    Err(error) if self.goes_on(error.kind()) => continue,
                    Err(_) => {
                        self.break_off();
                        return bytes;
                    }
                }
            }
            let (read, back) = self.from.read(buf, deadline.min(now.after(IDLE_BUFFER_GRACE))).await;
            buf = back;
            match read {
                Ok(0) => {
                    self.end().await;
                    return bytes;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut && self.core.runtime.now() < deadline => {
                    // Silent: it waits without a buffer.
                    buf = Vec::new();
                }
                Err(error) if self.goes_on(error.kind()) => {}
                Err(_) => {
                    self.break_off();
                    return bytes;
                }
            }
        }
    }

    /// Copies in the kernel until the sender pauses; returns the bytes, as an error where the tunnel broke.
    async fn splice(&self) -> Result<u64, u64> {
        let sender = SenderLimits { stall: SPLICE_PAUSE, rate: None };
        let spliced = self
            .core
            .runtime
            .splice(self.from, self.to, u64::MAX, STALL, sender, &self.shared.last_byte)
            .await;
        let Err(Splice { moved, error, .. }) = spliced else { return Ok(0) };
        match error {
            // The next read finds out why it ended.
            SpliceError::SenderStalled | SpliceError::Sender => Ok(moved),
            SpliceError::Receiver | SpliceError::ReceiverStalled => Err(moved),
        }
    }

    /// Deadline of the next byte of either direction.
    fn deadline(&self) -> Tick {
        let idle = match self.shared.half_closed.get() {
            true => limits::TUNNEL_HALF_CLOSED_TIMEOUT,
            false => limits::TUNNEL_IDLE_TIMEOUT,
        };
        self.shared.last_byte.get().after(idle).min(self.shared.ends)
    }

    /// Whether a wait that ended is followed by another: the drain and the other direction interrupt waits,
    /// and a byte of the other direction moves the deadline.
    fn goes_on(&self, kind: ErrorKind) -> bool {
        match kind {
            ErrorKind::Interrupted if !self.shared.over.get() => {
                self.from.resume_reads();
                true
            }
            ErrorKind::TimedOut => self.core.runtime.now() < self.deadline(),
            _ => false,
        }
    }

    /// Passes the end of one side on; the other may still send.
    async fn end(&self) {
        self.shared.half_closed.set(true);
        let now = self.core.runtime.now();
        self.shared.last_byte.set(now);
        let _ = self.to.shutdown_write(now.after(STALL)).await;
        // Its time is shorter from now on.
        self.to.cancel_reads();
    }

    /// Ends a broken tunnel: both connections are reset.
    fn break_off(&self) {
        self.shared.over.set(true);
        self.from.abort();
        self.to.abort();
        self.to.cancel_reads();
        self.from.cancel_writes();
    }
}

/// 1 min: a receiver that takes no byte.
const STALL: Duration = Duration::from_secs(60);
/// 1 s: a pause of the sender after which the pipe in the kernel is given up.
const SPLICE_PAUSE: Duration = Duration::from_secs(1);
