#![allow(clippy::unwrap_used)]

use super::*;

fn outbound() -> Outbound {
    Outbound::new(State::Answered)
}

/// Waits of a second each, with so many bytes in each; how many were allowed.
fn allowed(bytes: u64) -> Option<u32> {
    let mut outbound = outbound();
    (0..1_000).find(|_| {
        outbound.moved += bytes;
        outbound.judge_progress(Duration::from_secs(1)).is_err()
    })
}

#[test]
fn a_window_that_is_opened_by_drips_is_no_progress() {
    let window = limits::BODY_RATE_WINDOW.as_secs() as u32;
    assert_eq!(allowed(1), Some(window - 1));
    assert_eq!(allowed(limits::BODY_RATE_MIN - 1), Some(window - 1));
    assert_eq!(allowed(limits::BODY_RATE_MIN), None);
}

#[test]
fn time_that_was_not_spent_waiting_does_not_count() {
    let mut outbound = outbound();
    for _ in 0..1_000 {
        outbound.moved += 1;
        assert!(outbound.judge_progress(Duration::ZERO).is_ok());
    }
}

#[test]
fn fields_of_a_connection_do_not_leave_it_rfc9113_8_2_2() {
    let text = b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
        Upgrade: h2c\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nSec-WebSocket-Accept: x\r\nX-Kept: a\r\n\
        Set-Cookie: b\r\nset-cookie: c\r\nTrailer: x\r\n\r\n";
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(text, Method::Get, &HEADS), Ok(Parse::Complete));
    let map = fields(head.fields(text), text);
    let pairs: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(pairs, [("x-kept", "a"), ("set-cookie", "b"), ("set-cookie", "c"), ("trailer", "x")]);
}

#[test]
fn a_value_outside_of_ascii_passes_as_it_is() {
    let text = b"HTTP/1.1 200 OK\r\nX-Name: J\xfcrgen\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n";
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(text, Method::Get, &HEADS), Ok(Parse::Complete));
    let map = fields(head.fields(text), text);
    assert_eq!(map["x-name"].as_bytes(), b"J\xfcrgen");
    assert_eq!(map["x-empty"].as_bytes(), b"");
}
