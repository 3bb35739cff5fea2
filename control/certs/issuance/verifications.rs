//! Whether domains lead here, found out before an order is spent on them.

use super::*;

impl Certificates {
    /// Begins as many as may be under way at one time.
    pub(super) fn start_verifications(&self) {
        let issuance = self.issuance();
        while issuance.verifying.get() < VERIFICATIONS_OF_QUEUE_MAX {
            let Some(host) = ({ issuance.to_verify.borrow_mut().pop_front() }) else { return };
            let number = match self.shared.domains.borrow().get(&host) {
                Some(entry) => entry.number,
                None => continue,
            };
            issuance.verifying.update(|count| count + 1);
            let (this, again, name) = (self.clone(), self.clone(), host.clone());
            spawn(
                async move {
                    let verification = this.examine(&host).await;
                    let readiness = verification
                        .map(|verification| (verification.readiness, verification.advice.clone()));
                    this.issuance().verifying.update(|count| count - 1);
                    this.handle_readiness(&host, number, readiness);
                    this.touch(&host);
                },
                move |panic| {
                    log_panic(panic);
                    again.issuance().verifying.update(|count| count - 1);
                    again.postpone(&name, number, OWN_RETRY, "the verification failed for a fault of ours");
                },
            );
        }
    }

    /// Queues a domain that leads here, and remembers of another why not.
    fn handle_readiness(&self, host: &Hostname, number: u64, readiness: Option<(Readiness, String)>) {
        let now = clock::timestamp();
        let mut domains = self.shared.domains.borrow_mut();
        let Some(entry) = domains.get_mut(host).filter(|entry| entry.number == number) else { return };
        let Stage::Verifying(errand) = entry.stage else { return };
        entry.stage = Stage::Idle;
        let event = match readiness {
            Some((readiness, _)) if readiness.is_ready() => {
                entry.stage = Stage::Queued(errand);
                entry.course.reason = None;
                self.issuance().queue.borrow_mut().push(host, errand, now);
                None
            }
            None | Some((Readiness::NotChecked, _)) => {
                let reason = readiness
                    .map_or_else(|| "too many domains are being verified".to_owned(), |(_, advice)| advice);
                entry.postpone(now.after(OWN_RETRY), reason);
                None
            }
            Some((_, advice)) => {
                let updated_at = entry.domain.updated_at;
                let is_held = entry.held != Held::Nothing;
                let memory = entry.memory.get_or_insert_default();
                let next_try = memory.fail(host, Trouble::Dns, advice.clone(), updated_at, now);
                match next_try {
                    None => Some(CertificateEvent::Parked { host: host.clone(), reason: advice }),
                    // A domain whose records are still to be made is no event; one that loses its certificate is.
                    Some(_) if is_held && memory.failures == 1 => {
                        Some(CertificateEvent::Failed { host: host.clone(), reason: advice, next_try })
                    }
                    Some(_) => None,
                }
            }
        };
        let is_stored = entry.stage == Stage::Idle;
        drop(domains);
        self.forget_places();
        if is_stored {
            self.remember(host);
        }
        if let Some(event) = event {
            self.reconsider(host);
            self.notify(event);
        }
    }
}
