//! Probes of health checks: the request and the expected response.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::status::{Shown, StatusRangeError, parse_range};
use crate::{Hostname, limits};

/// The kind of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Probe {
    /// Opens a TCP connection.
    #[default]
    Tcp,
    /// Sends an HTTP request and checks the response.
    Http(Arc<HttpProbe>),
}

impl Probe {
    /// An HTTP probe of `path` with defaults otherwise: `GET`, and a status from 200 to 399.
    ///
    /// # Errors
    /// See [`HttpProbe::new`].
    pub fn http(path: &str) -> Result<Self, HealthCheckError> {
        HttpProbe::new(path).map(|probe| Self::Http(Arc::new(probe)))
    }
}

/// An HTTP health check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// Path and query of the request.
    pub path: ProbePath,
    /// Request method.
    pub method: ProbeMethod,
    /// `Host` of the request; the target's own host and port when absent.
    pub host: Option<ProbeHost>,
    /// Further header fields of the request.
    pub headers: ProbeHeaders,
    /// Accepted statuses.
    pub statuses: StatusRanges,
    /// Text that the body must contain.
    pub body: Option<BodyText>,
}

impl HttpProbe {
    /// A `GET` of `path` that expects a status from 200 to 399.
    ///
    /// # Errors
    /// See [`ProbePath::parse`].
    pub fn new(path: &str) -> Result<Self, HealthCheckError> {
        Ok(Self {
            path: ProbePath::parse(path)?,
            method: ProbeMethod::default(),
            host: None,
            headers: ProbeHeaders::default(),
            statuses: StatusRanges::default(),
            body: None,
        })
    }

    /// Whether everything but the path has its default.
    pub fn is_plain(&self) -> bool {
        self.method == ProbeMethod::default()
            && self.host.is_none()
            && self.headers.is_empty()
            && self.statuses == StatusRanges::default()
            && self.body.is_none()
    }
}

/// Path and query of a health check in origin-form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbePath(Arc<str>);

impl ProbePath {
    /// Parses visible ASCII that begins with `/`, at most [`limits::HEALTH_PATH_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(path: &str) -> Result<Self, HealthCheckError> {
        if !path.starts_with('/') {
            return Err(HealthCheckError::PathStart);
        }
        if path.len() > limits::HEALTH_PATH_BYTES_MAX {
            return Err(HealthCheckError::PathLength);
        }
        if !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(HealthCheckError::PathCharacter);
        }
        Ok(Self(path.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Method of a health check: safe methods only (RFC 9110 §9.2.1), because checks are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ProbeMethod {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `OPTIONS`
    Options,
}

impl ProbeMethod {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Get, Self::Head, Self::Options];

    /// The token of the request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }

    /// Parses a method name in upper case, as HTTP writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }
}

/// Value of the `Host` field of a health check: a name, and a port where one is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeHost {
    name: Hostname,
    port: Option<NonZeroU16>,
}

impl ProbeHost {
    /// Parses `name` or `name:port`.
    ///
    /// # Errors
    /// The name is not a host name, or the port is not a number from 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, HealthCheckError> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                (name, Some(digits.parse().map_err(|_| HealthCheckError::HostPort)?))
            }
            _ => (text, None),
        };
        let name = Hostname::parse(name).map_err(HealthCheckError::Host)?;
        Ok(Self { name, port })
    }
}

impl fmt::Display for ProbeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// Header fields of a health check, in the order in which they were given. Values may be secrets: `Debug`
/// hides them.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ProbeHeaders(Arc<[(Box<str>, Box<str>)]>);

impl ProbeHeaders {
    /// Checks names and values.
    ///
    /// # Errors
    /// There are more than [`limits::HEALTH_HEADERS_MAX`]; a name is not a token, occurs twice or belongs to
    /// the connection; a value is longer than [`limits::HEALTH_HEADER_VALUE_BYTES_MAX`] or not a field value.
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, HeaderError> {
        let mut taken: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in fields {
            if taken.len() == limits::HEALTH_HEADERS_MAX {
                return Err(HeaderError::TooMany);
            }
            if name.len() > limits::HEALTH_HEADER_NAME_BYTES_MAX || !is_token(name) {
                return Err(HeaderError::Name);
            }
            if OWNED_FIELDS.iter().any(|owned| owned.eq_ignore_ascii_case(name)) {
                return Err(HeaderError::Owned(name.into()));
            }
            if taken.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(HeaderError::Twice(name.into()));
            }
            if value.len() > limits::HEALTH_HEADER_VALUE_BYTES_MAX {
                return Err(HeaderError::ValueLength(name.into()));
            }
            if !is_field_value(value) {
                return Err(HeaderError::Value(name.into()));
            }
            taken.push((name.into(), value.into()));
        }
        Ok(Self(taken.into()))
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, which may be shown.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Names and values, to be sent and stored; never to be shown.
    pub fn expose(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl fmt::Debug for ProbeHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeHeaders(")?;
        f.debug_list().entries(self.names()).finish()?;
        f.write_str(")")
    }
}

/// Whether a text is a `token` (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether a text is visible ASCII, with spaces and tabs inside only (RFC 9110 §5.5).
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t')
        && text.trim_matches([' ', '\t']) == text
}

/// Fields that ringway writes itself: framing, connection management and routing.
const OWNED_FIELDS: [&str; 13] = [
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Upgrade",
    "Expect",
    "HTTP2-Settings",
];

/// A set of response statuses: a bounded list of ranges within 100 to 599.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatusRanges(Vec<RangeInclusive<u16>>);

impl Default for StatusRanges {
    /// 200 to 399.
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl StatusRanges {
    /// Parses `200`, `200-399`, or several of these separated by commas.
    ///
    /// # Errors
    /// The text has another form, or more than [`limits::HEALTH_STATUS_RANGES_MAX`] ranges.
    pub fn parse(text: &str) -> Result<Self, HealthCheckError> {
        let mut ranges = Vec::new();
        for part in text.split(',').map(str::trim) {
            if ranges.len() == limits::HEALTH_STATUS_RANGES_MAX {
                return Err(HealthCheckError::StatusCount);
            }
            ranges.push(parse_range(part, &STATUSES).map_err(|error| match error {
                StatusRangeError::Form | StatusRangeError::Bounds => HealthCheckError::Status,
                StatusRangeError::Order => HealthCheckError::StatusOrder,
            })?);
        }
        Ok(Self(ranges))
    }

    /// Whether a status is in the set.
    pub fn has(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// Statuses of final and interim responses (RFC 9110 §15).
const STATUSES: RangeInclusive<u16> = 100..=599;

/// The form of [`StatusRanges::parse`].
impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { "," }, Shown(range.clone()))?;
        }
        Ok(())
    }
}

/// Text that a response's body must contain, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BodyText(Arc<str>);

impl BodyText {
    /// Accepts a text of 1 to [`limits::HEALTH_BODY_TEXT_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// The text is empty or longer.
    pub fn parse(text: &str) -> Result<Self, HealthCheckError> {
        match (1..=limits::HEALTH_BODY_TEXT_BYTES_MAX).contains(&text.len()) {
            true => Ok(Self(text.into())),
            false => Err(HealthCheckError::BodyLength),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Parse error of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckError {
    /// The path does not begin with `/`.
    PathStart,
    /// The path is longer than [`limits::HEALTH_PATH_BYTES_MAX`].
    PathLength,
    /// The path has a space, a control or non-ASCII character, or `#`.
    PathCharacter,
    /// The host is not a host name.
    Host(crate::HostError),
    /// The host's port is not a number from 1 to 65535.
    HostPort,
    /// A status is not a number from 100 to 599.
    Status,
    /// A range of statuses ends before it begins.
    StatusOrder,
    /// There are more ranges than [`limits::HEALTH_STATUS_RANGES_MAX`].
    StatusCount,
    /// The expected text is empty or longer than [`limits::HEALTH_BODY_TEXT_BYTES_MAX`].
    BodyLength,
}

impl fmt::Display for HealthCheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathStart => f.write_str("must begin with / as in /health"),
            Self::PathLength => write!(f, "must not be longer than {} bytes", limits::HEALTH_PATH_BYTES_MAX),
            Self::PathCharacter => {
                f.write_str("must be visible ASCII without #; percent-encode anything else")
            }
            Self::Host(error) => {
                write!(f, "{error}; give a name, or a name and a port, as in app1.internal:8080")
            }
            Self::HostPort => f.write_str("must have a port from 1 to 65535"),
            Self::Status => {
                f.write_str("must be statuses from 100 to 599, as in 200, \"200-399\" or [200, \"300-399\"]")
            }
            Self::StatusOrder => f.write_str("must have ranges that begin with the smaller status"),
            Self::StatusCount => {
                write!(f, "must not have more than {} ranges", limits::HEALTH_STATUS_RANGES_MAX)
            }
            Self::BodyLength => {
                write!(f, "must have 1 to {} bytes", limits::HEALTH_BODY_TEXT_BYTES_MAX)
            }
        }
    }
}

impl std::error::Error for HealthCheckError {}

/// Parse error of a header field of a health check. Values are never repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// More than [`limits::HEALTH_HEADERS_MAX`].
    TooMany,
    /// A name is not a token, or longer than [`limits::HEALTH_HEADER_NAME_BYTES_MAX`].
    Name,
    /// The field is written by ringway itself.
    Owned(Box<str>),
    /// The name occurs twice.
    Twice(Box<str>),
    /// A value longer than [`limits::HEALTH_HEADER_VALUE_BYTES_MAX`].
    ValueLength(Box<str>),
    /// A value that is not visible ASCII, or begins or ends with white space.
    Value(Box<str>),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "must not have more than {} fields", limits::HEALTH_HEADERS_MAX),
            Self::Name => write!(
                f,
                "must have field names of letters, digits and -, at most {} bytes long",
                limits::HEALTH_HEADER_NAME_BYTES_MAX
            ),
            Self::Owned(name) if name.eq_ignore_ascii_case("Host") => {
                f.write_str("must not contain Host; set `host` of the health check")
            }
            Self::Owned(name) => write!(f, "must not contain {name}, which ringway writes itself"),
            Self::Twice(name) => write!(f, "must not contain {name} twice"),
            Self::ValueLength(name) => write!(
                f,
                "must not have a value of {name} that is longer than {} bytes",
                limits::HEALTH_HEADER_VALUE_BYTES_MAX
            ),
            Self::Value(name) => {
                write!(f, "must have a value of {name} in visible ASCII, without spaces around it")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn http_probes_take_paths_only() {
        assert_eq!(HttpProbe::new("/health?full=1").unwrap().path.as_str(), "/health?full=1");
        assert_eq!(Probe::http("health"), Err(HealthCheckError::PathStart));
        assert_eq!(Probe::http("/a b"), Err(HealthCheckError::PathCharacter));
        assert_eq!(Probe::http("/a\r\nX: y"), Err(HealthCheckError::PathCharacter));
        let longest = "/".repeat(limits::HEALTH_PATH_BYTES_MAX);
        assert!(Probe::http(&longest).is_ok());
        assert_eq!(Probe::http(&format!("{longest}a")), Err(HealthCheckError::PathLength));
    }

    #[test]
    fn statuses_are_single_or_in_ranges() {
        for (text, inside, outside) in [
            ("200", vec![200], vec![199, 201]),
            ("200-399", vec![200, 399], vec![199, 400]),
            (" 200 , 300 - 399 ", vec![200, 300, 399], vec![201, 299, 400]),
            ("100-599", vec![101, 599], vec![]),
        ] {
            let ranges = StatusRanges::parse(text).unwrap();
            assert!(inside.iter().all(|status| ranges.has(*status)), "{text}");
            assert!(!outside.iter().any(|status| ranges.has(*status)), "{text}");
            assert_eq!(StatusRanges::parse(&ranges.to_string()), Ok(ranges), "{text}");
        }
        assert_eq!(StatusRanges::parse("300-200"), Err(HealthCheckError::StatusOrder));
        for text in ["", "99", "600", "2xx", "200-", "-200", "200,", "0200", "+20", "200-300-400"] {
            assert_eq!(StatusRanges::parse(text), Err(HealthCheckError::Status), "{text:?}");
        }
        let most = vec!["200"; limits::HEALTH_STATUS_RANGES_MAX].join(",");
        assert!(StatusRanges::parse(&most).is_ok());
        assert_eq!(StatusRanges::parse(&(most + ",200")), Err(HealthCheckError::StatusCount));
    }

    #[test]
    fn headers_are_bounded_and_exclude_connection_fields() {
        let one = |name: &str, value: &str| ProbeHeaders::new([(name, value)]).map(|_| ());
        assert_eq!(one("Authorization", "Bearer abc\td=="), Ok(()));
        assert_eq!(one("X-Empty", ""), Ok(()));
        for owned in ["Host", "content-length", "TRANSFER-ENCODING", "Connection", "te", "Upgrade"] {
            assert_eq!(one(owned, "x"), Err(HeaderError::Owned(owned.into())), "{owned}");
        }
        for name in ["", "a b", "a:", "a\r\nHost", "é", &"a".repeat(limits::HEALTH_HEADER_NAME_BYTES_MAX + 1)]
        {
            assert_eq!(one(name, "x"), Err(HeaderError::Name), "{name:?}");
        }
        for value in ["a\r\nHost: b", "a\0", " a", "a ", "é"] {
            assert_eq!(one("X-A", value), Err(HeaderError::Value("X-A".into())), "{value:?}");
        }
        let longest = "v".repeat(limits::HEALTH_HEADER_VALUE_BYTES_MAX);
        assert_eq!(one("X-A", &longest), Ok(()));
        assert_eq!(one("X-A", &(longest + "v")), Err(HeaderError::ValueLength("X-A".into())));
        assert_eq!(ProbeHeaders::new([("X-A", "1"), ("x-a", "2")]), Err(HeaderError::Twice("x-a".into())));
        let names: Vec<String> = (0..=limits::HEALTH_HEADERS_MAX).map(|n| format!("X-{n}")).collect();
        let fields = |count: usize| ProbeHeaders::new(names[..count].iter().map(|name| (&**name, "v")));
        assert!(fields(limits::HEALTH_HEADERS_MAX).is_ok());
        assert_eq!(fields(limits::HEALTH_HEADERS_MAX + 1), Err(HeaderError::TooMany));
    }

    #[test]
    fn header_values_are_not_shown() {
        let headers = ProbeHeaders::new([("Authorization", "correct-horse")]).unwrap();
        let probe = HttpProbe { headers, ..HttpProbe::new("/").unwrap() };
        let shown = format!("{probe:?}");
        assert!(shown.contains("Authorization") && !shown.contains("horse"), "{shown}");
        let error = ProbeHeaders::new([("Authorization", "correct\nhorse")]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("horse"));
    }

    #[test]
    fn hosts_are_names_with_or_without_a_port() {
        for (text, shown) in [("App.Internal", "app.internal"), ("app.internal:8080", "app.internal:8080")] {
            assert_eq!(ProbeHost::parse(text).unwrap().to_string(), shown);
        }
        assert_eq!(ProbeHost::parse("a.example:0"), Err(HealthCheckError::HostPort));
        assert_eq!(ProbeHost::parse("a.example:70000"), Err(HealthCheckError::HostPort));
        for text in ["", "10.0.0.5", "a b", "a/b", "a:b", "a\r\nX: y", "http://a"] {
            assert!(matches!(ProbeHost::parse(text), Err(HealthCheckError::Host(_))), "{text:?}");
        }
    }
}
