//! Samples: their content and their bounds.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use ringway_wire::h1::{Limits, Parse};

fn parse(head: &[u8]) -> RequestHead {
    let mut request = RequestHead::default();
    assert_eq!(request.parse(head, &Limits::default()).unwrap(), Parse::Complete);
    request
}

fn sample(head: &str) -> Option<String> {
    let mut samples = Samples::default();
    samples.record(&parse(head.as_bytes()), head.as_bytes());
    samples.copy().iter().next().map(|head| String::from_utf8(head.to_vec()).unwrap())
}

#[test]
fn one_request_of_sixteen_is_due_and_the_first_of_all() {
    let mut samples = Samples::default();
    let due: Vec<usize> = (0..40).filter(|_| samples.is_due()).collect();
    assert_eq!(due, [0, 16, 32]);
}

#[test]
fn a_sample_is_a_head_without_secrets() {
    let head = "POST /a?b=c HTTP/1.1\r\nhost: Shop.Example:8443\r\nAuthorization: Basic x\r\nX-Version: 2\r\n\
                COOKIE: id=1\r\nx-api-key: k\r\nContent-Length: 3\r\n\r\nabc";
    let expected = "POST /a?b=c HTTP/1.1\r\nHost: shop.example\r\nAuthorization: \r\nX-Version: 2\r\n\
                    COOKIE: \r\nx-api-key: \r\nContent-Length: 3\r\n\r\n";
    assert_eq!(sample(head).unwrap(), expected);
    let again = parse(expected.as_bytes());
    assert_eq!((again.host(), again.path(expected.as_bytes())), ("shop.example", "/a"));
    let absolute = "GET http://shop.example/x?y HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    assert!(sample(absolute).unwrap().starts_with("GET /x?y HTTP/1.1\r\nHost: shop.example\r\n"));
    let star = "OPTIONS * HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    assert!(sample(star).unwrap().starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn an_ipv6_host_stays_one() {
    let head = "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n";
    let sample = sample(head).unwrap();
    assert_eq!(parse(sample.as_bytes()).host(), parse(head.as_bytes()).host());
}

#[test]
fn long_heads_are_cut_and_long_targets_left_out() {
    let fields: String = (0..60).map(|n| format!("X-{n}: {}\r\n", "v".repeat(60))).collect();
    let sampled = sample(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}X-Last: 1\r\n\r\n")).unwrap();
    assert!(sampled.len() < SAMPLE_FIELD_BYTES_MAX + 100 && sampled.contains("X-20"), "{}", sampled.len());
    parse(sampled.as_bytes());
    let target = "/".repeat(SAMPLE_LINE_BYTES_MAX + 1);
    assert_eq!(sample(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")), None);
}

#[test]
fn the_last_samples_are_kept() {
    let mut samples = Samples::default();
    for n in 0..SAMPLES_MAX + 10 {
        let head = format!("GET /{n} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        samples.record(&parse(head.as_bytes()), head.as_bytes());
    }
    let heads = samples.copy();
    assert_eq!(heads.len(), SAMPLES_MAX);
    assert!(heads.iter().next().unwrap().starts_with(b"GET /10 "));
    assert!(heads.iter().last().unwrap().starts_with(format!("GET /{} ", SAMPLES_MAX + 9).as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_ring_keeps_the_newest_strings_whole(lengths in prop::collection::vec(1_usize..40_000, 1..400)) {
        let mut ring = Ring::default();
        let mut all = Vec::new();
        for (n, length) in lengths.into_iter().enumerate() {
            let string = vec![u8::try_from(n % 251).unwrap(); length];
            ring.push(&string);
            all.push(string);
            let kept: Vec<&[u8]> = ring.iter().collect();
            let newest = &all[all.len() - kept.len()..];
            prop_assert!(kept.iter().zip(newest).all(|(kept, string)| *kept == &string[..]));
            // At most the longest string is unused at the end of the buffer, and one was just overwritten.
            let bytes: usize = kept.iter().map(|string| string.len()).sum();
            prop_assert!(kept.len() == all.len() || bytes + 2 * 40_000 > SAMPLE_BYTES_MAX);
        }
    }
}
