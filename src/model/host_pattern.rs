//! Host patterns of routes, in the tiers in which a request's host is looked up.

use std::fmt;
use std::sync::Arc;

use crate::{HostError, Hostname, limits};

/// Hosts that a route serves.
///
/// A request's host is looked up tier by tier, in the order of the variants; the first tier that knows it
/// decides, without falling through to a later one. Text forms: `api.example.com`, `*.example.com` (one
/// label), `**.example.com` (one or more labels), a regular expression of the whole host, `*` (any host).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// One name.
    Exact(Hostname),
    /// All names with one more label: `*.example.com`.
    OneLabel(Hostname),
    /// All names with one or more further labels: `**.example.com`.
    Suffix(Hostname),
    /// All names that the regular expression matches as a whole, in lower case.
    Regex(Arc<str>),
    /// All hosts that no other pattern knows: the default host.
    Any,
}

/// Parse error of a [`HostPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPatternError {
    /// Neither a host name nor a pattern.
    Host(HostError),
    /// A wildcard elsewhere than in front of a name.
    Wildcard,
    /// A `~` before a regular expression.
    Tilde,
    /// A regular expression of more than [`limits::PATTERN_BYTES_MAX`] bytes.
    TooLong,
}

impl fmt::Display for HostPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => error.fmt(f),
            Self::Wildcard => f.write_str(
                "has a wildcard in a place where none is possible; write *.example.com for one label, \
                 **.example.com for one or more, or a regular expression such as [a-z]+\\.example\\.com or \
                 example\\.(com|org)",
            ),
            Self::Tilde => f.write_str(
                "begins with ~, which no host has; write the regular expression alone, as \
                 [a-z]+\\.example\\.com: it is compared with the whole host in lower case",
            ),
            Self::TooLong => {
                write!(f, "must not be longer than {} bytes as a pattern", limits::PATTERN_BYTES_MAX)
            }
        }
    }
}

impl std::error::Error for HostPatternError {}

impl HostPattern {
    /// Parses the text form. A text that is no host name is a regular expression when it has one of the
    /// characters ``\ ( ) [ ] { } + ? | ^ $``; its syntax is checked by the compiler. With none of them,
    /// `www.*.com` is no expression: its author means one label, and not any text.
    ///
    /// # Errors
    /// The text is neither a name nor a pattern.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let below = |name: &str| Hostname::parse(name).ok();
        if let Some(name) = text.strip_prefix("**.").and_then(below) {
            return Ok(Self::Suffix(name));
        }
        if let Some(name) = text.strip_prefix("*.").and_then(below) {
            return Ok(Self::OneLabel(name));
        }
        if text.starts_with('~') {
            return Err(HostPatternError::Tilde);
        }
        if text.contains(['\\', '(', ')', '[', ']', '{', '}', '+', '?', '|', '^', '$']) {
            return match text.len() <= limits::PATTERN_BYTES_MAX {
                true => Ok(Self::Regex(text.into())),
                false => Err(HostPatternError::TooLong),
            };
        }
        match Hostname::parse(text) {
            Ok(name) => Ok(Self::Exact(name)),
            Err(HostError::Wildcard) => Err(HostPatternError::Wildcard),
            Err(error) => Err(HostPatternError::Host(error)),
        }
    }

    /// The name, if the pattern is one.
    pub fn exact(&self) -> Option<&Hostname> {
        match self {
            Self::Exact(name) => Some(name),
            Self::OneLabel(_) | Self::Suffix(_) | Self::Regex(_) | Self::Any => None,
        }
    }

    /// Whether a host exists that both patterns match. A regular expression overlaps only with itself and
    /// with the names that it is compared with as text; the default host with itself.
    pub fn overlaps(&self, other: &Self) -> bool {
        use HostPattern::{Any, Exact, OneLabel, Regex, Suffix};
        let is_below = |name: &str, parent: &str| {
            name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        };
        let is_child = |name: &str, parent: &str| {
            is_below(name, parent) && !name[..name.len() - parent.len() - 1].contains('.')
        };
        match (self, other) {
            (Any, Any) => true,
            (Regex(a), Regex(b)) => a == b,
            (Exact(a), Exact(b)) | (OneLabel(a), OneLabel(b)) => a == b,
            (Exact(name), OneLabel(parent)) | (OneLabel(parent), Exact(name)) => {
                is_child(name.as_str(), parent.as_str())
            }
            (Exact(name), Suffix(parent)) | (Suffix(parent), Exact(name)) => {
                is_below(name.as_str(), parent.as_str())
            }
            (OneLabel(of), Suffix(parent)) | (Suffix(parent), OneLabel(of)) => {
                of == parent || is_below(of.as_str(), parent.as_str())
            }
            (Suffix(a), Suffix(b)) => {
                a == b || is_below(a.as_str(), b.as_str()) || is_below(b.as_str(), a.as_str())
            }
            (Any | Regex(_), _) | (_, Any | Regex(_)) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::OneLabel(name) => write!(f, "*.{name}"),
            Self::Suffix(name) => write!(f, "**.{name}"),
            Self::Regex(text) => f.write_str(text),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        let name = Hostname::parse("example.com").unwrap();
        for (text, expected) in [
            ("example.com", HostPattern::Exact(name.clone())),
            ("*.example.com", HostPattern::OneLabel(name.clone())),
            ("**.example.com", HostPattern::Suffix(name)),
            (".*\\.example\\.com", HostPattern::Regex(".*\\.example\\.com".into())),
            ("(a|b).example.com", HostPattern::Regex("(a|b).example.com".into())),
            ("*", HostPattern::Any),
        ] {
            let parsed = HostPattern::parse(text).unwrap();
            assert_eq!(parsed, expected);
            assert_eq!(HostPattern::parse(&parsed.to_string()), Ok(expected));
        }
        assert_eq!(HostPattern::parse("API.Example.com.").unwrap().to_string(), "api.example.com");
    }

    #[test]
    fn refuses_what_is_neither_name_nor_pattern() {
        for text in ["", "a b", "a_b.example", "http://a.example", "10.0.0.1", "a.example:80"] {
            assert!(matches!(HostPattern::parse(text), Err(HostPatternError::Host(_))), "{text}");
        }
        // Also those that other proxies take, and that would match more as a regular expression.
        for text in ["a*.example.com", "*a.example.com", "***.example.com", "a.*", "x.*.com", ".*.a.example"]
        {
            assert_eq!(HostPattern::parse(text), Err(HostPatternError::Wildcard), "{text}");
        }
        for text in [r"~^(www\.)?a\.example$", "~a.example", r"~*.*\.example"] {
            assert_eq!(HostPattern::parse(text), Err(HostPatternError::Tilde), "{text}");
        }
        assert!(HostPatternError::Tilde.to_string().contains(r"[a-z]+\.example\.com"));
        let long = "a+".repeat(limits::PATTERN_BYTES_MAX);
        assert_eq!(HostPattern::parse(&long), Err(HostPatternError::TooLong));
    }

    #[test]
    fn patterns_overlap_where_one_host_matches_both() {
        let pattern = |text: &str| HostPattern::parse(text).unwrap();
        for (a, b, expected) in [
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("a.example", "*.example", true),
            ("b.a.example", "*.example", false),
            ("b.a.example", "**.example", true),
            ("example", "**.example", false),
            ("notexample.com", "*.example.com", false),
            ("*.example", "*.example", true),
            ("*.a.example", "*.example", false),
            ("*.a.example", "**.example", true),
            ("*.example", "**.example", true),
            ("*.example", "**.a.example", false),
            ("**.a.example", "**.example", true),
            ("**.a.example", "**.b.example", false),
            ("*", "a.example", false),
            ("*", "*", true),
            ("[a-z]+\\.example", "a.example", false),
        ] {
            assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a} and {b}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b} and {a}");
        }
    }
}
