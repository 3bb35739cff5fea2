//! Stored form of traffic settings, of policies, pools and routes.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AdaptiveLimit, AppId, Ban, BrakeMode, Canary, CanaryStep, CircuitBreaker, Cohorts, Hedge, HedgeDelay,
    Mirror, Outliers, Overload, Percent, PoolRef, PoolTraffic, RateLimit, RateLimitKey, RequestKey, Retries,
    StatusSet, TrafficSpec, UpstreamProtocol,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredRetries {
    attempts_max: NonZeroU8,
    /// Hundredths of a percent, as all shares.
    budget: u16,
    budget_floor: u16,
    idempotent_only: bool,
    statuses: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    backoff_min_ms: u64,
    backoff_max_ms: u64,
}

impl From<&Retries> for StoredRetries {
    fn from(retries: &Retries) -> Self {
        Self {
            attempts_max: retries.attempts_max,
            budget: retries.budget.hundredths(),
            budget_floor: retries.budget_floor,
            idempotent_only: retries.idempotent_only,
            statuses: retries.statuses.to_string(),
            idempotency_key: retries.idempotency_key.as_deref().map(str::to_owned),
            backoff_min_ms: millis(retries.backoff_min),
            backoff_max_ms: millis(retries.backoff_max),
        }
    }
}

impl StoredRetries {
    pub(super) fn into_model(self) -> Option<Retries> {
        Some(Retries {
            attempts_max: self.attempts_max,
            budget: Percent::from_hundredths(self.budget)?,
            budget_floor: self.budget_floor,
            idempotent_only: self.idempotent_only,
            statuses: StatusSet::parse(&self.statuses).ok()?,
            idempotency_key: self.idempotency_key.map(Arc::from),
            backoff_min: Duration::from_millis(self.backoff_min_ms),
            backoff_max: Duration::from_millis(self.backoff_max_ms),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredRateLimit {
    requests: u32,
    per_ms: u64,
    burst: u32,
    #[serde(default)]
    key: Vec<StoredRateLimitKey>,
    /// Refusals and milliseconds of a ban.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ban: Option<(u32, u64)>,
    #[serde(default)]
    sends_fields: bool,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredRateLimitKey {
    Route,
    Client,
    Tenant,
    Host,
    Header(String),
}

impl From<&RateLimit> for StoredRateLimit {
    fn from(limit: &RateLimit) -> Self {
        let key = |key: &RateLimitKey| match key {
            RateLimitKey::Route => StoredRateLimitKey::Route,
            RateLimitKey::Client => StoredRateLimitKey::Client,
            RateLimitKey::Tenant => StoredRateLimitKey::Tenant,
            RateLimitKey::Host => StoredRateLimitKey::Host,
            RateLimitKey::Header(name) => StoredRateLimitKey::Header(name.to_string()),
        };
        Self {
            requests: limit.requests,
            per_ms: millis(limit.per),
            burst: limit.burst,
            key: limit.key.iter().map(key).collect(),
            ban: limit.ban.map(|ban| (ban.after, millis(ban.duration))),
            sends_fields: limit.sends_fields,
            dry_run: limit.dry_run,
        }
    }
}

impl StoredRateLimit {
    pub(super) fn into_model(self) -> RateLimit {
        let key = |key| match key {
            StoredRateLimitKey::Route => RateLimitKey::Route,
            StoredRateLimitKey::Client => RateLimitKey::Client,
            StoredRateLimitKey::Tenant => RateLimitKey::Tenant,
            StoredRateLimitKey::Host => RateLimitKey::Host,
            StoredRateLimitKey::Header(name) => RateLimitKey::Header(name.into()),
        };
        RateLimit {
            requests: self.requests,
            per: Duration::from_millis(self.per_ms),
            burst: self.burst,
            key: self.key.into_iter().map(key).collect(),
            ban: self.ban.map(|(after, ms)| Ban { after, duration: Duration::from_millis(ms) }),
            sends_fields: self.sends_fields,
            dry_run: self.dry_run,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredBreaker {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_threshold: Option<u16>,
    requests_min: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
    open_ms: u64,
    successes: u8,
    #[serde(default)]
    dry_run: bool,
}

impl From<&CircuitBreaker> for StoredBreaker {
    fn from(breaker: &CircuitBreaker) -> Self {
        Self {
            error_threshold: breaker.error_threshold.map(Percent::hundredths),
            requests_min: breaker.requests_min,
            failures: breaker.failures,
            open_ms: millis(breaker.open),
            successes: breaker.successes,
            dry_run: breaker.dry_run,
        }
    }
}

impl StoredBreaker {
    pub(super) fn into_model(self) -> Option<CircuitBreaker> {
        Some(CircuitBreaker {
            error_threshold: share(self.error_threshold)?,
            requests_min: self.requests_min,
            failures: self.failures,
            open: Duration::from_millis(self.open_ms),
            successes: self.successes,
            dry_run: self.dry_run,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredHedge {
    /// Absent for the 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    budget: u16,
    #[serde(default)]
    dry_run: bool,
}

impl From<&Hedge> for StoredHedge {
    fn from(hedge: &Hedge) -> Self {
        let delay_ms = match hedge.delay {
            HedgeDelay::After(delay) => Some(millis(delay)),
            HedgeDelay::P95 => None,
        };
        Self { delay_ms, budget: hedge.budget.hundredths(), dry_run: hedge.dry_run }
    }
}

impl StoredHedge {
    pub(super) fn into_model(self) -> Option<Hedge> {
        let after = |ms| HedgeDelay::After(Duration::from_millis(ms));
        Some(Hedge {
            delay: self.delay_ms.map_or(HedgeDelay::P95, after),
            budget: Percent::from_hundredths(self.budget)?,
            dry_run: self.dry_run,
        })
    }
}

/// Traffic settings of a pool.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredPoolTraffic {
    outliers: StoredOutliers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    circuit_breaker: Option<StoredBreaker>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash_by: Option<StoredRequestKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slow_start_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint_max_concurrent: Option<u32>,
    protocol: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredOutliers {
    consecutive_failures: u8,
    ejection_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_rate: Option<u16>,
    max_ejection: u16,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredRequestKey {
    Header(String),
    Cookie(String),
    Client,
}

impl From<&PoolTraffic> for StoredPoolTraffic {
    fn from(traffic: &PoolTraffic) -> Self {
        let outliers = &traffic.outliers;
        Self {
            outliers: StoredOutliers {
                consecutive_failures: outliers.consecutive_failures,
                ejection_ms: millis(outliers.ejection),
                error_rate: outliers.error_rate.map(Percent::hundredths),
                max_ejection: outliers.max_ejection.hundredths(),
                dry_run: outliers.dry_run,
            },
            circuit_breaker: traffic.circuit_breaker.as_ref().map(StoredBreaker::from),
            hash_by: traffic.hash_by.as_ref().map(StoredRequestKey::from),
            slow_start_ms: traffic.slow_start.map(millis),
            endpoint_max_concurrent: traffic.endpoint_max_concurrent,
            protocol: traffic.protocol.as_str().to_owned(),
        }
    }
}

impl StoredPoolTraffic {
    pub(super) fn into_model(self) -> Option<PoolTraffic> {
        Some(PoolTraffic {
            outliers: Outliers {
                consecutive_failures: self.outliers.consecutive_failures,
                ejection: Duration::from_millis(self.outliers.ejection_ms),
                error_rate: share(self.outliers.error_rate)?,
                max_ejection: Percent::from_hundredths(self.outliers.max_ejection)?,
                dry_run: self.outliers.dry_run,
            },
            circuit_breaker: match self.circuit_breaker {
                Some(breaker) => Some(breaker.into_model()?),
                None => None,
            },
            hash_by: self.hash_by.map(StoredRequestKey::into_model),
            slow_start: self.slow_start_ms.map(Duration::from_millis),
            endpoint_max_concurrent: self.endpoint_max_concurrent,
            protocol: UpstreamProtocol::parse(&self.protocol)?,
        })
    }
}

impl From<&RequestKey> for StoredRequestKey {
    fn from(key: &RequestKey) -> Self {
        match key {
            RequestKey::Header(name) => Self::Header(name.to_string()),
            RequestKey::Cookie(name) => Self::Cookie(name.to_string()),
            RequestKey::Client => Self::Client,
        }
    }
}

impl StoredRequestKey {
    fn into_model(self) -> RequestKey {
        match self {
            Self::Header(name) => RequestKey::Header(name.into()),
            Self::Cookie(name) => RequestKey::Cookie(name.into()),
            Self::Client => RequestKey::Client,
        }
    }
}

/// Traffic management of a route.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredTraffic {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<StoredCanary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cohorts: Option<StoredCohorts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overload: Option<StoredOverload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mirror: Option<StoredMirror>,
}

/// Reference to a pool or an app.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPoolRef {
    Pool(String),
    App(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCanary {
    pool: StoredPoolRef,
    weight: u16,
    /// Weights with the milliseconds before them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<(u16, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<StoredRequestKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
    brake: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCohorts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
    trusted_only: bool,
    mappings: Vec<(String, StoredPoolRef)>,
    brake: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredOverload {
    max_concurrent: u32,
    queue_size: u32,
    queue_timeout_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adaptive: Option<StoredAdaptive>,
    dry_run: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAdaptive {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_ms: Option<u64>,
    min: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMirror {
    pool: StoredPoolRef,
    share: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    methods: Vec<String>,
    timeout_ms: u64,
}

impl From<&TrafficSpec> for StoredTraffic {
    fn from(spec: &TrafficSpec) -> Self {
        let text = |text: &Arc<str>| text.to_string();
        Self {
            canary: spec.canary.as_ref().map(|canary| StoredCanary {
                pool: StoredPoolRef::from(&canary.pool),
                weight: canary.weight.hundredths(),
                steps: canary
                    .steps
                    .iter()
                    .map(|step| (step.weight.hundredths(), millis(step.after)))
                    .collect(),
                hash: canary.hash.as_ref().map(StoredRequestKey::from),
                cookie: canary.cookie.as_ref().map(text),
                brake: canary.brake.as_str().to_owned(),
            }),
            cohorts: spec.cohorts.as_ref().map(|cohorts| StoredCohorts {
                header: cohorts.header.as_ref().map(text),
                cookie: cohorts.cookie.as_ref().map(text),
                trusted_only: cohorts.trusted_only,
                mappings: cohorts
                    .mappings
                    .iter()
                    .map(|(name, pool)| (name.to_string(), pool.into()))
                    .collect(),
                brake: cohorts.brake,
            }),
            overload: spec.overload.as_ref().map(|overload| StoredOverload {
                max_concurrent: overload.max_concurrent,
                queue_size: overload.queue_size,
                queue_timeout_ms: millis(overload.queue_timeout),
                adaptive: overload.adaptive.map(|adaptive| StoredAdaptive {
                    target_ms: adaptive.target.map(millis),
                    min: adaptive.min,
                }),
                dry_run: overload.dry_run,
            }),
            mirror: spec.mirror.as_ref().map(|mirror| StoredMirror {
                pool: StoredPoolRef::from(&mirror.pool),
                share: mirror.share.hundredths(),
                methods: mirror.methods.iter().map(text).collect(),
                timeout_ms: millis(mirror.timeout),
            }),
        }
    }
}

impl StoredTraffic {
    pub(super) fn into_model(self) -> Option<TrafficSpec> {
        Some(TrafficSpec {
            canary: match self.canary {
                Some(canary) => Some(canary.into_model()?),
                None => None,
            },
            cohorts: match self.cohorts {
                Some(cohorts) => Some(cohorts.into_model()?),
                None => None,
            },
            overload: self.overload.map(StoredOverload::into_model),
            mirror: match self.mirror {
                Some(mirror) => Some(mirror.into_model()?),
                None => None,
            },
        })
    }
}

impl StoredCanary {
    fn into_model(self) -> Option<Canary> {
        let step = |(weight, ms)| {
            Some(CanaryStep { weight: Percent::from_hundredths(weight)?, after: Duration::from_millis(ms) })
        };
        Some(Canary {
            pool: self.pool.into_model()?,
            weight: Percent::from_hundredths(self.weight)?,
            steps: self.steps.into_iter().map(step).collect::<Option<_>>()?,
            hash: self.hash.map(StoredRequestKey::into_model),
            cookie: self.cookie.map(Arc::from),
            brake: BrakeMode::parse(&self.brake)?,
        })
    }
}

impl StoredCohorts {
    fn into_model(self) -> Option<Cohorts> {
        let mapping = |(name, pool): (String, StoredPoolRef)| Some((Arc::from(name), pool.into_model()?));
        Some(Cohorts {
            header: self.header.map(Arc::from),
            cookie: self.cookie.map(Arc::from),
            trusted_only: self.trusted_only,
            mappings: self.mappings.into_iter().map(mapping).collect::<Option<_>>()?,
            brake: self.brake,
        })
    }
}

impl StoredOverload {
    fn into_model(self) -> Overload {
        Overload {
            max_concurrent: self.max_concurrent,
            queue_size: self.queue_size,
            queue_timeout: Duration::from_millis(self.queue_timeout_ms),
            adaptive: self.adaptive.map(|adaptive| AdaptiveLimit {
                target: adaptive.target_ms.map(Duration::from_millis),
                min: adaptive.min,
            }),
            dry_run: self.dry_run,
        }
    }
}

impl StoredMirror {
    fn into_model(self) -> Option<Mirror> {
        Some(Mirror {
            pool: self.pool.into_model()?,
            share: Percent::from_hundredths(self.share)?,
            methods: self.methods.into_iter().map(Arc::from).collect(),
            timeout: Duration::from_millis(self.timeout_ms),
        })
    }
}

impl From<&PoolRef> for StoredPoolRef {
    fn from(pool: &PoolRef) -> Self {
        match pool {
            PoolRef::Pool(id) => Self::Pool(id.to_string()),
            PoolRef::App(id) => Self::App(id.to_string()),
        }
    }
}

impl StoredPoolRef {
    fn into_model(self) -> Option<PoolRef> {
        Some(match self {
            Self::Pool(id) => PoolRef::Pool(AppId::parse(&id).ok()?),
            Self::App(id) => PoolRef::App(AppId::parse(&id).ok()?),
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An optional share; `None` when it is invalid.
fn share(hundredths: Option<u16>) -> Option<Option<Percent>> {
    match hundredths {
        Some(hundredths) => Percent::from_hundredths(hundredths).map(Some),
        None => Some(None),
    }
}
