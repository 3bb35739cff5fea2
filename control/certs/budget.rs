//! Rate-limit budgets: a token bucket for each limit of each CA. Pure.
//!
//! A bucket is stored as the time at which it is full again (GCRA). Taking a token moves that time by the
//! interval of one token; a token is available while it is nearer than the whole capacity. A full bucket
//! needs no entry, and the persisted form is a list of timestamps.
//!
//! Let's Encrypt's documented limits are built in. An unknown CA has the limits that protect any CA. When a
//! CA reports that a limit is reached, its bucket is closed until `Retry-After`.

use std::collections::HashMap;
use std::time::Duration;

use crate::limits::BUDGETS_MAX;
use ringway_model::{Hostname, Timestamp};
use serde::{Deserialize, Serialize};

use crate::report::BudgetState;

/// Counted rate limit of a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// New orders of an account.
    Orders,
    /// Certificates of a registered domain; renewals are not counted.
    Certificates,
    /// Certificates for exactly the same names.
    Duplicates,
    /// Failed validations of a host.
    Failures,
    /// New accounts from our address.
    Accounts,
}

impl Limit {
    pub(crate) const ALL: [Self; 5] =
        [Self::Orders, Self::Certificates, Self::Duplicates, Self::Failures, Self::Accounts];

    /// Name in the API and in metrics.
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

/// Set of limits that a CA applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitPolicy {
    LetsEncrypt,
    LetsEncryptStaging,
    /// Any other CA.
    Other,
}

/// Capacity per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    capacity: u32,
    window: Duration,
}

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

impl LimitPolicy {
    /// Selects the limits by the URL of the directory.
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

    /// Rate of a limit; `None` where none is known.
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
            // No legitimate use needs more of these than Let's Encrypt allows.
            (Self::LetsEncrypt | Self::Other, Limit::Failures) => rate(5, HOUR),
            (Self::LetsEncrypt | Self::Other, Limit::Accounts) => rate(10, 3 * HOUR),
        }
    }
}

impl Rate {
    /// Time in which one token is refilled, in milliseconds.
    fn interval(self) -> u64 {
        (self.window.as_millis() as u64).div_ceil(u64::from(self.capacity))
    }
}

/// Class of an order, for the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderClass {
    /// First order for its names.
    New,
    /// The same names again: not counted for the registered domain.
    Renewal,
    /// A renewal that names the certificate which it replaces (RFC 9773 §5): not counted at all.
    Replacement,
}

/// Progress of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The CA accepted a new order.
    pub(crate) is_sent: bool,
    /// It issued the certificate.
    pub(crate) is_issued: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    authority: String,
    limit: Limit,
    /// Empty where the account is counted as a whole.
    subject: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    /// Time at which it is full again, in milliseconds since 1970.
    full_at: u64,
    /// Time before which the CA accepts nothing.
    #[serde(default)]
    closed_until: u64,
}

/// Buckets of all CAs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budgets {
    buckets: HashMap<Key, Bucket>,
}

/// Persisted form of the budgets.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct StoredBudgets {
    buckets: Vec<(Key, Bucket)>,
    /// Latest time seen: a clock behind it was set back.
    #[serde(default)]
    pub(crate) seen_at: u64,
}

impl Budgets {
    /// Restores persisted budgets.
    pub(crate) fn restore(stored: StoredBudgets) -> Self {
        Self { buckets: stored.buckets.into_iter().take(BUDGETS_MAX).collect() }
    }

    /// Returns the persisted form, without full buckets.
    pub(crate) fn store(&mut self, now: Timestamp) -> StoredBudgets {
        self.buckets.retain(|_, bucket| bucket.full_at.max(bucket.closed_until) > now.0);
        let buckets = self.buckets.iter().map(|(key, bucket)| (key.clone(), *bucket)).collect();
        StoredBudgets { buckets, seen_at: now.0 }
    }

    /// Returns the time at which an order may be sent: `now` or later.
    pub(crate) fn order_at(
        &self,
        authority: &str,
        host: &Hostname,
        class: OrderClass,
        now: Timestamp,
    ) -> Timestamp {
        let counted = costs(host, class);
        let failures = (Limit::Failures, host.as_str().to_owned());
        let waits = counted.iter().cloned().chain([failures]);
        let counted_at = waits.map(|(limit, subject)| self.next_at(authority, limit, subject, now)).max();
        // An account closed by the CA is closed for uncounted orders, too.
        let account = self.buckets.get(&key(authority, Limit::Orders, String::new()));
        let closed_at = account.map(|bucket| Timestamp(bucket.sane(now).closed_until));
        counted_at.max(closed_at).unwrap_or(now).max(now)
    }

    /// Whether a limit counts orders of this class.
    pub(crate) fn is_counted(limit: Limit, class: OrderClass) -> bool {
        match (limit, class) {
            (Limit::Orders | Limit::Failures | Limit::Accounts, _) | (_, OrderClass::New) => true,
            (Limit::Duplicates, OrderClass::Renewal) => true,
            (Limit::Certificates, OrderClass::Renewal | OrderClass::Replacement) => false,
            (Limit::Duplicates, OrderClass::Replacement) => false,
        }
    }

    /// Returns the time at which the account may order at all.
    pub(crate) fn account_at(&self, authority: &str, now: Timestamp) -> Timestamp {
        self.next_at(authority, Limit::Orders, String::new(), now)
    }

    /// Takes the tokens of an order.
    pub(crate) fn take_order(&mut self, authority: &str, host: &Hostname, class: OrderClass, now: Timestamp) {
        for (limit, subject) in costs(host, class) {
            self.take(authority, limit, subject, now);
        }
    }

    /// Gives back the tokens of steps that were not reached: CAs count orders when they are sent, and
    /// certificates when they are issued. An outage must not use up a domain's weekly budget.
    pub(crate) fn settle_order(
        &mut self,
        authority: &str,
        host: &Hostname,
        class: OrderClass,
        reached: Reached,
    ) {
        let is_kept = |limit: Limit| match limit {
            Limit::Orders => reached.is_sent,
            Limit::Certificates | Limit::Duplicates => reached.is_issued,
            Limit::Failures | Limit::Accounts => true,
        };
        for (limit, subject) in costs(host, class).into_iter().filter(|(limit, _)| !is_kept(*limit)) {
            let Some(rate) = LimitPolicy::of(authority).rate(limit) else { continue };
            if let Some(bucket) = self.buckets.get_mut(&key(authority, limit, subject)) {
                bucket.full_at = bucket.full_at.saturating_sub(rate.interval());
            }
        }
    }

    /// Takes the token of a failed validation.
    pub(crate) fn take_failure(&mut self, authority: &str, host: &Hostname, now: Timestamp) {
        self.take(authority, Limit::Failures, host.as_str().to_owned(), now);
    }

    /// Takes the token of a new account; returns the time until one is available otherwise.
    pub(crate) fn take_account(&mut self, authority: &str, now: Timestamp) -> Result<(), Duration> {
        let at = self.next_at(authority, Limit::Accounts, String::new(), now);
        if at > now {
            return Err(Duration::from_millis(at.0 - now.0));
        }
        self.take(authority, Limit::Accounts, String::new(), now);
        Ok(())
    }

    /// Closes a bucket until `until`, because the CA reported the limit as reached.
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

    /// Reports the remaining budgets: of a limit that is counted per subject, the bucket with the least left.
    pub(crate) fn report(&self, authority: &str, now: Timestamp) -> Vec<BudgetState> {
        let policy = LimitPolicy::of(authority);
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
        let rate = LimitPolicy::of(authority).rate(limit);
        match self.buckets.get(&key(authority, limit, subject)) {
            Some(bucket) => bucket.next_at(rate, now),
            None => now,
        }
    }

    fn take(&mut self, authority: &str, limit: Limit, subject: String, now: Timestamp) {
        let Some(rate) = LimitPolicy::of(authority).rate(limit) else { return };
        if let Some(bucket) = self.bucket_mut(key(authority, limit, subject), now) {
            bucket.full_at = bucket.sane(now).full_at.max(now.0).saturating_add(rate.interval());
        }
    }

    fn bucket_mut(&mut self, key: Key, now: Timestamp) -> Option<&mut Bucket> {
        if self.buckets.len() >= BUDGETS_MAX && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| bucket.full_at.max(bucket.closed_until) > now.0);
            if self.buckets.len() >= BUDGETS_MAX {
                // Uncounted: the CA still enforces its limit.
                return None;
            }
        }
        Some(self.buckets.entry(key).or_default())
    }
}

/// Bound on the time for which a CA can close a bucket.
const CLOSED_MAX: Duration = WEEK;

impl Bucket {
    /// Clamps the times, which may come from a clock that was set back: a bucket is never emptier than empty.
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

/// Buckets from which an order takes a token each.
fn costs(host: &Hostname, class: OrderClass) -> Vec<(Limit, String)> {
    let orders = (Limit::Orders, String::new());
    let duplicates = (Limit::Duplicates, host.as_str().to_owned());
    match class {
        OrderClass::New => {
            vec![orders, (Limit::Certificates, registered_domain(host).to_owned()), duplicates]
        }
        OrderClass::Renewal => vec![orders, duplicates],
        OrderClass::Replacement => Vec::new(),
    }
}

/// Registered domain: one label more than the public suffix.
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
    fn selects_the_limits_by_directory_url() {
        for (url, expected) in [
            ("https://acme-v02.api.letsencrypt.org/directory", LimitPolicy::LetsEncrypt),
            ("https://acme-staging-v02.api.letsencrypt.org/directory", LimitPolicy::LetsEncryptStaging),
            ("https://notletsencrypt.org/dir", LimitPolicy::Other),
            ("https://localhost:14000/dir", LimitPolicy::Other),
            ("http://acme-v02.api.letsencrypt.org/directory", LimitPolicy::Other),
        ] {
            assert_eq!(LimitPolicy::of(url), expected, "{url}");
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
            assert_eq!(budgets.order_at(ca, &name, OrderClass::New, START), START, "{n}");
            budgets.take_order(ca, &name, OrderClass::New, START);
        }
        let next = host("s50.example.com");
        let at = budgets.order_at(ca, &next, OrderClass::New, START);
        assert_eq!(at, after(WEEK / 50), "one comes back every 202 minutes");
        // Neither renewals nor other domains are affected.
        assert_eq!(budgets.order_at(ca, &next, OrderClass::Renewal, START), START);
        assert_eq!(budgets.order_at(ca, &next, OrderClass::Replacement, START), START);
        assert_eq!(budgets.order_at(ca, &host("other.org"), OrderClass::New, START), START);
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
            budgets.take_order(ca, &name, OrderClass::Renewal, START);
        }
        assert_eq!(budgets.order_at(ca, &name, OrderClass::Renewal, START), after(WEEK / 5));
        for n in 0..295 {
            budgets.take_order(ca, &host(&format!("d{n}.example")), OrderClass::New, START);
        }
        assert_eq!(budgets.account_at(ca, START), after(3 * HOUR / 300));
        assert_eq!(budgets.order_at(ca, &name, OrderClass::Replacement, START), START);
    }

    #[test]
    fn failures_and_accounts_are_bounded_at_every_ca() {
        let mut budgets = Budgets::default();
        let ca = "https://ca.internal/acme";
        let name = host("a.example.com");
        for _ in 0..5 {
            assert_eq!(budgets.order_at(ca, &name, OrderClass::New, START), START);
            budgets.take_failure(ca, &name, START);
        }
        assert_eq!(budgets.order_at(ca, &name, OrderClass::New, START), after(HOUR / 5));
        assert_eq!(budgets.order_at(ca, &name, OrderClass::Replacement, START), after(HOUR / 5));
        for _ in 0..10 {
            budgets.take_account(ca, START).unwrap();
        }
        assert_eq!(budgets.take_account(ca, START), Err(3 * HOUR / 10));
        // Its orders are not limited.
        for _ in 0..1_000 {
            budgets.take_order(ca, &host("b.example.com"), OrderClass::New, START);
        }
        assert_eq!(budgets.order_at(ca, &host("b.example.com"), OrderClass::New, START), START);
    }

    #[test]
    fn a_closed_bucket_overrides_the_count() {
        let (mut budgets, ca) = (Budgets::default(), le());
        let name = host("a.example.com");
        let until = after(HOUR);
        budgets.close(ca, Limit::Certificates, &name, until, START);
        assert_eq!(budgets.order_at(ca, &host("b.example.com"), OrderClass::New, START), until);
        assert_eq!(
            budgets.order_at(ca, &name, OrderClass::Renewal, START),
            START,
            "not counted by that limit"
        );
        budgets.close(ca, Limit::Orders, &name, after(1_000 * WEEK), START);
        assert_eq!(budgets.account_at(ca, START), after(CLOSED_MAX), "bounded");
        assert_eq!(budgets.order_at(ca, &name, OrderClass::Replacement, START), after(CLOSED_MAX));
        let report = budgets.report(ca, START);
        assert_eq!(report[0].left, 0);
    }

    #[test]
    fn staging_has_its_own_buckets() {
        let mut budgets = Budgets::default();
        let staging = "https://acme-staging-v02.api.letsencrypt.org/directory";
        let name = host("a.example.com");
        for _ in 0..1_500 {
            budgets.take_order(staging, &name, OrderClass::New, START);
        }
        assert!(budgets.account_at(staging, START) > START);
        assert_eq!(budgets.order_at(le(), &name, OrderClass::New, START), START);
    }

    #[test]
    fn survive_a_restart() {
        let (mut budgets, ca) = (Budgets::default(), le());
        for n in 0..50 {
            budgets.take_order(ca, &host(&format!("s{n}.example.com")), OrderClass::New, START);
        }
        budgets.close(ca, Limit::Failures, &host("x.example"), after(HOUR), START);
        let text = serde_json::to_string(&budgets.store(START)).unwrap();
        let again = Budgets::restore(serde_json::from_str(&text).unwrap());
        assert_eq!(again, budgets);
        // Full buckets are not kept.
        assert!(budgets.store(after(2 * WEEK)).buckets.is_empty());
    }

    #[test]
    fn a_clock_set_back_closes_no_bucket_for_long() {
        let (mut budgets, ca) = (Budgets::default(), le());
        let name = host("a.example.com");
        let future = after(1_000 * WEEK);
        for _ in 0..5 {
            budgets.take_order(ca, &name, OrderClass::Renewal, future);
        }
        assert!(budgets.order_at(ca, &name, OrderClass::Renewal, START) <= after(WEEK));
    }

    #[test]
    fn an_order_costs_only_the_steps_reached() {
        let name = host("a.example.com");
        let after = |is_sent, is_issued| {
            let mut budgets = Budgets::default();
            // Repeatedly, as in an outage.
            for _ in 0..20 {
                budgets.take_order(le(), &name, OrderClass::New, START);
                budgets.settle_order(le(), &name, OrderClass::New, Reached { is_sent, is_issued });
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
        /// In no window are there more orders than twice the capacity (which refills meanwhile), and an order
        /// is admitted at the time that was forecast.
        #[test]
        fn never_exceeds_the_limits(steps in prop::collection::vec((0u64..4_000_000, 0u8..4), 1..400)) {
            let (mut budgets, ca) = (Budgets::default(), le());
            let mut now = START;
            let mut sent: Vec<(u64, u8)> = Vec::new();
            for (wait, which) in steps {
                now.0 += wait;
                let name = host(&format!("s{which}.example.com"));
                let at = budgets.order_at(ca, &name, OrderClass::New, now);
                prop_assert!(at >= now);
                if at > now {
                    let mut early = now;
                    early.0 = at.0 - 1;
                    prop_assert!(budgets.order_at(ca, &name, OrderClass::New, early) > early);
                    prop_assert_eq!(budgets.order_at(ca, &name, OrderClass::New, at), at);
                    continue;
                }
                budgets.take_order(ca, &name, OrderClass::New, now);
                sent.push((now.0, which));
                let since = |window: Duration| now.0.saturating_sub(window.as_millis() as u64);
                let week = sent.iter().filter(|(at, _)| *at >= since(WEEK)).count();
                let same = sent.iter().filter(|(at, host)| *at >= since(WEEK) && *host == which).count();
                prop_assert!(week <= 100 && same <= 10, "{} in a week, {} of one", week, same);
            }
        }

        #[test]
        fn reads_any_persisted_text(text in ".{0,200}") {
            if let Ok(stored) = serde_json::from_str::<StoredBudgets>(&text) {
                let budgets = Budgets::restore(stored);
                budgets.order_at(le(), &host("a.example"), OrderClass::New, START);
            }
        }
    }
}
