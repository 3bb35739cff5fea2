//! Chunked bodies: validation, normalisation in place and decoding (RFC 9112 §7.1).
//!
//! ```text
//!            ┌───────────── data left ─────────────┐
//! Size ──n──▶ Data ──0 left──▶ DataEnd ──CRLF──▶ Size ──0──▶ Last ──empty line──▶ Done
//! ```
//! A size line, and the last chunk with its trailers, are consumed only when they are complete: bytes that
//! are not validated yet stay in the caller's buffer. A malformed or truncated body therefore never looks
//! complete to the next hop: without the real end, no bytes that end a chunked body are forwarded.

use std::fmt;
use std::ops::Deref;

use crate::headers::{FieldKind, FieldKinds, HOP_BY_HOP, IDENTITY, OWN_IDENTITY};

use super::HeadFault;
use super::fields::{FieldLine, Line, scan_line};

/// Output form of a chunked body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkMode {
    /// The chunked coding is kept, without extensions, with the permitted trailers.
    #[default]
    Forward,
    /// Only the data is kept, for HTTP/1.0 clients and callers that read the body. Trailers are dropped.
    Decode,
    /// The data is kept, and at its end the lines of the permitted trailers ([`Fed::trailers`]), for
    /// protocols with another framing. [`field_lines`](super::field_lines) reads them.
    Separate,
}

/// Incremental parser of a chunked body.
#[derive(Clone, Copy, Debug)]
pub struct ChunkedBody {
    mode: ChunkMode,
    state: State,
    /// Bytes of the unfinished element at the front of the buffer that were searched for a line end.
    searched: usize,
    extension_bytes: usize,
    data_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data {
        left: u64,
    },
    DataEnd,
    /// The last size line of `line_len` bytes is at the front of the buffer; trailers follow.
    Last {
        line_len: usize,
    },
    Done,
}

/// Result of one [`ChunkedBody::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// `buf[..kept]` is to be forwarded.
    pub kept: usize,
    /// `buf[consumed..]` is unread. If the body continues, these bytes (fewer than [`HELD_BYTES_MAX`]) must
    /// be at the front of the next buffer, followed by more; if it is done, they belong to the next message.
    pub consumed: usize,
    /// Length of the trailer lines, each with its CRLF, at the end of `buf[..kept]`.
    /// Always 0 except at the end of a body in [`ChunkMode::Separate`].
    pub trailers: usize,
    /// Whether the body has ended.
    pub state: BodyState,
}

/// State of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// More bytes are needed.
    More,
    /// Its last byte was consumed.
    Done,
}

impl ChunkedBody {
    /// Creates the parser of a new body.
    pub fn new(mode: ChunkMode) -> Self {
        Self { mode, state: State::Size, searched: 0, extension_bytes: 0, data_bytes: 0 }
    }

    /// Validates and normalises the bytes in place. Without bytes to remove, nothing is moved.
    ///
    /// # Errors
    /// [`BodyError`]: both connections must be closed without a last chunk; bytes kept before remain valid.
    pub fn feed(&mut self, buf: &mut [u8]) -> Result<Fed, BodyError> {
        self.feed_refusing(buf, &|_| false)
    }

    /// As [`feed`](Self::feed), without the trailers whose names are refused.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_refusing(
        &mut self,
        buf: &mut [u8],
        is_refused: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Fed, BodyError> {
        let mut pass = Pass { buf, read: 0, kept: 0, trailers: 0, is_refused };
        while self.step(&mut pass)? {}
        let state = if self.is_done() { BodyState::Done } else { BodyState::More };
        Ok(Fed { kept: pass.kept, consumed: pass.read, trailers: pass.trailers, state })
    }

    /// Returns whether the end of the body was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns the bytes of data so far, without the coding; body limits use it.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Returns the missing data bytes of the current chunk, 0 before its size line was read.
    pub fn data_left(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            State::Size | State::DataEnd | State::Last { .. } | State::Done => 0,
        }
    }

    /// Reads one element, or a part of data. Returns false if more bytes are needed or the body is done.
    fn step(&mut self, pass: &mut Pass<'_>) -> Result<bool, BodyError> {
        match self.state {
            State::Size => self.read_size(pass),
            State::Data { left } => {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(pass.rest().len());
                pass.keep(len);
                self.data_bytes = self.data_bytes.saturating_add(len as u64);
                let left = left - len as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
                Ok(left == 0)
            }
            State::DataEnd => {
                match pass.rest() {
                    [] | [b'\r'] => return Ok(false),
                    [b'\r', b'\n', ..] => {}
                    _ => return Err(BodyError::BadChunkEnd),
                }
                self.pass_coding(pass, 2);
                self.state = State::Size;
                Ok(true)
            }
            State::Last { line_len } => self.read_last(pass, line_len),
            State::Done => Ok(false),
        }
    }

    /// Reads `chunk-size [chunk-ext] CRLF`.
    fn read_size(&mut self, pass: &mut Pass<'_>) -> Result<bool, BodyError> {
        let rest = pass.rest();
        let window = &rest[..rest.len().min(SIZE_LINE_BYTES_MAX)];
        let Some(lf) = self.find_line_end(window) else {
            return if rest.len() < SIZE_LINE_BYTES_MAX {
                Ok(false)
            } else {
                Err(BodyError::SizeLineTooLong)
            };
        };
        self.searched = 0;
        let Some(line) = window[..lf].strip_suffix(b"\r") else { return Err(BodyError::BadSizeLine) };
        let digits_len = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let (digits, extension) = line.split_at(digits_len);
        check_extension(extension)?;
        let size = parse_size(digits)?;
        self.extension_bytes += extension.len();
        if self.extension_bytes > CHUNK_EXTENSIONS_BYTES_MAX {
            return Err(BodyError::ExtensionsTooLarge);
        }
        if size == 0 {
            self.state = State::Last { line_len: lf + 1 };
            return Ok(true);
        }
        let extension_len = extension.len();
        let zeros = digits.iter().take_while(|&&b| b == b'0').count();
        pass.skip(zeros);
        self.pass_coding(pass, digits_len - zeros);
        pass.skip(extension_len);
        self.pass_coding(pass, 2);
        self.state = State::Data { left: size };
        Ok(true)
    }

    /// Reads the line of the last chunk, the trailers and the empty line, all at once or not at all.
    fn read_last(&mut self, pass: &mut Pass<'_>, line_len: usize) -> Result<bool, BodyError> {
        let rest = pass.rest();
        let window = &rest[..rest.len().min(line_len + TRAILER_BYTES_MAX)];
        let partial = if rest.len() < line_len + TRAILER_BYTES_MAX {
            Ok(false)
        } else {
            Err(BodyError::TrailersTooLarge)
        };
        self.searched = self.searched.max(line_len);
        if self.find_line_end(window).is_none() {
            return partial;
        }
        // A new line arrived: parse the section from its beginning, at most TRAILER_FIELDS_MAX times.
        let mut at = line_len;
        let mut fields = 0;
        let end = loop {
            match scan_line(window, at) {
                Ok(Line::Field(line)) => {
                    fields += 1;
                    if fields > TRAILER_FIELDS_MAX {
                        return Err(BodyError::TrailersTooLarge);
                    }
                    at = line.end as usize;
                }
                Ok(Line::End(end)) => break end,
                Ok(Line::Partial) => {
                    self.searched = window.len();
                    return partial;
                }
                Err(fault) if window[at..].contains(&b'\n') => return Err(BodyError::BadTrailer(fault)),
                Err(_) => {
                    self.searched = window.len();
                    return partial;
                }
            }
        };
        match self.mode {
            ChunkMode::Decode => pass.skip(end),
            ChunkMode::Forward => {
                // "0": the canonical last size.
                let line = pass.rest();
                let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
                pass.skip(digits - 1);
                pass.keep(1);
                pass.skip(line_len - digits - 2);
                pass.keep(2);
                pass_trailers(pass);
                pass.keep(2);
            }
            ChunkMode::Separate => {
                pass.skip(line_len);
                let data = pass.kept;
                pass_trailers(pass);
                pass.trailers = pass.kept - data;
                pass.skip(2);
            }
        }
        self.searched = 0;
        self.state = State::Done;
        Ok(true)
    }

    /// Keeps bytes of the coding, or drops them when decoding.
    fn pass_coding(&self, pass: &mut Pass<'_>, len: usize) {
        match self.mode {
            ChunkMode::Forward => pass.keep(len),
            ChunkMode::Decode | ChunkMode::Separate => pass.skip(len),
        }
    }

    fn find_line_end(&mut self, window: &[u8]) -> Option<usize> {
        let found = window.get(self.searched..)?.iter().position(|&b| b == b'\n');
        match found {
            Some(at) => Some(self.searched + at),
            None => {
                self.searched = window.len();
                None
            }
        }
    }
}

/// Compaction of the caller's buffer in one pass: kept bytes move down over skipped ones.
struct Pass<'a> {
    buf: &'a mut [u8],
    read: usize,
    kept: usize,
    trailers: usize,
    /// Whether the caller refuses trailers of a name.
    is_refused: &'a dyn Fn(&[u8]) -> bool,
}

impl Pass<'_> {
    fn rest(&self) -> &[u8] {
        &self.buf[self.read..]
    }

    fn keep(&mut self, len: usize) {
        if self.kept != self.read {
            self.buf.copy_within(self.read..self.read + len, self.kept);
        }
        self.read += len;
        self.kept += len;
    }

    fn skip(&mut self, len: usize) {
        self.read += len;
    }
}

/// Error of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyError {
    /// Missing size, bytes other than hexadecimal digits and an extension, or a line end without CR (RFC 9112
    /// §7.1).
    BadSizeLine,
    /// A size of more than 16 digits or above `i64::MAX` (RFC 9112 §7.1 asks to expect overflows).
    SizeTooLarge,
    /// A size line longer than the limits of size and extension together.
    SizeLineTooLong,
    /// An extension of more than [`CHUNK_EXTENSION_BYTES_MAX`], or of all chunks together more than
    /// [`CHUNK_EXTENSIONS_BYTES_MAX`] (RFC 9112 §7.1.1 asks for a limit).
    ExtensionsTooLarge,
    /// The data is not followed by CRLF (RFC 9112 §7.1).
    BadChunkEnd,
    /// More than [`TRAILER_BYTES_MAX`] or [`TRAILER_FIELDS_MAX`].
    TrailersTooLarge,
    /// A trailer is not a field line (RFC 9112 §7.1.2).
    BadTrailer(HeadFault),
}

impl BodyError {
    /// Stable code for logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadSizeLine => "bad_chunk_size",
            Self::SizeTooLarge => "chunk_size_too_large",
            Self::SizeLineTooLong => "chunk_size_line_too_long",
            Self::ExtensionsTooLarge => "chunk_extensions_too_large",
            Self::BadChunkEnd => "bad_chunk_end",
            Self::TrailersTooLarge => "trailers_too_large",
            Self::BadTrailer(_) => "bad_trailer",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadSizeLine => "an invalid chunk size line",
            Self::SizeTooLarge => "a chunk size out of range",
            Self::SizeLineTooLong => "a chunk size line that is too long",
            Self::ExtensionsTooLarge => "chunk extensions that are too long",
            Self::BadChunkEnd => "chunk data that does not end where its size says",
            Self::TrailersTooLarge => "trailers that are too large",
            Self::BadTrailer(fault) => return write!(f, "an invalid trailer: {fault}"),
        })
    }
}

impl std::error::Error for BodyError {}

fn parse_size(digits: &[u8]) -> Result<u64, BodyError> {
    if digits.is_empty() {
        return Err(BodyError::BadSizeLine);
    }
    if digits.len() > SIZE_DIGITS_MAX {
        return Err(BodyError::SizeTooLarge);
    }
    let size = digits.iter().fold(0u64, |sum, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 0x20) - b'a' + 10,
        };
        sum << 4 | u64::from(value)
    });
    // Readers with signed integers would take more for a negative size.
    if size > i64::MAX as u64 { Err(BodyError::SizeTooLarge) } else { Ok(size) }
}

/// Checks an extension: empty, or blanks and `;` without control bytes (RFC 9112 §7.1.1). Its content is
/// dropped.
fn check_extension(extension: &[u8]) -> Result<(), BodyError> {
    if extension.is_empty() {
        return Ok(());
    }
    if extension.len() > CHUNK_EXTENSION_BYTES_MAX {
        return Err(BodyError::ExtensionsTooLarge);
    }
    let is_extension = crate::headers::trim(extension).first() == Some(&b';');
    if is_extension && crate::headers::value_end(extension) == extension.len() {
        Ok(())
    } else {
        Err(BodyError::BadSizeLine)
    }
}

/// Keeps the permitted trailer lines and skips the others.
fn pass_trailers(pass: &mut Pass<'_>) {
    while let Ok(Line::Field(line)) = scan_line(pass.rest(), 0) {
        let len = line.end as usize;
        let passes = is_permitted_trailer(pass.rest(), &line) && !(pass.is_refused)(line.name(pass.rest()));
        if passes { pass.keep(len) } else { pass.skip(len) }
    }
}

/// Returns whether a trailer is permitted: none for framing, routing, identity, authentication or content
/// processing (RFC 9110 §6.5.1).
fn is_permitted_trailer(buf: &[u8], line: &FieldLine) -> bool {
    if line.has_underscore || TRAILERS_FORBIDDEN.has(line.kind) {
        return false;
    }
    let name = line.name(buf);
    // RFC 9530 §2: a digest is only known at the end of the content.
    if name.eq_ignore_ascii_case(b"content-digest") {
        return true;
    }
    let has_prefix =
        |prefix: &&[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    !TRAILER_PREFIXES_FORBIDDEN.iter().any(has_prefix)
        && !TRAILER_NAMES_FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

/// Size line of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    bytes: [u8; 18],
    start: u8,
}

impl Deref for ChunkHead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start as usize..]
    }
}

/// Formats the size line of a chunk of `len` bytes; [`CHUNK_END`] follows the data. Empty for 0, since a
/// chunk of length 0 would end the body, see [`LAST_CHUNK`].
pub fn chunk_head(len: usize) -> ChunkHead {
    let mut bytes = *b"0000000000000000\r\n";
    let mut at = 16;
    let mut left = len;
    while left > 0 {
        at -= 1;
        bytes[at] = b"0123456789abcdef"[left & 0xf];
        left >>= 4;
    }
    let start = if len == 0 { bytes.len() } else { at };
    ChunkHead { bytes, start: start as u8 }
}

/// Line end behind the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// End of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// 256: longest chunk extension; in practice only attacks on parsers that skip them without a limit use them.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;

/// 16 KiB: all extensions of a body together; they are dropped, so an upstream never receives them.
pub const CHUNK_EXTENSIONS_BYTES_MAX: usize = 16 * 1024;

/// 4 KiB: trailer section with its empty line; checksums, signatures and gRPC statuses have some 100 bytes.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;

/// 32: most trailer fields.
pub const TRAILER_FIELDS_MAX: usize = 32;

/// Most bytes that [`ChunkedBody::feed`] leaves unread while a body continues; a buffer must be larger.
pub const HELD_BYTES_MAX: usize = SIZE_LINE_BYTES_MAX + TRAILER_BYTES_MAX;

/// 16 hexadecimal digits make 64 bits.
const SIZE_DIGITS_MAX: usize = 16;

const SIZE_LINE_BYTES_MAX: usize = SIZE_DIGITS_MAX + CHUNK_EXTENSION_BYTES_MAX + 2;

const TRAILERS_FORBIDDEN: FieldKinds = HOP_BY_HOP.with(IDENTITY).with(OWN_IDENTITY).with(FieldKinds::of(&[
    FieldKind::Host,
    FieldKind::Expect,
    FieldKind::Trailer,
    FieldKind::Proxy,
    FieldKind::Authorization,
    FieldKind::Cookie,
    FieldKind::SetCookie,
    FieldKind::Date,
    FieldKind::Via,
    FieldKind::RetryAfter,
    FieldKind::Origin,
]));

const TRAILER_PREFIXES_FORBIDDEN: &[&[u8]] =
    &[b"content-", b"proxy-", b"if-", b"sec-", b"accept-", b"access-control-", b"x-forwarded"];

const TRAILER_NAMES_FORBIDDEN: &[&[u8]] = &[
    b"accept",
    b"age",
    b"cache-control",
    b"expires",
    b"location",
    b"max-forwards",
    b"pragma",
    b"range",
    b"vary",
    b"warning",
    b"www-authenticate",
    b"x-http-method-override",
    b"x-original-url",
    b"x-rewrite-url",
    b"strict-transport-security",
];
