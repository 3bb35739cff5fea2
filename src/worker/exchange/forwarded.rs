//! Forwarding fields: `X-Forwarded-*`, `X-Real-IP`, `X-Original-Host`, `X-Request-ID` and `Max-Forwards`.
//!
//! A client's own fields of these names are dropped; a trusted proxy's are kept and extended. Either way the
//! lines are rewritten, so that an app sees each field once and can trust it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use ringway_model::limits;
use ringway_telemetry::is_valid_request_id;
use ringway_wire::h1::RequestHead;
use ringway_wire::headers::{FieldKind, FieldKinds, list_elements};
use ringway_wire::message::Method;

use crate::settings::Settings;

/// Returns the client's address: the peer's, or the last one in `X-Forwarded-For` that is no trusted proxy.
pub(crate) fn client_address(
    settings: &Settings,
    peer: IpAddr,
    request: &RequestHead,
    input: &[u8],
) -> IpAddr {
    let mut client = peer;
    for value in request.values(input, FieldKind::XForwardedFor) {
        for element in list_elements(value) {
            match parse_hop(element) {
                // Each hop appends its peer: the last untrusted one is the client.
                Some(address) if !settings.trusts(address) => client = address,
                Some(_) => {}
                // An entry before that of a trusted proxy may come from the client: it is ignored.
                None => client = peer,
            }
        }
    }
    client
}

/// Returns the position of a trusted proxy's request id, if it can be logged and forwarded unchanged.
pub(crate) fn kept_request_id(request: &RequestHead, input: &[u8]) -> Option<Range<usize>> {
    let mut values = request.values(input, FieldKind::XRequestId);
    match (values.next(), values.next()) {
        (Some(id), None) if id.len() <= limits::REQUEST_ID_BYTES_MAX && is_valid_request_id(id) => {
            // Values are slices of the input.
            let start = id.as_ptr() as usize - input.as_ptr() as usize;
            Some(start..start + id.len())
        }
        _ => None,
    }
}

/// Appends the address lines for a request that came through a trusted proxy.
pub(crate) fn push_hop_lines(
    lines: &mut Vec<u8>,
    (peer, scheme): (IpAddr, &str),
    client: IpAddr,
    request: &RequestHead,
    input: &[u8],
) {
    lines.extend_from_slice(b"X-Forwarded-For: ");
    for value in request.values(input, FieldKind::XForwardedFor) {
        if !value.is_empty() {
            lines.extend_from_slice(value);
            lines.extend_from_slice(b", ");
        }
    }
    push(lines, format_args!("{peer}\r\nX-Real-IP: {client}\r\nX-Forwarded-Proto: "));
    let is_https = claims_https(request, input).unwrap_or(scheme == "https");
    lines.extend_from_slice(if is_https { b"https\r\n" } else { b"http\r\n" });
}

/// Returns whether the client used HTTPS, by a trusted proxy's `X-Forwarded-Proto`.
pub(crate) fn claims_https(request: &RequestHead, input: &[u8]) -> Option<bool> {
    let proto = request.values(input, FieldKind::XForwardedProto).last()?;
    Some(proto.eq_ignore_ascii_case(b"https"))
}

/// Appends `X-Forwarded-Host` with the port, and `X-Original-Host` without. A trusted proxy's own
/// `X-Forwarded-Host`, in the `proxy_input` of its request, is kept; it does not change the routing.
pub(crate) fn push_host_lines(lines: &mut Vec<u8>, request: &RequestHead, proxy_input: Option<&[u8]>) {
    let host = request.host().as_bytes();
    lines.extend_from_slice(b"X-Forwarded-Host: ");
    let said = proxy_input.into_iter().flat_map(|input| request.values(input, FieldKind::XForwardedHost));
    let mut has_said = false;
    for value in said.filter(|value| !value.is_empty()) {
        if has_said {
            lines.extend_from_slice(b", ");
        }
        lines.extend_from_slice(value);
        has_said = true;
    }
    if !has_said {
        lines.extend_from_slice(host);
        if let Some(port) = request.port() {
            push(lines, format_args!(":{port}"));
        }
    }
    lines.extend_from_slice(b"\r\nX-Original-Host: ");
    lines.extend_from_slice(host);
    lines.extend_from_slice(b"\r\n");
}

/// Returns whether `X-Forwarded-Host` of a trusted proxy names another host than the request's own.
pub(crate) fn names_other_host(request: &RequestHead, input: &[u8]) -> bool {
    let is_own = |value: &[u8]| {
        let Ok(value) = std::str::from_utf8(value) else { return false };
        match request.port() {
            Some(port) => value.rsplit_once(':').is_some_and(|(host, said)| {
                host.eq_ignore_ascii_case(request.host()) && said.parse() == Ok(port)
            }),
            None => value.eq_ignore_ascii_case(request.host()),
        }
    };
    request.values(input, FieldKind::XForwardedHost).any(|value| !value.is_empty() && !is_own(value))
}

/// Limit on the number of hops of a request (RFC 9110 §7.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// None.
    Any,
    /// Used up: the request is answered here.
    Here,
    /// The next hop, and this number of hops after it.
    On(u64),
}

/// Parses `Max-Forwards`, which has a meaning in OPTIONS (and in TRACE, which is not served). An invalid or
/// repeated value is no limit, and is not forwarded.
pub(crate) fn reach(request: &RequestHead, input: &[u8]) -> Reach {
    if rewritten_kinds(request) == FieldKinds::NONE {
        return Reach::Any;
    }
    let mut values = request.values(input, FieldKind::MaxForwards);
    let (Some(value), None) = (values.next(), values.next()) else { return Reach::Any };
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Reach::Any;
    }
    // A larger number than can be stored is the largest one (RFC 9110 §7.6.2).
    let hops =
        value.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    hops.checked_sub(1).map_or(Reach::Here, Reach::On)
}

/// Appends `Max-Forwards` for the next hop, where the request has one.
pub(crate) fn push_reach_line(lines: &mut Vec<u8>, request: &RequestHead, input: &[u8]) {
    if let Reach::On(hops) = reach(request, input) {
        push(lines, format_args!("Max-Forwards: {hops}\r\n"));
    }
}

/// Fields that are not copied: [`push_reach_line`] writes them.
pub(crate) fn rewritten_kinds(request: &RequestHead) -> FieldKinds {
    if request.method() == Method::Options && request.has(FieldKind::MaxForwards) {
        FieldKinds::of(&[FieldKind::MaxForwards])
    } else {
        FieldKinds::NONE
    }
}

/// Parses `address`, `address:port`, `[address]` or `[address]:port`.
fn parse_hop(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<IpAddr>().ok(),
    };
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|hop| hop.ip()))?;
    Some(address.to_canonical())
}

fn push(lines: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // Writing to a Vec cannot fail.
    let _ = lines.write_fmt(text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_wire::h1::{Limits, Parse};

    const PROXY: &str = "10.0.0.1";

    fn head(fields: &str) -> (RequestHead, Vec<u8>) {
        let text = format!("GET / HTTP/1.1\r\nHost: Shop.Example:8080\r\n{fields}\r\n").into_bytes();
        let mut head = RequestHead::default();
        assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
        (head, text)
    }

    fn client(fields: &str) -> String {
        let settings =
            Settings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() };
        let (head, text) = head(fields);
        client_address(&settings, PROXY.parse().unwrap(), &head, &text).to_string()
    }

    #[test]
    fn the_client_is_the_last_untrusted_address() {
        assert_eq!(client(""), PROXY);
        assert_eq!(client("X-Forwarded-For: 203.0.113.9\r\n"), "203.0.113.9");
        assert_eq!(client("X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.0.0.2\r\n"), "203.0.113.9");
        assert_eq!(
            client("X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.9:4711\r\n"),
            "203.0.113.9"
        );
        assert_eq!(client("X-Forwarded-For: 2001:db8::1\r\n"), "2001:db8::1");
        assert_eq!(client("X-Forwarded-For: [2001:db8::1]\r\n"), "2001:db8::1");
        assert_eq!(client("X-Forwarded-For: [2001:db8::1]:80\r\n"), "2001:db8::1");
        assert_eq!(client("X-Forwarded-For: 203.0.113.9, [::ffff:10.0.0.2]\r\n"), "203.0.113.9");
        for junk in
            ["[203.0.113.9]", "[2001:db8::1", "2001:db8::1]", "[[2001:db8::1]]", "[]", "[2001:db8::1]:x"]
        {
            assert_eq!(client(&format!("X-Forwarded-For: {junk}\r\n")), PROXY, "{junk}");
        }
        assert_eq!(client("X-Forwarded-For: ::ffff:203.0.113.9\r\n"), "203.0.113.9");
        assert_eq!(client("X-Forwarded-For: 203.0.113.9, junk\r\n"), PROXY);
    }

    #[test]
    fn hop_lines_extend_those_of_the_proxy() {
        let (head, text) = head("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: HTTPS\r\n");
        let mut lines = Vec::new();
        push_hop_lines(
            &mut lines,
            (PROXY.parse().unwrap(), "http"),
            "203.0.113.9".parse().unwrap(),
            &head,
            &text,
        );
        push_host_lines(&mut lines, &head, Some(&text));
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "X-Forwarded-For: 203.0.113.9, 10.0.0.1\r\nX-Real-IP: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: shop.example:8080\r\nX-Original-Host: shop.example\r\n"
        );
    }

    #[test]
    fn a_trusted_proxy_s_forwarded_host_is_kept() {
        let lines = |fields: &str, is_trusted: bool| {
            let (head, text) = head(fields);
            let mut lines = Vec::new();
            push_host_lines(&mut lines, &head, is_trusted.then_some(&text));
            String::from_utf8(lines).unwrap()
        };
        let own = "X-Forwarded-Host: shop.example:8080\r\nX-Original-Host: shop.example\r\n";
        let said = "X-Forwarded-Host: www.example\r\n";
        assert_eq!(lines(said, false), own);
        assert_eq!(lines(said, true), format!("{said}X-Original-Host: shop.example\r\n"));
        assert_eq!(lines("X-Forwarded-Host: \r\n", true), own);
        assert_eq!(
            lines("X-Forwarded-Host: a.example\r\nX-Forwarded-Host: b.example\r\n", true),
            "X-Forwarded-Host: a.example, b.example\r\nX-Original-Host: shop.example\r\n"
        );
    }

    #[test]
    fn max_forwards_limits_the_hops_of_options() {
        let reach = |method: &str, fields: &str| {
            let (head, text) = head(fields);
            let text = [method.as_bytes(), &text[3..]].concat();
            let mut again = head;
            again.reset();
            assert_eq!(again.parse(&text, &Limits::default()), Ok(Parse::Complete));
            super::reach(&again, &text)
        };
        assert_eq!(reach("OPTIONS", ""), Reach::Any);
        assert_eq!(reach("GET", "Max-Forwards: 0\r\n"), Reach::Any);
        assert_eq!(reach("OPTIONS", "Max-Forwards: 0\r\n"), Reach::Here);
        assert_eq!(reach("OPTIONS", "max-forwards: 10\r\n"), Reach::On(9));
        assert_eq!(reach("OPTIONS", "Max-Forwards: x\r\n"), Reach::Any);
        assert_eq!(reach("OPTIONS", "Max-Forwards: 1\r\nMax-Forwards: 0\r\n"), Reach::Any);
        assert_eq!(reach("OPTIONS", "Max-Forwards: 99999999999999999999999\r\n"), Reach::On(u64::MAX - 1));
    }

    #[test]
    fn a_request_id_is_kept_only_when_it_is_valid() {
        let kept = |fields: &str| {
            let (head, text) = head(fields);
            kept_request_id(&head, &text).map(|range| String::from_utf8(text[range].to_vec()).unwrap())
        };
        assert_eq!(kept("X-Request-ID: abc-123\r\n").as_deref(), Some("abc-123"));
        assert_eq!(kept("X-Request-ID: a b\r\n"), None);
        assert_eq!(kept("X-Request-ID: a\r\nX-Request-ID: b\r\n"), None);
        let longest = "a".repeat(limits::REQUEST_ID_BYTES_MAX);
        assert_eq!(kept(&format!("X-Request-ID: {longest}\r\n")), Some(longest.clone()));
        assert_eq!(kept(&format!("X-Request-ID: {longest}a\r\n")), None);
    }
}
