//! PROXY protocol, versions 1 and 2: the header with the client's address that a load balancer sends first
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! [`parse`] is called with more bytes until it returns [`Step::Done`]; until then it returns the number of
//! bytes that certainly belong to the header. A caller that reads no more than these never consumes a byte
//! behind the header and can hand the socket to TLS or HTTP unchanged.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// 107: longest line of version 1 with its CRLF (§2.1).
pub const V1_BYTES_MAX: usize = 107;
/// 4,096: longest version 2 header behind the first 16 bytes. Addresses take 12 or 36, all TLS TLVs some
/// hundred.
pub const V2_BYTES_MAX: usize = 4096;

/// Parsed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Address of the client that connected to the load balancer.
    Client(SocketAddr),
    /// LOCAL, UNKNOWN or an address that is not TCP (health checks): the peer address of the socket applies.
    Unknown,
}

/// Progress of parsing a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At least this many bytes of the header are missing; never zero.
    Need(usize),
    /// The header is complete and ends with the given bytes.
    Done(Header),
}

/// Error of [`parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The bytes begin with neither signature.
    Signature,
    /// The header exceeds [`V1_BYTES_MAX`] or [`V2_BYTES_MAX`].
    TooLong,
    /// Malformed line of version 1.
    Line,
    /// Version other than 2 behind the binary signature.
    Version,
    /// Command other than LOCAL and PROXY.
    Command,
    /// Unknown address family or transport, or one that is not a stream.
    Family,
    /// Length too short for the addresses of the family.
    Addresses,
    /// Bytes behind the header: the caller read too much.
    Beyond,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "the connection does not begin with a PROXY header",
            Self::TooLong => "the PROXY header is too long",
            Self::Line => "the PROXY line is malformed",
            Self::Version => "the PROXY header has an unknown version",
            Self::Command => "the PROXY header has an unknown command",
            Self::Family => "the PROXY header has no TCP address family",
            Self::Addresses => "the PROXY header is too short for its addresses",
            Self::Beyond => "there are bytes behind the PROXY header",
        })
    }
}

impl std::error::Error for HeaderError {}

/// Parses a header from the first bytes of a connection.
///
/// # Errors
/// [`HeaderError`]; the connection must be closed, since its client address is unknown.
pub fn parse(bytes: &[u8]) -> Result<Step, HeaderError> {
    if bytes.is_empty() {
        return Ok(Step::Need(V1_BYTES_MIN));
    }
    let begins_with = |signature: &[u8]| bytes.iter().zip(signature).all(|(byte, expected)| byte == expected);
    if begins_with(V1_SIGNATURE) {
        return parse_line(bytes);
    }
    if begins_with(V2_SIGNATURE) {
        return parse_binary(bytes);
    }
    Err(HeaderError::Signature)
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, and the length of the rest.
const V2_FIXED_BYTES: usize = 16;
/// `PROXY UNKNOWN` with its CRLF: shorter than any other header of either version.
const V1_BYTES_MIN: usize = 15;

/// Parses version 1: `PROXY TCP4 <source> <destination> <source port> <destination port>` and CRLF, or
/// `PROXY UNKNOWN` with arbitrary text.
fn parse_line(bytes: &[u8]) -> Result<Step, HeaderError> {
    if let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        let Some(line) = bytes[..end].strip_suffix(b"\r") else { return Err(HeaderError::Line) };
        return match end + 1 {
            length if length > V1_BYTES_MAX => Err(HeaderError::TooLong),
            length if length < bytes.len() => Err(HeaderError::Beyond),
            _ => read_line(line).map(Step::Done).ok_or(HeaderError::Line),
        };
    }
    // Only received bytes count, not the estimated rest: the result must not depend on how the bytes were
    // split.
    if bytes.len() + line_end(bytes) > V1_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    Ok(Step::Need(least_rest(bytes).min(V1_BYTES_MAX - bytes.len())))
}

fn read_line(line: &[u8]) -> Option<Header> {
    let text = std::str::from_utf8(line).ok()?;
    let rest = text.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Header::Unknown);
    }
    let mut words = rest.split(' ');
    let (family, source, destination) = (words.next()?, words.next()?, words.next()?);
    let (source_port, _) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let source: IpAddr = match family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            source.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            source.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    Some(Header::Client(SocketAddr::new(source.to_canonical(), source_port)))
}

/// Parses a port: digits without a leading zero (§2.1).
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// Returns the number of missing bytes of the line end.
fn line_end(line: &[u8]) -> usize {
    if line.ends_with(b"\r") { 1 } else { 2 }
}

/// Returns the least number of missing bytes of an unfinished line; a tight bound keeps the number of reads
/// small.
fn least_rest(line: &[u8]) -> usize {
    let line_end = line_end(line);
    let is_tcp = line.starts_with(b"PROXY TCP4 ") || line.starts_with(b"PROXY TCP6 ");
    if !is_tcp {
        return V1_BYTES_MIN.saturating_sub(line.len()).max(line_end);
    }
    let address = if line[9] == b'4' { b"1.1.1.1".len() } else { b"::".len() };
    // Lengths of the fields, each with the space before it except the first, whose space is part of the
    // prefix.
    let fields = [address, 1 + address, 2, 2];
    let begun = line[b"PROXY TCP4 ".len()..].iter().filter(|&&byte| byte == b' ').count();
    let missing: usize = fields.iter().skip(begun + 1).sum();
    let current = match (line.ends_with(b" "), begun) {
        (false, _) => 0,
        (true, 0 | 1) => address,
        (true, _) => 1,
    };
    current + missing + line_end
}

/// Parses version 2. TLVs behind the addresses (§2.2) are skipped.
fn parse_binary(bytes: &[u8]) -> Result<Step, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(Step::Need(V2_FIXED_BYTES - bytes.len()));
    };
    let [.., version_and_command, family_and_transport, high, low] = *fixed;
    if version_and_command >> 4 != 2 {
        return Err(HeaderError::Version);
    }
    let is_local = match version_and_command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(HeaderError::Command),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    // Two addresses and two ports; a LOCAL command may have any family, and its addresses are ignored.
    let addresses_bytes = match family_and_transport {
        _ if is_local => 0,
        // AF_UNSPEC, and a stream over a Unix socket.
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(HeaderError::Family),
    };
    if length < addresses_bytes {
        return Err(HeaderError::Addresses);
    }
    match rest.len().cmp(&length) {
        std::cmp::Ordering::Less => return Ok(Step::Need(length - rest.len())),
        std::cmp::Ordering::Greater => return Err(HeaderError::Beyond),
        std::cmp::Ordering::Equal => {}
    }
    let client = match (is_local, family_and_transport) {
        (false, 0x11) => binary_source::<4>(rest),
        (false, 0x21) => binary_source::<16>(rest),
        _ => None,
    };
    Ok(Step::Done(client.map_or(Header::Unknown, Header::Client)))
}

/// Returns the source of: source address, destination address, source port, destination port.
fn binary_source<const N: usize>(rest: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let (address, rest) = rest.split_first_chunk::<N>()?;
    let port = rest.get(N..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(IpAddr::from(*address).to_canonical(), u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn binary(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([version_and_command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn v4() -> Vec<u8> {
        vec![203, 0, 113, 9, 192, 0, 2, 1, 0xc0, 0x01, 0x01, 0xbb]
    }

    /// Reads like a connection: never more than the number of bytes that `parse` asked for.
    fn read(bytes: &[u8]) -> Result<Header, HeaderError> {
        let mut end = 0;
        loop {
            match parse(&bytes[..end])? {
                Step::Done(header) => {
                    assert_eq!(end, bytes.len());
                    return Ok(header);
                }
                Step::Need(0) => panic!("zero bytes needed, but not done"),
                Step::Need(more) => {
                    assert!(end + more <= bytes.len(), "wants {more} bytes behind {end} of {}", bytes.len());
                    end += more;
                }
            }
        }
    }

    fn client(address: &str) -> Result<Header, HeaderError> {
        Ok(Header::Client(address.parse().unwrap()))
    }

    #[test]
    fn lines_name_the_client() {
        assert_eq!(read(b"PROXY TCP4 203.0.113.9 192.0.2.1 49153 443\r\n"), client("203.0.113.9:49153"));
        assert_eq!(read(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"), client("1.1.1.1:1"));
        assert_eq!(read(b"PROXY TCP6 2001:db8::9 ::1 49153 443\r\n"), client("[2001:db8::9]:49153"));
        assert_eq!(read(b"PROXY TCP6 :: :: 0 0\r\n"), client("[::]:0"));
        assert_eq!(read(b"PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n"), client("10.0.0.1:1"));
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Ok(Header::Unknown));
        assert_eq!(read(b"PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n"), Ok(Header::Unknown));
        let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(longest.len(), V1_BYTES_MAX);
        assert_eq!(read(longest.as_bytes()), Ok(Header::Unknown));
    }

    #[test]
    fn lines_that_break_the_grammar_are_refused() {
        for line in [
            "PROXY TCP4 203.0.113.9 192.0.2.1 49153 443\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 49153\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 49153 443 1\r\n",
            "PROXY TCP4 203.0.113.9  192.0.2.1 49153 443\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 049153 443\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 65536 443\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 +1 443\r\n",
            "PROXY TCP4 203.0.113.09 192.0.2.1 1 443\r\n",
            "PROXY TCP4 ::1 ::1 1 443\r\n",
            "PROXY TCP6 203.0.113.9 192.0.2.1 1 443\r\n",
            "PROXY UDP4 203.0.113.9 192.0.2.1 1 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY  TCP4 203.0.113.9 192.0.2.1 1 443\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(HeaderError::Line), "{line:?}");
        }
        assert_eq!(parse(b"proxy TCP4 "), Err(HeaderError::Signature));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(HeaderError::Signature));
        assert_eq!(parse(&[0x16, 3, 1]), Err(HeaderError::Signature));
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(100));
        assert_eq!(parse(endless.as_bytes()), Err(HeaderError::TooLong));
        // The estimate of missing bytes must not reject a prefix: a longer part of the line may need fewer.
        let line = format!("PROXY TCP4 {} 1", "x".repeat(90));
        for end in 1..=line.len() {
            assert!(matches!(parse(&line.as_bytes()[..end]), Ok(Step::Need(_))), "{end}");
        }
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 15));
        assert_eq!(too_long.len(), V1_BYTES_MAX + 1);
        assert_eq!(parse(too_long.as_bytes()), Err(HeaderError::TooLong));
        assert_eq!(parse(b"PROXY UNKNOWN\r\nGET"), Err(HeaderError::Beyond));
    }

    #[test]
    fn binary_headers_name_the_client() {
        assert_eq!(read(&binary(0x21, 0x11, &v4())), client("203.0.113.9:49153"));
        let mut v6 = Vec::new();
        v6.extend("2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend(Ipv6Addr::LOCALHOST.octets());
        v6.extend([0xc0, 0x01, 0x01, 0xbb]);
        assert_eq!(read(&binary(0x21, 0x21, &v6)), client("[2001:db8::9]:49153"));
        let with_tlvs = [v4(), vec![0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(read(&binary(0x21, 0x11, &with_tlvs)), client("203.0.113.9:49153"));
        let largest = [v4(), vec![0; V2_BYTES_MAX - 12]].concat();
        assert_eq!(read(&binary(0x21, 0x11, &largest)), client("203.0.113.9:49153"));
    }

    #[test]
    fn local_and_unspecified_headers_have_no_client() {
        assert_eq!(read(&binary(0x20, 0x00, b"")), Ok(Header::Unknown));
        assert_eq!(read(&binary(0x20, 0x11, &v4())), Ok(Header::Unknown));
        assert_eq!(read(&binary(0x21, 0x00, b"anything")), Ok(Header::Unknown));
        assert_eq!(read(&binary(0x21, 0x31, &[0; 216])), Ok(Header::Unknown));
    }

    #[test]
    fn invalid_binary_headers_are_refused() {
        assert_eq!(parse(&binary(0x11, 0x11, &v4())), Err(HeaderError::Version));
        assert_eq!(parse(&binary(0x22, 0x11, &v4())), Err(HeaderError::Command));
        for family in [0x12, 0x22, 0x32, 0x13, 0x41, 0xff] {
            assert_eq!(parse(&binary(0x21, family, &v4())), Err(HeaderError::Family), "{family:#x}");
        }
        assert_eq!(parse(&binary(0x21, 0x11, &v4()[..11])), Err(HeaderError::Addresses));
        assert_eq!(parse(&binary(0x21, 0x21, &v4())), Err(HeaderError::Addresses));
        assert_eq!(parse(&binary(0x21, 0x31, &[0; 215])), Err(HeaderError::Addresses));
        assert_eq!(parse(&binary(0x21, 0x11, &[0; V2_BYTES_MAX + 1])), Err(HeaderError::TooLong));
        assert_eq!(parse(&[binary(0x21, 0x11, &v4()), vec![0]].concat()), Err(HeaderError::Beyond));
    }

    fn near_headers() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&'static [u8]> = vec![
            b"PROXY ",
            b"TCP4 ",
            b"TCP6 ",
            b"UNKNOWN",
            b" ",
            b"1.1.1.1",
            b"::1",
            b"443",
            b"0",
            b"\r",
            b"\n",
            b"\r\n",
            V2_SIGNATURE,
            b"\x21\x11\0\x0c",
            b"\x21\x21\0\x24",
            b"\x20\0\0\0",
            b"\x21\x11\0\x10",
            b"\0\0\0\0",
            b"\xff",
            b"x",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_result(bytes in near_headers()) {
            // The first result other than `Need` is final, however the bytes were split before.
            for end in 0..bytes.len() {
                match parse(&bytes[..end]) {
                    Ok(Step::Need(more)) => {
                        prop_assert!(more > 0);
                        // The requested number is a lower bound: no shorter prefix is complete.
                        for shorter in end..(end + more).min(bytes.len()) {
                            prop_assert!(!matches!(parse(&bytes[..shorter]), Ok(Step::Done(_))));
                        }
                    }
                    Ok(Step::Done(_)) => {
                        prop_assert_eq!(parse(&bytes), Err(HeaderError::Beyond));
                        break;
                    }
                    Err(_) => {
                        prop_assert!(parse(&bytes).is_err());
                        break;
                    }
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[V2_SIGNATURE, &bytes].concat());
            let _ = parse(&[V1_SIGNATURE, &bytes].concat());
        }
    }
}
