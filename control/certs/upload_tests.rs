#![allow(clippy::unwrap_used)]

use super::*;
use crate::files::Pair;
use crate::testing::{host, issue, valid_pair};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn check(pair: &Pair) -> Result<Identity, UploadError> {
    check_upload(&host("shop.example.com"), &pair.chain, &pair.key, NOW).map(|(_, identity)| identity)
}

#[test]
fn a_valid_pair_is_accepted() {
    let identity = check(&valid_pair(&["shop.example.com", "www.shop.example.com"])).unwrap();
    assert!(identity.facts().names.iter().any(|name| name == "www.shop.example.com"));
    assert!(check(&valid_pair(&["*.example.com"])).is_ok(), "one label of a wildcard");
}

#[test]
fn reports_wrong_names() {
    for names in [&["other.example.com"][..], &["*.shop.example.com"], &["*.com"], &["example.com"]] {
        let error = check(&valid_pair(names)).unwrap_err();
        assert!(matches!(error, UploadError::WrongName { .. }), "{names:?}: {error}");
        let text = error.to_string();
        assert!(
            text.starts_with("certificate: ") && text.contains(names[0]) && text.contains("shop.example.com")
        );
    }
    let many: Vec<String> = (0..30).map(|n| format!("n{n}.example.com")).collect();
    let error =
        check(&valid_pair(&many.iter().map(String::as_str).collect::<Vec<_>>())).unwrap_err().to_string();
    assert!(error.ends_with("and 25 more"), "{error}");
}

#[test]
fn reports_a_wrong_validity() {
    let expired = check(&issue(&["shop.example.com"], 2020, 2021)).unwrap_err();
    assert_eq!(expired.to_string(), "certificate: it has expired on Fri, 01 Jan 2021 00:00:00 GMT");
    let early = check(&issue(&["shop.example.com"], 2099, 2100)).unwrap_err();
    assert!(matches!(early, UploadError::NotYetValid(_)), "{early}");
    // Both sides of both limits.
    let pair = issue(&["shop.example.com"], 2020, 2021);
    let at = |now| check_upload(&host("shop.example.com"), &pair.chain, &pair.key, Timestamp(now));
    let (begin, end) = (1_577_836_800_000, 1_609_459_200_000);
    assert!(at(begin).is_ok() && at(begin - 1).is_err());
    // The last second is included.
    assert!(at(end + 999).is_ok() && at(end + 1000).is_err());
}

#[test]
fn names_the_invalid_part() {
    let (one, other) = (valid_pair(&["shop.example.com"]), valid_pair(&["shop.example.com"]));
    for (chain, key, part) in [
        (&one.chain, &other.key, "key"),
        (&one.key, &one.key, "certificate"),
        (&one.chain, &one.chain, "key"),
        (&Vec::new(), &one.key, "certificate"),
        (&one.chain, &Vec::new(), "key"),
        (
            &b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
            &one.key,
            "certificate",
        ),
    ] {
        let error = check(&Pair { chain: chain.clone(), key: key.clone() }).unwrap_err();
        assert!(matches!(error, UploadError::Invalid(_)), "{error}");
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn reports_a_chain_in_the_wrong_order() {
    let pair = valid_pair(&["shop.example.com"]);
    let text = String::from_utf8(pair.chain.clone()).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let at = text.find(end).unwrap() + end.len();
    let (leaf, ca) = text.split_at(at);
    let turned = Pair { chain: format!("{}{leaf}", ca.trim_start()).into_bytes(), key: pair.key.clone() };
    assert!(matches!(check(&turned).unwrap_err(), UploadError::Invalid(_)));
}

#[test]
fn a_chain_and_a_key_in_one_text_may_be_given_twice() {
    let pair = valid_pair(&["shop.example.com"]);
    let both = [&b"a remark\n"[..], &pair.key, b"\r\n", &pair.chain].concat();
    let (stored, identity) = check_upload(&host("shop.example.com"), &both, &both, NOW).unwrap();
    assert_eq!((&stored.chain, &stored.key), (&pair.chain, &pair.key), "each part once, without comments");
    assert!(identity.facts().covers("shop.example.com"));
}
