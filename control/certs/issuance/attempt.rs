//! One order of one domain at one CA: from the directory to the installed certificate, or to whose fault it was.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{CertificateMode, Hostname, Tick, Timestamp};
use ringway_net::clock;

use super::{OWN_RETRY, Seat, Stage};
use crate::acme::authority::MayCreate;
use crate::acme::fault::{Fault, LimitScope, Refusal};
use crate::acme::order::{Issued, Order, Pending};
use crate::budget::{Budgets, Kind, Limit, Reached};
use crate::certificates::{Certificates, InstallError};
use crate::course::{After, Origin, Trouble};
use crate::domains::Entry;
use crate::event::CertificateEvent;
use crate::files::Record;
use crate::queue::Errand;
use crate::report::State;
use crate::watchdog::pause;

/// One order of one domain at one CA.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) this: Certificates,
    pub(super) host: Hostname,
    pub(super) number: u64,
    pub(super) errand: Errand,
    pub(super) kind: Kind,
    pub(super) seat: Rc<Seat>,
    /// The account that it is made with, once there is one.
    pub(super) account: Rc<RefCell<Option<String>>>,
    /// Whether the CA has taken a new order in it.
    pub(super) is_sent: Rc<Cell<bool>>,
}

impl Attempt {
    pub(super) async fn run(self) {
        let began = clock::now();
        let result = self.attempt().await;
        self.end();
        let reached = Reached { is_sent: self.is_sent.get(), is_issued: result.is_ok() };
        let url = self.seat.authority.url();
        self.this.issuance().budgets.borrow_mut().settle_order(url, &self.host, self.kind, reached);
        match result {
            Ok(event) => {
                self.seat.health.borrow_mut().rise();
                self.seat.succeeded_at.set(Some(clock::now()));
                let issuance = self.this.issuance();
                let takes = clock::now().since(began);
                issuance.order_takes.set((issuance.order_takes.get() * 3 + takes) / 4);
                let counter = match self.errand {
                    Errand::Issue => &issuance.counts.issued,
                    Errand::Renew => &issuance.counts.renewed,
                };
                counter.update(|count| count + 1);
                // Whoever hears of it finds the state that it is about.
                self.this.reconsider(&self.host);
                self.this.notify(event);
            }
            Err(fault) => self.blame(fault).await,
        }
        self.this.touch(&self.host);
    }

    /// It is not in flight any more.
    pub(super) fn end(&self) {
        self.seat.in_flight.update(|count| count.saturating_sub(1));
        self.this.issuance().queue.borrow_mut().finish(&self.host);
        self.this.forget_places();
    }

    async fn attempt(&self) -> Result<CertificateEvent, Fault> {
        let (this, host, authority) = (&self.this, &self.host, &self.seat.authority);
        this.save_budgets().await;
        let directory = authority.directory().await?;
        *this.shared.caa_identities.borrow_mut() = directory.caa_identities().to_vec();
        let account = authority
            .account(this, || {
                let taken =
                    this.issuance().budgets.borrow_mut().take_account(authority.url(), clock::timestamp());
                taken.map_or_else(MayCreate::NotBefore, |()| MayCreate::Yes)
            })
            .await?;
        *self.account.borrow_mut() = Some(account.id().to_owned());
        let name = host.clone();
        let pending = this
            .on_disk(move |files| files.read_record::<Pending>(&name, Record::Order))
            .await
            .map_err(|error| Fault::Ours { why: error.to_string() })?
            .filter(|pending| pending.directory == authority.url());
        let replaces = {
            let domains = this.shared.domains.borrow();
            let origin = domains.get(host).and_then(|entry| entry.origin_at(authority.url()));
            let id = origin.and_then(|origin| origin.certificate_id.clone());
            id.filter(|_| self.errand == Errand::Renew && directory.renewal_info.is_some())
        };
        let profile = this.shared.settings.acme.as_ref().and_then(|acme| acme.profile.as_deref());
        if let Some(profile) = profile.filter(|profile| !directory.offers(profile)) {
            tracing::warn!(
                profile,
                directory = authority.url(),
                "the CA does not offer ACME_PROFILE: its usual one is taken"
            );
        }
        let order = Order {
            certificates: this,
            authority,
            account,
            host,
            replaces: replaces.as_deref(),
            profile: profile.filter(|profile| directory.offers(profile)),
            is_sent: &self.is_sent,
        };
        let mut pending = pending;
        loop {
            let was_begun_before = pending.is_some();
            let fault = match order.fulfil(pending.take()).await {
                Ok(issued) => return self.install(issued).await,
                Err(fault) => fault,
            };
            let has_failed = matches!(fault, Fault::Refused { kind: Refusal::Validation, .. });
            let now = clock::timestamp();
            if has_failed {
                // A crash before the order is forgotten books it twice, which is better than never.
                this.issuance().budgets.borrow_mut().take_failure(authority.url(), host, now);
                this.save_budgets().await;
            }
            order.forget_after(&fault).await;
            // Nobody may have been there to answer the CA: that is no reason to let the domain wait, as long as the CA
            // allows more of them, which a process that crashes again and again uses up at last.
            let is_allowed =
                || this.issuance().budgets.borrow().order_at(authority.url(), host, self.kind, now) <= now;
            if !(was_begun_before && has_failed && is_allowed()) {
                return Err(fault);
            }
            tracing::info!(host = %host, reason = %fault, "an order that was begun before the start failed: a new one follows");
        }
    }

    async fn install(&self, issued: Issued) -> Result<CertificateEvent, Fault> {
        let (this, host) = (&self.this, &self.host);
        let Issued { pair, identity, certificate_id } = issued;
        if !this.is_wanted(host) {
            return Err(Fault::Unwanted);
        }
        let facts = Arc::new(identity.facts().clone());
        match this.install(host, pair, identity, Arc::clone(&facts)).await {
            Ok(()) => {}
            Err(InstallError::NotLive(error)) => {
                tracing::warn!(%host, %error, "a certificate is not live on every core yet");
            }
            Err(InstallError::Gone) => return Err(Fault::Unwanted),
            Err(InstallError::Disk(error)) => {
                return Err(Fault::Ours { why: format!("the certificate could not be stored: {error}") });
            }
        }
        let origin = Origin {
            directory: self.seat.authority.url().to_owned(),
            fingerprint: facts.fingerprint.clone(),
            certificate_id,
            suggestion: None,
            ask_at: 0,
        };
        if let Some(entry) = this.shared.domains.borrow_mut().get_mut(host) {
            entry.memory.get_or_insert_default().succeed(origin);
            entry.outages = (0, None);
            entry.was_order_lost = false;
            entry.stage = Stage::Idle;
        }
        this.remember(host);
        let name = host.clone();
        let removed = this.on_disk_of(host, move |files| files.remove_record(&name, Record::Order)).await;
        if let Err(error) = removed {
            // It is found again, and is done.
            tracing::warn!(%host, %error, "a fulfilled order could not be removed from the disk");
        }
        let host = host.clone();
        Ok(match self.errand {
            Errand::Issue => CertificateEvent::Issued { host, facts },
            Errand::Renew => CertificateEvent::Renewed { host, facts },
        })
    }

    /// Whose fault it was, and what follows.
    async fn blame(&self, fault: Fault) {
        let (this, host) = (&self.this, &self.host);
        let issuance = this.issuance();
        let (now, tick) = (clock::timestamp(), clock::now());
        let url = self.seat.authority.url();
        let reason = fault.to_string();
        let outages = match fault {
            Fault::Down { .. } | Fault::OrderLost { .. } | Fault::OrderFailed { .. } => {
                self.count_outage(tick)
            }
            _ => 0,
        };
        match fault {
            Fault::Refused { why, .. } => {
                // The CA works, whatever it thinks of this domain.
                self.seat.health.borrow_mut().rise();
                issuance.counts.refused.update(|count| count + 1);
                self.refuse(why, now);
                this.save_budgets().await;
                return;
            }
            Fault::Unwanted => {
                if let Some(entry) = this.shared.domains.borrow_mut().get_mut(host)
                    && entry.number == self.number
                {
                    entry.stage = Stage::Idle;
                }
                return;
            }
            Fault::Ours { why } => {
                tracing::error!(%host, reason = %why, "an order could not go on");
                issuance.counts.own_faults.update(|count| count + 1);
                this.postpone(host, self.number, OWN_RETRY, &why);
                return;
            }
            // The first one is followed by another order at once; a CA that loses that, too, has failed to serve it.
            Fault::OrderLost { .. } if self.is_first_loss() => {
                tracing::info!(directory = url, %host, %reason, "the CA has lost an order");
                issuance.counts.lost.update(|count| count + 1);
            }
            Fault::OrderLost { .. } | Fault::OrderFailed { .. } => {
                let retry_after = match fault {
                    Fault::OrderFailed { retry_after, .. } => retry_after,
                    _ => None,
                };
                self.fail_order(reason, retry_after, outages, tick).await;
                return;
            }
            Fault::Down { .. } if outages >= OUTAGES_MAX && self.is_alone_with_it() => {
                issuance.counts.refused.update(|count| count + 1);
                self.refuse(reason, now);
                return;
            }
            Fault::Down { retry_after, .. } => {
                tracing::warn!(directory = url, %reason, "the CA is out of order; it is asked again later");
                issuance.counts.outages.update(|count| count + 1);
                self.seat.health.borrow_mut().fall(reason.clone(), retry_after, tick);
            }
            Fault::BadNonce => {
                issuance.counts.outages.update(|count| count + 1);
                self.seat.health.borrow_mut().fall(reason.clone(), None, tick);
            }
            Fault::Misconfigured { .. } => {
                tracing::error!(directory = url, %reason, "the CA does not deal with us");
                issuance.counts.outages.update(|count| count + 1);
                self.seat.health.borrow_mut().give_up(reason.clone(), tick);
            }
            Fault::Limited { scope, retry_after, .. } => {
                issuance.counts.limited.update(|count| count + 1);
                tracing::warn!(directory = url, %host, %reason, "the CA limits us");
                let wait = retry_after.unwrap_or(LIMITED_RETRY).max(LIMITED_RETRY_MIN);
                let limit = match scope {
                    LimitScope::Orders => Limit::Orders,
                    LimitScope::RegisteredDomain => Limit::Certificates,
                    LimitScope::Duplicates => Limit::Duplicates,
                    LimitScope::FailedValidations => Limit::Failures,
                    LimitScope::Accounts => {
                        self.seat.health.borrow_mut().fall(reason.clone(), Some(wait), tick);
                        Limit::Accounts
                    }
                };
                // A limit that is not known by name, and names this host, is this host's own.
                let is_of_host = scope == LimitScope::Orders && reason.contains(host.as_str());
                if is_of_host || !Budgets::is_counted(limit, self.kind) {
                    // The CA sees it otherwise than its documents say. What others wait for is not to be judged by that.
                    this.postpone(host, self.number, wait, &reason);
                    return;
                }
                issuance.budgets.borrow_mut().close(url, limit, host, now.after(wait), now);
                this.save_budgets().await;
            }
            Fault::AccountGone => {
                let account = self.account.take();
                self.seat.authority.forget_account(this, account.as_deref()).await;
            }
            Fault::NotReplaceable { .. } => {
                tracing::info!(directory = url, %host, %reason, "the CA takes no order for a replacement: another follows, for a new certificate");
                if let Some(entry) = this.shared.domains.borrow_mut().get_mut(host)
                    && let Some(origin) = entry.memory.as_mut().and_then(|memory| memory.issued.as_mut())
                {
                    origin.certificate_id = None;
                }
            }
        }
        // No domain is to blame: it keeps its place, and says what it waits for.
        let mut domains = this.shared.domains.borrow_mut();
        if let Some(entry) = domains.get_mut(host).filter(|entry| entry.number == self.number) {
            if entry.domain.certificate == CertificateMode::Acme {
                entry.stage = Stage::Queued(self.errand);
                entry.show(self.errand, State::Verifying);
                entry.course.reason = Some(reason);
                issuance.queue.borrow_mut().push(host, self.errand, now);
            } else {
                entry.stage = Stage::Idle;
            }
        }
    }

    /// The CA failed to serve this order: only this domain waits, unless others meet the same.
    async fn fail_order(&self, reason: String, retry_after: Option<Duration>, outages: u32, tick: Tick) {
        let (this, host, url) = (&self.this, &self.host, self.seat.authority.url());
        let issuance = this.issuance();
        tracing::warn!(directory = url, %host, %reason, "the CA could not serve an order; it is tried again later");
        issuance.counts.failed.update(|count| count + 1);
        if outages >= OUTAGES_MAX {
            // It may be this very order that the CA stumbles over.
            let name = host.clone();
            if let Err(error) = this.on_disk(move |files| files.remove_record(&name, Record::Order)).await {
                tracing::warn!(%host, %error, "an order that came to nothing could not be removed from the disk");
            }
            if self.is_alone_with_it() {
                issuance.counts.refused.update(|count| count + 1);
                self.refuse(reason, clock::timestamp());
                return;
            }
        }
        self.seat.health.borrow_mut().suspect(host, reason.clone(), retry_after, tick);
        this.postpone(host, self.number, pause(outages, retry_after), &reason);
    }

    /// Counts one more outage of the CA that this domain has met without a success since; how many they are.
    fn count_outage(&self, tick: Tick) -> u32 {
        let mut domains = self.this.shared.domains.borrow_mut();
        let Some(entry) = domains.get_mut(&self.host) else { return 0 };
        entry.outages.0 = entry.outages.0.saturating_add(1);
        entry.outages.1.get_or_insert(tick);
        entry.outages.0
    }

    /// Whether the CA has lost no other order for this domain since the last success; notes that it has now.
    fn is_first_loss(&self) -> bool {
        let mut domains = self.this.shared.domains.borrow_mut();
        let entry = domains.get_mut(&self.host);
        entry.is_some_and(|entry| !std::mem::replace(&mut entry.was_order_lost, true))
    }

    /// Whether the CA has served others since it first failed for this domain: then it is not the CA that is out of order.
    fn is_alone_with_it(&self) -> bool {
        let domains = self.this.shared.domains.borrow();
        let since = domains.get(&self.host).and_then(|entry| entry.outages.1);
        since.is_some_and(|since| self.seat.succeeded_at.get().is_some_and(|at| at > since))
    }

    fn refuse(&self, why: String, now: Timestamp) {
        let next_try = {
            let mut domains = self.this.shared.domains.borrow_mut();
            let entry = domains.get_mut(&self.host).filter(|entry| entry.number == self.number);
            let Some(entry) = entry else { return };
            entry.stage = Stage::Idle;
            entry.outages = (0, None);
            entry.was_order_lost = false;
            let updated_at = entry.domain.updated_at;
            let memory = entry.memory.get_or_insert_default();
            memory.fail(&self.host, Trouble::Refusal, why.clone(), updated_at, now)
        };
        self.this.remember(&self.host);
        self.this.reconsider(&self.host);
        let host = self.host.clone();
        self.this.notify(match next_try {
            Some(_) => CertificateEvent::Failed { host, reason: why, next_try },
            None => CertificateEvent::Parked { host, reason: why },
        });
    }
}

impl Entry {
    /// The CA that is asked first for this domain, of so many: the next one after [`OUTAGES_MAX`] outages of one.
    pub(super) fn first_seat(&self, seats: usize) -> usize {
        ((self.outages.0 / OUTAGES_MAX) as usize).checked_rem(seats).unwrap_or(0)
    }
}

/// Outages that one domain may meet while others are served, before they are taken for its own.
const OUTAGES_MAX: u32 = 3;
/// A CA that limits us and does not say for how long.
const LIMITED_RETRY: Duration = Duration::from_secs(15 * 60);
/// A CA that limits us and says "at once".
const LIMITED_RETRY_MIN: Duration = Duration::from_secs(1);
