//! What is said of certificates that come to their end.

use super::*;

impl Certificates {
    /// Says once when a certificate is late in its life; when to look again.
    pub(super) fn watch(&self, host: &Hostname, entry: &mut Entry, now: Timestamp) -> Option<Timestamp> {
        let facts = entry.held.facts()?.clone();
        if self.issuance().clock_fault.get().is_some() {
            return Some(now.after(CERTIFICATES_ROUND));
        }
        let lateness = Lateness::of(&facts, now);
        let warned = Warned { not_after: facts.not_after.0, lateness };
        let memory = entry.memory.as_mut()?;
        let said = memory.warned.filter(|said| said.not_after == warned.not_after).map(|said| said.lateness);
        if lateness > said.unwrap_or_default() {
            memory.warned = Some(warned);
            let (this, host) = (self.clone(), host.clone());
            // Not from here, where the domains are lent to be changed.
            spawn(
                async move {
                    this.remember(&host);
                    this.notify(CertificateEvent::ExpiringSoon {
                        host: Some(host),
                        not_after: facts.not_after,
                    });
                },
                log_panic,
            );
        }
        Lateness::next_at(entry.held.facts()?, now)
    }

    /// The same for the default certificate.
    pub(super) fn watch_default(&self) {
        let issuance = self.issuance();
        let Some(facts) = self.default_facts() else { return };
        if issuance.clock_fault.get().is_some() {
            return;
        }
        let lateness = Lateness::of(&facts, clock::timestamp());
        let said = issuance.default_warned.get().filter(|said| said.not_after == facts.not_after.0);
        if lateness > said.map(|said| said.lateness).unwrap_or_default() {
            issuance.default_warned.set(Some(Warned { not_after: facts.not_after.0, lateness }));
            self.notify(CertificateEvent::ExpiringSoon { host: None, not_after: facts.not_after });
        }
    }
}
