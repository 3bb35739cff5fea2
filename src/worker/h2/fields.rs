//! HPACK tracker (RFC 7541): recognises pseudo-fields by sizes and names, without decoding text.
//!
//! The `h2` crate drops pseudo-fields in trailers, which make a message malformed (RFC 9113 §8.1). Only the
//! header blocks show them; as a field may refer to an earlier block, all blocks are tracked. Of the dynamic
//! table, at most 128 entries of six bytes are kept. Malformed HPACK is refused by the crate.

use std::cell::RefCell;
use std::collections::VecDeque;

/// HPACK state of one direction of a connection.
#[derive(Default)]
pub(super) struct Fields {
    table: Table,
    state: State,
    block: Block,
}

/// Properties of a header block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// At least one pseudo-field.
    pub(super) has_pseudo: bool,
    /// A `:status` of 1xx.
    pub(super) is_interim: bool,
}

/// Properties of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    name_bytes: u16,
    value_bytes: u16,
    is_pseudo: bool,
    /// Its value begins with `1`.
    is_interim: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Between two fields.
    #[default]
    Start,
    /// Within a number.
    Number { of: Number, value: u32, shift: u32 },
    /// Before the length of a string.
    Length { field: Field, part: Part },
    /// Within a string.
    Text { field: Field, part: Part, left: u32, text: Text },
    /// Malformed HPACK.
    Broken,
}

/// Meaning of an index.
#[derive(Clone, Copy, Debug)]
enum Number {
    Indexed,
    Name { is_kept: bool },
    TableSize,
    Length { field: Field, part: Part, is_huffman: bool },
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Name,
    Value,
}

/// Field in progress.
#[derive(Clone, Copy, Debug)]
struct Field {
    entry: Entry,
    /// It is added to the table.
    is_kept: bool,
}

/// String in progress.
#[derive(Clone, Copy, Debug)]
struct Text {
    is_huffman: bool,
    bytes: u32,
    first: First,
    /// Unused bits of the Huffman code: the lowest ones, and their number.
    bits: u64,
    bits_len: u32,
}

/// Beginning of a string literal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum First {
    #[default]
    Other,
    Colon,
    One,
}

impl Fields {
    /// Processes a part of a block.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let State::Text { field, part, left, text } = &mut self.state {
                let taken = (*left as usize).min(bytes.len());
                text.feed(&bytes[..taken]);
                *left -= taken as u32;
                bytes = &bytes[taken..];
                if *left == 0 {
                    let (field, part, text) = (*field, *part, *text);
                    self.state = self.end_text(field, part, text);
                }
                continue;
            }
            bytes = rest;
            self.state = self.next(byte);
        }
    }

    /// Ends a block; returns its properties.
    pub(super) fn end(&mut self) -> Block {
        if !matches!(self.state, State::Start) {
            self.state = State::Broken;
        }
        std::mem::take(&mut self.block)
    }

    fn next(&mut self, byte: u8) -> State {
        match self.state {
            State::Start => {
                let (of, mask) = match byte {
                    0x80.. => (Number::Indexed, 0x7f),
                    0x40..0x80 => (Number::Name { is_kept: true }, 0x3f),
                    0x20..0x40 => (Number::TableSize, 0x1f),
                    0..0x20 => (Number::Name { is_kept: false }, 0x0f),
                };
                self.begin_number(of, byte, mask)
            }
            State::Length { field, part } => {
                let of = Number::Length { field, part, is_huffman: byte & 0x80 != 0 };
                self.begin_number(of, byte, 0x7f)
            }
            State::Number { of, value, shift } => {
                let value = value.saturating_add(u32::from(byte & 0x7f) << shift);
                match byte & 0x80 {
                    0 => self.end_number(of, value),
                    _ if shift >= NUMBER_SHIFT_MAX => State::Broken,
                    _ => State::Number { of, value, shift: shift + 7 },
                }
            }
            State::Text { .. } | State::Broken => State::Broken,
        }
    }

    /// Integer (RFC 7541 §5.1).
    fn begin_number(&mut self, of: Number, byte: u8, mask: u8) -> State {
        match byte & mask {
            value if value == mask => State::Number { of, value: u32::from(mask), shift: 0 },
            value => self.end_number(of, u32::from(value)),
        }
    }

    fn end_number(&mut self, of: Number, value: u32) -> State {
        match of {
            Number::Indexed => match self.table.get(value) {
                Some(entry) => self.end_field(Field { entry, is_kept: false }),
                None => State::Broken,
            },
            Number::Name { is_kept } if value == 0 => {
                State::Length { field: Field { entry: Entry::default(), is_kept }, part: Part::Name }
            }
            Number::Name { is_kept } => match self.table.get(value) {
                Some(entry) => State::Length { field: Field { entry, is_kept }, part: Part::Value },
                None => State::Broken,
            },
            Number::TableSize if value > TABLE_BYTES_MAX => State::Broken,
            Number::TableSize => {
                self.table.bytes_max = value;
                self.table.shrink_to(value);
                State::Start
            }
            Number::Length { field, part, is_huffman } => {
                let text = Text { is_huffman, bytes: 0, first: First::Other, bits: 0, bits_len: 0 };
                match value {
                    0 => self.end_text(field, part, text),
                    left => State::Text { field, part, left, text },
                }
            }
        }
    }

    fn end_text(&mut self, mut field: Field, part: Part, text: Text) -> State {
        let bytes = u16::try_from(text.bytes).unwrap_or(u16::MAX);
        match part {
            Part::Name => {
                field.entry.name_bytes = bytes;
                field.entry.is_pseudo = text.first == First::Colon;
                State::Length { field, part: Part::Value }
            }
            Part::Value => {
                field.entry.value_bytes = bytes;
                field.entry.is_interim = text.first == First::One;
                self.end_field(field)
            }
        }
    }

    fn end_field(&mut self, field: Field) -> State {
        let entry = field.entry;
        self.block.has_pseudo |= entry.is_pseudo;
        self.block.is_interim |= entry.is_pseudo && entry.is_interim;
        if field.is_kept {
            self.table.put(entry);
        }
        State::Start
    }
}

impl Text {
    fn feed(&mut self, bytes: &[u8]) {
        if !self.is_huffman {
            if self.bytes == 0 {
                self.first = match bytes.first() {
                    Some(b':') => First::Colon,
                    Some(b'1') => First::One,
                    _ => First::Other,
                };
            }
            self.bytes += bytes.len() as u32;
            return;
        }
        for &byte in bytes {
            self.bits = self.bits << 8 | u64::from(byte);
            self.bits_len += 8;
            while let Some((code, len)) = self.code() {
                if self.bytes == 0 {
                    self.first = match (code, len) {
                        COLON => First::Colon,
                        ONE => First::One,
                        _ => First::Other,
                    };
                }
                self.bytes += 1;
                self.bits_len -= len;
            }
        }
    }

    /// Returns the next complete code, and its number of bits.
    fn code(&self) -> Option<(u32, u32)> {
        for &(len, end) in &CODE_ENDS {
            if len > self.bits_len {
                return None;
            }
            let code = (self.bits >> (self.bits_len - len)) as u32 & ((1 << len) - 1);
            if code < end {
                return Some((code, len));
            }
        }
        None
    }
}

/// The dynamic table (RFC 7541 §2.3.2), newest first.
struct Table {
    entries: VecDeque<Entry>,
    bytes: u32,
    bytes_max: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_MAX }
    }
}

impl Table {
    fn get(&self, index: u32) -> Option<Entry> {
        let index = (index as usize).checked_sub(1)?;
        match STATIC_NAME_BYTES.get(index) {
            Some(&name_bytes) => {
                let is_pseudo = index < STATIC_PSEUDO;
                Some(Entry { name_bytes: name_bytes.into(), is_pseudo, ..Entry::default() })
            }
            None => self.entries.get(index - STATIC_NAME_BYTES.len()).copied(),
        }
    }

    fn put(&mut self, entry: Entry) {
        let bytes = entry.bytes();
        if bytes > self.bytes_max {
            self.shrink_to(0);
            return;
        }
        self.shrink_to(self.bytes_max - bytes);
        self.bytes += bytes;
        self.entries.push_front(entry);
    }

    fn shrink_to(&mut self, bytes_max: u32) {
        while self.bytes > bytes_max
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.bytes();
        }
    }
}

impl Entry {
    /// Size of an entry (RFC 7541 §4.1).
    fn bytes(self) -> u32 {
        u32::from(self.name_bytes) + u32::from(self.value_bytes) + 32
    }
}

/// Streams of a connection whose trailers had pseudo-fields, until their readers have taken them.
#[derive(Default)]
pub(crate) struct Malformed(RefCell<Vec<u32>>);

impl Malformed {
    pub(super) fn put(&self, stream: u32) {
        let mut streams = self.0.borrow_mut();
        // Streams that were reset meanwhile are not taken: the oldest is evicted.
        if streams.len() == MALFORMED_MAX {
            streams.remove(0);
        }
        streams.push(stream);
    }

    /// Whether the stream is one of them; removes it.
    pub(super) fn take(&self, stream: u32) -> bool {
        let mut streams = self.0.borrow_mut();
        let found = streams.iter().position(|known| *known == stream);
        found.map(|at| streams.swap_remove(at)).is_some()
    }
}

/// Maximum of concurrent requests of a client.
const MALFORMED_MAX: usize = crate::limits::H2_STREAMS_MAX as usize;
/// Default of SETTINGS_HEADER_TABLE_SIZE (RFC 9113 §6.5.2), which is not changed.
const TABLE_BYTES_MAX: u32 = 4096;
/// Five bytes of an integer: more than any length here.
const NUMBER_SHIFT_MAX: u32 = 21;
/// The first entries of the static table are pseudo-fields.
const STATIC_PSEUDO: usize = 14;
/// Lengths of the names in the static table (RFC 7541, Appendix A).
const STATIC_NAME_BYTES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13,
    12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3,
    16,
];
/// Lengths of the Huffman codes (RFC 7541, Appendix B), each with the code after its last one: the code is
/// canonical.
const CODE_ENDS: [(u32, u32); 21] = code_ends();
/// `:` and `1` in that code, with their lengths.
const COLON: (u32, u32) = (0x5c, 7);
const ONE: (u32, u32) = (0x1, 5);

const fn code_ends() -> [(u32, u32); 21] {
    // Number of symbols for each length of code, with the end of string.
    let counts = [
        (5, 10),
        (6, 26),
        (7, 32),
        (8, 6),
        (10, 5),
        (11, 3),
        (12, 2),
        (13, 6),
        (14, 2),
        (15, 3),
        (19, 3),
        (20, 8),
        (21, 13),
        (22, 26),
        (23, 29),
        (24, 12),
        (25, 4),
        (26, 15),
        (27, 19),
        (28, 29),
        (30, 4),
    ];
    let mut ends = [(0, 0); 21];
    let (mut at, mut code, mut before) = (0, 0, 5);
    while at < counts.len() {
        let (len, count) = counts[at];
        code = (code << (len - before)) + count;
        ends[at] = (len, code);
        before = len;
        at += 1;
    }
    ends
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
