//! HTTP dates in their three forms.

use ringway_cache::control::parse_http_date;
use ringway_model::Timestamp;

/// 2026-11-30T12:00:00Z
const NOW: Timestamp = Timestamp(1_796_040_000_000);

/// A date has the same time in any case, and when it is written and read back.
pub(crate) fn check(bytes: &[u8]) {
    let parsed = parse_http_date(bytes, NOW);
    assert_eq!(parsed, parse_http_date(&bytes.to_ascii_uppercase(), NOW));
    assert_eq!(parsed, parse_http_date(&bytes.to_ascii_lowercase(), NOW));
    if let Some(seconds) = parsed.and_then(|seconds| u64::try_from(seconds).ok()) {
        let written = Timestamp(seconds * 1_000).to_http_date();
        // A leap second at the end of the year 9999 has a year of five digits.
        if written.len() == 29 {
            assert_eq!(parse_http_date(written.as_bytes(), NOW), parsed);
        }
    }
}
