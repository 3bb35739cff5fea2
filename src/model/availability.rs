//! Policies of an app on failing instances: results that count against an instance, and requests while none
//! is healthy.

use std::fmt;
use std::ops::RangeInclusive;

use crate::status::{Shown, StatusRangeError, parse_range};

/// Treatment of requests while every instance of an app fails its health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum OnAllUnhealthy {
    /// Requests are answered with 502.
    #[default]
    Reject,
    /// Health is ignored: all instances take requests. Circuit breakers still count.
    PanicOpen,
    /// One request a second is forwarded, the others are answered with 502.
    Trickle,
}

impl OnAllUnhealthy {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Reject, Self::PanicOpen, Self::Trickle];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::PanicOpen => "panic_open",
            Self::Trickle => "trickle",
        }
    }

    /// Parses the name in the API.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text)
    }
}

/// Results that count against an instance's circuit breaker besides connection failures and broken messages,
/// which always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FailurePolicy {
    /// Statuses of the app's own responses; none by default, because any client may know a request that the
    /// app answers with one.
    pub statuses: StatusSet,
    /// Late responses.
    pub timeouts: TimeoutPolicy,
}

/// Treatment of a response whose head or next byte misses its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimeoutPolicy {
    /// Counts while the instance's health check has not passed: a client may know a slow route of a healthy
    /// instance.
    #[default]
    Unchecked,
    /// Counts.
    Always,
    /// Does not count.
    Never,
}

impl TimeoutPolicy {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Unchecked, Self::Always, Self::Never];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Always => "always",
            Self::Never => "never",
        }
    }

    /// Parses the name in the API.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text)
    }
}

/// A set of statuses from 500 to 599: one bit each, bit 0 for 500.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StatusSet(u128);

/// Parse error of a [`StatusSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusSetError(pub StatusRangeError);

impl StatusSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// The set of these statuses; others than 500 to 599 are left out.
    pub fn of(statuses: impl IntoIterator<Item = u16>) -> Self {
        let known = statuses.into_iter().filter(|status| STATUSES.contains(status));
        Self(known.fold(0, |bits, status| bits | bit(status)))
    }

    /// Parses one part: `503` or `502-504`.
    ///
    /// # Errors
    /// See [`StatusSetError`].
    pub fn parse_part(text: &str) -> Result<Self, StatusSetError> {
        let range = parse_range(text, &STATUSES).map_err(StatusSetError)?;
        Ok(Self(range.fold(0, |bits, status| bits | bit(status))))
    }

    /// Parses parts separated by commas; the empty text is the empty set.
    ///
    /// # Errors
    /// See [`StatusSetError`].
    pub fn parse(text: &str) -> Result<Self, StatusSetError> {
        if text.trim().is_empty() {
            return Ok(Self::EMPTY);
        }
        text.split(',').try_fold(Self::EMPTY, |set, part| Ok(set.union(Self::parse_part(part.trim())?)))
    }

    /// The union of two sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a status is in the set.
    pub fn has(self, status: u16) -> bool {
        STATUSES.contains(&status) && self.0 & bit(status) != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The ranges in ascending order; no two of them are adjacent.
    pub fn ranges(self) -> impl Iterator<Item = RangeInclusive<u16>> {
        let mut from = *STATUSES.start();
        std::iter::from_fn(move || {
            let first = (from..=*STATUSES.end()).find(|status| self.has(*status))?;
            let last = (first..=*STATUSES.end()).take_while(|status| self.has(*status)).last()?;
            from = last + 1;
            Some(first..=last)
        })
    }

    /// The ranges in the form of [`parse_part`](Self::parse_part).
    pub fn parts(self) -> impl Iterator<Item = String> {
        self.ranges().map(|range| Shown(range).to_string())
    }
}

/// The form of [`StatusSet::parse`].
impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            f.write_str(&part)?;
        }
        Ok(())
    }
}

impl fmt::Debug for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusSet({self})")
    }
}

impl fmt::Display for StatusSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            StatusRangeError::Form => "must be statuses or ranges of them, as in 503 or \"502-504\"",
            StatusRangeError::Bounds => {
                "must be from 500 to 599: other statuses are about the request, and would let any client \
                 take an instance out"
            }
            StatusRangeError::Order => "must have ranges that begin with the smaller status",
        })
    }
}

impl std::error::Error for StatusSetError {}

/// Server errors (RFC 9110 §15.6).
const STATUSES: RangeInclusive<u16> = 500..=599;

/// The bit of a status within [`STATUSES`].
fn bit(status: u16) -> u128 {
    1 << (status - *STATUSES.start())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn api_names_round_trip() {
        for policy in OnAllUnhealthy::ALL {
            assert_eq!(OnAllUnhealthy::parse(policy.as_str()), Some(policy));
        }
        for policy in TimeoutPolicy::ALL {
            assert_eq!(TimeoutPolicy::parse(policy.as_str()), Some(policy));
        }
        assert_eq!((OnAllUnhealthy::parse("Reject"), TimeoutPolicy::parse("")), (None, None));
    }

    #[test]
    fn a_set_is_shown_in_its_shortest_form() {
        for (text, shown) in [
            ("", ""),
            ("503", "503"),
            ("502-504", "502-504"),
            ("504, 502,503", "502-504"),
            ("500,502 - 504,599,598", "500,502-504,598-599"),
            ("500-599", "500-599"),
        ] {
            let set = StatusSet::parse(text).unwrap();
            assert_eq!(set.to_string(), shown, "{text}");
            assert_eq!(StatusSet::parse(shown), Ok(set), "{text}");
        }
        let set = StatusSet::parse("500,599").unwrap();
        assert!(set.has(500) && set.has(599));
        assert!([0, 100, 200, 499, 501, 598, 600, 627, 628, u16::MAX].iter().all(|status| !set.has(*status)));
        assert!(StatusSet::EMPTY.is_empty() && !set.is_empty());
    }

    #[test]
    fn invalid_sets_are_refused() {
        for text in ["5", "5xx", "0503", "+50", "502-", "-502", "502-504-505", "503,", ",", "503 504", "٥٠٣"]
        {
            assert_eq!(StatusSet::parse(text), Err(StatusSetError(StatusRangeError::Form)), "{text:?}");
        }
        for text in ["499", "600", "404", "404-503", "500-600"] {
            assert_eq!(StatusSet::parse(text), Err(StatusSetError(StatusRangeError::Bounds)), "{text:?}");
        }
        assert_eq!(StatusSet::parse("504-502"), Err(StatusSetError(StatusRangeError::Order)));
    }
}
