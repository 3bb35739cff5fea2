//! One order of one domain at one CA, and the consequences of its success or failure.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{CertificateMode, Hostname, Tick};
use ringway_net::clock;

use super::{CaSlot, INTERNAL_RETRY, Issuance};
use crate::acme::authority::{AccountCreation, Directory};
use crate::acme::failure::{AcmeFailure, LimitScope, RejectionKind};
use crate::acme::order::{Issued, Order, PendingOrder};
use crate::budget::{Budgets, Limit, OrderClass, Reached};
use crate::ca_health::pause;
use crate::certificate_store::InstallError;
use crate::domains::{DomainEntry, Outages};
use crate::event::CertificateEvent;
use crate::files::DomainFile;
use crate::issuance_state::{After, FailureKind, Origin, Stage};
use crate::queue::OrderKind;
use crate::report::CertificateState;

/// One order of one domain at one CA. Clones share the progress.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) issuance: Issuance,
    pub(super) host: Hostname,
    /// Number of the registration that is ordered for.
    number: u64,
    kind: OrderKind,
    class: OrderClass,
    slot: Rc<CaSlot>,
    /// Account of the order, once known.
    account: Rc<RefCell<Option<String>>>,
    /// Whether the CA accepted a new order.
    is_sent: Rc<Cell<bool>>,
}

impl Attempt {
    pub(super) fn new(
        issuance: Issuance,
        host: Hostname,
        number: u64,
        kind: OrderKind,
        class: OrderClass,
        slot: Rc<CaSlot>,
    ) -> Self {
        Self { issuance, host, number, kind, class, slot, account: Rc::default(), is_sent: Rc::default() }
    }

    /// Orders and installs the certificate, and books the result.
    pub(super) async fn run(self) {
        let issuance = &self.issuance;
        let began = clock::now();
        let result = self.order().await;
        self.end();
        let reached = Reached { is_sent: self.is_sent.get(), is_issued: result.is_ok() };
        issuance.budgets.borrow_mut().settle_order(self.url(), &self.host, self.class, reached);
        match result {
            Ok(event) => {
                self.slot.health.borrow_mut().record_success();
                self.slot.last_success.set(Some(clock::now()));
                let duration = clock::now().since(began);
                issuance.order_duration.set((issuance.order_duration.get() * 3 + duration) / 4);
                count(match self.kind {
                    OrderKind::Issue => &issuance.counters.issued,
                    OrderKind::Renew => &issuance.counters.renewed,
                });
                // Before the event, so that its receiver reads the new state.
                issuance.reconsider(&self.host);
                issuance.publisher.notify(event);
            }
            Err(failure) => self.handle_failure(failure).await,
        }
        issuance.registry.mark_changed(&self.host);
    }

    /// Ends the order in the queue and in the CA's load.
    pub(super) fn end(&self) {
        self.slot.in_flight.update(|count| count.saturating_sub(1));
        self.issuance.queue.borrow_mut().finish(&self.host);
        self.issuance.drop_forecast();
    }

    fn url(&self) -> &str {
        self.slot.authority.url()
    }

    /// Orders the certificate: resumes the order on the disk if there is one.
    async fn order(&self) -> Result<CertificateEvent, AcmeFailure> {
        let Self { issuance, host, .. } = self;
        let authority = &self.slot.authority;
        issuance.save_budgets().await;
        let directory = authority.directory().await?;
        issuance.verifier.set_caa_identities(directory.caa_identities());
        let account = authority
            .account(|| {
                let taken = issuance.budgets.borrow_mut().take_account(authority.url(), clock::timestamp());
                taken.map_or_else(AccountCreation::NotBefore, |()| AccountCreation::Allowed)
            })
            .await?;
        *self.account.borrow_mut() = Some(account.id().to_owned());
        let name = host.clone();
        let mut pending = issuance
            .disk
            .run(move |files| files.read_domain_file::<PendingOrder>(&name, DomainFile::Order))
            .await
            .map_err(|error| AcmeFailure::Internal { reason: error.to_string() })?
            .filter(|pending| pending.directory == authority.url());
        let replaces = self.replaced_certificate(&directory);
        let order = Order {
            disk: &issuance.disk,
            publisher: &issuance.publisher,
            registry: &issuance.registry,
            authority,
            account,
            host,
            replaces: replaces.as_deref(),
            profile: self.profile(&directory),
            is_sent: &self.is_sent,
        };
        loop {
            let was_resumed = pending.is_some();
            let failure = match order.fulfil(pending.take()).await {
                Ok(issued) => return self.install(issued).await,
                Err(failure) => failure,
            };
            let is_validation =
                matches!(failure, AcmeFailure::Rejected { kind: RejectionKind::Validation, .. });
            let now = clock::timestamp();
            if is_validation {
                // Booked before the order is forgotten: a crash in between books it twice, rather than never.
                issuance.budgets.borrow_mut().take_failure(authority.url(), host, now);
                issuance.save_budgets().await;
            }
            order.forget_after(&failure).await;
            // The process may have been down when the CA validated, which is no failure of the domain: orders
            // again, as long as the budget allows, which a crash loop uses up in the end.
            let is_allowed =
                || issuance.budgets.borrow().order_at(authority.url(), host, self.class, now) <= now;
            if !(was_resumed && is_validation && is_allowed()) {
                return Err(failure);
            }
            tracing::info!(host = %host, reason = %failure, "resumed certificate order failed; placing a new one");
        }
    }

    /// Returns the identifier of the certificate to replace (RFC 9773 §5), where the CA supports it.
    fn replaced_certificate(&self, directory: &Directory) -> Option<String> {
        let table = self.issuance.registry.table();
        let origin = table.get(&self.host).and_then(|entry| entry.origin_at(self.url()))?;
        let id = origin.certificate_id.clone()?;
        (self.kind == OrderKind::Renew && directory.renewal_info.is_some()).then_some(id)
    }

    /// Returns the configured profile, where the CA offers it.
    fn profile(&self, directory: &Directory) -> Option<&str> {
        let profile = self.issuance.settings.acme.as_ref().and_then(|acme| acme.profile.as_deref())?;
        if directory.offers(profile) {
            return Some(profile);
        }
        tracing::warn!(
            profile,
            directory = self.url(),
            "CA does not offer the profile of ACME_PROFILE; its default is used"
        );
        None
    }

    async fn install(&self, issued: Issued) -> Result<CertificateEvent, AcmeFailure> {
        let Self { issuance, host, .. } = self;
        let Issued { pair, identity, certificate_id } = issued;
        if !issuance.registry.wants_acme(host) {
            return Err(AcmeFailure::Cancelled);
        }
        let facts = Arc::new(identity.facts().clone());
        match issuance.store.install(host, pair, identity, Arc::clone(&facts)).await {
            Ok(()) => {}
            Err(InstallError::NotLive(error)) => {
                tracing::warn!(%host, %error, "certificate is not live on every core yet");
            }
            Err(InstallError::Unregistered) => return Err(AcmeFailure::Cancelled),
            Err(InstallError::Disk(error)) => {
                let reason = format!("the certificate could not be stored: {error}");
                return Err(AcmeFailure::Internal { reason });
            }
        }
        let origin = Origin {
            directory: self.url().to_owned(),
            fingerprint: facts.fingerprint.clone(),
            certificate_id,
            suggestion: None,
            ask_at: 0,
        };
        if let Some(entry) = issuance.registry.table_mut().get_mut(host) {
            entry.record.get_or_insert_default().succeed(origin);
            entry.clear_outages();
            entry.stage = Stage::Idle;
        }
        issuance.records.save(host);
        let name = host.clone();
        let removed = issuance
            .disk
            .run_for(host, move |files| files.remove_domain_file(&name, DomainFile::Order))
            .await;
        if let Err(error) = removed {
            // The next start finds it, and the CA reports it as done.
            tracing::warn!(%host, %error, "fulfilled certificate order could not be deleted from the disk");
        }
        let host = host.clone();
        Ok(match self.kind {
            OrderKind::Issue => CertificateEvent::Issued { host, facts },
            OrderKind::Renew => CertificateEvent::Renewed { host, facts },
        })
    }

    /// Attributes a failure to the domain, the CA or a rate limit, and decides about the retry.
    async fn handle_failure(&self, failure: AcmeFailure) {
        let Self { issuance, host, .. } = self;
        let counters = &issuance.counters;
        let tick = clock::now();
        let url = self.url();
        let reason = failure.to_string();
        let outages = if failure.is_outage() { self.count_outage(tick) } else { 0 };
        match failure {
            AcmeFailure::Rejected { reason, .. } => {
                // The CA works, whatever it decided about this domain.
                self.slot.health.borrow_mut().record_success();
                self.reject(reason);
                issuance.save_budgets().await;
                return;
            }
            AcmeFailure::Cancelled => {
                if let Some(entry) = issuance.registry.table_mut().get_mut(host)
                    && entry.number == self.number
                {
                    entry.stage = Stage::Idle;
                }
                return;
            }
            AcmeFailure::Internal { reason } => {
                tracing::error!(%host, %reason, "certificate order failed for an internal error");
                count(&counters.internal);
                issuance.postpone(host, self.number, INTERNAL_RETRY, &reason);
                return;
            }
            // The first loss is followed by another order at once; a second one counts as a failure to serve.
            AcmeFailure::OrderLost { .. } if self.is_first_loss() => {
                tracing::info!(directory = url, %host, %reason, "CA lost a certificate order; placing a new one");
                count(&counters.lost);
            }
            AcmeFailure::OrderLost { .. } => return self.fail_order(reason, None, outages, tick).await,
            AcmeFailure::OrderFailed { retry_after, .. } => {
                return self.fail_order(reason, retry_after, outages, tick).await;
            }
            AcmeFailure::Unavailable { .. } if outages >= OUTAGES_MAX && self.is_only_one_affected() => {
                return self.reject(reason);
            }
            AcmeFailure::Unavailable { retry_after, .. } => {
                tracing::warn!(directory = url, %reason, "CA is unavailable; orders paused");
                count(&counters.outages);
                self.slot.health.borrow_mut().record_failure(reason.clone(), retry_after, tick);
            }
            AcmeFailure::BadNonce => {
                count(&counters.outages);
                self.slot.health.borrow_mut().record_failure(reason.clone(), None, tick);
            }
            AcmeFailure::Misconfigured { .. } => {
                tracing::error!(directory = url, %reason, "CA rejects our configuration; failing over");
                count(&counters.outages);
                self.slot.health.borrow_mut().record_misconfiguration(reason.clone(), tick);
            }
            AcmeFailure::RateLimited { scope, retry_after, .. } => {
                let is_postponed = self.apply_rate_limit(scope, retry_after, &reason, tick).await;
                if is_postponed {
                    return;
                }
            }
            AcmeFailure::AccountUnknown => {
                let account = self.account.take();
                self.slot.authority.forget_account(account.as_deref()).await;
            }
            AcmeFailure::NotReplaceable { .. } => {
                tracing::info!(directory = url, %host, %reason, "CA refuses a replacement order; ordering a new certificate");
                if let Some(entry) = issuance.registry.table_mut().get_mut(host)
                    && let Some(origin) = entry.record.as_mut().and_then(|record| record.issued.as_mut())
                {
                    origin.certificate_id = None;
                }
            }
        }
        self.requeue(reason);
    }

    /// Closes the bucket that the CA reported as used up; returns whether the domain was postponed instead.
    async fn apply_rate_limit(
        &self,
        scope: LimitScope,
        retry_after: Option<Duration>,
        reason: &str,
        tick: Tick,
    ) -> bool {
        let Self { issuance, host, .. } = self;
        let (url, now) = (self.url(), clock::timestamp());
        count(&issuance.counters.limited);
        tracing::warn!(directory = url, %host, %reason, "CA rate limit reached");
        let wait = retry_after.unwrap_or(RATE_LIMIT_RETRY).max(RATE_LIMIT_RETRY_MIN);
        let limit = match scope {
            LimitScope::Orders => Limit::Orders,
            LimitScope::RegisteredDomain => Limit::Certificates,
            LimitScope::Duplicates => Limit::Duplicates,
            LimitScope::FailedValidations => Limit::Failures,
            LimitScope::Accounts => {
                self.slot.health.borrow_mut().record_failure(reason.to_owned(), Some(wait), tick);
                Limit::Accounts
            }
        };
        // An unknown limit that names this host applies to this host only.
        let is_of_host = scope == LimitScope::Orders && reason.contains(host.as_str());
        if is_of_host || !Budgets::is_counted(limit, self.class) {
            // The CA counts otherwise than documented: other domains must not wait for that.
            issuance.postpone(host, self.number, wait, reason);
            return true;
        }
        issuance.budgets.borrow_mut().close(url, limit, host, now.after(wait), now);
        issuance.save_budgets().await;
        false
    }

    /// Queues the domain again: the failure was not its own, and its status shows the reason.
    fn requeue(&self, reason: String) {
        let Self { issuance, host, .. } = self;
        let mut table = issuance.registry.table_mut();
        let Some(entry) = table.get_mut(host).filter(|entry| entry.number == self.number) else { return };
        if entry.domain.certificate == CertificateMode::Acme {
            entry.stage = Stage::Queued(self.kind);
            entry.show(self.kind, CertificateState::Verifying);
            entry.status.reason = Some(reason);
            issuance.queue.borrow_mut().push(host, self.kind, clock::timestamp());
        } else {
            entry.stage = Stage::Idle;
        }
    }

    /// The CA failed to serve this order: postpones this domain only, unless others fail as well.
    async fn fail_order(&self, reason: String, retry_after: Option<Duration>, outages: u32, tick: Tick) {
        let Self { issuance, host, .. } = self;
        tracing::warn!(directory = self.url(), %host, %reason, "CA failed to serve a certificate order; retrying later");
        count(&issuance.counters.failed);
        if outages >= OUTAGES_MAX {
            // The CA may fail on this very order.
            let name = host.clone();
            let removed = issuance.disk.run(move |files| files.remove_domain_file(&name, DomainFile::Order));
            if let Err(error) = removed.await {
                tracing::warn!(%host, %error, "failed certificate order could not be deleted from the disk");
            }
            if self.is_only_one_affected() {
                return self.reject(reason);
            }
        }
        self.slot.health.borrow_mut().record_order_failure(host, reason.clone(), retry_after, tick);
        issuance.postpone(host, self.number, pause(outages, retry_after), &reason);
    }

    /// Counts an outage that this domain met without a success since; returns the count.
    fn count_outage(&self, tick: Tick) -> u32 {
        let mut table = self.issuance.registry.table_mut();
        let Some(entry) = table.get_mut(&self.host) else { return 0 };
        entry.outages.count = entry.outages.count.saturating_add(1);
        entry.outages.since.get_or_insert(tick);
        entry.outages.count
    }

    /// Whether the CA has lost no other order of this domain since the last success; records this loss.
    fn is_first_loss(&self) -> bool {
        let mut table = self.issuance.registry.table_mut();
        let entry = table.get_mut(&self.host);
        entry.is_some_and(|entry| !std::mem::replace(&mut entry.was_order_lost, true))
    }

    /// Whether the CA has served other domains since it first failed for this one: then it is not
    /// unavailable.
    fn is_only_one_affected(&self) -> bool {
        let table = self.issuance.registry.table();
        let since = table.get(&self.host).and_then(|entry| entry.outages.since);
        since.is_some_and(|since| self.slot.last_success.get().is_some_and(|at| at > since))
    }

    /// Records a failure of the domain.
    fn reject(&self, reason: String) {
        let Self { issuance, host, .. } = self;
        count(&issuance.counters.refused);
        let next_try = {
            let mut table = issuance.registry.table_mut();
            let entry = table.get_mut(host).filter(|entry| entry.number == self.number);
            let Some(entry) = entry else { return };
            entry.stage = Stage::Idle;
            entry.clear_outages();
            let updated_at = entry.domain.updated_at;
            let record = entry.record.get_or_insert_default();
            record.fail(host, FailureKind::Refusal, reason.clone(), updated_at, clock::timestamp())
        };
        issuance.records.save(host);
        issuance.reconsider(host);
        let host = host.clone();
        issuance.publisher.notify(match next_try {
            Some(_) => CertificateEvent::Failed { host, reason, next_try },
            None => CertificateEvent::Parked { host, reason },
        });
    }
}

fn count(counter: &Cell<u64>) {
    counter.update(|count| count + 1);
}

impl DomainEntry {
    /// Index of the CA that is preferred for this domain: the next one after every [`OUTAGES_MAX`] outages.
    pub(super) fn first_slot(&self, slots: usize) -> usize {
        ((self.outages.count / OUTAGES_MAX) as usize).checked_rem(slots).unwrap_or(0)
    }

    fn clear_outages(&mut self) {
        self.outages = Outages::default();
        self.was_order_lost = false;
    }
}

/// Outages of one domain, while others are served, after which they count as its own failure.
const OUTAGES_MAX: u32 = 3;
/// Wait for a rate limit without `Retry-After`.
const RATE_LIMIT_RETRY: Duration = Duration::from_secs(15 * 60);
/// Least wait for a rate limit.
const RATE_LIMIT_RETRY_MIN: Duration = Duration::from_secs(1);
