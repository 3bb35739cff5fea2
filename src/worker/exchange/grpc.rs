//! gRPC, as much of it as local errors need: is a request a call, and how does a failure look to its client.
//!
//! A failure before the response is a *trailers-only* response: HTTP status 200, no body, and the status of the call among the fields.

use ringway_wire::h1::RequestHead;
use ringway_wire::headers::FieldKind;

use crate::exchange::failure::Failure;

/// A status of gRPC that ringway answers with itself.
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
    /// Of a failure that would be answered with `status` over HTTP. As gRPC's own mapping of HTTP statuses has it, but for limits
    /// and for our own timeouts, which that mapping cannot know.
    pub(crate) fn of(failure: Option<Failure>, status: u16) -> Self {
        match (failure, status) {
            // The call may have been executed, and must not look as if it could be repeated.
            (Some(Failure::ResponseTimedOut | Failure::RequestBodyTimedOut | Failure::HeadTimedOut), _) => {
                Self::DeadlineExceeded
            }
            (_, 413 | 431) => Self::ResourceExhausted,
            (_, 401) => Self::Unauthenticated,
            (_, 403) => Self::PermissionDenied,
            (_, 404) => Self::Unimplemented,
            // 421: the client reaches it over another connection.
            (_, 421 | 429 | 502 | 503 | 504) => Self::Unavailable,
            (_, 400..=499 | 508) => Self::Internal,
            _ => Self::Unknown,
        }
    }
}

/// Whether a request is a call of gRPC, by its media type.
pub(crate) fn is_call(request: &RequestHead, input: &[u8]) -> bool {
    request.values(input, FieldKind::ContentType).any(|value| is_grpc(media_type(value)))
}

/// `application/grpc`, alone or with the coding of its messages (`+proto`). gRPC-Web is another protocol: it has trailers in its
/// body, and its clients know HTTP's status codes.
pub(crate) fn is_grpc(media_type: &[u8]) -> bool {
    let Some((start, rest)) = media_type.split_at_checked(MEDIA_TYPE.len()) else { return false };
    start.eq_ignore_ascii_case(MEDIA_TYPE) && matches!(rest, [] | [b'+', ..])
}

/// A content type without its parameters.
pub(crate) fn media_type(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii()
}

/// A message as the value of `grpc-message`: what is no visible ASCII, and `%`, as `%XX`.
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

/// The media type of calls and their responses.
pub(crate) const MEDIA_TYPE: &[u8] = b"application/grpc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_statuses_of_grpc() {
        for (failure, http, status) in [
            (Failure::UnknownHost, 404, Status::Unimplemented),
            (Failure::ConnectFailed, 502, Status::Unavailable),
            (Failure::ConnectTimedOut, 504, Status::Unavailable),
            (Failure::Overloaded, 503, Status::Unavailable),
            (Failure::Misdirected, 421, Status::Unavailable),
            (Failure::ResponseTimedOut, 504, Status::DeadlineExceeded),
            (Failure::RequestBodyTimedOut, 408, Status::DeadlineExceeded),
            (Failure::BodyTooLarge, 413, Status::ResourceExhausted),
            (Failure::MethodRefused, 405, Status::Internal),
            (Failure::Loop, 508, Status::Internal),
            (Failure::Filtered(400), 400, Status::Internal),
            (Failure::Filtered(401), 401, Status::Unauthenticated),
            (Failure::Filtered(403), 403, Status::PermissionDenied),
            (Failure::Filtered(429), 429, Status::Unavailable),
            (Failure::Filtered(500), 500, Status::Unknown),
        ] {
            assert_eq!(Status::of(Some(failure), http), status, "{failure:?}");
        }
        assert_eq!(Status::of(None, 431), Status::ResourceExhausted);
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("not today: größer 5 %\n"), "not today: gr%C3%B6%C3%9Fer 5 %25%0A");
    }

    #[test]
    fn calls_are_known_by_their_media_type() {
        let is = |value: &str| is_grpc(media_type(value.as_bytes()));
        assert!(is("application/grpc") && is("APPLICATION/GRPC+json") && is(" application/grpc ; x=y"));
        assert!(!is("application/grpc-web") && !is("application/grpcs") && !is("application/grp") && !is(""));
    }
}
