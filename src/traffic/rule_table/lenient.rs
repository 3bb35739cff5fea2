//! Paths as lenient servers read them, for hosts whose rules protect some paths and others not, or otherwise.
//!
//! A path that is normal for this gateway may be another one for an endpoint: many ignore case, cut `;x` off,
//! or decode twice. A request that such an endpoint would take for one of a protected rule is refused, unless
//! its own rule protects it in the same way.

use ringway_wire::path::hex;

use super::conditions::{PathTest, Request};
use super::index::Index;
use super::{LINEAR_ROWS_MAX, Row, first_match};
use crate::virtual_host::Rule;

/// Rules whose paths are as lenient servers read them.
#[derive(Debug)]
pub(super) struct LenientRules {
    rows: Box<[Row]>,
    index: Option<Index>,
    has_patterns: bool,
    /// Whether the paths of rules are read alike by all servers.
    is_plain: bool,
}

impl LenientRules {
    /// `None` where all rules protect their paths in the same way, or none does.
    pub(super) fn new(rows: &[Row]) -> Option<Self> {
        let (first, others) = rows.split_first()?;
        if others.iter().all(|row| row.rule.is_guarded_as(&first.rule)) {
            return None;
        }
        let mut is_plain = true;
        let mut lenient = |row: &Row| {
            let mut read = |path: &str| {
                let folded = Reading::new(path.as_bytes()).folded();
                is_plain &= folded == path;
                folded.into()
            };
            let path = match &row.conditions.path {
                PathTest::Exact(path) => PathTest::Exact(read(path)),
                PathTest::Prefix(prefix) => PathTest::Prefix(read(prefix)),
                other => other.clone(),
            };
            let mut row = row.clone();
            row.conditions.path = path;
            row
        };
        let rows: Box<[Row]> = rows.iter().map(&mut lenient).collect();
        let index = (rows.len() > LINEAR_ROWS_MAX).then(|| Index::new(&rows));
        let has_patterns = rows.iter().any(|row| matches!(row.conditions.path, PathTest::Pattern(_)));
        Some(Self { rows, index, has_patterns, is_plain })
    }

    /// Whether some server would take the request, for which `found` is the rule, for one of another rule
    /// that protects its path otherwise. One scan of a path that all servers read alike.
    pub(super) fn is_ambiguous(&self, found: &Rule, request: &Request<'_>) -> bool {
        if self.is_plain && is_unambiguous(request.path.as_bytes()) {
            return false;
        }
        let is_other = |path: &str| {
            let row = first_match(&self.rows, self.index.as_ref(), &request.at(path));
            row.is_some_and(|row| row.rule.is_guarded() && !row.rule.is_guarded_as(found))
        };
        let mut path = request.path.as_bytes().to_vec();
        for _ in 0..=DECODES_MAX {
            let reading = Reading::new(&path);
            // Patterns are matched as they stand: against either case, with a slash at the end and without.
            let is_of_pattern = || {
                let forms = [reading.0.clone(), format!("{}/", reading.0), format!("{}/", reading.folded())];
                self.has_patterns && forms.iter().any(|path| is_other(path))
            };
            if is_other(&reading.folded()) || is_of_pattern() {
                return true;
            }
            let decoded = decode(&path);
            if decoded == path {
                return false;
            }
            path = decoded;
        }
        // Escaped more often than any server decodes.
        true
    }
}

/// Most times that a path may be escaped.
const DECODES_MAX: usize = 3;

/// Whether all servers read a normal path alike: without capitals, escapes and parameters, and no segment
/// ends in a dot or is empty.
fn is_unambiguous(path: &[u8]) -> bool {
    let is_plain =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-_~.!$&'()*+,=:@".contains(byte);
    let ends_plainly = |segment: &[u8]| !matches!(segment.last(), None | Some(b'.'));
    path == b"/" || path.iter().all(is_plain) && path.split(|byte| *byte == b'/').skip(1).all(ends_plainly)
}

/// A path as a server reads it that cuts parameters, takes a backslash for a slash, a look-alike for the
/// character and NUL for the end, and drops empty segments, and dots and spaces at the end of a segment.
struct Reading(String);

impl Reading {
    fn new(path: &[u8]) -> Self {
        let mut path = without_look_alikes(path);
        let end = path.iter().position(|byte| b"\0?#".contains(byte)).unwrap_or(path.len());
        path.truncate(end);
        let mut segments: Vec<&[u8]> = Vec::new();
        for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
            let segment = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            let segment = trim(segment, |byte| byte <= b' ');
            match segment {
                b"" | b"." => {}
                b".." => _ = segments.pop(),
                segment => {
                    let end = segment.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
                    segments.extend(end.map(|end| &segment[..=end]));
                }
            }
        }
        let mut text = String::new();
        for segment in segments {
            text.push('/');
            for byte in segment {
                match byte {
                    b'!'..=b'~' => text.push(char::from(*byte)),
                    byte => text.push_str(&format!("%{byte:02X}")),
                }
            }
        }
        if text.is_empty() {
            text.push('/');
        }
        Self(text)
    }

    /// The same where case does not matter.
    fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

fn trim(mut text: &[u8], is_trimmed: impl Fn(u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_trimmed(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_trimmed(*last)
    {
        text = rest;
    }
    text
}

/// Decodes all escapes once, those of the form `%u0061` too.
fn decode(path: &[u8]) -> Vec<u8> {
    let digits = |digits: &[u8]| {
        digits.iter().try_fold(0, |value: u32, digit| Some(value << 4 | u32::from(hex(*digit)?)))
    };
    let (mut out, mut rest) = (Vec::with_capacity(path.len()), path);
    while let [byte, tail @ ..] = rest {
        let (escaped, len) = match tail {
            [b'u' | b'U', four @ ..] if *byte == b'%' => (four.get(..4).and_then(digits), 6),
            two if *byte == b'%' => (two.get(..2).and_then(digits), 3),
            _ => (None, 1),
        };
        match escaped.map(u8::try_from) {
            Some(Ok(value)) => {
                out.push(value);
                rest = &rest[len..];
            }
            _ => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

/// ASCII in place of its overlong and full-width forms in UTF-8.
fn without_look_alikes(path: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(path.len()), path);
    while let [first, tail @ ..] = rest {
        let (byte, len) = match rest {
            [0xc0..=0xc1, low, ..] => ((first & 1) << 6 | low & 0x3f, 2),
            [0xe0, high @ 0x80..=0x81, low, ..] | [0xf0, 0x80, high @ 0x80..=0x81, low, ..] => {
                ((high & 1) << 6 | low & 0x3f, if *first == 0xe0 { 3 } else { 4 })
            }
            // U+FF01 to U+FF5E.
            [0xef, 0xbc, low @ 0x81..=0xbf, ..] => (low - 0x60, 3),
            [0xef, 0xbd, low @ 0x80..=0x9e, ..] => (low - 0x20, 3),
            _ => (*first, 1),
        };
        out.push(byte);
        rest = if len == 1 { tail } else { &rest[len..] };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_lenient_servers_do() {
        for (path, expected) in [
            ("/", "/"),
            ("/admin/", "/admin"),
            ("/a;x=1/b;y", "/a/b"),
            ("/a.b/c..d", "/a.b/c..d"),
            ("/admin./x...", "/admin/x"),
            ("//a/\\b", "/a/b"),
            ("/a/..\\b", "/b"),
            ("/\u{ff41}/\u{ff0f}b", "/a/b"),
            ("/\u{e9}", "/%C3%A9"),
        ] {
            assert_eq!(Reading::new(path.as_bytes()).0, expected, "{path}");
        }
        assert_eq!(Reading::new(b"/\xc0\xaeadmin\xe0\x80\xafx\xf0\x80\x81\xa1").0, "/.admin/xa");
        assert_eq!(Reading::new(b"/a\0b").0, "/a");
        assert_eq!(Reading::new(b"/ .. /b\t").0, "/b");
        assert_eq!(decode(b"/%2561%u0062%zz%"), b"/%61b%zz%");
    }

    #[test]
    fn paths_that_all_servers_read_alike_are_known_at_once() {
        for path in ["/", "/users/42", "/a.b/c-d_e~f", "/a=1,b:c@d"] {
            assert!(is_unambiguous(path.as_bytes()), "{path}");
        }
        for path in ["/A", "/a;", "/a%20", "/a/", "/a.", "/a//b"] {
            assert!(!is_unambiguous(path.as_bytes()), "{path}");
        }
    }
}
