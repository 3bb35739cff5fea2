//! Expiry warnings.

use ringway_model::{Hostname, Timestamp};
use ringway_net::clock;

use super::Issuance;
use crate::domains::DomainEntry;
use crate::event::CertificateEvent;
use crate::issuance_state::{After, Warned};
use crate::limits::CERTIFICATES_ROUND;
use crate::renewal::Lateness;
use crate::tasks::spawn_logged;

impl Issuance {
    /// Warns once per level when a certificate nears its expiry; returns when to check again.
    pub(super) fn warn_expiry(
        &self,
        host: &Hostname,
        entry: &mut DomainEntry,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let facts = entry.stored.facts()?.clone();
        if self.clock_problem.get().is_some() {
            return Some(now.after(CERTIFICATES_ROUND));
        }
        let lateness = Lateness::of(&facts, now);
        let warned = Warned { not_after: facts.not_after.0, lateness };
        let record = entry.record.as_mut()?;
        let last = record.warned.filter(|last| last.not_after == warned.not_after).map(|last| last.lateness);
        if lateness > last.unwrap_or_default() {
            record.warned = Some(warned);
            let (this, host) = (self.clone(), host.clone());
            // In a task, because the domain table is borrowed here.
            spawn_logged(async move {
                this.records.save(&host);
                let not_after = facts.not_after;
                this.publisher.notify(CertificateEvent::ExpiringSoon { host: Some(host), not_after });
            });
        }
        Lateness::next_at(entry.stored.facts()?, now)
    }

    /// Warns once per level when the default certificate nears its expiry.
    pub(super) fn warn_default(&self) {
        let Some(facts) = self.default.facts() else { return };
        if self.clock_problem.get().is_some() {
            return;
        }
        let lateness = Lateness::of(&facts, clock::timestamp());
        let last = self.default_warned.get().filter(|last| last.not_after == facts.not_after.0);
        if lateness > last.map(|last| last.lateness).unwrap_or_default() {
            self.default_warned.set(Some(Warned { not_after: facts.not_after.0, lateness }));
            let not_after = facts.not_after;
            self.publisher.notify(CertificateEvent::ExpiringSoon { host: None, not_after });
        }
    }
}
