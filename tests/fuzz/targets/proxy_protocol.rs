//! A PROXY header of either version: one verdict however it is split, never a byte read too much, and the
//! client that the bytes name.

use std::net::{IpAddr, SocketAddr};

use ringway_wire::proxy_protocol::{Header, HeaderError, Step, parse};

pub(crate) fn check(bytes: &[u8]) {
    let mut end = 0;
    while end <= bytes.len() {
        match parse(&bytes[..end]) {
            Ok(Step::Need(more)) => {
                assert!(more > 0);
                // No prefix shorter than the requested number of bytes is complete.
                for shorter in end..(end + more).min(bytes.len()) {
                    assert!(!matches!(parse(&bytes[..shorter]), Ok(Step::Done(_))));
                }
                end += more;
            }
            Ok(Step::Done(header)) => {
                assert!(end == bytes.len() || parse(bytes) == Err(HeaderError::Beyond));
                assert_eq!(header, read(&bytes[..end]));
                return;
            }
            Err(_) => {
                assert!(parse(bytes).is_err());
                return;
            }
        }
    }
}

/// Content of an accepted header.
fn read(bytes: &[u8]) -> Header {
    if let Some(line) = bytes.strip_prefix(b"PROXY ") {
        let words: Vec<&str> =
            std::str::from_utf8(line).expect("text").trim_end_matches("\r\n").split(' ').collect();
        return match words.as_slice() {
            ["UNKNOWN", ..] => Header::Unknown,
            ["TCP4" | "TCP6", source, _, port, _] => {
                client(source.parse().expect("an address"), port.parse().expect("a port"))
            }
            other => panic!("accepted: {other:?}"),
        };
    }
    let (is_proxy, family, rest) = (bytes[12] == 0x21, bytes[13], &bytes[16..]);
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    match (is_proxy, family) {
        (true, 0x11) => client(IpAddr::from(*rest.first_chunk::<4>().expect("an address")), port(8)),
        (true, 0x21) => client(IpAddr::from(*rest.first_chunk::<16>().expect("an address")), port(32)),
        _ => Header::Unknown,
    }
}

fn client(address: IpAddr, port: u16) -> Header {
    Header::Client(SocketAddr::new(address.to_canonical(), port))
}
