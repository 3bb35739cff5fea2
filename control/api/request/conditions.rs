//! Conditions of a change: `If-Match`, `Idempotency-Key` and `Prefer`.

use std::sync::Arc;

use ringway_control::Idempotency;
use ringway_model::Revision;
use ringway_wire::headers::list_elements;

use crate::limits;
use crate::problem::{Kind, Problem};

/// Conditions of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// Accepted present revisions; none means any.
    pub(crate) if_match: Option<Vec<Revision>>,
    /// Idempotency key and hash of the request.
    pub(crate) idempotency: Option<Idempotency>,
    /// Whether the client prefers the object to an empty response.
    pub(crate) wants_representation: bool,
}

/// Parses `If-Match` (RFC 9110 §13.1.1). `*` is no condition, because the configuration always exists; weak
/// and foreign tags match nothing.
pub(crate) fn if_match(values: &[&[u8]]) -> Result<Option<Vec<Revision>>, Problem> {
    let elements: Vec<&[u8]> = values.iter().flat_map(|value| list_elements(value)).collect();
    if values.is_empty() || elements == [b"*"] {
        return Ok(None);
    }
    let malformed = || {
        let detail = "If-Match must be * or a list of entity tags, as in If-Match: \"12\"";
        Problem::new(Kind::BadHeader, detail)
    };
    if elements.is_empty() {
        return Err(malformed());
    }
    let mut revisions = Vec::new();
    for element in elements {
        let (is_weak, tag) = match element.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, element),
        };
        let inner = tag.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\"")).ok_or_else(malformed)?;
        if inner.contains(&b'"') {
            return Err(malformed());
        }
        let is_ours = !is_weak && inner.iter().all(u8::is_ascii_digit);
        if let Some(number) = std::str::from_utf8(inner).ok().filter(|_| is_ours).and_then(|n| n.parse().ok())
        {
            revisions.push(Revision(number));
        }
    }
    Ok(Some(revisions))
}

/// Parses `If-Match` with the version of an owner's configuration: one strong tag. `*` is no condition.
pub(crate) fn if_match_version(values: &[&[u8]]) -> Result<Option<Arc<str>>, Problem> {
    let malformed = || {
        let detail = "If-Match must be * or the version of the owner's configuration, as in If-Match: \"3f2a90c4d1e7\"";
        Problem::new(Kind::BadHeader, detail)
    };
    let value = match values {
        [] | [b"*"] => return Ok(None),
        [value] => *value,
        _ => return Err(malformed()),
    };
    let tag = value.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\"")).ok_or_else(malformed)?;
    let is_version =
        (1..=limits::API_KEY_BYTES_MAX).contains(&tag.len()) && tag.iter().all(u8::is_ascii_alphanumeric);
    match std::str::from_utf8(tag) {
        Ok(text) if is_version => Ok(Some(text.into())),
        _ => Err(malformed()),
    }
}

/// Parses `Idempotency-Key`: one field of visible ASCII, quoted or not.
pub(crate) fn idempotency_key(values: &[&[u8]]) -> Result<Option<String>, Problem> {
    let malformed = || {
        let detail = format!(
            "Idempotency-Key must be 1 to {} visible ASCII characters, once",
            limits::API_KEY_BYTES_MAX
        );
        Problem::new(Kind::BadHeader, detail)
    };
    let value = match values {
        [] => return Ok(None),
        [value] => *value,
        _ => return Err(malformed()),
    };
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    let is_fine = (1..=limits::API_KEY_BYTES_MAX).contains(&value.len())
        && value.iter().all(|b| b.is_ascii_graphic() && *b != b'"');
    match std::str::from_utf8(value) {
        Ok(text) if is_fine => Ok(Some(text.to_owned())),
        _ => Err(malformed()),
    }
}

/// Parses `Prefer: return=representation` (RFC 7240 §4.2). The first `return` counts (§2); unknown
/// preferences are ignored.
pub(crate) fn wants_representation(values: &[&[u8]]) -> bool {
    let value_of_return = |element: &[u8]| {
        // Parameters after a semicolon are ignored.
        let preference = element.split(|byte| *byte == b';').next()?;
        let (name, value) = preference.split_at_checked(preference.iter().position(|byte| *byte == b'=')?)?;
        let value = value[1..].trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        name.trim_ascii().eq_ignore_ascii_case(b"return").then(|| value == b"representation")
    };
    values.iter().flat_map(|value| list_elements(value)).find_map(value_of_return).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entity_tags_are_parsed() {
        let read = |text: &str| if_match(&[text.as_bytes()]).map_err(|problem| problem.kind);
        assert_eq!(if_match(&[]), Ok(None));
        assert_eq!(read("*"), Ok(None));
        assert_eq!(read("\"12\""), Ok(Some(vec![Revision(12)])));
        assert_eq!(read("\"12\", \"13\""), Ok(Some(vec![Revision(12), Revision(13)])));
        assert_eq!(read("W/\"12\""), Ok(Some(vec![])));
        assert_eq!(read("\"abc\""), Ok(Some(vec![])));
        assert_eq!(read("\"99999999999999999999\""), Ok(Some(vec![])));
        for text in ["", "12", "\"12", "12\"", "*, \"1\"", "\"", "\"1\"\"2\"", "w/\"1\""] {
            assert_eq!(read(text), Err(Kind::BadHeader), "{text:?}");
        }
    }

    #[test]
    fn idempotency_keys_are_bounded_and_single() {
        let read = |text: &str| idempotency_key(&[text.as_bytes()]).map_err(|problem| problem.kind);
        assert_eq!(idempotency_key(&[]), Ok(None));
        assert_eq!(read("abc"), Ok(Some("abc".into())));
        assert_eq!(read("\"abc\""), Ok(Some("abc".into())));
        assert!(read(&"x".repeat(limits::API_KEY_BYTES_MAX)).is_ok());
        for text in ["", "\"\"", "a b", "\"a", "ä", &"x".repeat(limits::API_KEY_BYTES_MAX + 1)] {
            assert_eq!(read(text), Err(Kind::BadHeader), "{text:?}");
        }
        assert!(idempotency_key(&[b"a", b"a"]).is_err());
    }

    #[test]
    fn the_first_return_preference_counts() {
        for text in [
            "return=representation",
            "Return = \"representation\"",
            "respond-async, wait=100, return=representation; x=y",
            "return=representation, return=minimal",
        ] {
            assert!(wants_representation(&[text.as_bytes()]), "{text}");
        }
        for text in [
            "",
            "return",
            "return=minimal",
            "return=minimal, return=representation",
            "x; return=representation",
        ] {
            assert!(!wants_representation(&[text.as_bytes()]), "{text}");
        }
        assert!(wants_representation(&[b"wait=1", b"return=representation"]));
        assert!(!wants_representation(&[]));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = if_match(&[&bytes]);
            let _ = idempotency_key(&[&bytes]);
            let _ = wants_representation(&[&bytes]);
        }
    }
}
