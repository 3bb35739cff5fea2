//! One question to one server: over UDP, then over TCP if the answer was cut.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::limits::DNS_TRY_TIMEOUT;
use ringway_model::Tick;
use ringway_net::clock;

use super::DnsError;
use super::message::{Kind, Name, Reply, UDP_BYTES, answer, question};

/// Asks `server` once, for [`DNS_TRY_TIMEOUT`] at most and not beyond `deadline`.
pub(super) fn exchange(
    server: SocketAddr,
    name: &Name,
    kind: Kind,
    deadline: Tick,
) -> Result<Reply, DnsError> {
    let until = deadline.min(clock::now().after(DNS_TRY_TIMEOUT));
    let reply = over_udp(server, name, kind, until)?;
    if !reply.is_cut {
        return Ok(reply);
    }
    let until = deadline.min(clock::now().after(DNS_TRY_TIMEOUT));
    over_tcp(server, name, kind, until)
}

fn over_udp(server: SocketAddr, name: &Name, kind: Kind, until: Tick) -> Result<Reply, DnsError> {
    let failed = |error: io::Error| judge(server, &error);
    let id = random_id()?;
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // The kernel chooses a port at random and lets only the server's datagrams through.
    let socket = UdpSocket::bind(local).map_err(failed)?;
    socket.connect(server).map_err(failed)?;
    socket.send(&question(id, name, kind)?).map_err(failed)?;
    let mut buf = vec![0; usize::from(UDP_BYTES) + 1];
    for _ in 0..STRAYS_MAX {
        socket.set_read_timeout(Some(left(until)?)).map_err(failed)?;
        let count = socket.recv(&mut buf).map_err(failed)?;
        // A late answer to an older question, or somebody's guess: ours may still come.
        if let Some(reply) = answer(&buf[..count], id, name, kind) {
            return reply;
        }
    }
    Err(DnsError::Malformed)
}

/// Datagrams that are looked at for one question: more that do not belong to it are an attack.
const STRAYS_MAX: usize = 32;

fn over_tcp(server: SocketAddr, name: &Name, kind: Kind, until: Tick) -> Result<Reply, DnsError> {
    let failed = |error: io::Error| judge(server, &error);
    let id = random_id()?;
    let message = question(id, name, kind)?;
    let mut stream = TcpStream::connect_timeout(&server, left(until)?).map_err(failed)?;
    stream.set_write_timeout(Some(left(until)?)).map_err(failed)?;
    // RFC 1035 §4.2.2: two bytes of length, then the message; in one write, for some servers read only once.
    let length = u16::try_from(message.len()).map_err(|_| DnsError::Malformed)?;
    let framed = [&length.to_be_bytes()[..], &message].concat();
    stream.write_all(&framed).map_err(failed)?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, until).map_err(failed)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    read_until(&mut stream, &mut bytes, until).map_err(failed)?;
    match answer(&bytes, id, name, kind) {
        // There is no larger form to ask for.
        Some(Ok(reply)) if reply.is_cut => Err(DnsError::Malformed),
        Some(reply) => reply,
        None => Err(DnsError::Malformed),
    }
}

/// Fills `buf`; a server that sends a byte now and then does not get more time for it.
fn read_until(stream: &mut TcpStream, buf: &mut [u8], until: Tick) -> io::Result<()> {
    let mut filled = 0;
    while filled < buf.len() {
        stream.set_read_timeout(Some(left(until).map_err(|_| io::Error::from(ErrorKind::TimedOut))?))?;
        match stream.read(&mut buf[filled..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(())
}

/// The time until `until`; an error when there is none, for a socket takes no time-out of zero.
fn left(until: Tick) -> Result<Duration, DnsError> {
    let left = clock::now().until(until);
    if left.is_zero() { Err(DnsError::TimedOut) } else { Ok(left) }
}

fn judge(server: SocketAddr, error: &io::Error) -> DnsError {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => DnsError::TimedOut,
        ErrorKind::UnexpectedEof => DnsError::Malformed,
        _ => DnsError::Unreachable(server),
    }
}

fn random_id() -> Result<u16, DnsError> {
    let mut bytes = [0; 2];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| DnsError::Malformed)?;
    Ok(u16::from_be_bytes(bytes))
}
