//! Compiled rate limit of a policy: whose requests it counts together, and the fields and words about it.

use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{RateLimit, RateLimitKey};

use super::{Bans, Decision, Gcra, Key, Limit, RateLimitTable};
use crate::request_key::RequestFields;
use crate::virtual_host::RuleId;

/// Rate limit of a policy, for all rules that refer to it.
///
/// Its debts are in the table, by the name of its policy: they outlive snapshots, and changed numbers apply
/// to them at once.
#[derive(Debug)]
pub struct RateLimiter {
    scope: LimitScope,
    settings: RateLimit,
    limit: Limit,
    /// Hash of the scope, which sets its keys apart from those of others.
    scope_hash: u64,
    /// The limit in words.
    words: Box<str>,
    /// `RateLimit-Policy` line (draft-ietf-httpapi-ratelimit-headers-11 §3).
    policy_line: Box<[u8]>,
    table: Arc<RateLimitTable>,
}

/// Owner of the counts of a rate limit; those of two owners are never added up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitScope {
    /// A named policy.
    Policy(Arc<str>),
    /// A route with a policy in place, or a registered domain.
    Route(Arc<str>),
    /// An app or pool with a policy in place.
    Pool(Arc<str>),
    /// The settings of the process.
    Process,
}

impl LimitScope {
    /// Name in refusals, logs and metrics.
    pub fn name(&self) -> &str {
        match self {
            Self::Policy(name) | Self::Route(name) | Self::Pool(name) => name,
            Self::Process => "rate_limiting",
        }
    }
}

/// Properties of a request that keys are made of.
#[derive(Clone, Copy, Debug)]
pub struct KeySource<'a> {
    /// The matched rule.
    pub rule: RuleId,
    /// Address of the client: the peer's, or the one that a trusted proxy gave.
    pub client: IpAddr,
    /// Its tenant.
    pub tenant: Option<&'a str>,
    /// Its header fields.
    pub fields: RequestFields<'a>,
}

impl PartialEq for RateLimiter {
    fn eq(&self, other: &Self) -> bool {
        (&self.scope, &self.settings) == (&other.scope, &other.settings)
    }
}

impl Eq for RateLimiter {}

impl RateLimiter {
    /// Compiles the limit of a policy. The first one allocates the words of the table, which takes
    /// milliseconds.
    pub fn new(scope: LimitScope, settings: RateLimit, table: Arc<RateLimitTable>) -> Self {
        table.prepare();
        let limit = Limit {
            rate: Gcra::new(settings.requests, settings.per, settings.burst),
            bans: settings.ban.as_ref().map(|ban| Bans::new(ban.after, settings.per, ban.duration)),
        };
        Self {
            limit,
            scope_hash: table.hash().hash_one(&scope),
            words: words(&settings).into(),
            policy_line: policy_line(scope.name(), &settings).into(),
            scope,
            settings,
            table,
        }
    }

    /// Decides on a request, and counts it. 40 to 70 ns; allocates nothing.
    #[inline]
    pub fn decide(&self, request: &KeySource<'_>, now_us: u64) -> Decision {
        self.limit.decide(&self.table, self.key(request), now_us)
    }

    /// Name of the policy; of the route or pool where the limit stands in place.
    pub fn policy(&self) -> &str {
        self.scope.name()
    }

    /// The limit in words: `100 per second, burst 20`.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Whether refused requests pass, and are only counted.
    pub fn is_dry_run(&self) -> bool {
        self.settings.dry_run
    }

    /// Whether responses have the fields of [`push_fields`](Self::push_fields).
    pub fn has_fields(&self) -> bool {
        self.settings.sends_fields && !self.settings.dry_run
    }

    /// Appends the lines `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11): the
    /// requests that the client has left, and the seconds until it has its burst back, or, when it has none
    /// left, until the next request is admitted.
    pub fn push_fields(&self, lines: &mut Vec<u8>, decision: &Decision) {
        let (remaining, reset) = match *decision {
            Decision::Admitted { debt_us } => {
                (self.limit.rate.remaining(debt_us), Duration::from_micros(debt_us))
            }
            Decision::Limited { retry_after } | Decision::Banned { retry_after } => (0, retry_after),
        };
        lines.extend_from_slice(b"RateLimit: ");
        push_quoted(lines, self.policy());
        // Writing to a vector does not fail.
        let _ = write!(lines, ";r={remaining};t={}\r\n", seconds(reset));
        lines.extend_from_slice(&self.policy_line);
    }

    /// Key of a request. A field that is missing is one key for all.
    fn key(&self, from: &KeySource<'_>) -> Key {
        let mut hasher = self.table.hash().build_hasher();
        hasher.write_u64(self.scope_hash);
        for part in &self.settings.key {
            match part {
                RateLimitKey::Route => hasher.write_u64(from.rule.0),
                RateLimitKey::Client => hasher.write_u128(network(from.client)),
                RateLimitKey::Tenant => write_text(&mut hasher, from.tenant.map(str::as_bytes)),
                RateLimitKey::Host => write_text(&mut hasher, [from.fields.host().as_bytes()]),
                RateLimitKey::Header(name) => write_text(&mut hasher, from.fields.values(name)),
            }
        }
        Key(hasher.finish())
    }
}

/// Hashes texts so that no other texts give the same bytes.
fn write_text<'a>(hasher: &mut impl Hasher, texts: impl IntoIterator<Item = &'a [u8]>) {
    let mut count = 0u64;
    for text in texts {
        hasher.write(text);
        hasher.write_usize(text.len());
        count += 1;
    }
    hasher.write_u64(count);
}

/// Network of a client: its address, or the /64 of IPv6 in which a client chooses its addresses itself.
fn network(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address) & !u128::from(u64::MAX),
    }
}

fn words(settings: &RateLimit) -> String {
    let mut words = format!("{} per {}, burst {}", settings.requests, period(settings.per), settings.burst);
    let parts = settings.key.iter().filter_map(|part| match part {
        RateLimitKey::Route => None,
        RateLimitKey::Client => Some("client"),
        RateLimitKey::Tenant => Some("tenant"),
        RateLimitKey::Host => Some("host"),
        RateLimitKey::Header(name) => Some(&**name),
    });
    for (number, part) in parts.enumerate() {
        words.push_str(if number == 0 { ", for each " } else { " and " });
        words.push_str(part);
    }
    words
}

fn period(per: Duration) -> String {
    match (per.as_secs(), per.subsec_nanos()) {
        (1, 0) => "second".into(),
        (60, 0) => "minute".into(),
        (3_600, 0) => "hour".into(),
        (86_400, 0) => "day".into(),
        (seconds, 0) => format!("{seconds} s"),
        _ => format!("{} ms", per.as_millis()),
    }
}

/// Quota and window of the policy. The window is in whole seconds: a shorter one is scaled.
fn policy_line(name: &str, settings: &RateLimit) -> Vec<u8> {
    let window = seconds(settings.per).max(1);
    let quota =
        u128::from(settings.requests) * u128::from(window) * 1_000_000_000 / settings.per.as_nanos().max(1);
    let mut line = b"RateLimit-Policy: ".to_vec();
    push_quoted(&mut line, name);
    let _ = write!(line, ";q={};w={window}\r\n", quota.min(QUOTA_MAX));
    line
}

/// Largest integer of structured fields (RFC 9651 §3.3.1).
const QUOTA_MAX: u128 = 999_999_999_999_999;

/// Appends a string of structured fields (RFC 9651 §3.3.3). Other characters than it may have become `_`.
fn push_quoted(lines: &mut Vec<u8>, text: &str) {
    lines.push(b'"');
    for c in text.chars() {
        match c {
            '"' | '\\' => lines.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => lines.push(c as u8),
            _ => lines.push(b'_'),
        }
    }
    lines.push(b'"');
}

/// Seconds of a duration, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
