//! Frame boundaries: where RFC 6455 §5.2 has them, however the bytes are split.

use ringway_wire::websocket::Boundaries;

pub(crate) fn check(bytes: &[u8]) {
    let mut whole = Boundaries::default();
    let (mut ends, mut at) = (Vec::new(), 0);
    while let Some(end) = whole.split_at_boundary(&bytes[at..]) {
        at += end;
        ends.push(at);
    }
    let mut drip = Boundaries::default();
    let mut drip_ends = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if drip.split_at_boundary(&[*byte]).is_some() {
            drip_ends.push(at + 1);
        }
    }
    assert_eq!(ends, drip_ends);
    assert_eq!(whole.is_at_boundary(), drip.is_at_boundary());
    assert_eq!((whole.is_broken(), whole.has_seen_close()), (drip.is_broken(), drip.has_seen_close()));

    let (expected, is_broken) = frame_ends(bytes);
    assert_eq!((ends, whole.is_broken()), (expected, is_broken));
    let mut advanced = Boundaries::default();
    advanced.advance(bytes);
    assert_eq!(advanced.is_at_boundary(), whole.is_at_boundary());
}

/// Straight from the figure of the RFC.
fn frame_ends(bytes: &[u8]) -> (Vec<usize>, bool) {
    let (mut ends, mut at) = (Vec::new(), 0_usize);
    loop {
        let rest = &bytes[at..];
        let Some(second) = rest.get(1) else { return (ends, false) };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (head, length) = match second & 0x7f {
            126 => match rest.get(2..4) {
                Some(bytes) => (4, u64::from(u16::from_be_bytes([bytes[0], bytes[1]]))),
                None => return (ends, false),
            },
            127 => match rest.get(2..).and_then(|rest| rest.first_chunk()) {
                Some(bytes) => (10, u64::from_be_bytes(*bytes)),
                None => return (ends, false),
            },
            short => (2, u64::from(short)),
        };
        if length >> 63 == 1 {
            return (ends, true);
        }
        let whole = (head + mask) as u64 + length;
        if whole > rest.len() as u64 {
            return (ends, false);
        }
        at += whole as usize;
        ends.push(at);
    }
}
