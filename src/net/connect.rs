//! Outgoing TCP connections with a deadline.

use crate::limits::{KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, KEEPALIVE_UPSTREAM_IDLE};
use crate::socket::TcpStream;
use ringway_model::Tick;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Connects to an address. Names are never resolved on a data core.
///
/// # Errors
/// `TimedOut` at `deadline`, else the system's (`ConnectionRefused`, no route, no file descriptor, no local
/// port).
pub async fn connect(addr: SocketAddr, deadline: Tick) -> io::Result<TcpStream> {
    // The system call and not the operation of the ring: non-blocking, it starts the handshake or fails at
    // once, a connection on this host is often established when it returns, and a wait for writability can be
    // dropped without a cancellation in the kernel.
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    // Without keepalive, a vanished peer would be detected only by the timeouts of its streams.
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

/// Keepalive: probes after `idle` without bytes, and the end of the connection after several unanswered ones.
pub(crate) fn keepalive(idle: Duration) -> TcpKeepalive {
    TcpKeepalive::new().with_time(idle).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES)
}

fn stream_error(stream: &TcpStream) -> io::Result<Option<io::Error>> {
    let socket: SockRef<'_> = stream.duplex.socket();
    socket.take_error()
}

/// Address that a connection to `target` would come from; nothing is sent. The unspecified address where
/// there is no way to it. Four system calls.
pub fn source_of(target: SocketAddr) -> IpAddr {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let probe = |socket: UdpSocket| {
        socket.connect(target)?;
        socket.local_addr()
    };
    UdpSocket::bind(any).and_then(probe).map_or(any.ip(), |address| address.ip())
}
