//! Connecting, within a deadline.

use crate::limits::{KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, KEEPALIVE_UPSTREAM_IDLE};
use crate::socket::TcpStream;
use ringway_model::Tick;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Connects to an address. Names are resolved elsewhere, never on a core.
///
/// # Errors
/// `TimedOut` at `deadline`, else the system's (`ConnectionRefused`, no route, no file descriptor, no local port).
pub async fn connect(addr: SocketAddr, deadline: Tick) -> io::Result<TcpStream> {
    // The system call itself and not the ring's operation: non-blocking, it starts the handshake or says at once why
    // not, a connection on this host is often there when it returns, and waiting for writability can be given up
    // without asking the kernel for anything back.
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    // A peer that vanished without a word would be waited for as long as its streams may be silent.
    socket.set_tcp_keepalive(&keepalive(KEEPALIVE_UPSTREAM_IDLE))?;
    let pending = match socket.connect(&addr.into()) {
        Ok(()) => false,
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => true,
        Err(error) => return Err(error),
    };
    let stream = TcpStream::adopt(socket.into(), Some(addr))?;
    if pending {
        stream.writable(deadline).await?;
        if let Some(error) = stream_error(&stream)? {
            return Err(error);
        }
    }
    Ok(stream)
}

/// Probes after so much silence, and the end of the connection when several stay unanswered.
pub(crate) fn keepalive(idle: Duration) -> TcpKeepalive {
    TcpKeepalive::new().with_time(idle).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES)
}

fn stream_error(stream: &TcpStream) -> io::Result<Option<io::Error>> {
    let socket: SockRef<'_> = stream.duplex.socket();
    socket.take_error()
}
