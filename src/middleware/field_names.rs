//! Sets of names of header fields, compared as servers compare variables.

/// Names of header fields. Case and punctuation do not matter: many apps read `X_User` as `X-User`. An empty
/// set has no heap memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames(Box<[Box<str>]>);

impl FieldNames {
    /// Returns the set of these names.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut folded: Vec<Box<str>> = names.map(fold).collect();
        folded.sort_unstable();
        folded.dedup();
        Self(folded.into())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name is one of them, however it is spelled.
    pub fn contain(&self, name: &[u8]) -> bool {
        self.0.iter().any(|known| is_folded(name, known))
    }

    /// The names, in lower case, with `-` for other punctuation.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

/// Whether a name has punctuation other than `-`, so that it may be another spelling of a usual name.
pub(crate) fn is_unusual(name: &[u8]) -> bool {
    !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn fold(name: &str) -> Box<str> {
    name.bytes().map(|byte| char::from(fold_byte(byte))).collect()
}

fn fold_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Whether a name is another one, which is folded, however it is spelled.
pub(crate) fn is_folded(name: &[u8], folded: &str) -> bool {
    name.len() == folded.len() && name.iter().copied().map(fold_byte).eq(folded.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_punctuation_do_not_matter() {
        let names = FieldNames::new(["X-User", "x_user", "X-Role"].into_iter());
        assert_eq!(names.iter().collect::<Vec<_>>(), ["x-role", "x-user"]);
        for name in ["X-User", "x_user", "X.USER", "x~role"] {
            assert!(names.contain(name.as_bytes()), "{name}");
        }
        for name in ["XUser", "X-User-", "X--User", ""] {
            assert!(!names.contain(name.as_bytes()), "{name}");
        }
        assert!(is_unusual(b"X.User") && !is_unusual(b"X-User"));
        assert!(!FieldNames::default().contain(b"X-User"));
    }
}
