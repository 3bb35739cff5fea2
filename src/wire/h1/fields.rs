//! The field section of a head or of trailers: lines to offsets, then what they say about connection and body.
//!
//! ```text
//! scan_line: bytes ─▶ End | Field | Partial      (left to right, one pass, no state)
//! Section:   remembers the lines read so far and how far the search for the next line end has come,
//!            so that a peer that sends byte by byte costs one look at each byte
//! ```
//! A line is judged only once its LF is there, so that the verdict does not depend on how the bytes were split.

use crate::headers::{
    self, FOLDED_BYTES_MAX, FieldKind, FieldKinds, IDENTITY, OWN_IDENTITY, TOKEN_FOLD, list_elements, trim,
};
use crate::message::Version;

use super::{HeadFault, Limits, Parse};

/// A field of a head, for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as it was sent.
    pub name: &'a [u8],
    /// The value without outer white space.
    pub value: &'a [u8],
    /// What the name means; [`FieldKind::Other`] for names with underscores, whatever they resemble.
    pub kind: FieldKind,
}

/// Field that a fault is about, by its name as it was sent. Never a value, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultyField<'a> {
    /// The field of this name, up to [`FAULTY_NAME_BYTES_MAX`].
    Named(&'a [u8]),
    /// A line without a name, behind the field of this name.
    After(&'a [u8]),
}

/// 64: bytes of a name that a fault shows; longer ones are cut.
pub const FAULTY_NAME_BYTES_MAX: usize = 64;

/// Where a field line stands in the buffer, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldLine {
    pub(crate) start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
    /// Behind the CRLF.
    pub(crate) end: u32,
    pub(crate) kind: FieldKind,
    /// For a name with underscores: what it is to a reader that takes `_` for `-`, as CGI and WSGI do.
    pub(crate) alias: FieldKind,
    /// Or another mark, with which it resembles a field that says who the client is.
    pub(crate) has_underscore: bool,
    /// Named by `Connection`, and nothing that a peer must not be able to remove.
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

/// The fields of these lines, up to the first that is none: trailers, for example.
pub fn field_lines(buf: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let Ok(Line::Field(line)) = scan_line(buf, at) else { return None };
        at = line.end as usize;
        Some(Field { name: line.name(buf), value: line.value(buf), kind: line.kind })
    })
}

/// What the bytes at a line start are.
pub(crate) enum Line {
    /// The bytes end before the line does.
    Partial,
    /// The empty line; its end.
    End(usize),
    /// A field.
    Field(FieldLine),
}

/// Reads one line, left to right. A fault may be found before it is known whether the line ends in `buf`.
pub(crate) fn scan_line(buf: &[u8], start: usize) -> Result<Line, HeadFault> {
    let line = &buf[start..];
    let mut folded = [0; FOLDED_BYTES_MAX];
    let mut has_underscore = false;
    let mut len = 0;
    let stop = loop {
        let Some(&byte) = line.get(len) else { return Ok(Line::Partial) };
        let fold = TOKEN_FOLD[byte as usize];
        if fold == 0 {
            break byte;
        }
        if let Some(slot) = folded.get_mut(len) {
            *slot = fold;
        }
        has_underscore |= byte == b'_';
        len += 1;
    };
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
    let raw = &line[after_colon..cr];
    let value = trim(raw);
    let leading = raw.iter().take_while(|&&b| b == b' ' || b == b'\t').count();
    // An all-blank value trims to nothing behind its blanks; both offsets then meet.
    let value_start = start + after_colon + leading;

    let kind = FieldKind::of_folded(&folded, len);
    let (kind, alias) = match (has_underscore, kind) {
        (true, _) => (FieldKind::Other, resemblance(folded, len)),
        // CGI as lighttpd does it takes every mark for `_`: `X.Client.Cert-Verified` must not pass for the field that
        // only we may write. All such names begin with `X`; others with marks are what they are.
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

/// What a name is to a reader that tells no mark from another.
fn resemblance(mut folded: [u8; FOLDED_BYTES_MAX], len: usize) -> FieldKind {
    for byte in folded.iter_mut().take(len) {
        if !byte.is_ascii_alphanumeric() {
            *byte = b'-';
        }
    }
    FieldKind::of_folded(&folded, len)
}

/// The part of what stands before a colon that can be a name: two words of it, and no byte that values have and names have
/// not, for the colon that ends the name may be missing, and a later one be a value's.
fn shown(name: &[u8]) -> &[u8] {
    let is_blank = |byte: u8| byte == b' ' || byte == b'\t';
    let end = name.iter().position(|byte| TOKEN_FOLD[*byte as usize] == 0 && !is_blank(*byte));
    let name = &name[..end.unwrap_or(name.len()).min(FAULTY_NAME_BYTES_MAX)];
    let blanks = || name.iter().enumerate().filter(|(_, byte)| is_blank(**byte));
    blanks().nth(1).map_or(name, |(second, _)| &name[..second])
}

/// The field lines of a head while it is read, and afterwards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) lines: Vec<FieldLine>,
    /// Where the current line begins.
    pub(crate) at: usize,
    /// There is no line end between `at` and here.
    pub(crate) searched: usize,
    /// Kinds that occur, and kinds that occur more than once.
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

    /// Begins the next line at `at`.
    pub(crate) fn advance(&mut self, at: usize) {
        self.at = at;
        self.searched = at;
    }

    /// Whether a line end has arrived since the last look; remembers how far it looked.
    pub(crate) fn has_line_end(&mut self, window: &[u8]) -> bool {
        if window[self.searched..].contains(&b'\n') {
            return true;
        }
        self.searched = window.len();
        false
    }

    /// Reads lines up to and with the empty one.
    pub(crate) fn read(&mut self, buf: &[u8], limits: &Limits) -> Result<Parse, HeadFault> {
        let window = limits.window(buf);
        // Not the first look at this line: only a new line end makes another one worth it.
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

    /// The field that a fault of the line that begins at `at`, or of what the lines declare, is about.
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
                // Without a colon it is no name, and may be a value or a body.
                match line.iter().position(|byte| *byte == b':') {
                    Some(colon) if colon > 0 => Some(FaultyField::Named(shown(&line[..colon]))),
                    _ => before(),
                }
            }
            Fault::ObsFold | Fault::EmptyFieldName | Fault::MissingColon => before(),
            // The fault names its field, or there is none before it.
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

    pub(crate) fn values<'a>(&'a self, buf: &'a [u8], kind: FieldKind) -> impl Iterator<Item = &'a [u8]> {
        // The set spares the walk for the many kinds that most heads do not have.
        let lines = if self.seen.has(kind) { self.lines.as_slice() } else { &[] };
        lines.iter().filter(move |line| line.kind == kind).map(|line| line.value(buf))
    }

    /// What the fields say about the body, whatever the message is (RFC 9112 §6.1, §6.2).
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
        // Refused either way; the status tells a client with an unknown coding from one with a broken list.
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
    /// Nothing that routes, frames or identifies can be nominated away: those fields are written anew, and the
    /// identity that a trusted peer states stays.
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
            for option in list_elements(value) {
                count += 1;
                if count > CONNECTION_OPTIONS_MAX {
                    return Err(HeadFault::TooManyConnectionOptions);
                }
                if !headers::is_token(option) {
                    return Err(HeadFault::BadConnection);
                }
                match option.len() {
                    5 if option.eq_ignore_ascii_case(b"close") => options.close = true,
                    10 if option.eq_ignore_ascii_case(b"keep-alive") => options.keep_alive = true,
                    7 if option.eq_ignore_ascii_case(b"upgrade") => options.upgrade = true,
                    _ => {
                        for line in &mut self.lines {
                            line.is_nominated |=
                                !UNREMOVABLE.has(line.kind) && line.name(buf).eq_ignore_ascii_case(option);
                        }
                    }
                }
            }
        }
        Ok(options)
    }
}

/// What both heads tell of themselves; `Stage::Done` is theirs.
macro_rules! impl_head_accessors {
    ($head:ident) => {
        impl $head {
            /// Whether the head was parsed whole.
            pub fn is_complete(&self) -> bool {
                self.stage == Stage::Done
            }

            /// The bytes of the head with its empty line: where the body begins.
            pub fn len(&self) -> usize {
                self.section.at
            }

            /// Never true of a parsed head.
            pub fn is_empty(&self) -> bool {
                self.section.at == 0
            }

            /// The field that a fault which [`parse`](Self::parse) has just found in `buf` is about. `None` where the
            /// fault names its field, or is in the first line.
            pub fn faulty_field<'a>(
                &self,
                buf: &'a [u8],
                fault: HeadFault,
            ) -> Option<super::fields::FaultyField<'a>> {
                let is_in_fields = self.stage == Stage::Fields;
                is_in_fields.then(|| self.section.faulty_field(buf, fault)).flatten()
            }

            /// All fields in the order in which they came.
            pub fn fields<'a>(&'a self, buf: &'a [u8]) -> impl Iterator<Item = Field<'a>> {
                self.section.iter(buf)
            }

            /// The values of all fields of this name, in any case. Cost: a walk over the fields; for well-known names
            /// [`values`](Self::values) is cheaper.
            pub fn field<'a>(&'a self, buf: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
                let is_named = move |field: &Field<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
                self.section.iter(buf).filter(is_named).map(|field| field.value)
            }

            /// The values of all fields of this kind.
            pub fn values<'a>(&'a self, buf: &'a [u8], kind: FieldKind) -> impl Iterator<Item = &'a [u8]> {
                self.section.values(buf, kind)
            }

            /// Whether a field of this kind is there.
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

/// What the fields declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclaredBody {
    None,
    Length(u64),
    Chunked,
}

/// The connection options that mean something here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl ConnectionOptions {
    /// RFC 9112 §9.3.
    pub(crate) fn is_persistent(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// RFC 9110 §8.6: digits only. At most 19 of them, and nothing above `i64::MAX`: no body is that long, and readers
/// with signed integers would take it for something else.
fn parse_length(value: &[u8]) -> Result<u64, HeadFault> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadFault::BadContentLength);
    }
    let length = value.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    if length > i64::MAX as u64 { Err(HeadFault::BadContentLength) } else { Ok(length) }
}

/// 16: real peers send one to three; each costs a comparison with every field of the head.
const CONNECTION_OPTIONS_MAX: usize = 16;

/// Never removed by nomination: what frames and routes is written anew anyway, identity must not be removable.
const UNREMOVABLE: FieldKinds =
    FieldKinds::of(&[FieldKind::Host, FieldKind::ContentLength, FieldKind::TransferEncoding])
        .with(IDENTITY)
        .with(OWN_IDENTITY);
