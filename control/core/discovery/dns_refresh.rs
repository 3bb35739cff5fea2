//! When to ask for which name's addresses. Who asks is somebody else; time is an argument.
//!
//! ```text
//!  added ──► due ── poll_start ──► in flight ── answer ──► due again after DNS_TTL
//!             ▲                        └────── failure ──► due again after 1, 2, 4 … 30 s, old addresses stay
//!             └── a connection failed: due at once, but a second after the last start at the earliest
//! ```
//! The system's resolver tells no time to live, so [`DNS_TTL`] stands for it.

use std::collections::BTreeSet;
use std::time::Duration;

use ahash::AHashMap;
use ringway_model::limits::{DNS_IN_FLIGHT_MAX, DNS_TTL};
use ringway_model::{Hostname, Tick};

/// The names of all targets.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: AHashMap<Hostname, Name>,
    /// Those that nobody asks about at the moment.
    due: BTreeSet<(Tick, Hostname)>,
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Name {
    /// `None` while somebody asks.
    due: Option<Tick>,
    started: Option<Tick>,
    failures: u32,
    /// A connection failed after the question was asked: its answer may be too old already.
    ask_again: bool,
}

/// What an answer means for those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// The name is in use.
    Known {
        /// Failures since the last answer, this one included.
        failures: u32,
    },
    /// No target has it any more.
    Forgotten,
}

impl Names {
    /// A target has this name.
    pub(crate) fn handle_added(&mut self, name: &Hostname, now: Tick) {
        if !self.names.contains_key(name) {
            self.names.insert(name.clone(), Name { due: Some(now), ..Name::default() });
            self.due.insert((now, name.clone()));
        }
    }

    /// No target has this name any more.
    pub(crate) fn handle_removed(&mut self, name: &Hostname) {
        if let Some(Name { due: Some(due), .. }) = self.names.remove(name) {
            self.due.remove(&(due, name.clone()));
        }
    }

    /// Its addresses are wanted soon: a connection to them failed, or an instance with this name registered.
    pub(crate) fn handle_wanted(&mut self, name: &Hostname, now: Tick) {
        let Some(entry) = self.names.get_mut(name) else { return };
        let Some(due) = entry.due else {
            entry.ask_again = true;
            return;
        };
        let earliest = entry.started.map_or(now, |started| started.after(RESTART_MIN).max(now));
        if earliest < due {
            self.due.remove(&(due, name.clone()));
            self.due.insert((earliest, name.clone()));
            entry.due = Some(earliest);
        }
    }

    /// The next name to ask about now. At most [`DNS_IN_FLIGHT_MAX`] at once.
    pub(crate) fn poll_start(&mut self, now: Tick) -> Option<Hostname> {
        if self.in_flight >= DNS_IN_FLIGHT_MAX || self.due.first()?.0 > now {
            return None;
        }
        let (_, name) = self.due.pop_first()?;
        let entry = self.names.get_mut(&name)?;
        entry.due = None;
        entry.started = Some(now);
        self.in_flight += 1;
        Some(name)
    }

    /// The answer came, or did not. Once for each name that [`Names::poll_start`] gave.
    pub(crate) fn handle_answer(&mut self, name: &Hostname, is_ok: bool, now: Tick) -> Answered {
        self.in_flight -= 1;
        let Some(entry) = self.names.get_mut(name) else { return Answered::Forgotten };
        // Removed and added again meanwhile: this answer is as good, and the question that is due finds it fresh.
        if let Some(due) = entry.due {
            self.due.remove(&(due, name.clone()));
        }
        let wait = match (is_ok, entry.ask_again) {
            (_, true) => RESTART_MIN,
            (true, false) => DNS_TTL,
            (false, false) => RESTART_MIN.saturating_mul(1 << entry.failures.min(5)).min(DNS_TTL),
        };
        entry.failures = if is_ok { 0 } else { entry.failures.saturating_add(1) };
        entry.ask_again = false;
        let due = now.after(wait);
        entry.due = Some(due);
        let failures = entry.failures;
        self.due.insert((due, name.clone()));
        Answered::Known { failures }
    }

    /// Whether its addresses are being asked for, or will be at once.
    pub(crate) fn is_expected(&self, name: &Hostname, now: Tick) -> bool {
        self.names.get(name).is_some_and(|entry| entry.due.is_none_or(|due| due <= now))
    }

    /// When [`Names::poll_start`] is worth a call; [`Tick::NEVER`] when nothing is due or no more may be asked.
    pub(crate) fn next_deadline(&self) -> Tick {
        match self.due.first() {
            Some((due, _)) if self.in_flight < DNS_IN_FLIGHT_MAX => *due,
            Some(_) | None => Tick::NEVER,
        }
    }
}

/// A name is not asked about more often than this, whatever fails.
const RESTART_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    #[test]
    fn a_name_is_asked_at_once_and_again_after_its_time() {
        let mut names = Names::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(5));
        assert!(names.is_expected(&a, Tick(5)));
        assert_eq!(names.poll_start(Tick(5)), Some(a.clone()));
        assert_eq!(names.poll_start(Tick(5)), None);
        assert!(names.is_expected(&a, Tick(6)), "in flight");
        assert_eq!(names.handle_answer(&a, true, Tick(10)), Answered::Known { failures: 0 });
        let due = Tick(10).after(DNS_TTL);
        assert_eq!(names.next_deadline(), due);
        assert_eq!(names.poll_start(Tick(due.0 - 1)), None);
        assert_eq!(names.poll_start(due), Some(a));
    }

    #[test]
    fn failures_are_asked_again_ever_more_rarely() {
        let mut names = Names::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(0));
        let mut now = Tick(0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            now = names.next_deadline().max(now);
            assert_eq!(names.poll_start(now), Some(a.clone()));
            names.handle_answer(&a, false, now);
            waits.push(names.next_deadline().since(now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        now = names.next_deadline();
        names.poll_start(now).unwrap();
        names.handle_answer(&a, true, now);
        now = names.next_deadline();
        names.poll_start(now).unwrap();
        names.handle_answer(&a, false, now);
        assert_eq!(names.next_deadline().since(now), RESTART_MIN, "an answer forgets the failures");
    }

    #[test]
    fn a_failed_connection_asks_soon_but_not_in_a_storm() {
        let mut names = Names::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(0));
        names.poll_start(Tick(0)).unwrap();
        names.handle_answer(&a, true, Tick(100));
        names.handle_wanted(&a, Tick(200));
        assert_eq!(names.next_deadline(), Tick(1_000), "a second after the last start");
        names.handle_wanted(&a, Tick(5_000));
        assert_eq!(names.next_deadline(), Tick(1_000), "never later than it was");
        names.poll_start(Tick(5_000)).unwrap();
        names.handle_wanted(&a, Tick(5_001));
        names.handle_answer(&a, true, Tick(5_002));
        assert_eq!(names.next_deadline(), Tick(6_002), "failed while it was asked: asked again");
    }

    #[test]
    fn only_so_many_at_once() {
        let mut names = Names::default();
        for n in 0..=DNS_IN_FLIGHT_MAX {
            names.handle_added(&name(&format!("n{n}.test")), Tick(0));
        }
        let started: Vec<_> = std::iter::from_fn(|| names.poll_start(Tick(0))).collect();
        assert_eq!(started.len(), DNS_IN_FLIGHT_MAX);
        assert_eq!(names.next_deadline(), Tick::NEVER);
        names.handle_answer(&started[0], true, Tick(1));
        assert!(names.poll_start(Tick(1)).is_some());
    }

    #[test]
    fn a_name_that_nobody_has_is_forgotten() {
        let mut names = Names::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(0));
        names.poll_start(Tick(0)).unwrap();
        names.handle_removed(&a);
        assert_eq!(names.handle_answer(&a, true, Tick(1)), Answered::Forgotten);
        assert_eq!(names.next_deadline(), Tick::NEVER);
        names.handle_added(&a, Tick(2));
        names.handle_removed(&a);
        assert_eq!(names.poll_start(Tick(9)), None);
    }

    #[test]
    fn removed_and_added_again_while_it_is_asked() {
        let mut names = Names::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(0));
        names.poll_start(Tick(0)).unwrap();
        names.handle_removed(&a);
        names.handle_added(&a, Tick(1));
        assert_eq!(names.handle_answer(&a, true, Tick(2)), Answered::Known { failures: 0 });
        assert_eq!(names.next_deadline(), Tick(2).after(DNS_TTL));
        assert_eq!(names.poll_start(Tick(3)), None, "asked once");
    }
}
