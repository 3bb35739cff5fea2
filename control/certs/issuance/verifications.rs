//! Verification of domains before an order.

use ringway_model::Hostname;
use ringway_net::{clock, spawn};

use super::{INTERNAL_RETRY, Issuance};
use crate::domains::StoredCertificate;
use crate::event::CertificateEvent;
use crate::issuance_state::{After, FailureKind, Stage};
use crate::limits::VERIFICATIONS_OF_QUEUE_MAX;
use crate::tasks::log_panic;
use crate::verification::Readiness;

impl Issuance {
    /// Starts queued verifications, up to the bound.
    pub(super) fn start_verifications(&self) {
        while self.verifying.get() < VERIFICATIONS_OF_QUEUE_MAX {
            let Some(host) = ({ self.to_verify.borrow_mut().pop_front() }) else { return };
            let number = match self.registry.table().get(&host) {
                Some(entry) => entry.number,
                None => continue,
            };
            self.verifying.update(|count| count + 1);
            let (this, panicked, name) = (self.clone(), self.clone(), host.clone());
            spawn(
                async move {
                    let verification = this.verifier.verify(&host).await;
                    let result = verification
                        .map(|verification| (verification.readiness, verification.advice.clone()));
                    this.verifying.update(|count| count - 1);
                    this.handle_verification(&host, number, result);
                    this.registry.mark_changed(&host);
                },
                move |panic| {
                    log_panic(panic);
                    panicked.verifying.update(|count| count - 1);
                    let reason = "the verification failed for an internal error";
                    panicked.postpone(&name, number, INTERNAL_RETRY, reason);
                },
            );
        }
    }

    /// Queues an order for a domain that is ready; records the failure of another.
    fn handle_verification(&self, host: &Hostname, number: u64, result: Option<(Readiness, String)>) {
        let now = clock::timestamp();
        let mut table = self.registry.table_mut();
        let Some(entry) = table.get_mut(host).filter(|entry| entry.number == number) else { return };
        let Stage::Verifying(kind) = entry.stage else { return };
        entry.stage = Stage::Idle;
        let event = match result {
            Some((readiness, _)) if readiness.is_ready() => {
                entry.stage = Stage::Queued(kind);
                entry.status.reason = None;
                self.queue.borrow_mut().push(host, kind, now);
                None
            }
            None | Some((Readiness::NotChecked, _)) => {
                let reason =
                    result.map_or_else(|| "the verification queue is full".to_owned(), |(_, advice)| advice);
                entry.postpone(now.after(INTERNAL_RETRY), reason);
                None
            }
            Some((_, advice)) => {
                let updated_at = entry.domain.updated_at;
                let has_certificate = entry.stored != StoredCertificate::None;
                let record = entry.record.get_or_insert_default();
                let next_try = record.fail(host, FailureKind::Dns, advice.clone(), updated_at, now);
                match next_try {
                    None => Some(CertificateEvent::Parked { host: host.clone(), reason: advice }),
                    // Missing records of a new domain are no event; the loss of a certificate is.
                    Some(_) if has_certificate && record.failures == 1 => {
                        Some(CertificateEvent::Failed { host: host.clone(), reason: advice, next_try })
                    }
                    Some(_) => None,
                }
            }
        };
        let is_failed = entry.stage == Stage::Idle;
        drop(table);
        self.drop_forecast();
        if is_failed {
            self.records.save(host);
        }
        if let Some(event) = event {
            self.reconsider(host);
            self.publisher.notify(event);
        }
    }
}
