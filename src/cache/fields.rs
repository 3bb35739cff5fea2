//! Field lines of heads, wherever they are kept.

use ringway_wire::h1::{RequestHead, ResponseHead};

/// Field lines in their order: of a parsed head, of a stored one, or of one with edits.
pub trait FieldSource<'a>: Copy {
    /// Iterates over names, as received, and values without outer white space.
    fn lines(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])>;

    /// Iterates over the values of a name, case-insensitive.
    fn values(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.lines().filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}

/// Ready field lines: `Name: value` and CRLF each.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a>(pub &'a [u8]);

impl<'a> FieldSource<'a> for Lines<'a> {
    fn lines(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.0.split(|byte| *byte == b'\n').filter_map(|line| {
            let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
            Some((name, value.get(1..)?.trim_ascii()))
        })
    }
}

impl<'a> FieldSource<'a> for (&'a RequestHead, &'a [u8]) {
    fn lines(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.0.fields(self.1).map(|field| (field.name, field.value))
    }
}

impl<'a> FieldSource<'a> for (&'a ResponseHead, &'a [u8]) {
    fn lines(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.0.fields(self.1).map(|field| (field.name, field.value))
    }
}
