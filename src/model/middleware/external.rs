//! External filters: services that decide about requests.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::AppId;
use crate::serde_text::duration;

/// A service that decides about requests; it may change header fields, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalFilter {
    /// The pool of its endpoints; one made for it where the document has an address.
    pub pool: AppId,
    /// The protocol.
    pub protocol: ExternalProtocol,
    /// Timeout of a decision: connection, request and answer.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Treatment of requests without a decision.
    pub fail_mode: FailMode,
    /// Fields of the request that it gets, in lower case; empty: all but the credentials of other stages.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub send: Box<[Arc<str>]>,
    /// Fields that only it may set, in lower case: a client's own are removed.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub asserts: Box<[Arc<str>]>,
    /// Field, in lower case, in which the endpoint gets the reason why there is no decision; those of clients
    /// are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_open_header: Option<Arc<str>>,
    /// Decisions that hold for later requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<DecisionCache>,
}

impl ExternalFilter {
    /// Fields of the forwarded request, in lower case, that only it may set.
    pub fn asserted(&self) -> impl Iterator<Item = &Arc<str>> {
        self.asserts.iter().chain(&self.failed_open_header)
    }
}

/// Protocol of an external filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternalProtocol {
    /// One GET for each decision, answered by its status.
    Http {
        /// Path and query of the request; the original ones are in `X-Forwarded-Uri`.
        path: Arc<str>,
    },
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
}

/// Treatment of requests that have no decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailMode {
    /// They are refused.
    #[default]
    Closed,
    /// They go on.
    Open,
}

/// Decisions that hold for later requests with the same values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionCache {
    /// Fields, in lower case, and `method`, `host`, `path`: all that the decision depends on.
    pub key: Box<[Arc<str>]>,
    /// Time that a decision holds; at most a minute.
    #[serde(with = "duration")]
    pub ttl: Duration,
}
