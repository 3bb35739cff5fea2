//! Field section of a head or of trailers: field lines, connection options and declared body framing.
//!
//! ```text
//! scan_line: bytes ─▶ End | Field | Partial      (left to right, one pass, no state)
//! Section:   the lines read so far and the position of the search for the next line end;
//!            a peer that sends byte by byte costs one scan of each byte
//! ```
//! A line is accepted or rejected only when its LF has arrived: the result does not depend on how bytes are
//! split.

use crate::headers::{
    self, FOLDED_BYTES_MAX, FieldKind, FieldKinds, IDENTITY, Name, OWN_IDENTITY, TOKEN_FOLD, list_elements,
    trim, trim_end, trim_start,
};
use crate::message::Version;

use super::{HeadFault, Limits, Parse};

/// Field of a head or trailer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as received.
    pub name: &'a [u8],
    /// The value without outer white space.
    pub value: &'a [u8],
    /// Kind of the name; always [`FieldKind::Other`] for names with underscores.
    pub kind: FieldKind,
}

/// Field that caused a fault, by its name as received. Never a value, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultyField<'a> {
    /// The field with this name, up to [`FAULTY_NAME_BYTES_MAX`].
    Named(&'a [u8]),
    /// A line without a name, behind the field with this name.
    After(&'a [u8]),
}

/// 64: longest field name in a fault; longer ones are truncated.
pub const FAULTY_NAME_BYTES_MAX: usize = 64;

/// Offsets of a field line in the buffer, and its classification.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldLine {
    pub(crate) start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
    /// Offset behind the CRLF.
    pub(crate) end: u32,
    pub(crate) kind: FieldKind,
    /// For a name with underscores: its kind for a reader that maps `_` to `-`, as CGI and WSGI do.
    pub(crate) alias: FieldKind,
    /// The name has an underscore, or another mark with which it resembles an identity field.
    pub(crate) has_underscore: bool,
    /// Nominated by `Connection`, and not protected from removal by the peer.
    pub(crate) is_nominated: bool,
}

impl FieldLine {
    pub(crate) fn name<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.start as usize..self.name_end as usize]
    }

    pub(crate) fn value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.value_start as usize..self.value_end as usize]
    }
}

/// Iterates over field lines up to the first invalid one; used for trailers.
pub fn field_lines(buf: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let Ok(Line::Field(line)) = scan_line(buf, at) else { return None };
        at = line.end as usize;
        Some(Field { name: line.name(buf), value: line.value(buf), kind: line.kind })
    })
}

/// Result of [`scan_line`].
pub(crate) enum Line {
    /// The line is incomplete.
    Partial,
    /// The empty line, with the offset behind it.
    End(usize),
    /// A field line.
    Field(FieldLine),
}

/// Scans one line. A fault may be returned before the line end is in `buf`.
pub(crate) fn scan_line(buf: &[u8], start: usize) -> Result<Line, HeadFault> {
    let line = &buf[start..];
    let Name { folded, len, mut has_underscore } = Name::read(line);
    let Some(&stop) = line.get(len) else { return Ok(Line::Partial) };
    match stop {
        b':' if len > 0 => {}
        b':' => return Err(HeadFault::EmptyFieldName),
        b'\r' => {
            return match line.get(len + 1) {
                None => Ok(Line::Partial),
                Some(b'\n') if len == 0 => Ok(Line::End(start + 2)),
                Some(b'\n') => Err(HeadFault::MissingColon),
                Some(_) => Err(HeadFault::BareCr),
            };
        }
        b'\n' => return Err(HeadFault::BareLf),
        b' ' | b'\t' if len == 0 => return Err(HeadFault::ObsFold),
        b' ' | b'\t' => return Err(HeadFault::SpaceBeforeColon),
        _ => return Err(HeadFault::BadFieldName),
    }

    let after_colon = len + 1;
    let value_len = headers::value_end(&line[after_colon..]);
    let cr = after_colon + value_len;
    match (line.get(cr), line.get(cr + 1)) {
        (None, _) | (Some(b'\r'), None) => return Ok(Line::Partial),
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), Some(_)) => return Err(HeadFault::BareCr),
        (Some(b'\n'), _) => return Err(HeadFault::BareLf),
        (Some(_), _) => return Err(HeadFault::BadFieldValue),
    }
    // A blank value is empty: both of its offsets are behind the blanks.
    let value = trim_start(&line[after_colon..cr]);
    let value_start = start + cr - value.len();
    let value = trim_end(value);

    let kind = FieldKind::of_folded(&folded, len);
    let (kind, alias) = match (has_underscore, kind) {
        (true, _) => (FieldKind::Other, resemblance(folded, len)),
        // The CGI of lighttpd maps every mark to `_`: `X.Client.Cert-Verified` must not pass for the field
        // that only this proxy sets. All such names begin with `X`; other names with marks need no alias.
        (false, FieldKind::Other) if folded[0] == b'x' => match resemblance(folded, len) {
            alias if IDENTITY.with(OWN_IDENTITY).has(alias) => {
                has_underscore = true;
                (FieldKind::Other, alias)
            }
            _ => (FieldKind::Other, FieldKind::Other),
        },
        (false, kind) => (kind, FieldKind::Other),
    };
    Ok(Line::Field(FieldLine {
        start: start as u32,
        name_end: (start + len) as u32,
        value_start: value_start as u32,
        value_end: (value_start + value.len()) as u32,
        end: (start + cr + 2) as u32,
        kind,
        alias,
        has_underscore,
        is_nominated: false,
    }))
}

/// Returns the kind of a name for a reader that maps all marks to `-`.
fn resemblance(mut folded: [u8; FOLDED_BYTES_MAX], len: usize) -> FieldKind {
    for byte in folded.iter_mut().take(len) {
        if !byte.is_ascii_alphanumeric() {
            *byte = b'-';
        }
    }
    FieldKind::of_folded(&folded, len)
}

/// Returns the part before a colon that can be shown as a name: at most two words, up to the first byte that
/// is invalid in names. The colon of the name may be missing, and this one part of a value.
fn shown(name: &[u8]) -> &[u8] {
    let is_blank = |byte: u8| byte == b' ' || byte == b'\t';
    let end = name.iter().position(|byte| TOKEN_FOLD[*byte as usize] == 0 && !is_blank(*byte));
    let name = &name[..end.unwrap_or(name.len()).min(FAULTY_NAME_BYTES_MAX)];
    let blanks = || name.iter().enumerate().filter(|(_, byte)| is_blank(**byte));
    blanks().nth(1).map_or(name, |(second, _)| &name[..second])
}

/// Field lines of a head, complete or partially read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) lines: Vec<FieldLine>,
    /// Start of the current line.
    pub(crate) at: usize,
    /// End of the search for a line end that began at `at`.
    pub(crate) searched: usize,
    /// Kinds that occur; `repeated` has those that occur more than once.
    pub(crate) seen: FieldKinds,
    pub(crate) repeated: FieldKinds,
}

impl Section {
    pub(crate) fn reset(&mut self) {
        self.lines.clear();
        self.at = 0;
        self.searched = 0;
        self.seen = FieldKinds::NONE;
        self.repeated = FieldKinds::NONE;
    }

    /// Moves to the line that begins at `at`.
    pub(crate) fn advance(&mut self, at: usize) {
        self.at = at;
        self.searched = at;
    }

    /// Returns whether a line end arrived since the last call; records the position of the search.
    pub(crate) fn has_line_end(&mut self, window: &[u8]) -> bool {
        if window[self.searched..].contains(&b'\n') {
            return true;
        }
        self.searched = window.len();
        false
    }

    /// Reads lines up to and including the empty one.
    pub(crate) fn read(&mut self, buf: &[u8], limits: &Limits) -> Result<Parse, HeadFault> {
        let window = limits.window(buf);
        // A line that was scanned before is scanned again only after a line end has arrived.
        if self.searched > self.at && !self.has_line_end(window) {
            return limits.partial(buf);
        }
        loop {
            match scan_line(window, self.at) {
                Ok(Line::Field(line)) => {
                    if self.lines.len() == limits.fields_max {
                        return Err(HeadFault::TooManyFields);
                    }
                    if self.seen.has(line.kind) {
                        self.repeated.insert(line.kind);
                    }
                    self.seen.insert(line.kind);
                    self.advance(line.end as usize);
                    self.lines.push(line);
                }
                Ok(Line::End(end)) => {
                    self.advance(end);
                    return Ok(Parse::Complete);
                }
                Ok(Line::Partial) => {
                    self.searched = window.len();
                    return limits.partial(buf);
                }
                Err(fault) if self.has_line_end(window) => {
                    return Err(match fault {
                        HeadFault::ObsFold if self.lines.is_empty() => HeadFault::LeadingWhitespace,
                        _ => fault,
                    });
                }
                Err(_) => return limits.partial(buf),
            }
        }
    }

    /// Returns the field that caused a fault of the current line or of the declared framing.
    pub(crate) fn faulty_field<'a>(&self, buf: &'a [u8], fault: HeadFault) -> Option<FaultyField<'a>> {
        use HeadFault as Fault;
        let before = || Some(FaultyField::After(shown(self.lines.last()?.name(buf))));
        match fault {
            Fault::HeadTooLarge
            | Fault::TooManyFields
            | Fault::BareLf
            | Fault::BareCr
            | Fault::SpaceBeforeColon
            | Fault::BadFieldName
            | Fault::BadFieldValue => {
                let line = buf.get(self.at..).unwrap_or_default();
                let line = line.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
                // Text without a colon is not a name, and may be a value or a body.
                match line.iter().position(|byte| *byte == b':') {
                    Some(colon) if colon > 0 => Some(FaultyField::Named(shown(&line[..colon]))),
                    _ => before(),
                }
            }
            Fault::ObsFold | Fault::EmptyFieldName | Fault::MissingColon => before(),
            // The fault implies its field, or no field precedes it.
            Fault::LeadingWhitespace
            | Fault::BadContentLength
            | Fault::DuplicateContentLength
            | Fault::LengthAndTransferEncoding
            | Fault::TransferEncodingInHttp10
            | Fault::DuplicateTransferEncoding
            | Fault::BadTransferEncoding
            | Fault::UnsupportedTransferCoding
            | Fault::BadConnection
            | Fault::TooManyConnectionOptions => None,
        }
    }

    pub(crate) fn iter<'a>(&'a self, buf: &'a [u8]) -> impl Iterator<Item = Field<'a>> {
        self.lines.iter().map(|line| Field { name: line.name(buf), value: line.value(buf), kind: line.kind })
    }

    pub(crate) fn values<'b>(&self, buf: &'b [u8], kind: FieldKind) -> impl Iterator<Item = &'b [u8]> {
        // The set avoids a walk over the lines for absent kinds.
        let lines = if self.seen.has(kind) { self.lines.as_slice() } else { &[] };
        lines.iter().filter(move |line| line.kind == kind).map(move |line| line.value(buf))
    }

    /// Returns the body framing that the fields declare, for requests and responses (RFC 9112 §6.1, §6.2).
    pub(crate) fn declared_body(&self, buf: &[u8], version: Version) -> Result<DeclaredBody, HeadFault> {
        let has_length = self.seen.has(FieldKind::ContentLength);
        if !self.seen.has(FieldKind::TransferEncoding) {
            if !has_length {
                return Ok(DeclaredBody::None);
            }
            if self.repeated.has(FieldKind::ContentLength) {
                return Err(HeadFault::DuplicateContentLength);
            }
            let value = self.values(buf, FieldKind::ContentLength).next().unwrap_or_default();
            return parse_length(value).map(DeclaredBody::Length);
        }
        if version == Version::Http10 {
            return Err(HeadFault::TransferEncodingInHttp10);
        }
        if has_length {
            return Err(HeadFault::LengthAndTransferEncoding);
        }
        if self.repeated.has(FieldKind::TransferEncoding) {
            return Err(HeadFault::DuplicateTransferEncoding);
        }
        let value = self.values(buf, FieldKind::TransferEncoding).next().unwrap_or_default();
        if value.eq_ignore_ascii_case(b"chunked") {
            return Ok(DeclaredBody::Chunked);
        }
        // Both are rejected; the status distinguishes an unknown coding (501) from a malformed list (400).
        let mut chunked = 0;
        let mut last_is_chunked = true;
        for coding in value.split(|&b| b == b',').map(trim) {
            if !headers::is_token(coding) {
                return Err(HeadFault::BadTransferEncoding);
            }
            last_is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            chunked += usize::from(last_is_chunked);
        }
        if chunked > 1 || (chunked == 1 && !last_is_chunked) {
            return Err(HeadFault::BadTransferEncoding);
        }
        Err(HeadFault::UnsupportedTransferCoding)
    }

    /// Reads the connection options and marks the fields that they nominate (RFC 9110 §7.6.1).
    ///
    /// Nomination cannot remove fields for routing, framing or identity: the first two are generated, and the
    /// identity fields of a trusted peer are kept.
    pub(crate) fn connection_options(&mut self, buf: &[u8]) -> Result<ConnectionOptions, HeadFault> {
        let mut options = ConnectionOptions::default();
        if !self.seen.has(FieldKind::Connection) {
            return Ok(options);
        }
        let mut count = 0;
        for i in 0..self.lines.len() {
            if self.lines[i].kind != FieldKind::Connection {
                continue;
            }
            let value = self.lines[i].value(buf);
            // Nearly always one option of those that are compared with no field.
            if options.insert(value) {
                continue;
            }
            for option in list_elements(value) {
                count += 1;
                if count > CONNECTION_OPTIONS_MAX {
                    return Err(HeadFault::TooManyConnectionOptions);
                }
                if !headers::is_token(option) {
                    return Err(HeadFault::BadConnection);
                }
                if !options.insert(option) {
                    for line in &mut self.lines {
                        line.is_nominated |=
                            !UNREMOVABLE.has(line.kind) && line.name(buf).eq_ignore_ascii_case(option);
                    }
                }
            }
        }
        Ok(options)
    }
}

/// Implements the accessors that both heads share; each head has its own `Stage::Done`.
macro_rules! impl_head_accessors {
    ($head:ident) => {
        impl $head {
            /// Returns whether the head is complete.
            pub fn is_complete(&self) -> bool {
                self.stage == Stage::Done
            }

            /// Returns the length of the head including the empty line: the offset of the body.
            pub fn len(&self) -> usize {
                self.section.at
            }

            /// Returns whether no byte was parsed; never true for a complete head.
            pub fn is_empty(&self) -> bool {
                self.section.at == 0
            }

            /// Returns the field that caused the fault that [`parse`](Self::parse) returned for `buf`. `None`
            /// if the fault implies its field, or is in the first line.
            pub fn faulty_field<'a>(
                &self,
                buf: &'a [u8],
                fault: HeadFault,
            ) -> Option<super::fields::FaultyField<'a>> {
                let is_in_fields = self.stage == Stage::Fields;
                is_in_fields.then(|| self.section.faulty_field(buf, fault)).flatten()
            }

            /// Iterates over all fields in the received order.
            pub fn fields<'a>(&'a self, buf: &'a [u8]) -> impl Iterator<Item = Field<'a>> {
                self.section.iter(buf)
            }

            /// Iterates over the values of a name, case-insensitive. Cost: a walk over the fields; for
            /// well-known names [`values`](Self::values) is cheaper.
            pub fn field<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
                let is_named = move |field: &Field<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
                self.section.iter(buf).filter(is_named).map(|field| field.value)
            }

            /// Iterates over the values of all fields of this kind.
            pub fn values<'a>(&'a self, buf: &'a [u8], kind: FieldKind) -> impl Iterator<Item = &'a [u8]> {
                self.section.values(buf, kind)
            }

            /// Returns whether a field of this kind is present.
            pub fn has(&self, kind: FieldKind) -> bool {
                self.section.seen.has(kind)
            }

            pub(super) fn lines(&self) -> &[FieldLine] {
                &self.section.lines
            }
        }
    };
}

pub(super) use impl_head_accessors;

/// Body framing that the fields declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclaredBody {
    None,
    Length(u64),
    Chunked,
}

/// Connection options that the proxy uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl ConnectionOptions {
    /// Inserts an option that the proxy uses; returns false for others.
    fn insert(&mut self, option: &[u8]) -> bool {
        match option.len() {
            5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
            10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
            7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            _ => return false,
        }
        true
    }

    /// Returns whether the connection is persistent (RFC 9112 §9.3).
    pub(crate) fn is_persistent(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// Parses a `Content-Length`: digits only (RFC 9110 §8.6), at most 19 of them and at most `i64::MAX`, since
/// readers with signed integers would overflow.
fn parse_length(value: &[u8]) -> Result<u64, HeadFault> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadFault::BadContentLength);
    }
    let length = value.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    if length > i64::MAX as u64 { Err(HeadFault::BadContentLength) } else { Ok(length) }
}

/// 16: most connection options; real peers send one to three, and each is compared with every field of the
/// head.
const CONNECTION_OPTIONS_MAX: usize = 16;

/// Kinds that nomination cannot remove: framing and routing are generated anyway, identity must stay.
const UNREMOVABLE: FieldKinds =
    FieldKinds::of(&[FieldKind::Host, FieldKind::ContentLength, FieldKind::TransferEncoding])
        .with(IDENTITY)
        .with(OWN_IDENTITY);
