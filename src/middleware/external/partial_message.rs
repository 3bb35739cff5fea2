//! Start of a `CheckResponse`, read as far as it came: by its fields alone, which the decoder of whole
//! messages does not give.

use prost::encoding::{WireType, decode_key, decode_varint};

/// Fields of a message that decide, where they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PartialCheck {
    /// `status.code`; 0 where the status came whole and has none.
    pub(super) code: Option<u64>,
    /// `denied_response` has begun.
    pub(super) has_denied: bool,
    /// `error_response` has begun.
    pub(super) has_error: bool,
    /// `denied_response.status.code`
    pub(super) denied_status: Option<u64>,
}

/// Reads a message to its end, to where it is cut off or to the first malformed field.
pub(super) fn read(message: &[u8]) -> PartialCheck {
    let mut check = PartialCheck::default();
    for field in Fields(message) {
        match (field.tag, field.value) {
            (1, Value::Bytes { bytes, is_whole }) => {
                check.code = number(bytes, 1).or(is_whole.then_some(0)).or(check.code);
            }
            (2, Value::Bytes { bytes, .. }) => {
                check.has_denied = true;
                let status = Fields(bytes).find_map(|field| match field {
                    Field { tag: 1, value: Value::Bytes { bytes, .. } } => number(bytes, 1),
                    _ => None,
                });
                check.denied_status = status.or(check.denied_status);
            }
            (5, Value::Bytes { .. }) => check.has_error = true,
            _ => {}
        }
    }
    check
}

/// A number in a message; the last one, as in a whole message.
fn number(message: &[u8], wanted: u32) -> Option<u64> {
    let numbers = Fields(message).filter_map(|field| match field.value {
        Value::Number(number) if field.tag == wanted => Some(number),
        _ => None,
    });
    numbers.last()
}

/// Fields of a message that may be cut off.
struct Fields<'a>(&'a [u8]);

struct Field<'a> {
    tag: u32,
    value: Value<'a>,
}

enum Value<'a> {
    Number(u64),
    Bytes {
        /// As far as they came.
        bytes: &'a [u8],
        is_whole: bool,
    },
    /// Of a fixed size, which no field of interest has.
    Fixed,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (tag, kind) = decode_key(&mut self.0).ok()?;
        let value = match kind {
            WireType::Varint => Value::Number(decode_varint(&mut self.0).ok()?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length).unwrap_or((self.0, &[]));
                self.0 = rest;
                Value::Bytes { bytes, is_whole: bytes.len() == length }
            }
            WireType::ThirtyTwoBit => self.skip(4)?,
            WireType::SixtyFourBit => self.skip(8)?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        Some(Field { tag, value })
    }
}

impl<'a> Fields<'a> {
    fn skip(&mut self, bytes: usize) -> Option<Value<'a>> {
        self.0 = self.0.get(bytes..)?;
        Some(Value::Fixed)
    }
}
