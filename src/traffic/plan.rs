//! Traffic plans: the pool of a route's request, between a stable pool, a canary and cohorts.
//!
//! ```text
//! cohort header ─► cohort cookie ─► hash key ─► bucket cookie ─► drawn by weight
//!      └── a known value: its pool        └── bucket below the weight in force: canary, else stable
//! ```
//! The first part of a request that decides wins; an unknown cohort decides nothing. A [`Bucket`] belongs to
//! the client and not to the weight. A canary without an available endpoint is passed over; a cohort is not.
//! Retries stay with the pool that was chosen.

mod bucket;
mod state;

pub use self::bucket::{Bucket, BucketKey, SealedBucket};
pub use self::state::{PlanState, Position};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use ringway_model::Variant;
use ringway_model::{AppId, Canary, CanaryState, CanaryStep, Cohorts, Percent, TrafficSpec};
use ringway_wire::h1::RequestHead;

use crate::balance::affinity;
use crate::request_key::{RequestFields, cookie, key_value};
use crate::snapshot::PoolId;

/// Plan of one route.
#[derive(Clone, Debug)]
pub struct TrafficPlan {
    /// The plan as configured.
    pub spec: Arc<TrafficSpec>,
    /// The pool of all requests that nothing else decides.
    pub stable: PoolId,
    /// The canary beside it.
    pub canary: Option<CanaryPlan>,
    /// Cohorts and their pools.
    pub cohorts: Option<CohortPlan>,
    /// Position and counts, shared with all snapshots that have this plan.
    pub state: Arc<PlanState>,
}

/// Canary of a plan.
#[derive(Clone, Debug)]
pub struct CanaryPlan {
    /// Number of the plan: see [`plan_id`].
    pub id: u64,
    /// Its pool.
    pub pool: PoolId,
    /// Weights, keys of the buckets, mode of the brake.
    pub settings: Canary,
    /// Key of its buckets.
    key: BucketKey,
}

/// Cohorts of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CohortPlan {
    /// Names and their places in a request.
    pub settings: Cohorts,
    /// Pools, in the order of the mappings.
    pub pools: Box<[PoolId]>,
}

/// Parts of which a plan is compiled.
#[derive(Clone, Copy, Debug)]
pub struct PlanSource<'a> {
    /// The route.
    pub route: &'a str,
    /// Its own pool.
    pub stable: (&'a AppId, PoolId),
    /// The plan as configured.
    pub spec: &'a Arc<TrafficSpec>,
    /// Stored progress of the route's canary.
    pub stored: Option<&'a CanaryState>,
    /// The route's plan in the snapshot before.
    pub known: Option<&'a TrafficPlan>,
    /// Number of data cores.
    pub cores: usize,
    /// Secret of which the keys of buckets are derived.
    pub secret: &'a [u8],
}

/// Request, as far as a plan looks at it.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Buffer of the head.
    pub buf: &'a [u8],
    /// Address of its client.
    pub client: IpAddr,
    /// Whether a trusted proxy sent it.
    pub is_trusted: bool,
    /// Evenly distributed bits, of which a new bucket is drawn.
    pub draw: u64,
}

/// Decision of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The pool of the request.
    pub pool: PoolId,
    /// Its variant.
    pub variant: Variant,
    /// The part of the request that decided.
    pub reason: Reason,
    /// Bucket that the client should keep: it had no valid cookie.
    pub new_bucket: Option<Bucket>,
}

/// Part of a request that decided on its variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The cohort's header field.
    CohortHeader,
    /// The cohort's cookie.
    CohortCookie,
    /// Bucket of the hash key.
    Hash(Bucket),
    /// Bucket of the cookie.
    Cookie(Bucket),
    /// Nothing: a bucket was drawn.
    Draw(Bucket),
    /// The canary that was chosen has no available endpoint.
    Fallback,
    /// The plan has no canary, and the request no known cohort.
    Default,
}

impl TrafficPlan {
    /// Compiles a plan, whose pools `pool` finds. The state is that of the known plan if it has the same
    /// canary; another one begins at its stored position, if there is one.
    pub fn new(source: &PlanSource<'_>, mut pool: impl FnMut(&AppId) -> PoolId) -> Self {
        let PlanSource { route, stable, spec, stored, known, cores, secret } = *source;
        let canary = spec.canary.as_ref().map(|canary| CanaryPlan {
            id: plan_id(stable.0, canary),
            pool: pool(canary.pool.id()),
            settings: canary.clone(),
            key: BucketKey::new(secret, route),
        });
        let cohorts = spec.cohorts.as_ref().map(|cohorts| CohortPlan {
            settings: cohorts.clone(),
            pools: cohorts.mappings.iter().map(|(_, to)| pool(to.id())).collect(),
        });
        let id = canary.as_ref().map(|canary| canary.id);
        let known = known.filter(|known| known.canary.as_ref().map(|canary| canary.id) == id);
        let state = known.map_or_else(
            || {
                let stored = stored.filter(|stored| Some(stored.plan) == id);
                Arc::new(PlanState::new(cores, stored.map(Position::from).unwrap_or_default()))
            },
            |known| known.state.clone(),
        );
        Self { spec: spec.clone(), stable: stable.1, canary, cohorts, state }
    }

    /// Whether it decides on the pool of requests.
    pub fn splits(&self) -> bool {
        self.canary.is_some() || self.cohorts.is_some()
    }

    /// Chooses the pool of a request. `is_available`: whether a pool has an endpoint for a request now, asked
    /// about the canary's only.
    ///
    /// Two HMACs at most, and none without a hash key or cookie; walks over the fields that the plan names.
    pub fn choose(&self, request: &PlanRequest<'_>, is_available: impl FnOnce(PoolId) -> bool) -> Choice {
        let stable =
            |reason| Choice { pool: self.stable, variant: Variant::Stable, reason, new_bucket: None };
        if let Some((pool, reason)) = self.cohorts.as_ref().and_then(|cohorts| cohorts.find(request)) {
            return match self.holds_back(pool) {
                false => Choice { pool, variant: Variant::Cohort, reason, new_bucket: None },
                true => stable(reason),
            };
        }
        let Some(canary) = &self.canary else { return stable(Reason::Default) };
        let (bucket, reason, new_bucket) = canary.bucket(request);
        if bucket.number() >= canary.weight_at(self.state.position()).hundredths() {
            return Choice { new_bucket, ..stable(reason) };
        }
        match is_available(canary.pool) {
            true => Choice { pool: canary.pool, variant: Variant::Canary, reason, new_bucket },
            false => Choice { new_bucket, ..stable(Reason::Fallback) },
        }
    }

    /// Weight of the canary in force; 0 without one.
    pub fn weight(&self) -> Percent {
        self.canary.as_ref().map_or(Percent::ZERO, |canary| canary.weight_at(self.state.position()))
    }

    /// Whether the brake holds a cohort back from a pool.
    fn holds_back(&self, pool: PoolId) -> bool {
        self.cohorts.as_ref().is_some_and(|cohorts| cohorts.settings.brake)
            && self.canary.as_ref().is_some_and(|canary| canary.pool == pool)
            && self.state.position().is_braked
    }

    /// Value of the `Set-Cookie` field that gives a bucket to a client; `None` for a plan without a cookie.
    pub fn set_cookie(&self, bucket: Bucket, is_secure: bool) -> Option<String> {
        let canary = self.canary.as_ref()?;
        let name = canary.settings.cookie.as_ref()?;
        let value = canary.key.seal(bucket);
        let secure = if is_secure { "; Secure" } else { "" };
        Some(format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"))
    }
}

/// Number of a canary's plan, the same in every process: pools, weights and mode of the brake. Another number
/// is another canary, to which neither the brake nor the steps of this one apply.
pub fn plan_id(stable: &AppId, canary: &Canary) -> u64 {
    let mut text =
        format!("{stable} {} {} {}", canary.pool.id(), canary.weight.hundredths(), canary.brake.as_str());
    for step in &canary.steps {
        text.push_str(&format!(" {} {}", step.weight.hundredths(), step.after.as_millis()));
    }
    affinity(&text)
}

/// Plans are the same when they decide alike, and share their state.
impl PartialEq for TrafficPlan {
    fn eq(&self, other: &Self) -> bool {
        let pools = |plan: &Self| (plan.stable, plan.canary.as_ref().map(|canary| canary.pool));
        pools(self) == pools(other)
            && self.spec == other.spec
            && self.cohorts == other.cohorts
            && Arc::ptr_eq(&self.state, &other.state)
    }
}

impl Eq for TrafficPlan {}

impl CanaryPlan {
    /// Weight at a position.
    pub fn weight_at(&self, position: Position) -> Percent {
        if let Some(set) = position.weight.filter(|_| !position.is_braked) {
            return set;
        }
        match usize::from(position.step).min(self.settings.steps.len()) {
            _ if position.is_braked => Percent::ZERO,
            0 => self.settings.weight,
            taken => self.settings.steps[taken - 1].weight,
        }
    }

    /// The step that follows a position, if there is one. A weight that was set is the last one.
    pub fn next_step(&self, position: Position) -> Option<&CanaryStep> {
        let is_held = position.is_braked || position.weight.is_some();
        self.settings.steps.get(usize::from(position.step)).filter(|_| !is_held)
    }

    /// Bucket of a request, the part of it that decided, and the bucket for the client's cookie if it is to
    /// get one.
    fn bucket(&self, request: &PlanRequest<'_>) -> (Bucket, Reason, Option<Bucket>) {
        let PlanRequest { head, buf, client, draw, .. } = *request;
        let fields = RequestFields::received(head, buf);
        if let Some(value) = self.settings.hash.as_ref().and_then(|key| key_value(key, fields, client)) {
            let bucket = self.key.bucket_of(value.as_bytes());
            return (bucket, Reason::Hash(bucket), None);
        }
        let Some(name) = &self.settings.cookie else {
            let bucket = Bucket::draw(draw);
            return (bucket, Reason::Draw(bucket), None);
        };
        match cookie(head, buf, name).and_then(|value| self.key.open(value)) {
            Some(bucket) => (bucket, Reason::Cookie(bucket), None),
            None => {
                let bucket = Bucket::draw(draw);
                (bucket, Reason::Draw(bucket), Some(bucket))
            }
        }
    }
}

impl CohortPlan {
    fn find(&self, request: &PlanRequest<'_>) -> Option<(PoolId, Reason)> {
        let Cohorts { header, cookie: cookie_name, trusted_only, mappings, .. } = &self.settings;
        if *trusted_only && !request.is_trusted {
            return None;
        }
        let pool_of = |value: &[u8]| {
            let at = mappings.iter().position(|(name, _)| name.as_bytes() == value)?;
            self.pools.get(at).copied()
        };
        let in_header = || pool_of(request.head.field(request.buf, header.as_ref()?).next()?);
        let in_cookie = || pool_of(cookie(request.head, request.buf, cookie_name.as_ref()?)?);
        let by_header = in_header().map(|pool| (pool, Reason::CohortHeader));
        by_header.or_else(|| in_cookie().map(|pool| (pool, Reason::CohortCookie)))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CohortHeader => f.write_str("the header names a cohort"),
            Self::CohortCookie => f.write_str("the cookie names a cohort"),
            Self::Hash(bucket) => write!(f, "its key is in bucket {} of 10000", bucket.number()),
            Self::Cookie(bucket) => write!(f, "its cookie keeps bucket {} of 10000", bucket.number()),
            Self::Draw(_) => f.write_str("drawn by weight"),
            Self::Fallback => f.write_str("the canary has no available endpoint"),
            Self::Default => f.write_str("the route has no canary, and the request no known cohort"),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
