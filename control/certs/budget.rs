//! What may still be asked of each CA: a token bucket for each of its limits. Pure.
//!
//! A bucket is one moment: the one at which it is full again. Taking a token moves it on by the time in which one comes
//! back; there is a token while it is nearer than the whole capacity. So a bucket that is full is no bucket, and
//! what is kept on the disk is a list of moments.
//!
//! What Let's Encrypt writes of its limits is the measure for it. A CA of which nothing is known has the limits that
//! protect any CA; when it says itself that it has enough, the bucket concerned is closed until it wants to be asked again.

use std::collections::HashMap;
use std::time::Duration;

use crate::limits::BUDGETS_MAX;
use ringway_model::{Hostname, Timestamp};
use serde::{Deserialize, Serialize};

use crate::report::BudgetState;

/// The limits of CAs that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// New orders of an account.
    Orders,
    /// Certificates of a registered domain; renewals are not counted.
    Certificates,
    /// Certificates for exactly the same names.
    Duplicates,
    /// Validations of a host that failed.
    Failures,
    /// New accounts from one address: ours.
    Accounts,
}

impl Limit {
    pub(crate) const ALL: [Self; 5] =
        [Self::Orders, Self::Certificates, Self::Duplicates, Self::Failures, Self::Accounts];

    /// The word in the API and in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Certificates => "certificates_per_registered_domain",
            Self::Duplicates => "duplicate_certificates",
            Self::Failures => "failed_validations",
            Self::Accounts => "accounts",
        }
    }
}

/// Whose limits a CA has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    LetsEncrypt,
    LetsEncryptStaging,
    /// Any other.
    Other,
}

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    capacity: u32,
    window: Duration,
}

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

impl Policy {
    /// By the URL of the directory.
    pub(crate) fn of(directory_url: &str) -> Self {
        let host = directory_url.strip_prefix("https://").unwrap_or_default();
        let host = host.split(['/', ':']).next().unwrap_or_default();
        match host.strip_suffix("letsencrypt.org") {
            Some(front) if front.contains("staging") => Self::LetsEncryptStaging,
            Some("") => Self::LetsEncrypt,
            Some(front) if front.ends_with('.') => Self::LetsEncrypt,
            Some(_) | None => Self::Other,
        }
    }

    /// `None`: not limited, as far as is known.
    fn rate(self, limit: Limit) -> Option<Rate> {
        let rate = |capacity, window| Some(Rate { capacity, window });
        // letsencrypt.org/docs/rate-limits and /docs/staging-environment.
        match (self, limit) {
            (Self::LetsEncrypt, Limit::Orders) => rate(300, 3 * HOUR),
            (Self::LetsEncrypt, Limit::Certificates) => rate(50, WEEK),
            (Self::LetsEncrypt, Limit::Duplicates) => rate(5, WEEK),
            (Self::LetsEncryptStaging, Limit::Orders) => rate(1_500, 3 * HOUR),
            (Self::LetsEncryptStaging, Limit::Certificates | Limit::Duplicates) => rate(30_000, WEEK),
            (Self::LetsEncryptStaging, Limit::Failures) => rate(200, HOUR),
            (Self::LetsEncryptStaging, Limit::Accounts) => rate(50, 3 * HOUR),
            (Self::Other, Limit::Orders | Limit::Certificates | Limit::Duplicates) => None,
            // Nobody needs more of these than Let's Encrypt allows.
            (Self::LetsEncrypt | Self::Other, Limit::Failures) => rate(5, HOUR),
            (Self::LetsEncrypt | Self::Other, Limit::Accounts) => rate(10, 3 * HOUR),
        }
    }
}

impl Rate {
    /// The time in which one token comes back, in milliseconds.
    fn interval(self) -> u64 {
        (self.window.as_millis() as u64).div_ceil(u64::from(self.capacity))
    }
}

/// What an order is, to the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first of its names.
    New,
    /// The same names again: not counted for the registered domain.
    Renewal,
    /// A renewal that names the certificate which it replaces (RFC 9773 §5): not counted at all.
    Replacement,
}

/// How far an order came in this attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The CA has taken a new order.
    pub(crate) is_sent: bool,
    /// It has issued.
    pub(crate) is_issued: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    authority: String,
    limit: Limit,
    /// Empty where the account as a whole is counted.
    subject: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    /// When it is full again, in milliseconds since 1970.
    full_at: u64,
    /// The CA has said that it wants nothing before.
    #[serde(default)]
    closed_until: u64,
}

/// All buckets of all CAs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budgets {
    buckets: HashMap<Key, Bucket>,
}

/// How they stand on the disk.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stored {
    buckets: Vec<(Key, Bucket)>,
    /// The latest time that was seen: a clock that is behind it was set back.
    #[serde(default)]
    pub(crate) seen_at: u64,
}

impl Budgets {
    /// As they were on the disk.
    pub(crate) fn restore(stored: Stored) -> Self {
        Self { buckets: stored.buckets.into_iter().take(BUDGETS_MAX).collect() }
    }

    /// As they go to the disk; what is full is left out.
    pub(crate) fn store(&mut self, now: Timestamp) -> Stored {
        self.buckets.retain(|_, bucket| bucket.full_at.max(bucket.closed_until) > now.0);
        let buckets = self.buckets.iter().map(|(key, bucket)| (key.clone(), *bucket)).collect();
        Stored { buckets, seen_at: now.0 }
    }

    /// When an order may be sent; `now` if at once.
    pub(crate) fn order_at(&self, authority: &str, host: &Hostname, kind: Kind, now: Timestamp) -> Timestamp {
        let counted = costs(host, kind);
        let failures = (Limit::Failures, host.as_str().to_owned());
        let waits = counted.iter().cloned().chain([failures]);
        let counted_at = waits.map(|(limit, subject)| self.next_at(authority, limit, subject, now)).max();
        // An account that the CA has closed is closed to all, also to those who are not counted.
        let account = self.buckets.get(&key(authority, Limit::Orders, String::new()));
        let closed_at = account.map(|bucket| Timestamp(bucket.sane(now).closed_until));
        counted_at.max(closed_at).unwrap_or(now).max(now)
    }

    /// Whether orders of this kind are counted by a limit.
    pub(crate) fn is_counted(limit: Limit, kind: Kind) -> bool {
        match (limit, kind) {
            (Limit::Orders | Limit::Failures | Limit::Accounts, _) | (_, Kind::New) => true,
            (Limit::Duplicates, Kind::Renewal) => true,
            (Limit::Certificates, Kind::Renewal | Kind::Replacement) => false,
            (Limit::Duplicates, Kind::Replacement) => false,
        }
    }

    /// When the account may order at all.
    pub(crate) fn account_at(&self, authority: &str, now: Timestamp) -> Timestamp {
        self.next_at(authority, Limit::Orders, String::new(), now)
    }

    /// An order is sent.
    pub(crate) fn take_order(&mut self, authority: &str, host: &Hostname, kind: Kind, now: Timestamp) {
        for (limit, subject) in costs(host, kind) {
            self.take(authority, limit, subject, now);
        }
    }

    /// It came to this much only: what was taken for the rest is given back. CAs count orders when they are sent, and
    /// certificates when they are issued; an outage must not use up what a domain may have in a week.
    pub(crate) fn settle_order(&mut self, authority: &str, host: &Hostname, kind: Kind, reached: Reached) {
        let is_kept = |limit: Limit| match limit {
            Limit::Orders => reached.is_sent,
            Limit::Certificates | Limit::Duplicates => reached.is_issued,
            Limit::Failures | Limit::Accounts => true,
        };
        for (limit, subject) in costs(host, kind).into_iter().filter(|(limit, _)| !is_kept(*limit)) {
            let Some(rate) = Policy::of(authority).rate(limit) else { continue };
            if let Some(bucket) = self.buckets.get_mut(&key(authority, limit, subject)) {
                bucket.full_at = bucket.full_at.saturating_sub(rate.interval());
            }
        }
    }

    /// A validation failed.
    pub(crate) fn take_failure(&mut self, authority: &str, host: &Hostname, now: Timestamp) {
        self.take(authority, Limit::Failures, host.as_str().to_owned(), now);
    }

    /// An account is about to be made; the time until it may be, if it may not yet.
    pub(crate) fn take_account(&mut self, authority: &str, now: Timestamp) -> Result<(), Duration> {
        let at = self.next_at(authority, Limit::Accounts, String::new(), now);
        if at > now {
            return Err(Duration::from_millis(at.0 - now.0));
        }
        self.take(authority, Limit::Accounts, String::new(), now);
        Ok(())
    }

    /// The CA says that a limit is reached, whatever we have counted: nothing before `until`.
    pub(crate) fn close(
        &mut self,
        authority: &str,
        limit: Limit,
        host: &Hostname,
        until: Timestamp,
        now: Timestamp,
    ) {
        let subject = match limit {
            Limit::Orders | Limit::Accounts => String::new(),
            Limit::Certificates => registered_domain(host).to_owned(),
            Limit::Duplicates | Limit::Failures => host.as_str().to_owned(),
        };
        if let Some(bucket) = self.bucket_mut(key(authority, limit, subject), now) {
            bucket.closed_until = bucket.closed_until.max(until.0.min(now.0 + CLOSED_MAX.as_millis() as u64));
        }
    }

    /// What is left: of each limit that is counted for many, the bucket that is nearest to its end.
    pub(crate) fn report(&self, authority: &str, now: Timestamp) -> Vec<BudgetState> {
        let policy = Policy::of(authority);
        let report = |limit: Limit| {
            let rate = policy.rate(limit);
            let capacity = rate.map_or(u32::MAX, |rate| rate.capacity);
            let of_limit =
                self.buckets.iter().filter(|(key, _)| key.limit == limit && key.authority == authority);
            let worst = of_limit
                .map(|(key, bucket)| (bucket.left(rate, now), bucket.next_at(rate, now), key))
                .min_by_key(|(left, next_at, _)| (*left, std::cmp::Reverse(*next_at)));
            let full = BudgetState {
                limit: limit.as_str(),
                authority: authority.to_string(),
                subject: None,
                left: capacity,
                capacity,
                next_at: None,
            };
            match worst {
                Some((left, next_at, key)) if left < capacity => BudgetState {
                    subject: (!key.subject.is_empty()).then(|| key.subject.clone()),
                    left,
                    next_at: (left == 0).then_some(next_at),
                    ..full
                },
                Some(_) | None => full,
            }
        };
        let is_counted = |limit: &Limit| {
            policy.rate(*limit).is_some()
                || self.buckets.iter().any(|(key, bucket)| {
                    key.limit == *limit && key.authority == authority && bucket.closed_until > now.0
                })
        };
        Limit::ALL.into_iter().filter(is_counted).map(report).collect()
    }

    fn next_at(&self, authority: &str, limit: Limit, subject: String, now: Timestamp) -> Timestamp {
        let rate = Policy::of(authority).rate(limit);
        match self.buckets.get(&key(authority, limit, subject)) {
            Some(bucket) => bucket.next_at(rate, now),
            None => now,
        }
    }

    fn take(&mut self, authority: &str, limit: Limit, subject: String, now: Timestamp) {
        let Some(rate) = Policy::of(authority).rate(limit) else { return };
        if let Some(bucket) = self.bucket_mut(key(authority, limit, subject), now) {
            bucket.full_at = bucket.sane(now).full_at.max(now.0).saturating_add(rate.interval());
        }
    }

    fn bucket_mut(&mut self, key: Key, now: Timestamp) -> Option<&mut Bucket> {
        if self.buckets.len() >= BUDGETS_MAX && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| bucket.full_at.max(bucket.closed_until) > now.0);
            if self.buckets.len() >= BUDGETS_MAX {
                // The CA counts, too.
                return None;
            }
        }
        Some(self.buckets.entry(key).or_default())
    }
}

/// A CA that says "come back in a year" is asked again after this.
const CLOSED_MAX: Duration = WEEK;

impl Bucket {
    /// Without what a clock that was set back would make of it: a bucket is never emptier than empty.
    fn sane(self, now: Timestamp) -> Self {
        let bound = now.0.saturating_add(WEEK.as_millis() as u64);
        Self { full_at: self.full_at.min(bound), closed_until: self.closed_until.min(bound) }
    }

    fn next_at(self, rate: Option<Rate>, now: Timestamp) -> Timestamp {
        let bucket = self.sane(now);
        let token_at = rate.map_or(0, |rate| {
            let reserve = rate.interval() * u64::from(rate.capacity - 1);
            bucket.full_at.min(now.0 + rate.interval() + reserve).saturating_sub(reserve)
        });
        Timestamp(token_at.max(bucket.closed_until).max(now.0))
    }

    fn left(self, rate: Option<Rate>, now: Timestamp) -> u32 {
        let bucket = self.sane(now);
        if bucket.closed_until > now.0 {
            return 0;
        }
        let Some(rate) = rate else { return u32::MAX };
        let taken = bucket.full_at.saturating_sub(now.0).div_ceil(rate.interval());
        rate.capacity.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }
}

fn key(authority: &str, limit: Limit, subject: String) -> Key {
    Key { authority: authority.to_owned(), limit, subject }
}

/// What an order costs: each of these, one.
fn costs(host: &Hostname, kind: Kind) -> Vec<(Limit, String)> {
    let orders = (Limit::Orders, String::new());
    let duplicates = (Limit::Duplicates, host.as_str().to_owned());
    match kind {
        Kind::New => vec![orders, (Limit::Certificates, registered_domain(host).to_owned()), duplicates],
        Kind::Renewal => vec![orders, duplicates],
        Kind::Replacement => Vec::new(),
    }
}

/// The name that somebody has registered: one label more than the public suffix.
pub(crate) fn registered_domain(host: &Hostname) -> &str {
    psl::domain_str(host.as_str()).unwrap_or(host.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::host;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp(1_800_000_000_000);

    fn le() -> &'static str {
        "https://acme-v02.api.letsencrypt.org/directory"
    }

    fn after(time: Duration) -> Timestamp {
        Timestamp(START.0 + time.as_millis() as u64)
    }

    #[test]
    fn knows_whose_limits_a_ca_has() {
        for (url, expected) in [
            ("https://acme-v02.api.letsencrypt.org/directory", Policy::LetsEncrypt),
            ("https://acme-staging-v02.api.letsencrypt.org/directory", Policy::LetsEncryptStaging),
            ("https://notletsencrypt.org/dir", Policy::Other),
            ("https://localhost:14000/dir", Policy::Other),
            ("http://acme-v02.api.letsencrypt.org/directory", Policy::Other),
        ] {
            assert_eq!(Policy::of(url), expected, "{url}");
        }
    }

    #[test]
    fn counts_by_registered_domain() {
        for (name, expected) in [
            ("shop.example.com", "example.com"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("tenant.github.io", "tenant.github.io"),
            ("example.com", "example.com"),
            ("com", "com"),
            ("shop.corp.internal", "corp.internal"),
        ] {
            assert_eq!(registered_domain(&host(name)), expected);
        }
    }

    #[test]
    fn fifty_certificates_of_a_registered_domain_in_a_week() {
        let (mut budgets, ca) = (Budgets::default(), le());
        for n in 0..50 {
            let name = host(&format!("s{n}.example.com"));
            assert_eq!(budgets.order_at(ca, &name, Kind::New, START), START, "{n}");
            budgets.take_order(ca, &name, Kind::New, START);
        }
        let next = host("s50.example.com");
        let at = budgets.order_at(ca, &next, Kind::New, START);
        assert_eq!(at, after(WEEK / 50), "one comes back every 202 minutes");
        // Neither its renewals nor another domain wait for that.
        assert_eq!(budgets.order_at(ca, &next, Kind::Renewal, START), START);
        assert_eq!(budgets.order_at(ca, &next, Kind::Replacement, START), START);
        assert_eq!(budgets.order_at(ca, &host("other.org"), Kind::New, START), START);
        let report = budgets.report(ca, START);
        let of = |limit: Limit| report.iter().find(|state| state.limit == limit.as_str()).unwrap().clone();
        let certificates = of(Limit::Certificates);
        assert_eq!((certificates.left, certificates.next_at), (0, Some(at)));
        assert_eq!(certificates.subject.as_deref(), Some("example.com"));
        assert_eq!(of(Limit::Orders).left, 250);
        assert_eq!(of(Limit::Duplicates).left, 4);
    }

    #[test]
    fn three_hundred_orders_and_five_duplicates() {
        let (mut budgets, ca) = (Budgets::default(), le());
        let name = host("a.example.com");
        for _ in 0..5 {
            budgets.take_order(ca, &name, Kind::Renewal, START);
        }
        assert_eq!(budgets.order_at(ca, &name, Kind::Renewal, START), after(WEEK / 5));
        for n in 0..295 {
            budgets.take_order(ca, &host(&format!("d{n}.example")), Kind::New, START);
        }
        assert_eq!(budgets.account_at(ca, START), after(3 * HOUR / 300));
        assert_eq!(budgets.order_at(ca, &name, Kind::Replacement, START), START);
    }

    #[test]
    fn failures_and_accounts_are_bounded_at_every_ca() {
        let mut budgets = Budgets::default();
        let ca = "https://ca.internal/acme";
        let name = host("a.example.com");
        for _ in 0..5 {
            assert_eq!(budgets.order_at(ca, &name, Kind::New, START), START);
            budgets.take_failure(ca, &name, START);
        }
        assert_eq!(budgets.order_at(ca, &name, Kind::New, START), after(HOUR / 5));
        assert_eq!(budgets.order_at(ca, &name, Kind::Replacement, START), after(HOUR / 5));
        for _ in 0..10 {
            budgets.take_account(ca, START).unwrap();
        }
        assert_eq!(budgets.take_account(ca, START), Err(3 * HOUR / 10));
        // Its orders are its own business.
        for _ in 0..1_000 {
            budgets.take_order(ca, &host("b.example.com"), Kind::New, START);
        }
        assert_eq!(budgets.order_at(ca, &host("b.example.com"), Kind::New, START), START);
    }

    #[test]
    fn what_the_ca_says_counts_more_than_what_was_counted() {
        let (mut budgets, ca) = (Budgets::default(), le());
        let name = host("a.example.com");
        let until = after(HOUR);
        budgets.close(ca, Limit::Certificates, &name, until, START);
        assert_eq!(budgets.order_at(ca, &host("b.example.com"), Kind::New, START), until);
        assert_eq!(budgets.order_at(ca, &name, Kind::Renewal, START), START, "it is not counted for that");
        budgets.close(ca, Limit::Orders, &name, after(1_000 * WEEK), START);
        assert_eq!(budgets.account_at(ca, START), after(CLOSED_MAX), "nobody is believed for ever");
        assert_eq!(budgets.order_at(ca, &name, Kind::Replacement, START), after(CLOSED_MAX));
        let report = budgets.report(ca, START);
        assert_eq!(report[0].left, 0);
    }

    #[test]
    fn staging_has_buckets_of_its_own() {
        let mut budgets = Budgets::default();
        let staging = "https://acme-staging-v02.api.letsencrypt.org/directory";
        let name = host("a.example.com");
        for _ in 0..1_500 {
            budgets.take_order(staging, &name, Kind::New, START);
        }
        assert!(budgets.account_at(staging, START) > START);
        assert_eq!(budgets.order_at(le(), &name, Kind::New, START), START);
    }

    #[test]
    fn are_the_same_after_a_restart() {
        let (mut budgets, ca) = (Budgets::default(), le());
        for n in 0..50 {
            budgets.take_order(ca, &host(&format!("s{n}.example.com")), Kind::New, START);
        }
        budgets.close(ca, Limit::Failures, &host("x.example"), after(HOUR), START);
        let text = serde_json::to_string(&budgets.store(START)).unwrap();
        let again = Budgets::restore(serde_json::from_str(&text).unwrap());
        assert_eq!(again, budgets);
        // What is full again is not kept.
        assert!(budgets.store(after(2 * WEEK)).buckets.is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_closes_nothing_for_long() {
        let (mut budgets, ca) = (Budgets::default(), le());
        let name = host("a.example.com");
        let future = after(1_000 * WEEK);
        for _ in 0..5 {
            budgets.take_order(ca, &name, Kind::Renewal, future);
        }
        assert!(budgets.order_at(ca, &name, Kind::Renewal, START) <= after(WEEK));
    }

    #[test]
    fn an_order_costs_what_it_came_to() {
        let name = host("a.example.com");
        let after = |is_sent, is_issued| {
            let mut budgets = Budgets::default();
            // Many times over, as in an outage.
            for _ in 0..20 {
                budgets.take_order(le(), &name, Kind::New, START);
                budgets.settle_order(le(), &name, Kind::New, Reached { is_sent, is_issued });
            }
            let report = budgets.report(le(), START);
            let left = |limit: Limit| report.iter().find(|state| state.limit == limit.as_str()).unwrap().left;
            (left(Limit::Orders), left(Limit::Certificates), left(Limit::Duplicates))
        };
        assert_eq!(after(false, false), (300, 50, 5));
        assert_eq!(after(true, false), (280, 50, 5));
        assert_eq!(after(false, true), (300, 30, 0), "resumed: the order was counted before");
        assert_eq!(after(true, true), (280, 30, 0));
    }

    proptest! {
        /// Whatever is done when: in no window are there more orders than the CA allows, but for what its own bucket
        /// gives back meanwhile (twice the capacity), and who waits until the moment told may go then.
        #[test]
        fn never_asks_for_more_than_the_ca_allows(steps in prop::collection::vec((0u64..4_000_000, 0u8..4), 1..400)) {
            let (mut budgets, ca) = (Budgets::default(), le());
            let mut now = START;
            let mut sent: Vec<(u64, u8)> = Vec::new();
            for (wait, which) in steps {
                now.0 += wait;
                let name = host(&format!("s{which}.example.com"));
                let at = budgets.order_at(ca, &name, Kind::New, now);
                prop_assert!(at >= now);
                if at > now {
                    let mut early = now;
                    early.0 = at.0 - 1;
                    prop_assert!(budgets.order_at(ca, &name, Kind::New, early) > early);
                    prop_assert_eq!(budgets.order_at(ca, &name, Kind::New, at), at);
                    continue;
                }
                budgets.take_order(ca, &name, Kind::New, now);
                sent.push((now.0, which));
                let since = |window: Duration| now.0.saturating_sub(window.as_millis() as u64);
                let week = sent.iter().filter(|(at, _)| *at >= since(WEEK)).count();
                let same = sent.iter().filter(|(at, host)| *at >= since(WEEK) && *host == which).count();
                prop_assert!(week <= 100 && same <= 10, "{} in a week, {} of one", week, same);
            }
        }

        #[test]
        fn takes_any_text_on_the_disk(text in ".{0,200}") {
            if let Ok(stored) = serde_json::from_str::<Stored>(&text) {
                let budgets = Budgets::restore(stored);
                budgets.order_at(le(), &host("a.example"), Kind::New, START);
            }
        }
    }
}
