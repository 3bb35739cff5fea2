//! Negotiation of content codings: refusals hold, whatever stands beside them, and lines are one list.

use ringway_compress::{AcceptEncoding, Choice, Coding};

pub(crate) fn check(bytes: &[u8]) {
    let lines = || bytes.split(|byte| *byte == b'\n');
    let accepted = AcceptEncoding::parse(lines());
    let joined = lines().collect::<Vec<_>>().join(&b',');
    assert_eq!(accepted, AcceptEncoding::parse([&*joined]), "several lines are one list");

    let all = accepted.choose(&Coding::ALL);
    for coding in Coding::ALL {
        let alone = accepted.choose(&[coding]);
        assert!(alone == Choice::Identity || alone == Choice::Coded(coding), "only what is offered");
        if all == Choice::Coded(coding) {
            assert_eq!(alone, all, "a coding that wins is acceptable");
        }
        // A client that refuses a coding does not get it, wherever the refusal stands.
        let refusal = format!("{};q=0", coding.as_str());
        for list in [[refusal.as_bytes(), &*joined], [&*joined, refusal.as_bytes()]] {
            assert_ne!(AcceptEncoding::parse(list).choose(&Coding::ALL), Choice::Coded(coding));
        }
    }
    assert_eq!(accepted.choose(&[]), Choice::Identity);
    if !joined.iter().any(u8::is_ascii_alphabetic) && !joined.contains(&b'*') {
        assert_eq!(all, Choice::Identity, "no name, no coding");
    }
}
