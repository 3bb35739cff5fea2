//! State machine of a breaker, without atomics, and the 64-bit word that holds it.

use ringway_model::Tick;

use super::{BreakerSettings, Candidate, Epoch, LEVEL_MAX, later};

/// State of a breaker; its events are the columns of the table in [`breaker`](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// `failures` in a row; as many as open it, when it was not opened for another reason.
    Closed { failures: u32 },
    /// Opened for the `level`th time in a row.
    Open { until: Tick, level: u8 },
    /// Half open: the next probe may pass at `until`.
    Probing { until: Tick, level: u8, successes: u8 },
}

impl State {
    pub(super) const NEW: Self = Self { epoch: Epoch(0), phase: Phase::Closed { failures: 0 } };

    pub(super) fn is_closed(self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// Whether it would admit a request that is [`Candidate::Ready`].
    pub(super) fn is_due(self, now: Tick) -> bool {
        match self.phase {
            Phase::Closed { .. } => true,
            Phase::Open { until, .. } | Phase::Probing { until, .. } => until <= now,
        }
    }

    pub(super) fn admit(self, candidate: Candidate, settings: &BreakerSettings, now: Tick) -> Option<Self> {
        let (until, level, successes) = match self.phase {
            Phase::Closed { .. } => return Some(self),
            Phase::Open { until, level } => (until, level, None),
            Phase::Probing { until, level, successes } => (until, level, Some(successes)),
        };
        let (due, next) = match candidate {
            Candidate::Ready => (until, later(now, settings.probe_interval_ms)),
            Candidate::Streaming => (later(until, settings.probe_interval_ms), now),
        };
        let probing = |successes| Phase::Probing { until: next, level, successes };
        (due <= now).then(|| match successes {
            None => self.next(probing(0)),
            Some(successes) => Self { phase: probing(successes), ..self },
        })
    }

    /// The same before it is due.
    pub(super) fn admit_early(
        self,
        candidate: Candidate,
        settings: &BreakerSettings,
        now: Tick,
    ) -> Option<Self> {
        let until = Tick(0);
        let phase = match self.phase {
            Phase::Open { level, .. } => Phase::Open { until, level },
            Phase::Probing { level, successes, .. } => Phase::Probing { until, level, successes },
            closed @ Phase::Closed { .. } => closed,
        };
        Self { phase, ..self }.admit(candidate, settings, now)
    }

    /// The last of `needed` successes of probes closes it. Before, the next probe may pass at once.
    pub(super) fn succeed(self, epoch: Epoch, needed: u8) -> Option<Self> {
        let phase = match self.phase {
            _ if epoch != self.epoch => return None,
            Phase::Probing { successes, level, .. } if successes.saturating_add(1) < needed => {
                Phase::Probing { until: Tick(0), level, successes: successes + 1 }
            }
            Phase::Closed { .. } | Phase::Probing { .. } => Phase::Closed { failures: 0 },
            Phase::Open { .. } => return None,
        };
        Some(Self { phase, ..self })
    }

    /// Opens at the last of the failures in a row.
    pub(super) fn fail(self, epoch: Epoch, settings: &BreakerSettings, now: Tick) -> Option<Self> {
        let counted = self.count(epoch, settings, now)?;
        Some(if counted.is_at_limit(settings) { counted.open(0, settings, now) } else { counted })
    }

    /// The same, but stays closed at the last of the failures in a row.
    pub(super) fn count(self, epoch: Epoch, settings: &BreakerSettings, now: Tick) -> Option<Self> {
        match self.phase {
            _ if epoch != self.epoch => None,
            Phase::Closed { failures } => {
                let failures = failures.saturating_add(1).min(settings.failures);
                Some(Self { phase: Phase::Closed { failures }, ..self })
            }
            Phase::Probing { level, .. } => Some(self.open(level + 1, settings, now)),
            Phase::Open { .. } => None,
        }
    }

    /// Whether it is closed, and has counted the last of the failures in a row.
    pub(super) fn is_at_limit(self, settings: &BreakerSettings) -> bool {
        matches!(self.phase, Phase::Closed { failures }
            if failures >= settings.failures && settings.failures > 0)
    }

    /// Opens if it is closed, whatever it has counted.
    pub(super) fn trip(self, epoch: Epoch, settings: &BreakerSettings, now: Tick) -> Option<Self> {
        (epoch == self.epoch && self.is_closed()).then(|| self.open(0, settings, now))
    }

    /// Forgets the failures in a row.
    pub(super) fn forgive(self, settings: &BreakerSettings) -> Option<Self> {
        self.is_at_limit(settings).then_some(Self { phase: Phase::Closed { failures: 0 }, ..self })
    }

    /// Closes it, without a result of a probe.
    pub(super) fn reinstate(self) -> Option<Self> {
        (!self.is_closed()).then(|| self.next(Phase::Closed { failures: 0 }))
    }

    pub(super) fn abandon(self, epoch: Epoch, now: Tick) -> Option<Self> {
        match self.phase {
            Phase::Probing { until, level, successes } if epoch == self.epoch => {
                Some(Self { phase: Phase::Probing { until: until.min(now), level, successes }, ..self })
            }
            Phase::Closed { .. } | Phase::Open { .. } | Phase::Probing { .. } => None,
        }
    }

    pub(super) fn renew(self) -> Self {
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

    /// `phase:2 level:2 successes:7 epoch:13 value:40`, from the highest bit to the lowest. The value is
    /// `until`, or the failures of a closed breaker.
    pub(super) const fn pack(self) -> u64 {
        let (phase, level, successes, value) = match self.phase {
            Phase::Closed { failures } => (0, 0, 0, failures as u64),
            Phase::Open { until, level } => (1, level, 0, until.0),
            Phase::Probing { until, level, successes } => (2, level, successes, until.0),
        };
        let value = if value > VALUE_MASK { VALUE_MASK } else { value };
        (phase << 62)
            | ((level as u64) << 60)
            | ((successes as u64) << SUCCESSES_SHIFT)
            | ((self.epoch.0 as u64) << VALUE_BITS)
            | value
    }

    pub(super) fn unpack(word: u64) -> Self {
        let until = Tick(word & VALUE_MASK);
        let level = (word >> 60 & 0b11) as u8;
        let phase = match word >> 62 {
            0 => Phase::Closed { failures: word as u32 },
            1 => Phase::Open { until, level },
            _ => Phase::Probing { until, level, successes: (word >> SUCCESSES_SHIFT) as u8 & SUCCESSES_MASK },
        };
        Self { epoch: Epoch((word >> VALUE_BITS) as u16 & EPOCH_MASK), phase }
    }
}

/// 40 bits of milliseconds: 34 years. Failures in a row have 32 of them.
const VALUE_BITS: u32 = 40;
pub(super) const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;
/// 13 bits: a late result is mistaken for a current one only after thousands of transitions.
pub(super) const EPOCH_MASK: u16 = (1 << 13) - 1;
const SUCCESSES_SHIFT: u32 = VALUE_BITS + EPOCH_MASK.count_ones();
/// Seven bits.
pub(super) const SUCCESSES_MASK: u8 = (1 << 7) - 1;
