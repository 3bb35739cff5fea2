//! Uploaded certificate and key: exactly the checked content is stored.
//!
//! Chain and key stand before and behind a line `=`; without one, the whole is taken for both.

use ringway_certs::fuzzing::upload;
use ringway_model::{Hostname, Timestamp};

/// In 2027.
const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub(crate) fn check(bytes: &[u8]) {
    let host = Hostname::parse("a.test").expect("a name");
    let (chain, key) = match bytes.windows(3).position(|window| window == b"\n=\n") {
        Some(at) => (&bytes[..=at], &bytes[at + 3..]),
        None => (bytes, bytes),
    };
    match upload(&host, chain, key, NOW) {
        Err(error) => assert!(!error.to_string().contains("PRIVATE KEY-----\nM"), "a key is told"),
        Ok((stored_chain, stored_key, identity)) => {
            assert!(identity.facts().covers("a.test") && identity.facts().is_valid_at(NOW));
            let (chain_again, key_again, same) =
                upload(&host, &stored_chain, &stored_key, NOW).expect("what was stored");
            assert_eq!(same.facts(), identity.facts(), "another certificate was judged");
            assert_eq!((chain_again, key_again), (stored_chain.clone(), stored_key.clone()));
            let count =
                |text: &[u8], part: &[u8]| text.windows(part.len()).filter(|window| *window == part).count();
            assert_eq!(count(&stored_chain, b"PRIVATE KEY"), 0, "a key in the chain");
            assert_eq!(count(&stored_key, b"-----BEGIN "), 1, "more than a key");
            // One file, as it lies on the disk.
            let one_file = [stored_chain, stored_key].concat();
            let (.., served) = upload(&host, &one_file, &one_file, NOW).expect("as it is read");
            assert_eq!(served.facts(), identity.facts());
        }
    }
}
