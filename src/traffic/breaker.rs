//! Health and circuit breaker of an endpoint: the only state that data cores share and write.
//!
//! Every request reads it, only a transition writes it: the whole breaker is one 64-bit word, and an event
//! without effect stores nothing, which keeps the word in every core's cache.
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
//! | closed               | renew                       | closed, 0 failures                        | next  |
//! | open, probing        | renew                       | open until 0 (admits a probe), level l    | next  |
//! | any                  | result of another epoch     | same                                      | same  |
//!
//! No admission has the epoch of an open breaker, and therefore no result changes it.

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::limits;
use crate::slow_start::Ramp;
use ringway_model::{Health, Tick};

/// Settings of a circuit breaker, within the range of its 64-bit word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    failures: u8,
    /// Open time in milliseconds, by level.
    open_ms: [u32; LEVELS],
    probe_interval_ms: u32,
}

impl BreakerSettings {
    /// The values of `limits`.
    pub const DEFAULT: Self = Self::new(
        limits::BREAKER_FAILURES,
        limits::BREAKER_OPEN,
        limits::BREAKER_OPEN_MAX,
        limits::BREAKER_PROBE_INTERVAL,
    );

    /// Settings of a breaker that opens after `failures` consecutive failures, for `open` at first and
    /// `open_max` at most, and then admits a probe each `probe_interval`.
    ///
    /// # Panics
    /// `failures` is not within 1 and 8, or `open_max` is not within one and four times `open`.
    pub const fn new(failures: u8, open: Duration, open_max: Duration, probe_interval: Duration) -> Self {
        assert!(failures >= 1 && failures <= 8, "failures have three bits");
        let (first, last) = (millis(open), millis(open_max));
        assert!(first <= last && last <= 4 * first, "levels have two bits");
        let second = if 2 * first < last { 2 * first } else { last };
        Self { failures, open_ms: [first, second, last], probe_interval_ms: millis(probe_interval) }
    }
}

/// Health and breaker of one endpoint. All methods may be called from any thread at any time.
///
/// All accesses are relaxed: each word is complete in itself and publishes no other memory.
#[derive(Debug)]
pub struct EndpointState {
    health: AtomicU8,
    breaker: AtomicU64,
    ramp: Ramp,
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
            breaker: AtomicU64::new(Breaker::NEW.pack()),
            ramp: Ramp::default(),
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
        let breaker = self.load();
        self.health() != Health::Unhealthy && breaker.is_due(now)
    }

    /// State of the breaker at `now`.
    pub fn breaker(&self, now: Tick) -> BreakerView {
        match self.load().phase {
            Phase::Closed { .. } => BreakerView::Closed,
            Phase::Open { until, .. } if until > now => BreakerView::Open { until },
            Phase::Open { .. } | Phase::Probing { .. } => BreakerView::HalfOpen,
        }
    }

    /// Time until the breaker admits a request; `None` when it would let one pass now.
    ///
    /// While a probe is in flight this is an estimate, [`PROBE_WAIT`].
    pub fn breaker_wait(&self, now: Tick) -> Option<Duration> {
        match self.load().phase {
            Phase::Open { until, .. } if until > now => Some(now.until(until)),
            Phase::Probing { until, .. } if until > now => Some(PROBE_WAIT),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Probing { .. } => None,
        }
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
        self.is_in_rotation() && self.load().is_closed()
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
        let breaker = self.load();
        if breaker.is_closed() {
            return Some(Admission::Yes(breaker.epoch));
        }
        self.admit_probe(candidate, settings, now)
    }

    /// Of the cores that find the breaker half open, one wins the compare-and-exchange; the others find it
    /// probing.
    #[cold]
    fn admit_probe(&self, candidate: Candidate, settings: &BreakerSettings, now: Tick) -> Option<Admission> {
        let (before, after) = self.step(|breaker| breaker.admit(candidate, settings, now))?;
        Some(if before == after { Admission::Yes(after.epoch) } else { Admission::Probe(after.epoch) })
    }

    /// Records a success. Writes only when failures were counted before.
    pub fn record_success(&self, admission: Admission) -> Option<Transition> {
        let (before, after) = self.step(|breaker| breaker.succeed(admission.epoch()))?;
        (!before.is_closed() && after.is_closed()).then_some(Transition::Closed)
    }

    /// Records a failure.
    pub fn record_failure(
        &self,
        admission: Admission,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Transition> {
        match self.step(|breaker| breaker.fail(admission.epoch(), settings, now))?.1.phase {
            Phase::Open { until, .. } => Some(Transition::Opened { until }),
            Phase::Closed { .. } | Phase::Probing { .. } => None,
        }
    }

    /// Returns an admission without a result, for example because the client disconnected. The next request
    /// may be a probe at once.
    pub fn abandon(&self, admission: Admission, now: Tick) {
        self.step(|breaker| breaker.abandon(admission.epoch(), now));
    }

    /// Resets the state after a new registration of the instance, whose process is therefore alive: an
    /// unhealthy endpoint becomes joining, an open breaker half open, and results of earlier requests are
    /// ignored.
    pub fn renew(&self) {
        // In one step: otherwise a newer result of a concurrent health check could be overwritten. A request
        // between the two updates below is refused, as it was before them.
        let _ = self.health.compare_exchange(UNHEALTHY, JOINING, Ordering::Relaxed, Ordering::Relaxed);
        self.step(|breaker| Some(breaker.renew()));
    }

    fn load(&self) -> Breaker {
        Breaker::unpack(self.breaker.load(Ordering::Relaxed))
    }

    /// Applies one event to the breaker; `None` when it is refused or without effect. Stores only a changed
    /// word.
    fn step(&self, event: impl Fn(Breaker) -> Option<Breaker>) -> Option<(Breaker, Breaker)> {
        let mut word = self.breaker.load(Ordering::Relaxed);
        loop {
            let before = Breaker::unpack(word);
            let after = event(before)?;
            if after == before {
                return Some((before, after));
            }
            // A further round means that another thread's event came between: at most one round per event.
            match self.breaker.compare_exchange_weak(word, after.pack(), Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some((before, after)),
                Err(now_there) => word = now_there,
            }
        }
    }
}

/// Rate limiter of one request per interval over all cores, for apps without a healthy instance.
#[derive(Debug, Default)]
pub struct Trickle {
    /// Time from which the next request may pass.
    next: AtomicU64,
}

impl Trickle {
    /// Whether this request may pass. A relaxed load; writes once per interval.
    pub fn admit(&self, interval: Duration, now: Tick) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let after = now.after(interval).0;
        next <= now.0 && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
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

/// State machine of the table above, without atomics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Breaker {
    epoch: Epoch,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed { failures: u8 },
    Open { until: Tick, level: u8 },
    Probing { until: Tick, level: u8 },
}

impl Breaker {
    const NEW: Self = Self { epoch: Epoch(0), phase: Phase::Closed { failures: 0 } };

    fn is_closed(self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// Whether it would admit a request that is [`Candidate::Ready`].
    fn is_due(self, now: Tick) -> bool {
        match self.phase {
            Phase::Closed { .. } => true,
            Phase::Open { until, .. } | Phase::Probing { until, .. } => until <= now,
        }
    }

    fn admit(self, candidate: Candidate, settings: &BreakerSettings, now: Tick) -> Option<Self> {
        let (until, level, is_first) = match self.phase {
            Phase::Closed { .. } => return Some(self),
            Phase::Open { until, level } => (until, level, true),
            Phase::Probing { until, level } => (until, level, false),
        };
        let (due, next) = match candidate {
            Candidate::Ready => (until, later(now, settings.probe_interval_ms)),
            Candidate::Streaming => (later(until, settings.probe_interval_ms), now),
        };
        let probing = Phase::Probing { until: next, level };
        (due <= now).then(|| if is_first { self.next(probing) } else { Self { phase: probing, ..self } })
    }

    fn succeed(self, epoch: Epoch) -> Option<Self> {
        match self.phase {
            _ if epoch != self.epoch => None,
            Phase::Closed { .. } | Phase::Probing { .. } => {
                Some(Self { phase: Phase::Closed { failures: 0 }, ..self })
            }
            Phase::Open { .. } => None,
        }
    }

    fn fail(self, epoch: Epoch, settings: &BreakerSettings, now: Tick) -> Option<Self> {
        match self.phase {
            _ if epoch != self.epoch => None,
            Phase::Closed { failures } if failures + 1 < settings.failures => {
                Some(Self { phase: Phase::Closed { failures: failures + 1 }, ..self })
            }
            Phase::Closed { .. } => Some(self.open(0, settings, now)),
            Phase::Probing { level, .. } => Some(self.open(level + 1, settings, now)),
            Phase::Open { .. } => None,
        }
    }

    fn abandon(self, epoch: Epoch, now: Tick) -> Option<Self> {
        match self.phase {
            Phase::Probing { until, level } if epoch == self.epoch => {
                Some(Self { phase: Phase::Probing { until: until.min(now), level }, ..self })
            }
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Probing { .. } => None,
        }
    }

    fn renew(self) -> Self {
        match self.phase {
            Phase::Closed { .. } => self.next(Phase::Closed { failures: 0 }),
            Phase::Open { level, .. } | Phase::Probing { level, .. } => {
                self.next(Phase::Open { until: Tick(0), level })
            }
        }
    }

    fn open(self, level: u8, settings: &BreakerSettings, now: Tick) -> Self {
        let level = level.min(LEVEL_MAX);
        let until = later(now, settings.open_ms[usize::from(level)]);
        self.next(Phase::Open { until, level })
    }

    fn next(self, phase: Phase) -> Self {
        Self { epoch: Epoch((self.epoch.0 + 1) & EPOCH_MASK), phase }
    }

    /// `phase:2 level:2 failures:3 epoch:15 until:42`, from the highest bit to the lowest.
    const fn pack(self) -> u64 {
        let (phase, level, failures, until) = match self.phase {
            Phase::Closed { failures } => (0, 0, failures, 0),
            Phase::Open { until, level } => (1, level, 0, until.0),
            Phase::Probing { until, level } => (2, level, 0, until.0),
        };
        let until = if until > TICK_MASK { TICK_MASK } else { until };
        (phase << 62)
            | ((level as u64) << 60)
            | ((failures as u64) << 57)
            | ((self.epoch.0 as u64) << TICK_BITS)
            | until
    }

    fn unpack(word: u64) -> Self {
        let until = Tick(word & TICK_MASK);
        let level = (word >> 60 & 0b11) as u8;
        let phase = match word >> 62 {
            0 => Phase::Closed { failures: (word >> 57 & 0b111) as u8 },
            1 => Phase::Open { until, level },
            _ => Phase::Probing { until, level },
        };
        Self { epoch: Epoch((word >> TICK_BITS) as u16 & EPOCH_MASK), phase }
    }
}

/// 42 bits of milliseconds: 139 years.
const TICK_BITS: u32 = 42;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;
/// 15 bits: a late result is mistaken for a current one only after thousands of transitions.
const EPOCH_MASK: u16 = (1 << 15) - 1;
const fn millis(time: Duration) -> u32 {
    assert!(time.as_millis() <= u32::MAX as u128 / 4, "twelve days at most");
    time.as_millis() as u32
}

fn later(tick: Tick, millis: u32) -> Tick {
    Tick(tick.0.saturating_add(u64::from(millis)))
}

/// 30 s, 60 s, 120 s; two bits.
const LEVELS: usize = 3;
/// Highest level: further failures keep it.
const LEVEL_MAX: u8 = LEVELS as u8 - 1;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
