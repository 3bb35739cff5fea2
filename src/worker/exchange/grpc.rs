//! gRPC for local replies: calls known by their media type, and statuses.
//!
//! An error before the response is a *trailers-only* response: HTTP status 200, no content, and the status of
//! the call among the fields.

use std::time::Duration;

use ringway_wire::h1::RequestHead;
use ringway_wire::headers::FieldKind;

/// Statuses of gRPC in local replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Status {
    /// Of an error that would have `status` over HTTP: gRPC's own mapping of HTTP statuses, but for limits,
    /// which that mapping does not know.
    pub(crate) fn of_http(status: u16) -> Self {
        match status {
            413 | 431 => Self::ResourceExhausted,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            // 421: the client reaches it over another connection.
            421 | 429 | 502 | 503 | 504 => Self::Unavailable,
            400..=499 | 508 => Self::Internal,
            _ => Self::Unknown,
        }
    }
}

/// Whether a request is a call of gRPC, by its media type.
pub(crate) fn is_call(request: &RequestHead, input: &[u8]) -> bool {
    request.values(input, FieldKind::ContentType).any(|value| is_grpc(media_type(value)))
}

/// Timeout that the client of a call has set for it; `None` for other requests, and for an invalid one.
pub(crate) fn timeout(request: &RequestHead, input: &[u8]) -> Option<Duration> {
    // The media type first: it is found by its kind, other fields by comparing names.
    if !is_call(request, input) {
        return None;
    }
    parse_timeout(request.field(input, "grpc-timeout").next()?)
}

/// Parses up to eight digits and a unit: `100m` are 100 milliseconds.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Whether it is `application/grpc`, alone or with the coding of its messages (`+proto`). gRPC-Web is another
/// protocol: it has trailers in its body, and its clients know HTTP's status codes.
pub(crate) fn is_grpc(media_type: &[u8]) -> bool {
    let Some((start, rest)) = media_type.split_at_checked(MEDIA_TYPE.len()) else { return false };
    start.eq_ignore_ascii_case(MEDIA_TYPE) && matches!(rest, [] | [b'+', ..])
}

/// Strips the parameters of a content type.
pub(crate) fn media_type(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Encodes a message as the value of `grpc-message`: `%` and all but visible ASCII as `%XX`.
pub(crate) fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Media type of calls and their responses.
pub(crate) const MEDIA_TYPE: &[u8] = b"application/grpc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_statuses_of_grpc() {
        for (http, status) in [
            (404, Status::Unimplemented),
            (502, Status::Unavailable),
            (503, Status::Unavailable),
            (504, Status::Unavailable),
            (421, Status::Unavailable),
            (413, Status::ResourceExhausted),
            (431, Status::ResourceExhausted),
            (400, Status::Internal),
            (405, Status::Internal),
            (508, Status::Internal),
            (401, Status::Unauthenticated),
            (403, Status::PermissionDenied),
            (429, Status::Unavailable),
            (500, Status::Unknown),
        ] {
            assert_eq!(Status::of_http(http), status, "{http}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("not today: größer 5 %\n"), "not today: gr%C3%B6%C3%9Fer 5 %25%0A");
    }

    #[test]
    fn timeouts_have_up_to_eight_digits_and_a_unit() {
        for (value, timeout) in [
            ("100m", Some(Duration::from_millis(100))),
            ("2S", Some(Duration::from_secs(2))),
            ("1H", Some(Duration::from_secs(3_600))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("7u", Some(Duration::from_micros(7))),
            ("123456789S", None),
            ("S", None),
            ("1", None),
            ("+1S", None),
            ("1s", None),
            ("", None),
        ] {
            assert_eq!(parse_timeout(value.as_bytes()), timeout, "{value}");
        }
    }

    #[test]
    fn calls_are_known_by_their_media_type() {
        let is = |value: &str| is_grpc(media_type(value.as_bytes()));
        assert!(is("application/grpc") && is("APPLICATION/GRPC+json") && is(" application/grpc ; x=y"));
        assert!(!is("application/grpc-web") && !is("application/grpcs") && !is("application/grp") && !is(""));
    }
}
