//! Reasons why a request ends at the proxy, and the response to each: one table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Reason for which a request of the forward proxy is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The client's network is not admitted.
    Client,
    /// The client exceeds its rate.
    Rate {
        /// Time until a request is admitted.
        retry_after: Duration,
    },
    /// The client is refused for a while: it exceeded its rate, or gave wrong passwords.
    Banned {
        /// Time until the ban ends.
        retry_after: Duration,
    },
    /// Credentials are missing or wrong.
    Credentials,
    /// Passwords cannot be verified at the moment.
    Busy,
    /// The request is no request to a proxy: no absolute target, a CONNECT with a body.
    Request(&'static str),
    /// The scheme is not `http`.
    Scheme,
    /// The port is not among those that may be reached.
    Port(u16),
    /// The host is a number in a form that is no address.
    Numeric,
    /// A list blocks the domain.
    Blocked {
        /// The list.
        list: Arc<str>,
        /// Domain of the rule.
        rule: Arc<str>,
    },
    /// No list allows the domain.
    NotListed,
    /// All addresses are forbidden.
    Addresses(&'static str),
    /// The target is this proxy itself.
    Own,
    /// The request came back.
    Loop,
    /// The name does not exist, or its servers fail.
    NameFailed,
    /// The name's servers did not answer.
    NameTimedOut,
    /// Too many names wait.
    NameQueueFull,
    /// The target refused the connection, or is unreachable.
    ConnectFailed,
    /// The target did not answer.
    ConnectTimedOut,
    /// The client has too many tunnels.
    Tunnels,
    /// The process has no room for a connection.
    Full,
    /// The media type of the response is blocked.
    ContentType,
}

/// Row of the table: status, code, error of `Proxy-Status` (RFC 9209 §2.3), text.
type Row = (u16, &'static str, Option<&'static str>, &'static str);

impl Denial {
    /// The table.
    fn row(&self) -> Row {
        const DENIED: Option<&str> = Some("http_request_denied");
        const MALFORMED: Option<&str> = Some("http_request_error");
        match self {
            Self::Client => (403, "proxy_client_denied", DENIED, "this proxy does not serve your network"),
            Self::Rate { .. } => (429, "proxy_rate_limited", None, "too many requests; repeat it later"),
            Self::Banned { .. } => (429, "proxy_banned", None, "refused for a while"),
            Self::Credentials => {
                (407, "proxy_auth_required", DENIED, "this proxy needs a name and a password")
            }
            Self::Busy => (503, "proxy_auth_busy", None, "too many passwords wait for their verification"),
            Self::Request(reason) => (400, "proxy_bad_request", MALFORMED, reason),
            Self::Scheme => (403, "proxy_scheme_denied", DENIED, "only http:// and CONNECT are served"),
            Self::Port(_) => {
                (403, "proxy_port_denied", DENIED, "this port may not be reached through the proxy")
            }
            Self::Numeric => (400, "proxy_bad_host", MALFORMED, "the host is a number, and no address"),
            Self::Blocked { .. } => (403, "proxy_domain_blocked", DENIED, "the domain is blocked"),
            Self::NotListed => {
                (403, "proxy_domain_not_allowed", DENIED, "the domain is not among the allowed ones")
            }
            Self::Addresses(_) => (
                403,
                "proxy_address_denied",
                Some("destination_ip_prohibited"),
                "the target is not on the internet",
            ),
            Self::Own => {
                (403, "proxy_own_port", Some("destination_ip_prohibited"), "the target is this proxy")
            }
            Self::Loop => {
                (508, "proxy_loop", Some("proxy_loop_detected"), "the request came back to this proxy")
            }
            Self::NameFailed => (502, "proxy_name_failed", Some("dns_error"), "the host cannot be resolved"),
            Self::NameTimedOut => {
                (504, "proxy_name_timeout", Some("dns_timeout"), "the host was not resolved in time")
            }
            Self::NameQueueFull => {
                (503, "proxy_names_busy", Some("proxy_internal_error"), "too many names wait to be resolved")
            }
            Self::ConnectFailed => {
                (502, "proxy_connect_failed", Some("connection_refused"), "the target cannot be reached")
            }
            Self::ConnectTimedOut => (
                504,
                "proxy_connect_timeout",
                Some("connection_timeout"),
                "the target did not answer in time",
            ),
            Self::Tunnels => (429, "proxy_tunnels_limited", None, "too many tunnels are open"),
            Self::Full => (
                503,
                "proxy_full",
                Some("connection_limit_reached"),
                "the proxy has no room for a connection",
            ),
            Self::ContentType => (403, "proxy_type_blocked", DENIED, "the type of the response is blocked"),
        }
    }

    /// Status of the response.
    pub fn status(&self) -> u16 {
        self.row().0
    }

    /// Code in the response, the log and the metrics.
    pub fn code(&self) -> &'static str {
        self.row().1
    }

    /// Error of `Proxy-Status`.
    pub fn proxy_status(&self) -> Option<&'static str> {
        self.row().2
    }

    /// Text for people; nothing of the request.
    pub fn message(&self) -> &'static str {
        self.row().3
    }

    /// Value of `Retry-After`, in seconds, rounded up.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Rate { retry_after } | Self::Banned { retry_after } => {
                Some((retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)).max(1))
            }
            Self::Busy | Self::NameQueueFull | Self::Tunnels | Self::Full => Some(1),
            _ => None,
        }
    }

    /// Whether the operator's text stands in the response: the domain is blocked.
    pub fn is_blocked_domain(&self) -> bool {
        matches!(self, Self::Blocked { .. } | Self::NotListed)
    }

    /// Whether the connection can carry another request.
    pub fn keeps_connection(&self) -> bool {
        !matches!(self, Self::Client | Self::Request(_) | Self::Banned { .. } | Self::Full)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked { list, rule } => write!(f, "the list {list} blocks {rule}"),
            Self::Addresses(reason) => write!(f, "no address may be reached: {reason}"),
            Self::Port(port) => write!(f, "port {port} may not be reached"),
            _ => f.write_str(self.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_replies_have_a_retry_time_where_it_helps() {
        let all = [
            Denial::Client,
            Denial::Rate { retry_after: Duration::from_millis(1) },
            Denial::Banned { retry_after: Duration::from_secs(9) },
            Denial::Credentials,
            Denial::Busy,
            Denial::Request("x"),
            Denial::Scheme,
            Denial::Port(25),
            Denial::Numeric,
            Denial::Blocked { list: "l".into(), rule: "r".into() },
            Denial::NotListed,
            Denial::Addresses("private"),
            Denial::Own,
            Denial::Loop,
            Denial::NameFailed,
            Denial::NameTimedOut,
            Denial::NameQueueFull,
            Denial::ConnectFailed,
            Denial::ConnectTimedOut,
            Denial::Tunnels,
            Denial::Full,
            Denial::ContentType,
        ];
        let codes: std::collections::HashSet<_> = all.iter().map(Denial::code).collect();
        assert_eq!(codes.len(), all.len());
        for denial in &all {
            assert_eq!(matches!(denial.status(), 429 | 503), denial.retry_after().is_some(), "{denial:?}");
        }
        assert_eq!(all[1].retry_after(), Some(1));
        assert_eq!(all[2].retry_after(), Some(9));
    }
}
