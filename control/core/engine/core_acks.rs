//! Acknowledgements of snapshots by the cores, and the cores that lag; pure.
//!
//! ```text
//!             published, not acknowledged within the deadline
//!   following ───────────────────────────────────────────────► lagging
//!       ▲                                                          │
//!       └───────────── acknowledged the newest serial ─────────────┘
//!
//!   any ── drained ──► drained (no longer counted)        any ── panicked ──► dead (always named as pending)
//! ```
//! Changes wait for following cores. A lagging core is named in the receipt at once instead: a stuck core
//! must not delay every change by the whole deadline.

use ringway_model::{CoreId, Serial};

use crate::limits::APPLY_DEADLINE;
use crate::status::CoreState;
use crate::time::Micros;

/// Acknowledgements of all cores.
#[derive(Debug)]
pub(crate) struct Cores {
    cores: Vec<Core>,
    published: Serial,
    published_at: Micros,
}

#[derive(Debug)]
struct Core {
    id: CoreId,
    acknowledged: Option<Serial>,
    /// Time since which a published snapshot is not acknowledged.
    behind_since: Option<Micros>,
    last_ack_micros: Option<u64>,
    state: CoreState,
}

/// Progress of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CoreProgress {
    pub(crate) id: CoreId,
    pub(crate) acknowledged: Option<Serial>,
    pub(crate) behind_since: Option<Micros>,
    pub(crate) last_ack_micros: Option<u64>,
    pub(crate) state: CoreState,
}

impl Cores {
    pub(crate) fn new(ids: impl IntoIterator<Item = CoreId>) -> Self {
        let core = |id| Core {
            id,
            acknowledged: None,
            behind_since: None,
            last_ack_micros: None,
            state: CoreState::Following,
        };
        Self {
            cores: ids.into_iter().map(core).collect(),
            published: Serial(0),
            published_at: Micros::default(),
        }
    }

    /// Records the publication of a newer snapshot to every core.
    pub(crate) fn handle_published(&mut self, serial: Serial, now: Micros) {
        self.published = serial;
        self.published_at = now;
        for core in &mut self.cores {
            core.behind_since.get_or_insert(now);
        }
    }

    /// Records a core's acknowledgement of `serial`.
    pub(crate) fn handle_ack(&mut self, id: CoreId, serial: Serial, now: Micros) {
        let (published, published_at) = (self.published, self.published_at);
        let Some(core) = self.cores.iter_mut().find(|core| core.id == id) else { return };
        // A late report of an older snapshot adds nothing; one of a snapshot that was never published is
        // ignored.
        if core.acknowledged >= Some(serial) || serial > published {
            return;
        }
        core.acknowledged = Some(serial);
        if serial < published {
            // The core makes progress: the snapshots that it lacks are newer than this one.
            core.behind_since = core.behind_since.map(|_| now);
            return;
        }
        core.behind_since = None;
        core.last_ack_micros = Some(now.0.saturating_sub(published_at.0));
        if core.state == CoreState::Lagging {
            core.state = CoreState::Following;
        }
    }

    /// Records that a core has drained; changes no longer wait for it.
    pub(crate) fn handle_drained(&mut self, id: CoreId) {
        if let Some(core) = self.cores.iter_mut().find(|core| core.id == id) {
            core.state = CoreState::Drained;
        }
    }

    /// Records that a core's thread panicked.
    pub(crate) fn handle_dead(&mut self, id: CoreId) {
        if let Some(core) = self.cores.iter_mut().find(|core| core.id == id) {
            core.state = CoreState::Dead;
        }
    }

    /// Marks cores as lagging that have been behind for [`APPLY_DEADLINE`].
    pub(crate) fn handle_time(&mut self, now: Micros) {
        for core in &mut self.cores {
            if core.state == CoreState::Following && core.deadline() <= now {
                core.state = CoreState::Lagging;
            }
        }
    }

    /// Time at which [`Cores::handle_time`] is due; [`Micros::NEVER`] while all have caught up.
    pub(crate) fn next_deadline(&self) -> Micros {
        let following = self.cores.iter().filter(|core| core.state == CoreState::Following);
        following.map(Core::deadline).min().unwrap_or(Micros::NEVER)
    }

    /// Whether every following core has acknowledged `serial` or a newer one.
    pub(crate) fn have(&self, serial: Serial) -> bool {
        self.cores.iter().all(|core| core.state != CoreState::Following || core.acknowledged >= Some(serial))
    }

    /// Whether a lagging core has not acknowledged `serial`.
    pub(crate) fn lag_behind(&self, serial: Serial) -> bool {
        self.cores.iter().any(|core| core.state == CoreState::Lagging && core.acknowledged < Some(serial))
    }

    /// Cores without `serial`.
    pub(crate) fn without(&self, serial: Serial) -> Vec<CoreId> {
        let without = |core: &&Core| match core.state {
            CoreState::Following | CoreState::Lagging => core.acknowledged < Some(serial),
            CoreState::Drained => false,
            CoreState::Dead => true,
        };
        self.cores.iter().filter(without).map(|core| core.id).collect()
    }

    /// Whether every core has acknowledged a first snapshot.
    pub(crate) fn have_started(&self) -> bool {
        self.cores.iter().all(|core| core.acknowledged.is_some())
    }

    /// Whether every core has drained or panicked.
    pub(crate) fn have_ended(&self) -> bool {
        self.cores.iter().all(|core| matches!(core.state, CoreState::Drained | CoreState::Dead))
    }

    /// Progress of each core.
    pub(crate) fn progress(&self) -> impl Iterator<Item = CoreProgress> {
        self.cores.iter().map(|core| CoreProgress {
            id: core.id,
            acknowledged: core.acknowledged,
            behind_since: core.behind_since,
            last_ack_micros: core.last_ack_micros,
            state: core.state,
        })
    }
}

impl Core {
    fn deadline(&self) -> Micros {
        self.behind_since.map_or(Micros::NEVER, |since| since.after(APPLY_DEADLINE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Cores {
        Cores::new([CoreId(0), CoreId(1)])
    }

    #[test]
    fn a_serial_needs_the_acknowledgement_of_every_core() {
        let mut cores = two();
        cores.handle_published(Serial(1), Micros(10));
        assert!(!cores.have(Serial(1)) && !cores.have_started());
        cores.handle_ack(CoreId(0), Serial(1), Micros(15));
        assert_eq!(cores.without(Serial(1)), [CoreId(1)]);
        cores.handle_ack(CoreId(1), Serial(1), Micros(30));
        assert!(cores.have(Serial(1)) && cores.have_started());
        let latencies: Vec<_> = cores.progress().map(|core| core.last_ack_micros).collect();
        assert_eq!(latencies, [Some(5), Some(20)]);
    }

    #[test]
    fn a_newer_acknowledgement_covers_older_serials() {
        let mut cores = two();
        cores.handle_published(Serial(1), Micros(0));
        cores.handle_published(Serial(2), Micros(1));
        cores.handle_ack(CoreId(0), Serial(2), Micros(2));
        cores.handle_ack(CoreId(1), Serial(1), Micros(2));
        assert!(cores.have(Serial(1)) && !cores.have(Serial(2)));
        // The late report does not revoke the newer one.
        cores.handle_ack(CoreId(0), Serial(1), Micros(3));
        cores.handle_ack(CoreId(1), Serial(2), Micros(3));
        assert!(cores.have(Serial(2)));
    }

    #[test]
    fn unknown_serials_and_cores_are_ignored() {
        let mut cores = two();
        cores.handle_published(Serial(1), Micros(0));
        cores.handle_ack(CoreId(0), Serial(9), Micros(1));
        cores.handle_ack(CoreId(7), Serial(1), Micros(1));
        assert_eq!(cores.without(Serial(1)), [CoreId(0), CoreId(1)]);
    }

    #[test]
    fn a_lagging_core_is_named_and_not_waited_for_until_it_catches_up() {
        let mut cores = two();
        cores.handle_published(Serial(1), Micros(0));
        cores.handle_ack(CoreId(0), Serial(1), Micros(1));
        let deadline = Micros(0).after(APPLY_DEADLINE);
        assert_eq!(cores.next_deadline(), deadline);
        cores.handle_time(Micros(deadline.0 - 1));
        assert!(!cores.have(Serial(1)));
        cores.handle_time(deadline);
        assert!(cores.have(Serial(1)));
        assert_eq!(cores.next_deadline(), Micros::NEVER);
        assert_eq!(cores.without(Serial(1)), [CoreId(1)]);
        cores.handle_published(Serial(2), Micros(2));
        cores.handle_ack(CoreId(1), Serial(1), Micros(3));
        let state = |cores: &Cores| cores.progress().nth(1).map(|core| core.state);
        assert_eq!(state(&cores), Some(CoreState::Lagging), "an old snapshot is not enough");
        cores.handle_ack(CoreId(1), Serial(2), Micros(3));
        assert_eq!(state(&cores), Some(CoreState::Following));
        assert!(!cores.have(Serial(2)), "core 0 follows and is waited for");
    }

    #[test]
    fn a_drained_core_is_neither_waited_for_nor_named() {
        let mut cores = two();
        cores.handle_published(Serial(1), Micros(0));
        cores.handle_ack(CoreId(0), Serial(1), Micros(1));
        cores.handle_drained(CoreId(1));
        assert!(cores.have(Serial(1)) && cores.without(Serial(1)).is_empty());
        assert!(!cores.have_ended());
        cores.handle_drained(CoreId(0));
        assert!(cores.have_ended());
    }

    #[test]
    fn a_dead_core_is_not_waited_for_and_always_named() {
        let mut cores = two();
        cores.handle_published(Serial(1), Micros(0));
        cores.handle_ack(CoreId(0), Serial(1), Micros(1));
        cores.handle_ack(CoreId(1), Serial(1), Micros(1));
        cores.handle_dead(CoreId(1));
        assert!(cores.have(Serial(1)));
        assert_eq!(cores.without(Serial(1)), [CoreId(1)]);
    }

    #[test]
    fn a_core_that_moves_on_under_steady_changes_does_not_lag() {
        let mut cores = Cores::new([CoreId(0)]);
        let step = u64::try_from(APPLY_DEADLINE.as_micros()).unwrap_or(u64::MAX) / 2;
        for n in 1..20 {
            cores.handle_published(Serial(n), Micros(n * step));
            cores.handle_time(Micros(n * step));
            // Always one behind.
            cores.handle_ack(CoreId(0), Serial(n - 1), Micros(n * step));
        }
        assert_eq!(cores.progress().next().map(|core| core.state), Some(CoreState::Following));
    }
}
