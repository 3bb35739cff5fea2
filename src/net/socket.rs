//! TCP and Unix streams.

use crate::duplex::Duplex;
use crate::reaper::Direction;
use crate::stream::{Hangup, PeerState, Stream, WriteRate};
use ringway_model::Tick;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::RawFd;
use std::time::Duration;

/// TCP connection, without Nagle's algorithm.
pub struct TcpStream {
    pub(crate) duplex: Duplex<monoio::net::TcpStream>,
    peer: Option<SocketAddr>,
    /// Read when first needed: most connections never need it.
    local: Cell<Option<SocketAddr>>,
    /// The kernel may be holding back the last segment, after MSG_MORE.
    pub(crate) held: Cell<bool>,
}

/// Unix stream connection.
pub struct UnixStream {
    duplex: Duplex<monoio::net::UnixStream>,
}

impl TcpStream {
    /// Takes over a connected socket. Inside of [`run`](crate::run) only.
    ///
    /// # Errors
    /// The system's.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr().ok();
        Self::adopt(stream, peer)
    }

    /// Takes over a socket whose options are set.
    pub(crate) fn adopt(stream: std::net::TcpStream, peer: Option<SocketAddr>) -> io::Result<Self> {
        // Checked first: monoio panics without a runtime.
        crate::core::current()?;
        let duplex = Duplex::new(monoio::net::TcpStream::from_std(stream)?)?;
        Ok(Self { duplex, peer, local: Cell::new(None), held: Cell::new(false) })
    }

    /// Waits until the socket is writable, without a buffer.
    ///
    /// # Errors
    /// As [`Stream::write_all`].
    pub async fn writable(&self, deadline: Tick) -> io::Result<()> {
        self.duplex.writable(deadline).await
    }

    /// Flushes the segment that the kernel holds back. One system call, if there is one.
    pub(crate) fn release_held(&self) {
        if self.held.replace(false) {
            // Setting TCP_NODELAY again flushes pending output (tcp(7)). On a broken connection the next
            // write fails.
            let _ = self.duplex.socket().set_tcp_nodelay(true);
        }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.duplex.raw_fd()
    }
}

impl UnixStream {
    /// Takes over a connected socket. Inside of [`run`](crate::run) only.
    ///
    /// # Errors
    /// The system's.
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        crate::core::current()?;
        stream.set_nonblocking(true)?;
        Ok(Self { duplex: Duplex::new(monoio::net::UnixStream::from_std(stream)?)? })
    }
}

impl UnixStream {
    /// User of the process that connected (`SO_PEERCRED`). One system call.
    ///
    /// # Errors
    /// The system's.
    pub fn peer_uid(&self) -> io::Result<u32> {
        let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `credentials`, which lives as long as the call,
        // and the descriptor is open as long as `self`.
        let result = unsafe {
            libc::getsockopt(
                self.duplex.raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut credentials).cast(),
                &raw mut length,
            )
        };
        match result {
            0 => Ok(credentials.uid),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Methods that both types delegate to their [`Duplex`].
macro_rules! delegate_to_duplex {
    () => {
        fn read(&self, buf: Vec<u8>, deadline: Tick) -> impl Future<Output = (io::Result<usize>, Vec<u8>)> {
            self.duplex.read(buf, deadline)
        }

        fn readable(&self, deadline: Tick) -> impl Future<Output = io::Result<()>> {
            self.duplex.readable(deadline)
        }

        fn peek_state(&self) -> PeerState {
            self.duplex.peek_state()
        }

        fn hangup(&self) -> Hangup {
            self.duplex.hangup()
        }

        fn cancel_reads(&self) {
            self.duplex.cancel(Direction::Read);
        }

        fn resume_reads(&self) {
            self.duplex.resume(Direction::Read);
        }

        fn cancel_writes(&self) {
            self.duplex.cancel(Direction::Write);
        }

        fn resume_writes(&self) {
            self.duplex.resume(Direction::Write);
        }

        async fn shutdown_write(&self, _deadline: Tick) -> io::Result<()> {
            self.duplex.shutdown_write()
        }
    };
}

impl Stream for TcpStream {
    delegate_to_duplex!();

    fn write_all_range(
        &self,
        buf: Vec<u8>,
        range: Range<usize>,
        rate: WriteRate,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)> {
        // The held segment is sent with it.
        self.held.set(false);
        self.duplex.write_all_range(buf, range, rate)
    }

    async fn write_shared<P: AsRef<[u8]>>(
        &self,
        head: Vec<u8>,
        parts: &[P],
        range: Range<usize>,
        rate: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        // The held segment is sent with it.
        self.held.set(false);
        let written = self.duplex.write_shared(&head, parts, range, rate).await;
        (written, head)
    }

    fn read_more(&self, buf: &mut Vec<u8>) {
        self.duplex.read_more(buf);
    }

    fn discard(&self, deadline: Tick) -> impl Future<Output = io::Result<usize>> {
        self.duplex.discard(deadline)
    }

    fn is_delivered(&self) -> bool {
        let mut unacknowledged: libc::c_int = 0;
        // SAFETY: the descriptor is open, and the kernel writes one integer.
        let result = unsafe { libc::ioctl(self.raw_fd(), libc::TIOCOUTQ, &raw mut unacknowledged) };
        result == 0 && unacknowledged == 0
    }

    fn set_user_timeout(&self, timeout: Duration) {
        // Without it a broken connection is only detected later.
        let _ = self.duplex.socket().set_tcp_user_timeout(Some(timeout));
    }

    fn write_held(&self, bytes: &[u8]) -> usize {
        // Not beside a writer, whose bytes come first.
        let Ok(_operation) = self.duplex.begin(Direction::Write) else { return 0 };
        let flags = libc::MSG_MORE | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let taken = self.duplex.socket().send_with_flags(bytes, flags).unwrap_or(0);
        self.held.set(self.held.get() || taken > 0);
        taken
    }

    fn abort(&self) {
        self.duplex.abort();
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        if self.local.get().is_none() {
            self.local.set(self.duplex.socket().local_addr().ok().and_then(|address| address.as_socket()));
        }
        self.local.get()
    }

    fn as_tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Stream for UnixStream {
    delegate_to_duplex!();

    fn write_all_range(
        &self,
        buf: Vec<u8>,
        range: Range<usize>,
        rate: WriteRate,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)> {
        self.duplex.write_all_range(buf, range, rate)
    }

    /// Does nothing: Unix sockets have no reset. The peer sees the end of the stream, or `ECONNRESET` when
    /// bytes of it are unread.
    fn abort(&self) {}

    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream").field("fd", &self.duplex.raw_fd()).field("peer", &self.peer).finish()
    }
}

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixStream").field("fd", &self.duplex.raw_fd()).finish()
    }
}
