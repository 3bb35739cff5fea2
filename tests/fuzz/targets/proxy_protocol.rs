//! A PROXY header: one verdict however it is split, and never a byte read too much.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::proxy_protocol::{HeaderError, Step, parse};

fuzz_target!(|bytes: &[u8]| {
    let mut end = 0;
    while end <= bytes.len() {
        match parse(&bytes[..end]) {
            Ok(Step::Need(more)) => {
                assert!(more > 0);
                // Nothing shorter than what is needed is whole.
                for shorter in end..(end + more).min(bytes.len()) {
                    assert!(!matches!(parse(&bytes[..shorter]), Ok(Step::Done(_))));
                }
                end += more;
            }
            Ok(Step::Done(_)) => {
                assert!(end == bytes.len() || parse(bytes) == Err(HeaderError::Beyond));
                return;
            }
            Err(_) => {
                assert!(parse(bytes).is_err());
                return;
            }
        }
    }
});
