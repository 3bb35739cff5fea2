//! `Range` of a request.

use ringway_cache::control::{ByteRange, RangeRequest};

/// A range selects existing bytes only, and says the same when it is written and read back.
pub(crate) fn check(bytes: &[u8]) {
    let RangeRequest::One(range) = RangeRequest::parse(bytes) else { return };
    for len in [0, 1, 8, 1 << 40, u64::MAX] {
        if let Some(selected) = range.resolve(len) {
            assert!(selected.start < selected.end && selected.end <= len, "{range:?} of {len}");
        }
    }
    let written = match range {
        ByteRange::FromTo(first, last) => format!("bytes={first}-{last}"),
        ByteRange::From(first) => format!("bytes={first}-"),
        ByteRange::Last(count) => format!("bytes=-{count}"),
    };
    assert_eq!(RangeRequest::parse(written.as_bytes()), RangeRequest::One(range));
    assert_eq!(RangeRequest::parse(format!("{written}, 0-0").as_bytes()), RangeRequest::Several);
}
