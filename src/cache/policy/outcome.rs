//! Outcome of an exchange for its reader: `X-Cache-Status`, `Cache-Status` (RFC 9211), logs and metrics.

use super::request::Bypass;
use super::serve::push_number;
use super::storage::NotStored;

/// Use that an exchange made of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by a fresh response.
    Hit {
        /// Seconds of lifetime that remain.
        ttl: i64,
    },
    /// Answered past the lifetime, without an answer of the origin.
    Stale {
        /// Seconds of lifetime that remain; negative past it.
        ttl: i64,
        /// Reason for it.
        reason: StaleReason,
    },
    /// Answered past the lifetime, for the origin failed with a status.
    StaleAfter {
        /// Seconds of lifetime that remain; negative past it.
        ttl: i64,
        /// Status of the origin.
        status: u16,
    },
    /// Answered by a stored response that the origin confirmed.
    Revalidated {
        /// Reason for asking it.
        forward: Forward,
        /// Seconds of lifetime that remain, after the update.
        ttl: i64,
    },
    /// Answered by the origin.
    Forwarded {
        /// Reason for asking it.
        forward: Forward,
        /// Status of its response.
        status: u16,
        /// Whether the response is stored, or is one that is not.
        storing: Storing,
        /// Whether it was asked for another client at the same time.
        collapsed: bool,
    },
    /// Passed by the cache.
    Bypass(Bypass),
}

/// Storing of a forwarded response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// It is stored.
    Stored,
    /// It is still arriving: whether it is stored shows at its end.
    Underway,
    /// It is not, for a reason of the exchange.
    Not(NotStored),
    /// It is not, for want of room: memory, or places in a table.
    Full,
    /// It is not, for it was invalidated since its origin was asked.
    Invalidated,
}

impl Storing {
    /// Reason for which the response is not stored, for logs, metrics and `Cache-Status`.
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Stored | Self::Underway => None,
            Self::Not(reason) => Some(reason.name()),
            Self::Full => Some("cache-full"),
            Self::Invalidated => Some("invalidated"),
        }
    }
}

/// Reason for which a request went to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Nothing is stored for the target.
    UriMiss,
    /// Only variants that the request does not select.
    VaryMiss,
    /// The client did not accept the stored response.
    Request,
    /// The stored response was past its lifetime, or needed a confirmation.
    Stale,
}

/// Reason for which a response answers past its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReason {
    /// It is refreshed meanwhile (`stale-while-revalidate`).
    Revalidating,
    /// The origin failed (`stale-if-error`).
    IfError,
    /// The origin could not be reached.
    Disconnected,
    /// The client accepts it (`max-stale`).
    Requested,
}

impl StaleReason {
    /// Name for logs, metrics and `Cache-Status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revalidating => "stale-while-revalidate",
            Self::IfError => "stale-if-error",
            Self::Disconnected => "disconnected",
            Self::Requested => "max-stale",
        }
    }
}

impl Forward {
    /// Value of the parameter `fwd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

impl Outcome {
    /// Name in the access log: that of `X-Cache-Status` in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Stale { .. } | Self::StaleAfter { .. } => "stale",
            Self::Revalidated { .. } => "revalidated",
            Self::Forwarded { .. } => "miss",
            Self::Bypass(_) => "bypass",
        }
    }

    /// Whether what is stored answered without an answer of the origin: `hit` in `Cache-Status`.
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::Hit { .. } | Self::Stale { .. })
    }

    /// Reason for which a response past its lifetime answered.
    pub fn stale_reason(&self) -> Option<StaleReason> {
        match self {
            Self::Stale { reason, .. } => Some(*reason),
            Self::StaleAfter { .. } => Some(StaleReason::IfError),
            _ => None,
        }
    }

    /// Value of `X-Cache-Status`.
    pub fn x_cache_status(&self) -> &'static str {
        match self {
            Self::Hit { .. } => "HIT",
            Self::Stale { .. } | Self::StaleAfter { .. } => "STALE",
            Self::Revalidated { .. } => "REVALIDATED",
            Self::Forwarded { .. } => "MISS",
            Self::Bypass(_) => "BYPASS",
        }
    }

    /// Appends the member of this cache to `Cache-Status`, such as `ringway; hit; ttl=59`. `hit` and `fwd`
    /// exclude each other (RFC 9211 §2.1). No key is shown: it would help to find what is no part of it.
    pub fn write_cache_status(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ringway");
        match *self {
            Self::Hit { ttl } => {
                out.extend_from_slice(b"; hit");
                push_ttl(out, ttl);
            }
            Self::Stale { ttl, reason } => {
                out.extend_from_slice(b"; hit");
                push_ttl(out, ttl);
                if reason != StaleReason::Revalidating {
                    push_parameter(out, "detail", reason.name());
                }
            }
            Self::StaleAfter { ttl, status } => {
                push_parameter(out, "fwd", Forward::Stale.name());
                push_status(out, status);
                push_ttl(out, ttl);
                push_parameter(out, "detail", StaleReason::IfError.name());
            }
            Self::Revalidated { forward, ttl } => {
                push_parameter(out, "fwd", forward.name());
                push_status(out, 304);
                push_ttl(out, ttl);
            }
            Self::Forwarded { forward, status, storing, collapsed } => {
                push_parameter(out, "fwd", forward.name());
                push_status(out, status);
                if collapsed {
                    out.extend_from_slice(b"; collapsed");
                }
                // RFC 9211 §2.5: a statement, and no promise.
                if storing == Storing::Stored {
                    out.extend_from_slice(b"; stored");
                }
                if let Some(reason) = storing.refusal() {
                    push_parameter(out, "detail", reason);
                }
            }
            Self::Bypass(Bypass::Method) => push_parameter(out, "fwd", "method"),
            Self::Bypass(bypass) => {
                push_parameter(out, "fwd", "bypass");
                push_parameter(out, "detail", bypass.name());
            }
        }
    }
}

fn push_parameter(out: &mut Vec<u8>, name: &str, token: &str) {
    for part in ["; ", name, "=", token] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn push_status(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"; fwd-status=");
    push_number(out, status.into());
}

fn push_ttl(out: &mut Vec<u8>, ttl: i64) {
    // An Integer has 15 digits (RFC 9651 §3.3.1).
    let ttl = ttl.clamp(-999_999_999_999_999, 999_999_999_999_999);
    out.extend_from_slice(b"; ttl=");
    if ttl < 0 {
        out.push(b'-');
    }
    push_number(out, ttl.unsigned_abs());
}
