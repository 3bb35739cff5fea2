#![allow(clippy::unwrap_used)]
use ringway_wire::h1::{Limits, Parse};

use super::*;

fn head(fields: &str) -> (RequestHead, Vec<u8>) {
    let buf = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").into_bytes();
    let mut head = RequestHead::default();
    assert_eq!(head.parse(&buf, &Limits::default()).unwrap(), Parse::Complete);
    (head, buf)
}

fn value(key: &RequestKey, fields: &str, client: &str) -> Option<Vec<u8>> {
    let (head, buf) = head(fields);
    let fields = RequestFields::received(&head, &buf);
    key_value(key, fields, client.parse().unwrap()).map(|value| value.as_bytes().to_vec())
}

#[test]
fn a_field_is_a_key_unless_it_is_empty() {
    let key = RequestKey::Header("x-user".into());
    assert_eq!(value(&key, "X-User: ann\r\nX-User: bob\r\n", "10.0.0.1").unwrap(), b"ann");
    assert_eq!(value(&key, "X-User: \r\n", "10.0.0.1"), None);
    assert_eq!(value(&key, "X-Users: ann\r\n", "10.0.0.1"), None);
}

#[test]
fn stages_decide_about_the_fields_that_they_edit() {
    let (head, buf) = head("X-User: forged\r\nX-Team: red\r\nCookie: id=1\r\n");
    let received = RequestFields::received(&head, &buf);
    let fields = received.edited("X-USER\ncookie\n", b"x-user: ann\r\nX-Team: blue\r\nCookie: id=2\r\n");
    let of =
        |key| key_value(&key, fields, "10.0.0.1".parse().unwrap()).map(|value| value.as_bytes().to_vec());
    assert_eq!(of(RequestKey::Header("x-user".into())).unwrap(), b"ann");
    assert_eq!(of(RequestKey::Header("x-team".into())).unwrap(), b"red", "the client's own stands first");
    assert_eq!(of(RequestKey::Cookie("id".into())).unwrap(), b"2");
    assert!(received.edited("x-user\n", b"").values("X-User").next().is_none());
}

#[test]
fn a_cookie_is_found_by_its_whole_name() {
    let key = RequestKey::Cookie("id".into());
    for (fields, expected) in [
        ("Cookie: id=7\r\n", Some("7")),
        ("Cookie: xid=1; id=7; id=8\r\n", Some("7")),
        ("Cookie: xid=1\r\nCookie: id=\"7\"\r\n", Some("7")),
        ("Cookie: ;;id=7=8 ;\r\n", Some("7=8")),
        ("Cookie: id2=1; ID=2; id = 3; id\r\n", None),
        ("Cookie: id=\r\n", None),
        ("X-Cookie: id=7\r\n", None),
    ] {
        let found = value(&key, fields, "10.0.0.1").map(|found| String::from_utf8(found).unwrap());
        assert_eq!(found.as_deref(), expected, "{fields}");
    }
}

#[test]
fn a_client_is_its_address_or_network() {
    let of = |client| value(&RequestKey::Client, "", client).unwrap();
    assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    assert_eq!(of("2001:db8::1"), of("2001:db8::2:1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
}
