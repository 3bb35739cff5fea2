//! Wake-ups from other threads: awaiting a byte on a socket.

use crate::socket::UnixStream;
use crate::stream::Stream;
use ringway_model::Tick;
use std::io;

/// Receiving end of a wake-up stream, such as that of a signal pipe or of the bridge.
#[derive(Debug)]
pub struct Notified {
    stream: UnixStream,
    buf: Vec<u8>,
}

impl Notified {
    /// Takes over a stream. Inside of [`run`](crate::run) only.
    ///
    /// # Errors
    /// The system's.
    pub fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::from_std(stream)?, buf: Vec::with_capacity(64) })
    }

    /// Waits for bytes and reads up to 64; returns their number. Afterwards re-arm the source, then empty the
    /// queues, in this order.
    ///
    /// # Errors
    /// `UnexpectedEof` when all senders were dropped.
    pub async fn wait(&mut self) -> io::Result<usize> {
        self.wait_until(Tick::NEVER).await
    }

    /// As [`wait`](Self::wait), until `deadline`.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and `TimedOut`.
    pub async fn wait_until(&mut self, deadline: Tick) -> io::Result<usize> {
        let mut buf = std::mem::take(&mut self.buf);
        buf.clear();
        buf.reserve(64);
        let (read, buf) = self.stream.read(buf, deadline).await;
        self.buf = buf;
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}
