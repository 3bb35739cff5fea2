//! Security events for the audit log: of the cores, and of sources of keys and users.

use ringway_traffic::security_event::SecurityCount;

use super::Engine;
use crate::own_event::OwnEvent;
use crate::time::Now;

impl Engine {
    /// Reports the security events that are due.
    pub(super) fn advance_security(&mut self, now: Now) {
        for event in self.credentials.take_transitions() {
            self.security.count(event, SecurityCount { client: None, count: 1 }, now.tick);
        }
        let due = match self.shutdown.is_running() {
            true => self.security.take_due(now.tick),
            false => self.security.take_all(),
        };
        let Some(report) = &self.on_event else { return };
        for (event, count) in &due {
            report(OwnEvent::Security { at: now.at, event, count: *count });
        }
    }
}
