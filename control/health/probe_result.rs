//! Results of probes, and their text form.

use std::fmt;
use std::time::Duration;

#[cfg(doc)]
use crate::limits;
use ringway_model::{Probe, Scheme};
use ringway_wire::h1::ResponseError;

use crate::schedule::Plan;

/// Result of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The instance is healthy.
    Healthy,
    /// The instance failed the probe or could not be reached.
    Failed(Failure),
    /// The probe could not be sent, for a local reason. It has no effect: a local shortage must not take
    /// every instance out of rotation.
    NotProbed(LocalFault),
}

/// Failure of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Connection refused: no listener on the port.
    Refused,
    /// No route to the address, or rejected by a firewall.
    Unreachable,
    /// No connection within the timeout.
    ConnectTimeout,
    /// No complete response head within the timeout after connecting.
    ResponseTimeout,
    /// The connection ended before a complete response head.
    ClosedEarly,
    /// Not an HTTP response.
    Malformed(ResponseError),
    /// Unexpected status.
    Status(u16),
    /// The expected text is not in the body, or not in its first `HEALTH_BODY_BYTES_MAX` bytes.
    TextMissing,
    /// The body's chunks are malformed.
    MalformedBody,
    /// The target's name has no address.
    NameNotResolved,
    /// TLS handshake failed: not TLS, or an untrusted certificate.
    Tls,
}

impl Failure {
    /// Stable code for logs and the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::ClosedEarly => "closed_early",
            Self::Malformed(_) => "malformed_response",
            Self::Status(_) => "status",
            Self::TextMissing => "text_missing",
            Self::MalformedBody => "malformed_body",
            Self::NameNotResolved => "name_not_resolved",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable => f.write_str("address not reachable"),
            Self::ConnectTimeout => f.write_str("timed out connecting"),
            Self::ResponseTimeout => f.write_str("timed out waiting for the response"),
            Self::ClosedEarly => f.write_str("connection closed before a response"),
            Self::Malformed(error) => write!(f, "malformed response: {error}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::TextMissing => f.write_str("body lacks the expected text"),
            Self::MalformedBody => f.write_str("malformed chunked body"),
            Self::NameNotResolved => f.write_str("name did not resolve"),
            Self::Tls => f.write_str("TLS handshake failed: not TLS, or a certificate that is not trusted"),
        }
    }
}

/// Text form of a failure: the request, then the result. Queries, header values and bodies are left out.
#[derive(Clone, Copy, Debug)]
pub struct Explained<'a> {
    plan: &'a Plan,
    failure: Failure,
}

impl Plan {
    /// Describes a failure of this check for logs and the API: `GET /health: status 503, expected 200-399`.
    pub fn explain(&self, failure: Failure) -> Explained<'_> {
        Explained { plan: self, failure }
    }

    /// Whether the check ends with the connection. Servers of HTTP/2 without TLS, such as gRPC servers, get
    /// no request.
    pub(crate) fn only_connects(&self) -> bool {
        match &self.probe {
            Probe::Tcp => true,
            Probe::Http(_) => self.endpoint().scheme() == Scheme::H2c,
        }
    }
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, failure } = *self;
        match (&plan.probe, plan.port) {
            (Probe::Http(probe), port) if !plan.only_connects() => {
                let (path, query) = match probe.path.as_str().split_once('?') {
                    Some((path, _)) => (path, "?…"),
                    None => (probe.path.as_str(), ""),
                };
                let method = probe.method.as_str();
                match port {
                    Some(port) => write!(f, "{method} :{port}{path}{query}: ")?,
                    None => write!(f, "{method} {path}{query}: ")?,
                }
            }
            (_, Some(port)) => write!(f, "port {port}: ")?,
            (_, None) => {}
        }
        match (failure, &plan.probe) {
            (Failure::ConnectTimeout, _) => write!(f, "timed out after {} connecting", Seconds(plan.timeout)),
            (Failure::ResponseTimeout, _) => {
                write!(f, "timed out after {} waiting for the response", Seconds(plan.timeout))
            }
            (Failure::Status(status), Probe::Http(probe)) => {
                write!(f, "status {status}, expected {}", probe.statuses)?;
                // Frameworks respond with these to an unknown Host, which an address mostly is.
                match (&probe.host, status) {
                    (None, 400 | 403 | 421) => {
                        write!(f, " (its Host was {}; `host` sets another)", plan.endpoint().authority())
                    }
                    _ => Ok(()),
                }
            }
            (Failure::TextMissing, Probe::Http(probe)) => match &probe.body {
                Some(text) => write!(f, "body lacks {:?}", text.as_str()),
                None => write!(f, "{failure}"),
            },
            (failure, _) => write!(f, "{failure}"),
        }
    }
}

/// `3s`, or `1500ms` where seconds are not whole.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

/// Local reason why a probe could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalFault {
    /// No file descriptor, port or memory was left, or another refusal of the system.
    NoResources,
    /// Too many names are being resolved.
    ResolverBusy,
    /// The request of the probe is not valid HTTP.
    InvalidRequest,
    /// The TLS settings cannot be loaded: a CA file, or that of the client certificate.
    TlsUnavailable,
    /// The probe panicked: a defect.
    Panicked,
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoResources => "no file descriptor, port or memory left to connect with",
            Self::ResolverBusy => "too many names are being resolved",
            Self::InvalidRequest => "its path, host or headers are not valid in a request",
            Self::TlsUnavailable => "the files of the app's upstream_tls cannot be loaded",
            Self::Panicked => "the probe panicked",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZeroU16;

    use ringway_model::{BodyText, HttpProbe, ProbeHeaders, ProbeHost, ProbeMethod, StatusRanges, Target};

    use super::*;

    fn plan(target: &str, probe: Probe) -> Plan {
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(3));
        Plan { target: Target::parse(target).unwrap(), port: None, app: None, probe, interval, timeout }
    }

    fn http(path: &str) -> HttpProbe {
        HttpProbe::new(path).unwrap()
    }

    #[test]
    fn a_failure_describes_the_request_and_the_result() {
        let explained = |probe: HttpProbe, failure| {
            plan("http://10.0.0.5:3001", Probe::Http(probe.into())).explain(failure).to_string()
        };
        assert_eq!(
            explained(http("/health"), Failure::Status(503)),
            "GET /health: status 503, expected 200-399"
        );
        let only = StatusRanges::parse("200,204").unwrap();
        let head = HttpProbe { method: ProbeMethod::Head, statuses: only, ..http("/up") };
        assert_eq!(explained(head, Failure::Status(302)), "HEAD /up: status 302, expected 200,204");
        let text = HttpProbe { body: Some(BodyText::parse("ok").unwrap()), ..http("/health") };
        assert_eq!(explained(text, Failure::TextMissing), r#"GET /health: body lacks "ok""#);
        assert_eq!(
            explained(http("/health"), Failure::ResponseTimeout),
            "GET /health: timed out after 3s waiting for the response"
        );
        assert_eq!(explained(http("/health"), Failure::Refused), "GET /health: connection refused");
    }

    #[test]
    fn a_status_that_an_unknown_host_gets_names_the_host() {
        let explained = |probe: HttpProbe| {
            plan("http://10.0.0.5:3001", Probe::Http(probe.into())).explain(Failure::Status(400)).to_string()
        };
        assert_eq!(
            explained(http("/up")),
            "GET /up: status 400, expected 200-399 (its Host was 10.0.0.5:3001; `host` sets another)"
        );
        let host = Some(ProbeHost::parse("app.example").unwrap());
        assert_eq!(explained(HttpProbe { host, ..http("/up") }), "GET /up: status 400, expected 200-399");
    }

    #[test]
    fn queries_and_header_values_are_left_out() {
        let headers = ProbeHeaders::new([("Authorization", "correct-horse")]).unwrap();
        let probe = HttpProbe { headers, ..http("/health?token=battery") };
        let plan = plan("http://10.0.0.5:3001", Probe::Http(probe.into()));
        assert_eq!(
            plan.explain(Failure::ClosedEarly).to_string(),
            "GET /health?…: connection closed before a response"
        );
    }

    #[test]
    fn a_connect_check_has_no_path_and_another_port_is_shown() {
        let tcp = plan("http://10.0.0.5:3001", Probe::Tcp);
        assert_eq!(tcp.explain(Failure::ConnectTimeout).to_string(), "timed out after 3s connecting");
        let h2c = plan("h2c://10.0.0.5:3001", Probe::Http(http("/health").into()));
        assert_eq!(h2c.explain(Failure::Refused).to_string(), "connection refused");
        let port = NonZeroU16::new(9000);
        assert_eq!(
            Plan { port, ..tcp }.explain(Failure::Refused).to_string(),
            "port 9000: connection refused"
        );
        assert_eq!(
            Plan { port, ..h2c }.explain(Failure::Refused).to_string(),
            "GET :9000/health: connection refused",
            "another port speaks HTTP/1.1"
        );
    }
}
