#![allow(clippy::unwrap_used)]

use ringway_model::{StageSpec, TracingStage};

use super::hex_of;
use crate::builtin::test_chain;
use crate::chain::Run;
use crate::testing::{TestServices, request};

/// Edits of the forwarded head for a client's fields.
fn edits(trust_client: bool, fields: &str) -> (String, Vec<String>) {
    let chain = test_chain(&[StageSpec::Tracing(TracingStage { trust_client })]);
    let (text, mut run) = (format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"), Run::default());
    let _ = request(&chain, &text, &TestServices::default(), &mut run);
    let removed = run.request_edits().removed().map(ToString::to_string).collect();
    (String::from_utf8(run.request_edits().lines().to_vec()).unwrap(), removed)
}

const OWN: &str = "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n";
const CLIENT: &str = "traceparent: 00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00\r\n";

#[test]
fn a_trusted_trace_continues_with_a_new_parent() {
    let continued = "traceparent: 00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-0123456789abcdef-00\r\n";
    assert_eq!(edits(true, CLIENT), (continued.to_owned(), vec!["traceparent".to_owned()]));
    let both = vec!["tracestate".to_owned(), "traceparent".to_owned()];
    assert_eq!(edits(false, CLIENT), (OWN.to_owned(), both));
}

#[test]
fn an_invalid_trace_is_replaced() {
    for bad in [
        "",
        "traceparent: 00-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-bbbbbbbbbbbbbbbb-00\r\n",
        "traceparent: 00-00000000000000000000000000000000-bbbbbbbbbbbbbbbb-00\r\n",
        "traceparent: 00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-0000000000000000-00\r\n",
        "traceparent: 00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00-x\r\n",
        "traceparent: ff-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00\r\n",
        "traceparent: 00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb\r\n",
        "traceparent: 00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00\r\ntraceparent: 00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00\r\n",
    ] {
        assert_eq!(edits(true, bad).0, OWN, "{bad}");
    }
}

#[test]
fn ids_of_other_proxies_become_digits_of_a_trace() {
    for id in ["abc", "", "0123456789abcdef0000000000000000", "0123456789ABCDEF0123456789ABCDEF"] {
        let digits = hex_of(id);
        assert!(digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        assert!(digits[16..].iter().any(|byte| *byte != b'0') && digits != hex_of("other"), "{id}");
    }
}
