//! One query to one server: over UDP, repeated over TCP when the response is truncated.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use ringway_model::Tick;
use ringway_net::clock;

use crate::DnsError;
use crate::limits::DNS_TRY_TIMEOUT;
use crate::message::{Name, RecordType, Response, UDP_BYTES, encode_query, parse_response};

/// Queries `server` once, for [`DNS_TRY_TIMEOUT`] per transport at most and not beyond `deadline`.
pub(crate) fn exchange(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    deadline: Tick,
) -> Result<Response, DnsError> {
    let until = deadline.min(clock::now().after(DNS_TRY_TIMEOUT));
    let response = over_udp(server, name, record_type, until)?;
    if !response.is_truncated {
        return Ok(response);
    }
    let until = deadline.min(clock::now().after(DNS_TRY_TIMEOUT));
    over_tcp(server, name, record_type, until)
}

fn over_udp(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    until: Tick,
) -> Result<Response, DnsError> {
    let failed = |error: io::Error| classify(server, &error);
    let id = random_id()?;
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // The kernel picks a random port; connecting filters out datagrams from other peers.
    let socket = UdpSocket::bind(local).map_err(failed)?;
    socket.connect(server).map_err(failed)?;
    socket.send(&encode_query(id, name, record_type)?).map_err(failed)?;
    let mut buf = vec![0; usize::from(UDP_BYTES) + 1];
    for _ in 0..STRAYS_MAX {
        socket.set_read_timeout(Some(left(until)?)).map_err(failed)?;
        let count = socket.recv(&mut buf).map_err(failed)?;
        // A late response to an older query, or a spoofed one: the right one may still come.
        if let Some(response) = parse_response(&buf[..count], id, name, record_type) {
            return response;
        }
    }
    Err(DnsError::Malformed)
}

/// Datagrams read per query: more that do not match it are an attack.
const STRAYS_MAX: usize = 32;

fn over_tcp(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    until: Tick,
) -> Result<Response, DnsError> {
    let failed = |error: io::Error| classify(server, &error);
    let id = random_id()?;
    let message = encode_query(id, name, record_type)?;
    let mut stream = TcpStream::connect_timeout(&server, left(until)?).map_err(failed)?;
    stream.set_write_timeout(Some(left(until)?)).map_err(failed)?;
    // RFC 1035 §4.2.2: two bytes of length, then the message; in one write, because some servers read only
    // once.
    let length = u16::try_from(message.len()).map_err(|_| DnsError::Malformed)?;
    let framed = [&length.to_be_bytes()[..], &message].concat();
    stream.write_all(&framed).map_err(failed)?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, until).map_err(failed)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    read_until(&mut stream, &mut bytes, until).map_err(failed)?;
    match parse_response(&bytes, id, name, record_type) {
        // TCP is the largest transport there is.
        Some(Ok(response)) if response.is_truncated => Err(DnsError::Malformed),
        Some(response) => response,
        None => Err(DnsError::Malformed),
    }
}

/// Fills `buf` before `until`; a byte now and then does not extend the deadline.
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

/// Returns the time left; an error when none is, because a socket timeout of zero means none.
fn left(until: Tick) -> Result<Duration, DnsError> {
    let left = clock::now().until(until);
    if left.is_zero() { Err(DnsError::TimedOut) } else { Ok(left) }
}

fn classify(server: SocketAddr, error: &io::Error) -> DnsError {
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
