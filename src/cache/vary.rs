//! `Vary`: names of a response, normal form of the values that select a variant, and keys of variants.
//!
//! ```text
//! primary key ─► Marker { names, generation, languages } ─► values of the request ─► key of a variant
//! ```
//! Values are written in a normal form: lines joined, blanks around list elements dropped. An absent field
//! differs from an empty one. Credentials are replaced by a keyed hash, so that no key holds a secret.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use ringway_model::CacheMode;
use ringway_wire::headers::{is_token, list_elements};

use crate::control::{Codings, elements};
use crate::fields::FieldSource;
use crate::key::{KeyError, begin_variant_key, check, push_absent, push_with};
use crate::limits::{VARIANTS_MAX, VARY_NAMES_MAX};

/// `Vary` of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vary {
    /// Not sent, or without names: one response for all.
    #[default]
    Nothing,
    /// Selected by these request fields.
    Names(VaryNames),
    /// `*`, also among names: no other request is known to get this response.
    Anything,
    /// More than [`VARY_NAMES_MAX`] names, or an invalid one.
    Unusable,
}

/// Names of the request fields that select a variant: lower case, sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VaryNames(Box<[Box<str>]>);

impl Vary {
    /// Reads all lines of `Vary`.
    pub fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut names: Vec<Box<str>> = Vec::new();
        let mut is_unusable = false;
        for name in values.flat_map(list_elements) {
            match std::str::from_utf8(name) {
                _ if name == b"*" => return Self::Anything,
                Ok(text) if is_token(name) && names.len() <= VARY_NAMES_MAX => {
                    let text = text.to_ascii_lowercase().into_boxed_str();
                    if let Err(at) = names.binary_search(&text) {
                        names.insert(at, text);
                    }
                }
                _ => is_unusable = true,
            }
        }
        match names.len() {
            _ if is_unusable => Self::Unusable,
            0 => Self::Nothing,
            1..=VARY_NAMES_MAX => Self::Names(VaryNames(names.into())),
            _ => Self::Unusable,
        }
    }
}

impl VaryNames {
    /// Iterates over the names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// Returns whether a name in lower case is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| **known == *name)
    }

    /// Bytes that they occupy.
    pub fn heap_bytes(&self) -> usize {
        self.0.iter().map(|name| name.len() + size_of::<Box<str>>()).sum()
    }
}

/// A language, and the normal form of `Accept-Language` under which its variant is kept.
type Language = (Box<[u8]>, Box<[u8]>);

/// Value of a primary key whose resource has variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    names: VaryNames,
    generation: u64,
    /// Languages of variants, and the normal form of the `Accept-Language` that they are kept under.
    languages: Box<[Language]>,
}

impl Marker {
    /// Returns a marker. `generation` is random: no variant of a former marker is found through a new one.
    pub fn new(names: VaryNames, generation: u64) -> Self {
        Self { names, generation, languages: [].into() }
    }

    /// Names that select a variant.
    pub fn names(&self) -> &VaryNames {
        &self.names
    }

    /// Number in the keys of its variants.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Writes the key of the variant that a request selects into `out`, which is cleared.
    ///
    /// Cost: one walk over the request's fields for each name; no allocation once `out` has grown.
    ///
    /// # Errors
    /// [`KeyError`]; `out` is empty then.
    pub fn write_key<'a>(
        &self,
        out: &mut Vec<u8>,
        primary: &[u8],
        source: impl FieldSource<'a>,
        mode: CacheMode,
    ) -> Result<(), KeyError> {
        begin_variant_key(out, primary, self.generation);
        for name in self.names.iter() {
            push_value(out, name, source, mode);
        }
        check(out)
    }

    /// Writes the key of a variant in the language that a request prefers, where the request selects none by
    /// its own value (RFC 9111 §4.1 lets a cache find the selected response so). Returns whether there is
    /// one. Only in the mode `rfc9111`.
    ///
    /// # Errors
    /// [`KeyError`]; `out` is empty then.
    pub fn write_language_key<'a>(
        &self,
        out: &mut Vec<u8>,
        primary: &[u8],
        source: impl FieldSource<'a>,
        mode: CacheMode,
    ) -> Result<bool, KeyError> {
        if mode != CacheMode::Rfc9111 || self.languages.is_empty() {
            return Ok(false);
        }
        let Some(preferred) = preferred_language(source) else { return Ok(false) };
        let Some((_, value)) = self.languages.iter().find(|(known, _)| known.eq_ignore_ascii_case(preferred))
        else {
            return Ok(false);
        };
        begin_variant_key(out, primary, self.generation);
        for name in self.names.iter() {
            if name == "accept-language" {
                push_with(out, |out| out.extend_from_slice(value));
            } else {
                push_value(out, name, source, mode);
            }
        }
        check(out).map(|()| true)
    }

    /// Returns the marker that knows the language of a new variant; `None` if this one need not change.
    /// `request` are the fields that selected it, `response` its own.
    pub fn with_language<'a, 'b>(
        &self,
        request: impl FieldSource<'a>,
        response: impl FieldSource<'b>,
        mode: CacheMode,
    ) -> Option<Self> {
        let mut languages = response.values("content-language");
        let language = languages.next().filter(|language| !language.contains(&b','))?;
        let is_usable = mode == CacheMode::Rfc9111
            && languages.next().is_none()
            && !language.is_empty()
            && self.names.has("accept-language")
            && self.languages.len() < VARIANTS_MAX
            && !self.languages.iter().any(|(known, _)| known.eq_ignore_ascii_case(language));
        if !is_usable || request.values("accept-language").next().is_none() {
            return None;
        }
        let mut value = Vec::new();
        write_languages(&mut value, request, mode);
        let added = (language.into(), value.into_boxed_slice());
        let languages = self.languages.iter().cloned().chain([added]).collect();
        Some(Self { names: self.names.clone(), generation: self.generation, languages })
    }
}

/// Writes the value of a request field in its normal form, with its length before it.
pub(crate) fn push_value<'a>(out: &mut Vec<u8>, name: &str, source: impl FieldSource<'a>, mode: CacheMode) {
    if name == "accept-encoding" {
        let codings = Codings::parse(source.values(name));
        push_with(out, |out| out.extend_from_slice(codings.value().unwrap_or_default().as_bytes()));
        return;
    }
    if source.values(name).next().is_none() {
        push_absent(out);
        return;
    }
    push_with(out, |out| match name {
        "accept-language" => write_languages(out, source, mode),
        "authorization" | "cookie" | "proxy-authorization" => {
            for keys in SECRET_HASHES.iter() {
                let hash = keys.hash_one(Joined(source, name));
                out.extend_from_slice(&hash.to_le_bytes());
            }
        }
        _ => {
            let start = out.len();
            for element in source.values(name).flat_map(elements) {
                if out.len() > start {
                    out.push(b',');
                }
                out.extend_from_slice(element);
            }
        }
    });
}

/// Keys of two hashes of credentials, random for the process: 128 bits that no client can aim at.
static SECRET_HASHES: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// All lines of a field, each with its length, as one value to hash.
struct Joined<'n, S>(S, &'n str);

impl<'a, S: FieldSource<'a>> std::hash::Hash for Joined<'_, S> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.values(self.1).for_each(|line| line.hash(state));
    }
}

/// Languages that are sorted without an allocation; a longer list keeps its order.
const SORTED_MAX: usize = 32;

/// Writes `Accept-Language` in lower case without blanks. In the mode `rfc9111` its order does not count: the
/// weights decide (RFC 9110 §12.5.4).
fn write_languages<'a>(out: &mut Vec<u8>, source: impl FieldSource<'a>, mode: CacheMode) {
    let ranges = || source.values("accept-language").flat_map(elements);
    let mut sorted: [&[u8]; SORTED_MAX] = [&[]; SORTED_MAX];
    let mut count = 0;
    for range in ranges() {
        if let Some(slot) = sorted.get_mut(count) {
            *slot = range;
        }
        count += 1;
    }
    let start = out.len();
    let mut write = |range: &[u8]| {
        if out.len() > start {
            out.push(b',');
        }
        out.extend(folded(range));
    };
    match sorted.get_mut(..count) {
        Some(sorted) if mode == CacheMode::Rfc9111 => {
            sorted.sort_unstable_by(|one, other| folded(one).cmp(folded(other)));
            sorted.iter().for_each(|range| write(range));
        }
        _ => ranges().for_each(write),
    }
}

fn folded(range: &[u8]) -> impl Iterator<Item = u8> + '_ {
    range.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase)
}

/// The language range with the greatest weight; `None` if several have it, or there is none.
fn preferred_language<'a>(source: impl FieldSource<'a>) -> Option<&'a [u8]> {
    let mut best: Option<(&[u8], u16)> = None;
    let mut is_tied = false;
    for range in source.values("accept-language").flat_map(elements) {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let language = parts.next().unwrap_or_default();
        let weight = match parts.next() {
            None => 1000,
            Some(parameter) => weight_in_thousandths(parameter)?,
        };
        match best {
            Some((_, known)) if weight < known => {}
            Some((_, known)) if weight == known => is_tied = true,
            _ => (best, is_tied) = (Some((language, weight)), false),
        }
    }
    best.filter(|(language, weight)| !is_tied && *weight > 0 && *language != b"*")
        .map(|(language, _)| language)
}

/// Parses `q=0.5` (RFC 9110 §12.4.2).
fn weight_in_thousandths(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), fraction @ ..] = parameter else { return None };
    let digits = match fraction {
        [] => &[],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let thousandths =
        (0..3).fold(0, |sum, at| sum * 10 + digits.get(at).map_or(0, |digit| u16::from(digit - b'0')));
    Some((u16::from(whole - b'0') * 1000 + thousandths).min(1000))
}

#[cfg(test)]
#[path = "vary_tests.rs"]
mod tests;
