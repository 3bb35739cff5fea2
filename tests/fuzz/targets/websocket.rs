//! Frame boundaries: the same however the bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::websocket::Boundaries;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Boundaries::default();
    whole.advance(bytes);
    let mut drip = Boundaries::default();
    for byte in bytes {
        drip.advance(&[*byte]);
    }
    assert_eq!(whole.is_at_boundary(), drip.is_at_boundary());
    assert_eq!((whole.is_broken(), whole.has_seen_close()), (drip.is_broken(), drip.has_seen_close()));
});
