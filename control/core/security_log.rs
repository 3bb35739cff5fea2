//! Rate limit of security events of all cores: the first one of its kind is reported at once, further ones
//! together at the end of an interval.

use std::collections::BTreeMap;

use ringway_model::Tick;
use ringway_traffic::security_event::{SecurityCount, SecurityEvent};

use crate::limits::{SECURITY_EVENT_INTERVAL, SECURITY_EVENTS_WATCHED_MAX};

/// Events of the last interval.
#[derive(Debug, Default)]
pub(crate) struct SecurityLog(BTreeMap<SecurityEvent, Interval>);

#[derive(Debug)]
struct Interval {
    /// Time from which the next report may be made.
    ends: Tick,
    unreported: Option<SecurityCount>,
}

impl SecurityLog {
    /// Counts equal observations.
    pub(crate) fn count(&mut self, event: SecurityEvent, count: SecurityCount, now: Tick) {
        let has_room = self.0.len() < SECURITY_EVENTS_WATCHED_MAX || self.0.contains_key(&event);
        let event = if has_room { event } else { event.among_others() };
        let interval = self.0.entry(event).or_insert(Interval { ends: now, unreported: None });
        match &mut interval.unreported {
            Some(earlier) => earlier.add(count),
            none => *none = Some(count),
        }
    }

    /// Time of the next report, or of the end of an interval without one.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.0.values().map(|interval| interval.ends).min().unwrap_or(Tick::NEVER)
    }

    /// Takes the reports that are due.
    pub(crate) fn take_due(&mut self, now: Tick) -> Vec<(SecurityEvent, SecurityCount)> {
        let mut due = Vec::new();
        self.0.retain(|event, interval| {
            if interval.ends > now {
                return true;
            }
            let Some(count) = interval.unreported.take() else { return false };
            due.push((event.clone(), count));
            interval.ends = now.after(SECURITY_EVENT_INTERVAL);
            true
        });
        due
    }

    /// Takes all reports, at the end of the process.
    pub(crate) fn take_all(&mut self) -> Vec<(SecurityEvent, SecurityCount)> {
        let all = std::mem::take(&mut self.0).into_iter();
        all.filter_map(|(event, interval)| Some((event, interval.unreported?))).collect()
    }
}

#[cfg(test)]
#[path = "security_log_tests.rs"]
mod tests;
