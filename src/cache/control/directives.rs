//! Directives of `Cache-Control` (RFC 9111 §5.2, RFC 5861) and of fields that target this cache (RFC 9213).

use super::parse_delta_seconds;
use super::structured::{Bare, Member, parse_dictionary};
use crate::limits::DELTA_SECONDS_MAX;

/// Directive without a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Directive {
    /// `no-store`
    NoStore = 1,
    /// `no-cache` without a list of fields
    NoCache = 1 << 1,
    /// `no-cache` with a list of fields
    NoCacheFields = 1 << 2,
    /// `private`, with or without a list of fields
    Private = 1 << 3,
    /// `public`
    Public = 1 << 4,
    /// `must-revalidate`
    MustRevalidate = 1 << 5,
    /// `proxy-revalidate`
    ProxyRevalidate = 1 << 6,
    /// `must-understand`
    MustUnderstand = 1 << 7,
    /// `only-if-cached`
    OnlyIfCached = 1 << 8,
    /// `no-transform`
    NoTransform = 1 << 9,
}

/// Directives of one message. Of several with one name, the one counts that reuses less; an invalid number is
/// read as the one that reuses least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    flags: u16,
    /// Whether there is any directive.
    pub is_present: bool,
    /// `max-age`
    pub max_age: Option<u32>,
    /// `s-maxage`
    pub s_maxage: Option<u32>,
    /// `stale-while-revalidate`
    pub stale_while_revalidate: Option<u32>,
    /// `stale-if-error`
    pub stale_if_error: Option<u32>,
    /// `max-stale`; without a number, [`DELTA_SECONDS_MAX`].
    pub max_stale: Option<u32>,
    /// `min-fresh`
    pub min_fresh: Option<u32>,
}

impl Directives {
    /// Returns whether a directive is present.
    pub fn has(&self, directive: Directive) -> bool {
        self.flags & directive as u16 != 0
    }

    /// Reads all lines of `Cache-Control`.
    pub fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for value in values {
            directives.add_line(value);
        }
        directives
    }

    /// Reads one more line of `Cache-Control`. Cost: one scan.
    pub fn add_line(&mut self, value: &[u8]) {
        for element in elements(value) {
            self.is_present = true;
            let (name, argument) = split_argument(element);
            let trimmed = name.trim_ascii_end();
            // No blank may stand before `=`: the directive counts, with an invalid argument.
            self.add(trimmed, if trimmed.len() < name.len() { Some(b"") } else { argument });
        }
    }

    /// Reads a field that targets this cache, a dictionary (RFC 9213 §2.1). `None` for a field that is
    /// absent, empty or invalid as a whole: it is then as if the response did not have it.
    ///
    /// A number of another type than Integer counts as 0: RFC 9213 forbids to coerce it, and the other
    /// directives of the field must not get lost with it.
    pub fn parse_targeted<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut directives = Self::default();
        parse_dictionary(values, |key, member| {
            directives.is_present = true;
            directives.set_targeted(key, member);
        })
        .ok()?;
        directives.is_present.then_some(directives)
    }

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let number = || argument.map(unquote).and_then(parse_delta_seconds);
        let lesser = |known: Option<u32>| {
            let number = number().unwrap_or(0);
            Some(known.map_or(number, |known| known.min(number)))
        };
        // By length first: most directives differ by it.
        match name.len() {
            6 if is("public") && argument.is_none() => self.insert(Directive::Public),
            7 if is("max-age") => self.max_age = lesser(self.max_age),
            7 if is("private") => self.insert(Directive::Private),
            8 if is("s-maxage") => self.s_maxage = lesser(self.s_maxage),
            8 if is("no-store") => self.insert(Directive::NoStore),
            8 if is("no-cache") => self.insert(match argument {
                Some(fields) if has_field_name(fields) => Directive::NoCacheFields,
                _ => Directive::NoCache,
            }),
            9 if is("max-stale") => {
                let number = if argument.is_none() { Some(DELTA_SECONDS_MAX) } else { number() };
                let number = number.unwrap_or(0);
                self.max_stale = Some(self.max_stale.map_or(number, |known| known.min(number)));
            }
            9 if is("min-fresh") => {
                let number = number().unwrap_or(DELTA_SECONDS_MAX);
                self.min_fresh = Some(self.min_fresh.map_or(number, |known| known.max(number)));
            }
            12 if is("no-transform") => self.insert(Directive::NoTransform),
            14 if is("only-if-cached") => self.insert(Directive::OnlyIfCached),
            14 if is("stale-if-error") => self.stale_if_error = lesser(self.stale_if_error),
            15 if is("must-revalidate") => self.insert(Directive::MustRevalidate),
            15 if is("must-understand") => self.insert(Directive::MustUnderstand),
            16 if is("proxy-revalidate") => self.insert(Directive::ProxyRevalidate),
            22 if is("stale-while-revalidate") => {
                self.stale_while_revalidate = lesser(self.stale_while_revalidate);
            }
            _ => {}
        }
    }

    /// Sets a member of a dictionary; a later one of the same key replaces it (RFC 9651 §4.2.2).
    fn set_targeted(&mut self, key: &[u8], member: Member<'_>) {
        let is_off = matches!(member, Member::Item(Bare::Boolean(false)));
        let is_on = matches!(member, Member::Item(Bare::Boolean(true)));
        let number = match member {
            Member::Item(Bare::Integer(number)) => {
                Some(u32::try_from(number.max(0)).unwrap_or(u32::MAX).min(DELTA_SECONDS_MAX))
            }
            _ => Some(0),
        };
        match key {
            b"max-age" => self.max_age = number,
            b"s-maxage" => self.s_maxage = number,
            b"stale-while-revalidate" => self.stale_while_revalidate = number,
            b"stale-if-error" => self.stale_if_error = number,
            // Whatever their type, restrictions hold unless they are switched off.
            b"no-store" => self.set(Directive::NoStore, !is_off),
            b"private" => self.set(Directive::Private, !is_off),
            b"must-revalidate" => self.set(Directive::MustRevalidate, !is_off),
            b"proxy-revalidate" => self.set(Directive::ProxyRevalidate, !is_off),
            b"no-transform" => self.set(Directive::NoTransform, !is_off),
            b"no-cache" => {
                let has_fields = matches!(member, Member::Item(Bare::String(names)) if has_field_name(names));
                self.set(Directive::NoCacheFields, has_fields);
                self.set(Directive::NoCache, !has_fields && !is_off);
            }
            b"public" => self.set(Directive::Public, is_on),
            b"must-understand" => self.set(Directive::MustUnderstand, is_on),
            _ => {}
        }
    }

    fn insert(&mut self, directive: Directive) {
        self.flags |= directive as u16;
    }

    fn set(&mut self, directive: Directive, is_present: bool) {
        self.flags &= !(directive as u16);
        if is_present {
            self.insert(directive);
        }
    }
}

/// Returns whether `no-cache="…"` in one of these lines lists a field. Lines are those of `Cache-Control`, or
/// of a dictionary, whose strings look the same.
pub(crate) fn is_named_by_no_cache<'a>(mut values: impl Iterator<Item = &'a [u8]>, name: &[u8]) -> bool {
    values.any(|value| {
        elements(value).any(|element| {
            let (directive, argument) = split_argument(element);
            directive.eq_ignore_ascii_case(b"no-cache")
                && argument.is_some_and(|names| {
                    unquote(names)
                        .split(|byte| *byte == b',')
                        .any(|one| one.trim_ascii().eq_ignore_ascii_case(name))
                })
        })
    })
}

/// Iterates over the trimmed elements of a list whose elements may have quoted strings (RFC 9110 §5.6.1).
/// Empty elements are skipped; a string without an end reaches to the end of the line.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let (mut is_quoted, mut is_escaped) = (false, false);
            let end = text.iter().position(|byte| {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' if is_quoted => is_escaped = true,
                    b'"' => is_quoted = !is_quoted,
                    b',' if !is_quoted => return true,
                    _ => {}
                }
                false
            });
            let element = end.map_or(text, |end| &text[..end]).trim_ascii();
            rest = end.map(|end| &text[end + 1..]);
            if !element.is_empty() {
                return Some(element);
            }
        }
    })
}

fn split_argument(element: &[u8]) -> (&[u8], Option<&[u8]>) {
    match element.iter().position(|byte| *byte == b'=') {
        Some(at) => (&element[..at], Some(&element[at + 1..])),
        None => (element, None),
    }
}

/// Removes the quotes of a string; an argument may be a token or a string (RFC 9111 §5.2).
fn unquote(argument: &[u8]) -> &[u8] {
    argument.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(argument)
}

fn has_field_name(argument: &[u8]) -> bool {
    let mut names = unquote(argument).split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.any(ringway_wire::headers::is_token)
}
