//! Traffic settings of a pool: outliers, circuit breaker, keys of hashing, limits of endpoints.

use std::sync::Arc;
use std::time::Duration;

use crate::{CircuitBreaker, Percent};

/// Traffic settings of an operator's pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolTraffic {
    /// Endpoints that are taken out of rotation by the results of their requests.
    pub outliers: Outliers,
    /// Circuit breaker of all routes together.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Property of a request that chooses its endpoint, for
    /// [`Balancer::ConsistentHash`](crate::Balancer::ConsistentHash).
    pub hash_by: Option<RequestKey>,
    /// Time in which the share of an endpoint that joins or returns rises to its whole.
    pub slow_start: Option<Duration>,
    /// Requests at a time for each endpoint.
    pub endpoint_max_concurrent: Option<u32>,
    /// HTTP version towards its endpoints.
    pub protocol: UpstreamProtocol,
}

/// Ejection of endpoints by the results of their requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outliers {
    /// Failures in a row after which an endpoint is ejected; 1 to 100.
    pub consecutive_failures: u8,
    /// Time out of rotation; doubles up to four times with each failed probe.
    pub ejection: Duration,
    /// Share of failures, well above that of the other endpoints, after which an endpoint is ejected.
    pub error_rate: Option<Percent>,
    /// Largest share of endpoints that are ejected at a time.
    pub max_ejection: Percent,
    /// Whether it only counts the endpoints that it would eject.
    pub dry_run: bool,
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            ejection: Duration::from_secs(30),
            error_rate: None,
            max_ejection: Percent::whole(50),
            dry_run: false,
        }
    }
}

/// Property of a request that identifies its user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestKey {
    /// Value of a header field, whose name is in lower case.
    Header(Arc<str>),
    /// Value of a cookie.
    Cookie(Arc<str>),
    /// Address of the client; of IPv6 the network of 64 bits.
    Client,
}

/// HTTP version towards the endpoints of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1 without TLS, and over TLS the version that the endpoint chooses.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, over TLS.
    Http2,
    /// HTTP/2 without TLS.
    H2c,
}

impl UpstreamProtocol {
    /// All values.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Http1, Self::Http2, Self::H2c];

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::H2c => "h2c",
        }
    }

    /// Parses the name in documents.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text)
    }
}
