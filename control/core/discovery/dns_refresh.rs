//! Schedule of DNS lookups for the names of targets, pure: time is an argument, the engine runs the lookups.
//!
//! ```text
//!  added ──► due ── poll_lookup ──► in flight ── result ──► due again after DNS_TTL
//!             ▲                         └────── failure ──► due again after 1, 2, 4 … 30 s
//!             └── a connection failed: due at once, but a second after the last start at the earliest
//! ```
//! The system's resolver reports no time to live; [`DNS_TTL`] replaces it.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ahash::AHashMap;
use ringway_model::limits::{DNS_IN_FLIGHT_MAX, DNS_TTL};
use ringway_model::{Hostname, Tick};

/// Names of all targets and their next lookups.
#[derive(Debug, Default)]
pub(crate) struct DnsRefresh {
    names: AHashMap<Hostname, Name>,
    /// Names without a lookup in flight.
    due: BTreeSet<(Tick, Hostname)>,
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Name {
    /// `None` while a lookup is in flight.
    due: Option<Tick>,
    started: Option<Tick>,
    failures: u32,
    /// A connection failed after the lookup began: its result may be stale already.
    is_requested_again: bool,
}

impl DnsRefresh {
    /// Adds the name of a target; its first lookup is due at once.
    pub(crate) fn handle_added(&mut self, name: &Hostname, now: Tick) {
        if !self.names.contains_key(name) {
            self.names.insert(name.clone(), Name { due: Some(now), ..Name::default() });
            self.due.insert((now, name.clone()));
        }
    }

    /// Removes a name without targets.
    pub(crate) fn handle_removed(&mut self, name: &Hostname) {
        if let Some(Name { due: Some(due), .. }) = self.names.remove(name) {
            self.due.remove(&(due, name.clone()));
        }
    }

    /// Requests an early lookup: a connection failed, or an instance with this name was registered.
    pub(crate) fn request(&mut self, name: &Hostname, now: Tick) {
        let Some(entry) = self.names.get_mut(name) else { return };
        let Some(due) = entry.due else {
            entry.is_requested_again = true;
            return;
        };
        let earliest = entry.started.map_or(now, |started| started.after(RESTART_MIN).max(now));
        if earliest < due {
            self.due.remove(&(due, name.clone()));
            self.due.insert((earliest, name.clone()));
            entry.due = Some(earliest);
        }
    }

    /// Next name to look up now. At most [`DNS_IN_FLIGHT_MAX`] lookups are in flight.
    pub(crate) fn poll_lookup(&mut self, now: Tick) -> Option<Hostname> {
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

    /// Records the result of a lookup, once for each name from [`DnsRefresh::poll_lookup`]. Returns the
    /// failures since the last success, this one included; `None` when no target uses the name any longer.
    pub(crate) fn handle_result(&mut self, name: &Hostname, is_ok: bool, now: Tick) -> Option<u32> {
        self.in_flight -= 1;
        let entry = self.names.get_mut(name)?;
        // Removed and added again meanwhile: this result is as good as that of the lookup that is due.
        if let Some(due) = entry.due {
            self.due.remove(&(due, name.clone()));
        }
        let wait = match (is_ok, entry.is_requested_again) {
            (_, true) => RESTART_MIN,
            (true, false) => DNS_TTL,
            (false, false) => RESTART_MIN.saturating_mul(1 << entry.failures.min(5)).min(DNS_TTL),
        };
        entry.failures = if is_ok { 0 } else { entry.failures.saturating_add(1) };
        entry.is_requested_again = false;
        let due = now.after(wait);
        entry.due = Some(due);
        let failures = entry.failures;
        self.due.insert((due, name.clone()));
        Some(failures)
    }

    /// Whether a lookup is in flight or due now.
    pub(crate) fn is_lookup_pending(&self, name: &Hostname, now: Tick) -> bool {
        self.names.get(name).is_some_and(|entry| entry.due.is_none_or(|due| due <= now))
    }

    /// Time of the next lookup; [`Tick::NEVER`] without names and while the limit of lookups is reached.
    pub(crate) fn next_deadline(&self) -> Tick {
        match self.due.first() {
            Some((due, _)) if self.in_flight < DNS_IN_FLIGHT_MAX => *due,
            Some(_) | None => Tick::NEVER,
        }
    }
}

/// Lookups of names since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DnsCounters {
    /// Results with other addresses than before.
    pub(crate) changed: u64,
    /// Failures.
    pub(crate) failed: u64,
}

/// Removes addresses without a listener: a poisoned or mistaken record must not make ringway connect to
/// itself.
///
/// # Errors
/// [`io::ErrorKind::AddrNotAvailable`] when none is left.
pub(crate) fn usable_addresses(mut addresses: Vec<IpAddr>) -> io::Result<Vec<IpAddr>> {
    addresses.retain(|address| !address.is_unspecified() && !address.is_multicast());
    if addresses.is_empty() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(addresses) }
}

/// Least time between the starts of two lookups of a name.
const RESTART_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    #[test]
    fn a_name_is_looked_up_at_once_and_again_after_its_ttl() {
        let mut names = DnsRefresh::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(5));
        assert!(names.is_lookup_pending(&a, Tick(5)));
        assert_eq!(names.poll_lookup(Tick(5)), Some(a.clone()));
        assert_eq!(names.poll_lookup(Tick(5)), None);
        assert!(names.is_lookup_pending(&a, Tick(6)), "in flight");
        assert_eq!(names.handle_result(&a, true, Tick(10)), Some(0));
        let due = Tick(10).after(DNS_TTL);
        assert_eq!(names.next_deadline(), due);
        assert_eq!(names.poll_lookup(Tick(due.0 - 1)), None);
        assert_eq!(names.poll_lookup(due), Some(a));
    }

    #[test]
    fn failed_lookups_back_off() {
        let mut names = DnsRefresh::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(0));
        let mut now = Tick(0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            now = names.next_deadline().max(now);
            assert_eq!(names.poll_lookup(now), Some(a.clone()));
            names.handle_result(&a, false, now);
            waits.push(names.next_deadline().since(now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        now = names.next_deadline();
        names.poll_lookup(now).unwrap();
        names.handle_result(&a, true, now);
        now = names.next_deadline();
        names.poll_lookup(now).unwrap();
        names.handle_result(&a, false, now);
        assert_eq!(names.next_deadline().since(now), RESTART_MIN, "a success resets the failures");
    }

    #[test]
    fn a_failed_connection_causes_an_early_lookup_but_no_storm() {
        let mut names = DnsRefresh::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(0));
        names.poll_lookup(Tick(0)).unwrap();
        names.handle_result(&a, true, Tick(100));
        names.request(&a, Tick(200));
        assert_eq!(names.next_deadline(), Tick(1_000), "a second after the last start");
        names.request(&a, Tick(5_000));
        assert_eq!(names.next_deadline(), Tick(1_000), "never later than it was");
        names.poll_lookup(Tick(5_000)).unwrap();
        names.request(&a, Tick(5_001));
        names.handle_result(&a, true, Tick(5_002));
        assert_eq!(names.next_deadline(), Tick(6_002), "failed during the lookup: looked up again");
    }

    #[test]
    fn lookups_in_flight_are_bounded() {
        let mut names = DnsRefresh::default();
        for n in 0..=DNS_IN_FLIGHT_MAX {
            names.handle_added(&name(&format!("n{n}.test")), Tick(0));
        }
        let started: Vec<_> = std::iter::from_fn(|| names.poll_lookup(Tick(0))).collect();
        assert_eq!(started.len(), DNS_IN_FLIGHT_MAX);
        assert_eq!(names.next_deadline(), Tick::NEVER);
        names.handle_result(&started[0], true, Tick(1));
        assert!(names.poll_lookup(Tick(1)).is_some());
    }

    #[test]
    fn a_name_without_targets_is_dropped() {
        let mut names = DnsRefresh::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(0));
        names.poll_lookup(Tick(0)).unwrap();
        names.handle_removed(&a);
        assert_eq!(names.handle_result(&a, true, Tick(1)), None);
        assert_eq!(names.next_deadline(), Tick::NEVER);
        names.handle_added(&a, Tick(2));
        names.handle_removed(&a);
        assert_eq!(names.poll_lookup(Tick(9)), None);
    }

    #[test]
    fn a_name_removed_and_added_during_a_lookup_takes_its_result() {
        let mut names = DnsRefresh::default();
        let a = name("a.test");
        names.handle_added(&a, Tick(0));
        names.poll_lookup(Tick(0)).unwrap();
        names.handle_removed(&a);
        names.handle_added(&a, Tick(1));
        assert_eq!(names.handle_result(&a, true, Tick(2)), Some(0));
        assert_eq!(names.next_deadline(), Tick(2).after(DNS_TTL));
        assert_eq!(names.poll_lookup(Tick(3)), None, "one lookup");
    }
}
