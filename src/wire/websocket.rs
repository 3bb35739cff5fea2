//! WebSocket (RFC 6455) for a relay: handshake validation, frame boundaries and close frames. Payloads are
//! neither read nor unmasked.

use std::fmt;
use std::ops::Deref;

/// Error of an opening handshake (RFC 6455 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeError {
    /// The method is not GET (item 1).
    Method,
    /// `Connection` does not have `upgrade` (item 4).
    Connection,
    /// Not exactly one `Sec-WebSocket-Key` of 16 bytes in base64 (item 5).
    Key,
    /// Not exactly one `Sec-WebSocket-Version: 13` (item 6).
    Version,
    /// The request has a body, which could not be distinguished from frames.
    Body,
}

impl HandshakeError {
    /// Stable code for logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Method => "websocket_method",
            Self::Connection => "websocket_connection",
            Self::Key => "websocket_key",
            Self::Version => "websocket_version",
            Self::Body => "websocket_body",
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "a WebSocket handshake whose method is not GET",
            Self::Connection => "a WebSocket handshake without Connection: upgrade",
            Self::Key => "a WebSocket handshake without one valid key",
            Self::Version => "a WebSocket version other than 13",
            Self::Body => "a WebSocket handshake with a body",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// Close code "going away" (RFC 6455 §7.4.1).
pub const CLOSE_GOING_AWAY: u16 = 1001;

/// Returns whether the value is 16 bytes in base64: 22 letters of its alphabet and two pads (RFC 6455 §4.1).
pub fn is_valid_key(value: &[u8]) -> bool {
    matches!(value.strip_suffix(b"=="), Some(letters) if letters.len() == 22
        && letters.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'))
}

/// GUID that is appended to a key before it is hashed (RFC 6455 §1.3).
pub const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Length of the value of `Sec-WebSocket-Accept`.
pub const ACCEPT_BYTES: usize = 28;

/// Returns the value of `Sec-WebSocket-Accept`: base64 of the SHA-1 of the key and [`KEY_SUFFIX`] (RFC 6455
/// §4.2.2).
pub fn accept_value(hash: &[u8; 20]) -> [u8; ACCEPT_BYTES] {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = [b'='; ACCEPT_BYTES];
    for (group, letters) in hash.chunks(3).zip(value.chunks_mut(4)) {
        let bits =
            group.iter().enumerate().fold(0, |bits, (at, &byte)| bits | u32::from(byte) << (16 - 8 * at));
        for (at, letter) in letters.iter_mut().enumerate().take(group.len() + 1) {
            *letter = LETTERS[(bits >> (18 - 6 * at) & 0x3f) as usize];
        }
    }
    value
}

/// Tracks the frame boundaries of one direction without reading payloads, to insert a close frame between two
/// frames. Any split of the bytes gives the same boundaries.
///
/// A frame may be a fragment. A control frame may stand between fragments (RFC 6455 §5.4): every frame end is
/// valid.
#[derive(Clone, Debug, Default)]
pub struct Boundaries {
    state: FrameState,
    close_seen: bool,
}

#[derive(Clone, Copy, Debug)]
enum FrameState {
    /// Inside a frame head of at most 2 + 8 + 4 bytes (RFC 6455 §5.2).
    Head { bytes: [u8; FRAME_HEAD_BYTES_MAX], len: u8 },
    /// Inside a payload; `left` bytes are missing.
    Payload { left: u64 },
    /// The bytes are not a valid frame; there are no further boundaries.
    Broken,
}

impl Default for FrameState {
    fn default() -> Self {
        Self::Head { bytes: [0; FRAME_HEAD_BYTES_MAX], len: 0 }
    }
}

impl Boundaries {
    /// Tracks bytes that are forwarded completely. Cost: constant for each frame, independent of the payload.
    pub fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = self.split_at_boundary(rest) {
            rest = &rest[end..];
        }
    }

    /// Consumes the bytes up to the first frame end and returns its offset. `None`: all bytes are consumed
    /// and no frame ended.
    pub fn split_at_boundary(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match &mut self.state {
                FrameState::Broken => return None,
                FrameState::Payload { left } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    *left -= taken as u64;
                    at += taken;
                    if *left > 0 {
                        return None;
                    }
                    self.state = FrameState::default();
                    return Some(at);
                }
                FrameState::Head { bytes: head, len } => {
                    let byte = *bytes.get(at)?;
                    at += 1;
                    head[*len as usize] = byte;
                    *len += 1;
                    let Some(payload) = parse_frame_head(&head[..*len as usize]) else { continue };
                    self.close_seen |= head[0] & 0x0f == OPCODE_CLOSE;
                    match payload {
                        Payload::Length(0) => {
                            self.state = FrameState::default();
                            return Some(at);
                        }
                        Payload::Length(left) => self.state = FrameState::Payload { left },
                        Payload::Invalid => self.state = FrameState::Broken,
                    }
                }
            }
        }
    }

    /// Returns whether a frame may be inserted at this point.
    pub fn is_at_boundary(&self) -> bool {
        matches!(self.state, FrameState::Head { len: 0, .. })
    }

    /// Returns whether a close frame has passed or begun; a second one must not follow (RFC 6455 §5.5.1).
    pub fn has_seen_close(&self) -> bool {
        self.close_seen
    }

    /// Returns whether an invalid frame was seen; there are no further boundaries.
    pub fn is_broken(&self) -> bool {
        matches!(self.state, FrameState::Broken)
    }
}

enum Payload {
    Length(u64),
    /// RFC 6455 §5.2: the most significant bit of a 64-bit length must be 0.
    Invalid,
}

/// Returns the payload length once the frame head is complete.
fn parse_frame_head(head: &[u8]) -> Option<Payload> {
    let second = *head.get(1)?;
    let mask_len = if second & 0x80 == 0 { 0 } else { 4 };
    let (length_len, length) = match second & 0x7f {
        126 => (2, head.get(2..4)?.iter().fold(0, |sum, &b| sum << 8 | u64::from(b))),
        127 => (8, head.get(2..10)?.iter().fold(0, |sum, &b| sum << 8 | u64::from(b))),
        short => (0, u64::from(short)),
    };
    if length > i64::MAX as u64 {
        return Some(Payload::Invalid);
    }
    (head.len() == 2 + length_len + mask_len).then_some(Payload::Length(length))
}

/// Close frame: 4 bytes, or 8 with a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    bytes: [u8; 8],
    len: u8,
}

impl Deref for CloseFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

/// Builds a close frame with this code and no reason (RFC 6455 §5.5.1). Frames to a server must be masked
/// (§5.3).
pub fn close_frame(code: u16, mask: Option<[u8; 4]>) -> CloseFrame {
    let [high, low] = code.to_be_bytes();
    let first = 0x80 | OPCODE_CLOSE;
    match mask {
        None => CloseFrame { bytes: [first, 2, high, low, 0, 0, 0, 0], len: 4 },
        Some([a, b, c, d]) => CloseFrame { bytes: [first, 0x82, a, b, c, d, high ^ a, low ^ b], len: 8 },
    }
}

const OPCODE_CLOSE: u8 = 0x8;
const FRAME_HEAD_BYTES_MAX: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(opcode: u8, payload_len: usize, mask: bool) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        let bit = if mask { 0x80 } else { 0 };
        match payload_len {
            0..=125 => bytes.push(bit | payload_len as u8),
            126..=65535 => {
                bytes.push(bit | 126);
                bytes.extend((payload_len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(bit | 127);
                bytes.extend((payload_len as u64).to_be_bytes());
            }
        }
        if mask {
            bytes.extend([1, 2, 3, 4]);
        }
        // 0x88 0x00 is an empty close frame, which a reader that takes payload for a head would report.
        bytes.extend([0x88, 0x00].iter().cycle().take(payload_len));
        bytes
    }

    #[test]
    fn a_key_is_16_bytes_in_base64() {
        assert!(is_valid_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "dGhl IHNhbXBsZSBub25jZ==",
            "AAAA",
        ] {
            assert!(!is_valid_key(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn every_length_form_ends_where_it_says() {
        for len in [0, 1, 125, 126, 65535, 65536] {
            for mask in [false, true] {
                let bytes = frame(1, len, mask);
                let mut boundaries = Boundaries::default();
                assert_eq!(boundaries.split_at_boundary(&bytes[..bytes.len() - 1]), None);
                assert!(!boundaries.is_at_boundary());
                assert_eq!(boundaries.split_at_boundary(&bytes[bytes.len() - 1..]), Some(1));
                assert!(boundaries.is_at_boundary() && !boundaries.has_seen_close());
            }
        }
    }

    #[test]
    fn a_length_with_the_highest_bit_ends_all_boundaries() {
        let mut boundaries = Boundaries::default();
        boundaries.advance(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert!(boundaries.is_broken() && !boundaries.is_at_boundary());
        boundaries.advance(&frame(1, 3, false));
        assert!(boundaries.is_broken());
        let mut largest = Boundaries::default();
        largest.advance(&[0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert!(!largest.is_broken() && !largest.is_at_boundary());
    }

    #[test]
    fn close_frames_are_read_back_as_such() {
        assert_eq!(*close_frame(1001, None), [0x88, 0x02, 0x03, 0xe9]);
        let masked = close_frame(1001, Some([0xff, 0x0f, 1, 2]));
        assert_eq!(*masked, [0x88, 0x82, 0xff, 0x0f, 1, 2, 0xfc, 0xe6]);
        for frame in [close_frame(1001, None), masked] {
            let mut boundaries = Boundaries::default();
            assert_eq!(boundaries.split_at_boundary(&frame), Some(frame.len()));
            assert!(boundaries.has_seen_close());
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_boundaries(
            frames in prop::collection::vec((0u8..16, 0usize..300, any::<bool>()), 1..8),
            cuts in prop::collection::vec(1usize..64, 1..64),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (opcode, len, mask) in frames {
                bytes.extend(frame(opcode, len, mask));
                ends.push(bytes.len());
            }
            let mut boundaries = Boundaries::default();
            let mut found = Vec::new();
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let piece_end = (at + cut).min(bytes.len());
                while let Some(end) = boundaries.split_at_boundary(&bytes[at..piece_end]) {
                    at += end;
                    found.push(at);
                }
                at = piece_end;
            }
            prop_assert_eq!(found, ends);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut boundaries = Boundaries::default();
            boundaries.advance(&bytes);
        }
    }
}
