//! Listening sockets, one per core.

use crate::connect::keepalive;
use crate::core;
use crate::limits::{ACCEPT_BACKOFF, BIND_TIMEOUT, KEEPALIVE_CLIENT_IDLE, UNSENT_BYTES_MAX};
use crate::socket::{TcpStream, UnixStream};
use crate::task::yield_now;
use crate::timer::sleep;
use ringway_model::limits::ACCEPT_BATCH_MAX;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Listening TCP socket of one core.
pub struct Listener {
    listener: monoio::net::TcpListener,
    local: SocketAddr,
    gate: Gate,
}

/// Accepted connection that is not bound to a core yet: it may move to another thread, and is served where it
/// is adopted. Closed when it is dropped.
pub struct Accepted {
    socket: OwnedFd,
    peer: SocketAddr,
}

/// Listening Unix socket.
pub struct UnixListener {
    listener: monoio::net::UnixListener,
    gate: Gate,
}

/// Binds a listening socket with SO_REUSEPORT: the kernel spreads connections over the listeners of all
/// cores.
///
/// IPv6 sockets accept IPv6 only, so that both families can be bound. Accepted connections inherit
/// TCP_NODELAY.
///
/// # Errors
/// The system's: `AddrInUse` (a listener without SO_REUSEPORT, or of another user), `PermissionDenied` (ports
/// below 1024), `AddrNotAvailable`.
pub fn bind_reuseport(addr: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = bound(addr, true)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Binds a listening socket that shares its address with no other listener. As [`bind_reuseport`] otherwise.
///
/// # Errors
/// As [`bind_reuseport`].
pub fn bind_exclusive(addr: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = bound(addr, false)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Checks that an address has no listener, also none that would share it with [`bind_reuseport`]: two
/// processes that each get a part of the connections are rarely intended.
///
/// # Errors
/// As [`bind_reuseport`]; `AddrInUse` when there is a listener, in this process or in another.
pub fn check_free(addr: SocketAddr) -> io::Result<()> {
    // Bound without listening: with SO_REUSEADDR that conflicts with listeners only.
    bound(addr, false).map(drop)
}

/// Retries `attempt` while it fails with `AddrInUse`, for `BIND_TIMEOUT` at most. Blocks; for the start of
/// a process.
///
/// # Errors
/// Those of the last attempt.
#[allow(clippy::disallowed_methods, reason = "the kernel does not signal the end of a socket")]
pub fn retry_in_use<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + BIND_TIMEOUT;
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(BIND_RETRY);
            }
            result => return result,
        }
    }
}

/// Pause between two attempts of [`retry_in_use`].
const BIND_RETRY: Duration = Duration::from_millis(10);

fn bound(addr: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

impl Listener {
    /// Takes over a listening socket. Inside of [`run`](crate::run) only.
    ///
    /// # Errors
    /// The system's.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        core::current()?;
        listener.set_nonblocking(true)?;
        // Inherited by accepted connections; inherited listeners may lack them.
        let socket = SockRef::from(&listener);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        socket.set_tcp_keepalive(&keepalive(KEEPALIVE_CLIENT_IDLE))?;
        let local = listener.local_addr()?;
        Ok(Self { listener: monoio::net::TcpListener::from_std(listener)?, local, gate: Gate::default() })
    }

    /// Accepts a connection, with CLOEXEC.
    ///
    /// # Errors
    /// `Interrupted` after [`stop`](Self::stop). When file descriptors or memory are exhausted (`EMFILE`,
    /// `ENFILE`, `ENOBUFS`, `ENOMEM`), the error is returned after a pause of `ACCEPT_BACKOFF`, so that a
    /// caller which retries does not spin; the connection waits in the kernel. Else the system's, after which
    /// the listener cannot be used.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.take().await?;
        let peer = accepted.peer;
        Ok((accepted.adopt()?, peer))
    }

    /// Accepts a connection for any core; see [`accept`](Self::accept).
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn take(&self) -> io::Result<Accepted> {
        let fd = self.listener.as_raw_fd();
        let (socket, addr) = self.gate.accept(fd, || self.listener.readable(false)).await?;
        Accepted::new(socket, &addr)
    }

    /// Accepts a connection from the kernel's queue without waiting, for draining after [`stop`](Self::stop).
    pub fn take_now(&self) -> Option<Accepted> {
        let (socket, addr) = accept_now(self.listener.as_raw_fd())?;
        Accepted::new(socket, &addr).ok()
    }

    /// Ends a pending accept, and all later ones, with `Interrupted`.
    pub fn stop(&self) {
        self.gate.stop();
    }

    /// Local address, with the port that the kernel chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Accepted {
    fn new(socket: OwnedFd, addr: &SockAddr) -> io::Result<Self> {
        // A TCP listener accepts TCP connections only.
        let peer = addr.as_socket().ok_or(ErrorKind::InvalidData)?;
        Ok(Self { socket, peer })
    }

    /// Address of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Binds the connection to this thread. Inside of [`run`](crate::run) only.
    ///
    /// # Errors
    /// The system's; the connection is closed then.
    pub fn adopt(self) -> io::Result<TcpStream> {
        TcpStream::adopt(self.socket.into(), Some(self.peer))
    }
}

impl UnixListener {
    /// Takes over a listening socket. Inside of [`run`](crate::run) only.
    ///
    /// # Errors
    /// The system's.
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        core::current()?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: monoio::net::UnixListener::from_std(listener)?, gate: Gate::default() })
    }

    /// Accepts a connection; see [`Listener::accept`].
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub async fn accept(&self) -> io::Result<UnixStream> {
        let fd = self.listener.as_raw_fd();
        let (socket, _) = self.gate.accept(fd, || self.listener.readable(false)).await?;
        UnixStream::from_std(socket.into())
    }

    /// Accepts a connection from the kernel's queue without waiting.
    pub fn accept_now(&self) -> Option<UnixStream> {
        let (socket, _) = accept_now(self.listener.as_raw_fd())?;
        UnixStream::from_std(socket.into()).ok()
    }

    /// Ends a pending accept, and all later ones, with `Interrupted`.
    pub fn stop(&self) {
        self.gate.stop();
    }
}

/// Accepting without losing connections.
///
/// The accept operation of the ring is not used: a cancelled one may have accepted a connection, and it sets
/// no CLOEXEC. A wait for readability can be dropped, and `accept4` then takes a batch.
#[derive(Default)]
struct Gate {
    stopped: Cell<bool>,
    waiting: Cell<Option<Waker>>,
    /// Accepted since the last wait.
    in_a_row: Cell<u32>,
}

impl Gate {
    fn stop(&self) {
        self.stopped.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    async fn accept<W>(&self, fd: RawFd, mut readable: impl FnMut() -> W) -> io::Result<(OwnedFd, SockAddr)>
    where
        W: Future<Output = io::Result<()>>,
    {
        if self.in_a_row.get() >= ACCEPT_BATCH_MAX {
            self.in_a_row.set(0);
            yield_now().await;
        }
        loop {
            if self.stopped.get() {
                return Err(ErrorKind::Interrupted.into());
            }
            match accept4(fd) {
                Ok(accepted) => {
                    self.in_a_row.update(|count| count + 1);
                    return Ok(accepted);
                }
                Err(error) => match error.raw_os_error().unwrap_or(0) {
                    libc::EAGAIN => {
                        self.in_a_row.set(0);
                        self.wait(readable()).await?;
                    }
                    libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => {
                        sleep(ACCEPT_BACKOFF).await;
                        return Err(error);
                    }
                    // The connection failed in the queue. Each call takes one out of the queue, so that this
                    // ends.
                    code if is_of_the_connection(code) => {}
                    _ => return Err(error),
                },
            }
        }
    }

    async fn wait(&self, readable: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let mut readable = pin!(readable);
        poll_fn(|cx| {
            if self.stopped.get() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(result) = readable.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            self.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

/// accept(2): "applications should detect the network errors defined for the protocol after accept() and
/// treat them like EAGAIN by retrying".
fn is_of_the_connection(code: i32) -> bool {
    matches!(
        code,
        libc::EINTR
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
    )
}

fn accept_now(fd: RawFd) -> Option<(OwnedFd, SockAddr)> {
    loop {
        match accept4(fd) {
            Ok(accepted) => return Some(accepted),
            Err(error) if is_of_the_connection(error.raw_os_error().unwrap_or(0)) => {}
            Err(_) => return None,
        }
    }
}

fn accept4(fd: RawFd) -> io::Result<(OwnedFd, SockAddr)> {
    // SAFETY: `try_init` passes storage of the stated length, which the kernel fills as far as it states; the
    // descriptor of the listener outlives the call, because its owner is borrowed by the caller.
    let (accepted, addr) = unsafe {
        SockAddr::try_init(|storage, length| {
            match libc::accept4(fd, storage.cast(), length, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                accepted => Ok(accepted),
            }
        })
    }?;
    // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, addr))
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("local", &self.local).finish_non_exhaustive()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixListener").field("listener", &self.listener).finish_non_exhaustive()
    }
}
