//! Nearest known name of a mistyped one.

/// The known name that was probably meant: one that differs by few keystrokes, or by case and separators
/// only.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let folded = fold(name);
    known
        .into_iter()
        .filter(|known| known.len() <= NAME_BYTES_MAX)
        .filter_map(|known| {
            let distance = match fold(known) == folded {
                true => 0,
                false => strsim::osa_distance(name, known),
            };
            (distance <= 1.max(name.len().min(known.len()) / 3)).then_some((distance, known))
        })
        // Of several that are as near, always the same one.
        .min()
        .map(|(_, known)| known)
}

/// `pathPrefix`, `path-prefix` and `path_prefix` are alike.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Bytes of a compared name: the comparison takes time of the product of both lengths.
const NAME_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_and_other_spellings_only() {
        let known = ["host", "path", "path_prefix", "path_regex", "pool"];
        for (name, expected) in [
            ("hosts", Some("host")),
            ("hots", Some("host")),
            ("pathPrefix", Some("path_prefix")),
            ("path-prefix", Some("path_prefix")),
            ("PATH", Some("path")),
            ("poll", Some("pool")),
            ("upstream", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest(&"p".repeat(10_000), known), None);
    }
}
