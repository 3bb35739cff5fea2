//! Circuit breakers, and the health of endpoints: state that data cores share and write.
//!
//! Every request reads it, only a transition writes it: the whole breaker is one 64-bit word, and an event
//! without effect stores nothing, which keeps the word in every core's cache. Endpoints, pools and routes
//! have the same machine; of an endpoint it is described here with its defaults.
//!
//! A breaker opens after `BREAKER_FAILURES` consecutive failures, for 30 s. Then it is half open:
//! it admits one request of all cores as a probe, and another one each `BREAKER_PROBE_INTERVAL`
//! while no probe has ended, which bounds the delay by a slow probe. The first success closes the breaker;
//! the first failure opens it for twice as long, up to 120 s.
//!
//! A request whose body is still to be received ([`Candidate::Streaming`]) is a bad probe: its client decides
//! when it ends. It is admitted only when a probe has been due for a whole interval, and does not delay the
//! next one. An app that gets only uploads recovers by this, and uploads that never end do not block the
//! recovery.
//!
//! Results can be late, from an exchange that was admitted before the breaker opened. Each [`Admission`]
//! carries the *epoch* in which it was granted, and a result of another epoch is ignored. All probes between
//! two openings share one epoch.
//!
//! | state                | event                       | next                                      | epoch |
//! |----------------------|-----------------------------|-------------------------------------------|-------|
//! | closed, n failures   | admit                       | same; admitted                            | same  |
//! | closed, n failures   | success                     | closed, 0 failures                        | same  |
//! | closed, n failures   | failure, n + 1 < 5          | closed, n + 1 failures                    | same  |
//! | closed, 4 failures   | failure                     | open until now + 30 s, level 0            | next  |
//! | open, level l        | admit, before `until`       | same; refused                             | same  |
//! | open, level l        | admit, from `until` on      | probing until now + 1 s, level l; probe   | next  |
//! | open, level l        | admit streaming, 1 s later  | probing until now, level l; probe         | next  |
//! | probing, level l     | admit, before `until`       | same; refused                             | same  |
//! | probing, level l     | admit, from `until` on      | probing until now + 1 s, level l; probe   | same  |
//! | probing, level l     | admit streaming, 1 s later  | probing until now, level l; probe         | same  |
//! | probing, level l     | success                     | closed, 0 failures                        | same  |
//! | probing, level l     | failure                     | open until now + 30 s × 2^(l+1), level l+1| next  |
//! | probing, level l     | abandon                     | probing until now at most, level l        | same  |
//! | closed, open         | abandon                     | same                                      | same  |
//! | open, probing        | admit early                 | as admit, from `until` on                 | as it |
//! | closed               | renew                       | closed, 0 failures                        | next  |
//! | open, probing        | renew                       | open until 0 (admits a probe), level l    | next  |
//! | any                  | result of another epoch     | same                                      | same  |
//!
//! The breakers of [pools and routes](crate::pool_breaker) close after two successful probes, which follow
//! each other at once. A breaker may also be *tripped*: it opens from closed for another reason than failures
//! in a row. Where a pool limits how many of its endpoints are [ejected](crate::outliers), the last failure
//! in a row leaves the breaker closed; it is then tripped, or its failures are forgotten.
//!
//! No admission has the epoch of an open breaker, and therefore no result changes it.

mod machine;
mod word;

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::limits;
use crate::pool_state::EjectionReason;
use crate::slow_start::Ramp;
use ringway_model::{Health, Tick};

pub(crate) use word::{Breaker, Counted};

/// Settings of a circuit breaker, within the range of its 64-bit word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Consecutive failures that open it; 0 where they do not.
    failures: u32,
    /// Open time in milliseconds, by level.
    open_ms: [u32; LEVELS],
    probe_interval_ms: u32,
}

impl BreakerSettings {
    /// The values of `limits`.
    pub const DEFAULT: Self = Self::new(limits::BREAKER_FAILURES as u32, limits::BREAKER_OPEN);

    /// Settings of a breaker that opens after `failures` consecutive failures, or not by them where that is
    /// 0. Its open time is `open` at first, 12 days at most, and doubles to four times as much.
    pub const fn new(failures: u32, open: Duration) -> Self {
        let open = millis(open);
        let open_ms = [open, 2 * open, 4 * open];
        Self { failures, open_ms, probe_interval_ms: millis(limits::BREAKER_PROBE_INTERVAL) }
    }
}

const _: () = assert!(
    limits::BREAKER_OPEN_MAX.as_millis() == 4 * limits::BREAKER_OPEN.as_millis(),
    "the open time doubles twice"
);

/// Health and breaker of one endpoint. All methods may be called from any thread at any time.
///
/// All accesses are relaxed: each word is complete in itself and publishes no other memory.
#[derive(Debug)]
pub struct EndpointState {
    health: AtomicU8,
    breaker: Breaker,
    ramp: Ramp,
    /// Time from which attempts count for its error rate, in microseconds.
    window_us: AtomicU64,
}

/// Fitness of a request to be the probe of a half-open breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Candidate {
    /// Without a body, or with one that is fully received: the result depends on the endpoint alone.
    Ready,
    /// The body is still to be received.
    Streaming,
}

/// Permission to send one request to an endpoint; returned to it with the request's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a probe that is neither recorded nor abandoned keeps the next one waiting"]
pub enum Admission {
    /// The breaker is closed.
    Yes(Epoch),
    /// The breaker is half open, and this request is its probe.
    Probe(Epoch),
}

/// Counter of the state periods of a breaker; results of other epochs are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u16);

/// State of a breaker for observers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerView {
    /// Requests pass.
    Closed,
    /// No request passes before `until`.
    Open {
        /// Time at which it becomes half open.
        until: Tick,
    },
    /// A probe may pass, or is in flight.
    HalfOpen,
}

/// State transition of a breaker that a result caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It opened, or opened again.
    Opened {
        /// Time of the next probe.
        until: Tick,
    },
    /// It closed.
    Closed,
}

impl Default for EndpointState {
    fn default() -> Self {
        Self::new(Health::Unknown)
    }
}

impl EndpointState {
    /// Returns the state of an endpoint with this health and a closed breaker.
    pub fn new(health: Health) -> Self {
        Self {
            health: AtomicU8::new(health as u8),
            breaker: Breaker::default(),
            ramp: Ramp::default(),
            window_us: AtomicU64::new(0),
        }
    }

    /// Result of the last active health checks.
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            HEALTHY => Health::Healthy,
            UNHEALTHY => Health::Unhealthy,
            JOINING => Health::Joining,
            _ => Health::Unknown,
        }
    }

    /// Sets the result of active health checks. Visible to the next request on every core.
    ///
    /// Linearizable with a concurrent [`renew`](Self::renew): either finds its value already stored, or
    /// replaces the other's value in one step.
    pub fn set_health(&self, health: Health) {
        if self.health() != health {
            self.health.swap(health as u8, Ordering::Relaxed);
        }
    }

    /// Whether the last active health check passed, and nothing has revoked its result.
    pub fn is_known_healthy(&self) -> bool {
        self.health() == Health::Healthy
    }

    /// Whether [`admit`](Self::admit) or [`admit_joining`](Self::admit_joining) would let a request pass. Two
    /// relaxed loads.
    pub fn is_available(&self, now: Tick) -> bool {
        self.health() != Health::Unhealthy && self.breaker.is_due(now)
    }

    /// State of the breaker at `now`.
    pub fn breaker(&self, now: Tick) -> BreakerView {
        self.breaker.view(now)
    }

    /// Failed requests in a row, 0 after a success; `None` when the breaker is not closed.
    pub fn failures_in_a_row(&self) -> Option<u32> {
        self.breaker.failures()
    }

    /// Time at which the breaker left the closed state; `None` while it is closed.
    pub fn opened_at(&self) -> Option<Tick> {
        self.breaker.opened_at()
    }

    /// Whether the breaker keeps requests from it: it is open or half open.
    pub fn is_ejected(&self) -> bool {
        !self.breaker.is_closed()
    }

    /// Time until the breaker admits a request; `None` when it would let one pass now.
    ///
    /// While a probe is in flight this is an estimate, [`PROBE_WAIT`].
    pub fn breaker_wait(&self, now: Tick) -> Option<Duration> {
        self.breaker.wait(now)
    }

    /// Admits a request, or returns `None`. Two relaxed loads; only the admission of a probe writes.
    #[inline]
    pub fn admit(&self, candidate: Candidate, settings: &BreakerSettings, now: Tick) -> Option<Admission> {
        if !self.is_in_rotation() {
            return None;
        }
        self.admit_ignoring_health(candidate, settings, now)
    }

    /// Admits a request to a joining endpoint, for pools without an available one in rotation.
    pub fn admit_joining(
        &self,
        candidate: Candidate,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Admission> {
        if self.health() != Health::Joining {
            return None;
        }
        self.admit_ignoring_health(candidate, settings, now)
    }

    /// Whether its health allows regular traffic: neither unhealthy nor joining.
    pub fn is_in_rotation(&self) -> bool {
        matches!(self.health(), Health::Unknown | Health::Healthy)
    }

    /// Whether it gets regular traffic: in rotation, with a closed breaker. Two relaxed loads.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_in_rotation() && self.breaker.is_closed()
    }

    /// Its slow start.
    pub(crate) fn ramp(&self) -> &Ramp {
        &self.ramp
    }

    /// Admits a request by the breaker alone.
    #[inline]
    pub fn admit_ignoring_health(
        &self,
        candidate: Candidate,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Admission> {
        self.breaker.admit(candidate, settings, now)
    }

    /// Admits a request whatever the health and the state of the breaker, of which it is a probe.
    pub(crate) fn admit_early(
        &self,
        candidate: Candidate,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Admission> {
        self.breaker.admit_early(candidate, settings, now)
    }

    /// Records a success. Writes only when failures were counted before.
    #[inline]
    pub fn record_success(&self, admission: Admission) -> Option<Transition> {
        self.breaker.record_success(admission, SUCCESSES)
    }

    /// Records a failure. The last one in a row opens the breaker.
    pub fn record_failure(
        &self,
        admission: Admission,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Transition> {
        self.breaker.record_failure(admission, settings, now)
    }

    /// Records a failure, for a pool that decides itself about ejections. The last one in a row opens
    /// nothing.
    pub(crate) fn count_failure(
        &self,
        admission: Admission,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Counted {
        self.breaker.count_failure(admission, settings, now)
    }

    /// Opens the breaker, if the reason is still given.
    pub(crate) fn eject(
        &self,
        reason: EjectionReason,
        admission: Admission,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Transition> {
        match reason {
            EjectionReason::ConsecutiveFailures => self.breaker.trip_at_limit(admission, settings, now),
            EjectionReason::ErrorRate => self.breaker.trip(admission, settings, now),
        }
    }

    /// Forgets the reason of an ejection that is not to happen, so that it is counted once; false when it is
    /// not given any longer.
    pub(crate) fn forgive(&self, reason: EjectionReason, settings: &BreakerSettings, now_us: u64) -> bool {
        match reason {
            EjectionReason::ConsecutiveFailures => self.breaker.forgive(settings),
            EjectionReason::ErrorRate => {
                self.begin_window(now_us);
                true
            }
        }
    }

    /// Closes the breaker, and ignores the results of earlier requests. True when it was not closed.
    pub(crate) fn reinstate(&self) -> bool {
        self.breaker.reinstate()
    }

    /// Time from which attempts count for the endpoint's error rate.
    pub(crate) fn window_us(&self) -> u64 {
        self.window_us.load(Ordering::Relaxed)
    }

    /// Leaves earlier attempts out of the endpoint's error rate.
    pub(crate) fn begin_window(&self, now_us: u64) {
        self.window_us.store(now_us, Ordering::Relaxed);
    }

    /// Returns an admission without a result, for example because the client disconnected. The next request
    /// may be a probe at once.
    pub fn abandon(&self, admission: Admission, now: Tick) {
        self.breaker.abandon(admission, now);
    }

    /// Resets the state after a new registration of the instance, whose process is therefore alive: an
    /// unhealthy endpoint becomes joining, an open breaker half open, and results of earlier requests are
    /// ignored.
    pub fn renew(&self) {
        // In one step: otherwise a newer result of a concurrent health check could be overwritten. A request
        // between the two updates below is refused, as it was before them.
        let _ = self.health.compare_exchange(UNHEALTHY, JOINING, Ordering::Relaxed, Ordering::Relaxed);
        self.breaker.renew();
    }
}

impl Admission {
    /// Whether the request is the probe of a half-open breaker.
    pub fn is_probe(self) -> bool {
        matches!(self, Self::Probe(_))
    }

    fn epoch(self) -> Epoch {
        match self {
            Self::Yes(epoch) | Self::Probe(epoch) => epoch,
        }
    }
}

/// `Retry-After` while a probe is in flight.
pub const PROBE_WAIT: Duration = Duration::from_secs(1);

const HEALTHY: u8 = Health::Healthy as u8;
const UNHEALTHY: u8 = Health::Unhealthy as u8;
const JOINING: u8 = Health::Joining as u8;

/// Milliseconds of a time, 12 days at most: four times as much fits 32 bits.
const fn millis(time: Duration) -> u32 {
    let (millis, most) = (time.as_millis(), u32::MAX / 4);
    if millis > most as u128 { most } else { millis as u32 }
}

fn later(tick: Tick, millis: u32) -> Tick {
    Tick(tick.0.saturating_add(u64::from(millis)))
}

/// Successes of probes that close the breaker of an endpoint.
const SUCCESSES: u8 = 1;

/// 30 s, 60 s, 120 s; two bits.
const LEVELS: usize = 3;
/// Highest level: further failures keep it.
const LEVEL_MAX: u8 = LEVELS as u8 - 1;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
