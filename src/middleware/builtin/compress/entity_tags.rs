//! Entity tags of coded responses (RFC 9110 §8.8.3).

/// Longest list of tags that is made longer.
const LIST_BYTES_MAX: usize = 4096;

/// Whether a value is one strong tag.
pub(crate) fn is_strong(tag: &[u8]) -> bool {
    matches!(tag, [b'"', inner @ .., b'"'] if !inner.contains(&b'"'))
}

/// The list of the received tags in which a weak tag is followed by its strong form. `None` where it has no
/// weak tag, is invalid or too long: then it goes as it came.
pub(crate) fn with_strong_forms<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let (mut list, mut has_weak) = (Vec::new(), false);
    for tag in lines.flat_map(split) {
        let strong = tag.strip_prefix(b"W/").filter(|strong| is_strong(strong));
        if strong.is_none() && !is_strong(tag) || list.len() + 2 * tag.len() > LIST_BYTES_MAX {
            return None;
        }
        has_weak |= strong.is_some();
        for form in [Some(tag), strong].into_iter().flatten() {
            if !list.is_empty() {
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(form);
        }
    }
    has_weak.then_some(list)
}

/// Members of a list of tags. A tag may have commas within its quotes.
pub(crate) fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let is_end = move |byte: &u8| {
        is_quoted ^= *byte == b'"';
        *byte == b',' && !is_quoted
    };
    line.split(is_end).map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(lines: &[&'static str]) -> Option<String> {
        let list = with_strong_forms(lines.iter().map(|line| line.as_bytes()))?;
        Some(String::from_utf8_lossy(&list).into_owned())
    }

    #[test]
    fn weak_tags_get_their_strong_form_beside_them() {
        for (lines, expected) in [
            (&[r#"W/"a""#][..], Some(r#"W/"a", "a""#)),
            (&[r#"W/"a", "b""#], Some(r#"W/"a", "a", "b""#)),
            (&[r#""b""#, r#"W/"a,c""#], Some(r#""b", W/"a,c", "a,c""#)),
            (&[r#"W/"""#], Some(r#"W/"", """#)),
            (&[r#""a""#], None),
            (&[], None),
            (&["*"], None),
            // Invalid: not to be repaired.
            (&[r#"W/"a", b"#], None),
            (&[r#"W/"a"#], None),
            (&[r#"w/"a""#], None),
            (&[r#"W/"a" "b""#], None),
        ] {
            assert_eq!(forms(lines).as_deref(), expected, "{lines:?}");
        }
        let long: Vec<u8> = (0..500).flat_map(|number| format!("W/\"{number}\",").into_bytes()).collect();
        assert_eq!(with_strong_forms([&*long].into_iter()), None);
    }

    #[test]
    fn a_strong_tag_is_quoted_once() {
        for (tag, expected) in [
            (&b"\"a\""[..], true),
            (b"\"\"", true),
            (b"W/\"a\"", false),
            (b"a", false),
            (b"\"", false),
            (b"\"a\"b\"", false),
        ] {
            assert_eq!(is_strong(tag), expected, "{tag:?}");
        }
    }
}
