//! Percent-decoding of the key in the path and of the query.

use ringway_model::limits;

use super::finding::Finding;
use crate::problem::Problem;

/// Parses `name=value` pairs (WHATWG URL §5.1).
pub(crate) fn read_query(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .take(limits::FINDINGS_MAX)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, Plus::Space)?, decode(value, Plus::Space)?))
        })
        .collect()
}

/// Meaning of a plus sign: in queries, and only there, a space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    Literal,
    Space,
}

/// Percent-decodes (RFC 3986 §2.1) into UTF-8.
pub(crate) fn decode(text: &str, plus: Plus) -> Result<String, Problem> {
    let malformed = || {
        Problem::findings(vec![Finding {
            field: "(target)".to_owned(),
            code: "invalid",
            message: "must be percent-encoded UTF-8".to_owned(),
            pointer: None,
        }])
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2).ok_or_else(malformed)?;
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = digit(digits[0]).zip(digit(digits[1])).ok_or_else(malformed)?;
                bytes.push((high << 4 | low) as u8);
                rest = tail;
            }
            b'+' if plus == Plus::Space => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queries_are_decoded() {
        assert_eq!(
            read_query("a=1&b=%C3%A4+x&c&&d=%26%3d").unwrap(),
            [("a", "1"), ("b", "ä x"), ("c", ""), ("d", "&=")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1"] {
            assert!(read_query(query).is_err(), "{query}");
        }
        assert_eq!(decode("a+b", Plus::Literal).unwrap(), "a+b");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,64}") {
            let _ = read_query(&text);
        }
    }
}
