//! Known names in the environment, and the one that a misspelt name probably means.

use super::catalogue::{ALL, ELSEWHERE, LATER};
use super::setting::{DOCUMENTED_PREFIX, SPECIFIC_PREFIXES};

/// All known names in the environment.
pub(crate) fn known_names() -> impl Iterator<Item = String> {
    let ours = ALL.iter().flat_map(|setting| setting.variables().map(|(variable, _)| variable.to_string()));
    ours.chain(LATER.iter().chain(ELSEWHERE).map(|name| (*name).to_owned()))
}

/// Whether a name in the environment is meant for ringway.
pub(crate) fn is_ours(name: &str) -> bool {
    SPECIFIC_PREFIXES.iter().chain(&["HEALTH_CHECK_", "HEARTBEAT_"]).any(|prefix| name.starts_with(prefix))
}

/// Returns the known name that is nearest to a misspelt one, if one is near enough.
pub(crate) fn nearest(name: &str) -> Option<String> {
    let stem = SPECIFIC_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    // The wrong prefix of a setting, or our prefix before one of its aliases.
    let same_stem = ALL.iter().find(|setting| {
        let mut stems = setting.aliases.iter().filter_map(|alias| alias.name.strip_prefix(DOCUMENTED_PREFIX));
        stem.is_some_and(|stem| stem == setting.stem() || stems.any(|alias| alias == stem))
    });
    let is_known = known_names().any(|known| known == name);
    if let (Some(setting), false) = (same_stem, is_known) {
        return Some(setting.own_name().to_string());
    }
    known_names()
        .map(|known| (distance(name.as_bytes(), known.as_bytes()), known))
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Levenshtein distance. Quadratic in the lengths; names longer than any known one are cut, because they are
/// far from all of them anyway.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let left = &left[..left.len().min(NAME_BYTES_MAX)];
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(a != b)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[right.len()]
}

/// Most letters that differ in a misspelt name; beyond it, a hint misleads.
const DISTANCE_MAX: usize = 4;
/// Longer than every known name by more than [`DISTANCE_MAX`].
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_its_own_nearest() {
        for name in known_names() {
            assert_eq!(nearest(&name).as_ref(), Some(&name));
        }
    }

    #[test]
    fn a_misspelt_name_finds_its_setting() {
        for (misspelt, meant) in [
            ("PROXY_HTPP_PORT", "PROXY_HTTP_PORT"),
            ("RINGWAY_HTPP_PORT", "RINGWAY_HTTP_PORT"),
            ("RINGWAY_LOGLEVEL", "RINGWAY_LOG_LEVEL"),
            ("PROXY_WORKER", "PROXY_WORKERS"),
            ("HEALTH_CHECK_INTERVALL", "HEALTH_CHECK_INTERVAL"),
            ("RINGWAY_PORT", "RINGWAY_HTTP_PORT"),
            ("RINGWAY_BODY_LIMIT", "RINGWAY_BODY_MAX"),
            ("PROXY_ACME_DIRECTORY_URL", "RINGWAY_ACME_DIRECTORY_URL"),
        ] {
            assert_eq!(nearest(misspelt).as_deref(), Some(meant), "{misspelt}");
        }
        assert_eq!(nearest("PROXY_SOMETHING_ELSE_ENTIRELY"), None);
        assert_eq!(nearest(&"PROXY_".repeat(1000)), None);
    }

    #[test]
    fn only_names_with_our_prefixes_are_ours() {
        assert!(is_ours("RINGWAY_X") && is_ours("PROXY_X") && is_ours("HEALTH_CHECK_X"));
        assert!(!is_ours("PATH") && !is_ours("HTTP_PROXY") && !is_ours("http_proxy"));
    }
}
