//! Clock of the control plane, finer than a [`Tick`]: it measures times that are often shorter than one.

use std::time::Duration;

use ringway_model::{Tick, Timestamp};

/// Microseconds on the monotonic clock of the process, with the same origin as [`Tick`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub(crate) u64);

impl Micros {
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// First tick that is not earlier.
    pub(crate) fn tick(self) -> Tick {
        match self {
            Self::NEVER => Tick::NEVER,
            Self(micros) => Tick(micros.div_ceil(1000)),
        }
    }
}

impl From<Tick> for Micros {
    fn from(tick: Tick) -> Self {
        Self(tick.0.saturating_mul(1000))
    }
}

/// One reading of all clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    pub(crate) micros: Micros,
    pub(crate) tick: Tick,
    pub(crate) at: Timestamp,
}

impl Now {
    pub(crate) fn read() -> Self {
        let micros = ringway_net::clock::now_micros();
        Self { micros: Micros(micros), tick: Tick(micros / 1000), at: ringway_net::clock::timestamp() }
    }

    /// Wall-clock time of a tick.
    pub(crate) fn timestamp_of(self, tick: Tick) -> Timestamp {
        let ahead = tick.0.saturating_sub(self.tick.0);
        let behind = self.tick.0.saturating_sub(tick.0);
        Timestamp(self.at.0.saturating_add(ahead).saturating_sub(behind))
    }
}
