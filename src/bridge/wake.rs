//! Wake-up of a thread that sleeps in its I/O driver: one byte through a socket pair, however many sends.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use crate::sync::{AtomicBool, Ordering, UnixStream};

/// Waker of the receiver with the matching [`WakeSource`]. Cheap to clone, one per sender.
///
/// The receiver's byte stream ends (reads as end of file) when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

/// Receiver's end of a wake-up: the stream to await, and the flag to clear.
#[derive(Debug)]
pub struct WakeSource {
    stream: UnixStream,
    raised: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    raised: Arc<AtomicBool>,
}

/// Creates a connected pair; both ends are non-blocking and closed on exec. Two file descriptors.
///
/// # Errors
/// The system's, when no file descriptor is left.
pub fn wake_pair() -> io::Result<(Waker, WakeSource)> {
    let (sending, stream) = UnixStream::pair()?;
    sending.set_nonblocking(true)?;
    stream.set_nonblocking(true)?;
    let raised = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Shared { stream: sending, raised: Arc::clone(&raised) });
    Ok((Waker { shared }, WakeSource { stream, raised }))
}

impl Waker {
    /// Wakes the receiver. Call it after the value is in its channel.
    ///
    /// Never blocks. Costs one atomic swap when a wake-up is pending, else one system call.
    pub fn wake(&self) {
        // Release: the receiver that clears the flag sees the values sent before it was raised.
        if self.shared.raised.swap(true, Ordering::AcqRel) {
            return;
        }
        // A full socket buffer holds unread bytes, which wake the receiver. Every other failure means that
        // the receiver was dropped, which senders see by their channel.
        while let Err(error) = (&self.shared.stream).write(&[1]) {
            if error.kind() != ErrorKind::Interrupted {
                return;
            }
        }
    }
}

impl WakeSource {
    /// Returns a handle of the stream on which wake-up bytes arrive, non-blocking, for the receiver's driver.
    ///
    /// # Errors
    /// The system's, when no file descriptor is left for the duplicate.
    pub fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Clears the flag, so that the next send writes a byte again.
    ///
    /// **Call it after the byte is read and before the channels are emptied.** A value sent before this call
    /// is in its channel and will be received; one sent after it writes a byte of its own. In the other
    /// order, a value sent between emptying and re-arming would see the flag raised, write nothing, and wait
    /// for the next send. The right order costs a spurious wake-up at worst.
    pub fn rearm(&self) {
        // A swap and not a store: it reads the raised flag, and so synchronises with the sender.
        self.raised.swap(false, Ordering::AcqRel);
    }
}
