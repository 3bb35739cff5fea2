//! Strict parser of structured fields (RFC 9651 §4.2): dictionaries and lists, with members of all types.
//!
//! A field is valid as a whole or not at all. Members are handed over while they are parsed, so that nothing
//! is collected: a caller discards what it has when the result is an error.

use std::fmt;

/// Field that is no structured field of the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError;

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value is not a valid structured field")
    }
}

impl std::error::Error for SyntaxError {}

/// Member of a dictionary or list, without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// A single value.
    Item(Bare<'a>),
    /// A list in parentheses; its values are checked and dropped.
    InnerList,
}

/// Bare item (RFC 9651 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare<'a> {
    /// Up to 15 digits.
    Integer(i64),
    /// A number with a fraction.
    Decimal,
    /// The bytes between the quotes; escapes remain.
    String(&'a [u8]),
    /// A token.
    Token(&'a [u8]),
    /// Bytes in base64.
    Bytes,
    /// `?0` or `?1`, or a key without a value.
    Boolean(bool),
    /// Seconds since the epoch.
    Date(i64),
    /// A string beyond ASCII.
    DisplayString,
}

/// Parses a dictionary from all lines of its field, and calls `on_member` for each key. A key may come again;
/// its last value counts.
///
/// # Errors
/// [`SyntaxError`]; members before the fault were handed over.
pub fn parse_dictionary<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    mut on_member: impl FnMut(&'a [u8], Member<'a>),
) -> Result<(), SyntaxError> {
    parse_lines(lines, |parser| {
        let key = parser.key()?;
        let member = if parser.skip(b'=') {
            parser.member()?
        } else {
            parser.parameters()?;
            Member::Item(Bare::Boolean(true))
        };
        on_member(key, member);
        Ok(())
    })
}

/// Parses a list from all lines of its field, and calls `on_member` for each member.
///
/// # Errors
/// [`SyntaxError`]; members before the fault were handed over.
pub fn parse_list<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    mut on_member: impl FnMut(Member<'a>),
) -> Result<(), SyntaxError> {
    parse_lines(lines, |parser| {
        on_member(parser.member()?);
        Ok(())
    })
}

/// Parses members separated by commas; a line end within a field is a comma, too. Without any line, or with
/// one that is empty, there is no member.
fn parse_lines<'a>(
    mut lines: impl Iterator<Item = &'a [u8]>,
    mut parse_member: impl FnMut(&mut Parser<'a>) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    let Some(first) = lines.next() else { return Ok(()) };
    let mut line = first;
    let mut next = lines.next();
    if first.trim_ascii().is_empty() && next.is_none() {
        return Ok(());
    }
    loop {
        let mut parser = Parser { rest: line };
        parser.skip_spaces();
        loop {
            parse_member(&mut parser)?;
            parser.skip_blanks();
            if parser.rest.is_empty() {
                break;
            }
            if !parser.skip(b',') {
                return Err(SyntaxError);
            }
            // A member must follow: one that is missing fails as a key or an item.
            parser.skip_blanks();
        }
        match next {
            Some(following) => line = following,
            None => return Ok(()),
        }
        next = lines.next();
    }
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Result<u8, SyntaxError> {
        let (first, rest) = self.rest.split_first().ok_or(SyntaxError)?;
        self.rest = rest;
        Ok(*first)
    }

    /// Consumes a byte if it is next.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    fn skip_spaces(&mut self) {
        while self.skip(b' ') {}
    }

    /// Consumes spaces and tabs, which may surround commas.
    fn skip_blanks(&mut self) {
        while self.skip(b' ') || self.skip(b'\t') {}
    }

    /// Consumes the bytes that belong to a set.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().position(|byte| !belongs(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    fn key(&mut self) -> Result<&'a [u8], SyntaxError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'*') {
            return Err(SyntaxError);
        }
        Ok(self
            .take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)))
    }

    fn member(&mut self) -> Result<Member<'a>, SyntaxError> {
        let member = if self.skip(b'(') {
            loop {
                self.skip_spaces();
                if self.skip(b')') {
                    break;
                }
                self.bare()?;
                self.parameters()?;
                if !matches!(self.peek(), Some(b' ' | b')')) {
                    return Err(SyntaxError);
                }
            }
            Member::InnerList
        } else {
            Member::Item(self.bare()?)
        };
        self.parameters()?;
        Ok(member)
    }

    fn parameters(&mut self) -> Result<(), SyntaxError> {
        while self.skip(b';') {
            self.skip_spaces();
            self.key()?;
            if self.skip(b'=') {
                self.bare()?;
            }
        }
        Ok(())
    }

    fn bare(&mut self) -> Result<Bare<'a>, SyntaxError> {
        match self.peek().ok_or(SyntaxError)? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => Ok(Bare::Token(self.take_while(|byte| {
                byte == b':' || byte == b'/' || ringway_wire::headers::is_token(&[byte])
            }))),
            b':' => self.bytes(),
            b'?' => {
                self.next()?;
                match self.next()? {
                    b'0' => Ok(Bare::Boolean(false)),
                    b'1' => Ok(Bare::Boolean(true)),
                    _ => Err(SyntaxError),
                }
            }
            b'@' => {
                self.next()?;
                match self.number()? {
                    Bare::Integer(seconds) => Ok(Bare::Date(seconds)),
                    _ => Err(SyntaxError),
                }
            }
            b'%' => self.display_string(),
            _ => Err(SyntaxError),
        }
    }

    /// An integer of up to 15 digits, or a decimal of up to 12 and 3 (RFC 9651 §4.2.4).
    fn number(&mut self) -> Result<Bare<'a>, SyntaxError> {
        let is_negative = self.skip(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return Err(SyntaxError);
        }
        if self.skip(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            let is_valid = digits.len() <= 12 && (1..=3).contains(&fraction.len());
            return if is_valid { Ok(Bare::Decimal) } else { Err(SyntaxError) };
        }
        let number = digits.iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Ok(Bare::Integer(if is_negative { -number } else { number }))
    }

    fn string(&mut self) -> Result<Bare<'a>, SyntaxError> {
        self.next()?;
        let start = self.rest;
        loop {
            match self.next()? {
                b'\\' => {
                    if !matches!(self.next()?, b'"' | b'\\') {
                        return Err(SyntaxError);
                    }
                }
                b'"' => return Ok(Bare::String(&start[..start.len() - self.rest.len() - 1])),
                0x20..=0x7e => {}
                _ => return Err(SyntaxError),
            }
        }
    }

    fn bytes(&mut self) -> Result<Bare<'a>, SyntaxError> {
        self.next()?;
        self.take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        if self.skip(b':') { Ok(Bare::Bytes) } else { Err(SyntaxError) }
    }

    /// `%"…"` with percent-encoded UTF-8 (RFC 9651 §4.2.10). Allocates the text to check it.
    fn display_string(&mut self) -> Result<Bare<'a>, SyntaxError> {
        self.next()?;
        if !self.skip(b'"') {
            return Err(SyntaxError);
        }
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => break,
                b'%' => text.push(self.lower_hex()? << 4 | self.lower_hex()?),
                byte @ 0x20..=0x7e => text.push(byte),
                _ => return Err(SyntaxError),
            }
        }
        if std::str::from_utf8(&text).is_ok() { Ok(Bare::DisplayString) } else { Err(SyntaxError) }
    }

    fn lower_hex(&mut self) -> Result<u8, SyntaxError> {
        match self.next()? {
            digit @ b'0'..=b'9' => Ok(digit - b'0'),
            digit @ b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(SyntaxError),
        }
    }
}
