//! Issuance and renewal: decides which domains are verified, ordered and renewed, and when.
//!
//! ```text
//!   domain changed, or timer due
//!            │
//!            ▼      IssuanceRecord (pure)     OrderQueue, Budgets, CaHealth (pure)
//!        reconsider ──▶ verification ─▶ ready ─▶ queued ─▶ order in flight ─▶ installed
//!            ▲                │                              │
//!            └──── record ◀───┴── failed, retried later ◀────┘
//! ```
//! One task decides, in rounds. Verifications, orders and renewal information requests are tasks of their
//! own, with a bound on each kind; they write their results into the domain's record, and mark the domain as
//! changed.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use ringway_model::{CertificateMode, Hostname, Tick, Timestamp};
use ringway_net::{clock, yield_now};

use crate::acme::authority::Authority;
use crate::budget::{Budgets, LimitPolicy};
use crate::ca_health::CaHealth;
use crate::certificate_store::CertificateStore;
use crate::clock_check::{ClockCheck, ClockProblem};
use crate::default_certificate::DefaultCertificate;
use crate::disk::Disk;
use crate::domains::{DomainEntry, IssuanceStatus, StoredCertificate};
use crate::issuance_state::{After, FailureKind, Installed, IssuanceRecord, NextStep, Origin, Stage, Warned};
use crate::limits::{CERTIFICATES_ROUND, START_SPREAD};
use crate::publisher::Publisher;
use crate::queue::{OrderKind, OrderQueue};
use crate::registry::Registry;
use crate::renewal::{fraction, part, renewal_at};
use crate::report::CertificateState;
use crate::settings::CertificateSettings;
use crate::verification::Verifier;

mod admission;
mod attempt;
mod records;
mod renewal_info;
mod report;
mod timers;
mod verifications;
mod warnings;

use records::Records;
use report::Forecast;
use timers::Timers;

/// Handle to issuance. Clones share it.
#[derive(Clone)]
pub(crate) struct Issuance(Rc<Inner>);

/// Parts of the certificate handle that issuance works with.
pub(crate) struct Parts {
    pub(crate) registry: Registry,
    pub(crate) disk: Disk,
    pub(crate) publisher: Publisher,
    pub(crate) store: CertificateStore,
    pub(crate) verifier: Verifier,
    pub(crate) default: DefaultCertificate,
}

/// State of issuance.
pub(crate) struct Inner {
    settings: CertificateSettings,
    registry: Registry,
    disk: Disk,
    publisher: Publisher,
    store: CertificateStore,
    verifier: Verifier,
    default: DefaultCertificate,
    /// CAs, in order of preference.
    slots: Vec<Rc<CaSlot>>,
    records: Records,
    budgets: RefCell<Budgets>,
    queue: RefCell<OrderQueue>,
    to_verify: RefCell<VecDeque<Hostname>>,
    /// Verifications in flight.
    verifying: Cell<usize>,
    timers: RefCell<Timers>,
    /// Domains with a renewal information request in flight.
    renewal_info_in_flight: RefCell<HashSet<Hostname, ahash::RandomState>>,
    clock: RefCell<ClockCheck>,
    clock_problem: Cell<Option<ClockProblem>>,
    /// Window over which the first attempts after a start are spread.
    start_spread: Cell<Duration>,
    /// Earliest time at which a CA takes orders again, when none does now.
    closed_until: Cell<Option<Timestamp>>,
    /// Moving average of the duration of orders.
    order_duration: Cell<Duration>,
    default_warned: Cell<Option<Warned>>,
    forecast: RefCell<Option<Forecast>>,
    counters: Counters,
}

/// CA with its health and load.
struct CaSlot {
    authority: Authority,
    health: RefCell<CaHealth>,
    in_flight: Cell<usize>,
    last_success: Cell<Option<Tick>>,
}

/// Orders by outcome, since the start.
#[derive(Debug, Default)]
struct Counters {
    issued: Cell<u64>,
    renewed: Cell<u64>,
    refused: Cell<u64>,
    limited: Cell<u64>,
    outages: Cell<u64>,
    failed: Cell<u64>,
    lost: Cell<u64>,
    internal: Cell<u64>,
}

impl Deref for Issuance {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Issuance {
    pub(crate) fn new(settings: CertificateSettings, parts: Parts) -> Self {
        let Parts { registry, disk, publisher, store, verifier, default } = parts;
        let slots = settings.acme.iter().flat_map(|acme| {
            acme.directories.iter().map(|directory| {
                Rc::new(CaSlot {
                    authority: Authority::new(directory.clone(), acme.clone(), disk.clone()),
                    health: RefCell::default(),
                    in_flight: Cell::new(0),
                    last_success: Cell::new(None),
                })
            })
        });
        Self(Rc::new(Inner {
            slots: slots.collect(),
            settings,
            records: Records::new(registry.clone(), disk.clone()),
            registry,
            disk,
            publisher,
            store,
            verifier,
            default,
            budgets: RefCell::default(),
            queue: RefCell::default(),
            to_verify: RefCell::default(),
            verifying: Cell::new(0),
            timers: RefCell::default(),
            renewal_info_in_flight: RefCell::default(),
            clock: RefCell::new(ClockCheck::new(Timestamp(0))),
            clock_problem: Cell::new(None),
            start_spread: Cell::new(Duration::ZERO),
            closed_until: Cell::new(None),
            order_duration: Cell::new(ORDER_DURATION_GUESS),
            default_warned: Cell::new(None),
            forecast: RefCell::default(),
            counters: Counters::default(),
        }))
    }

    /// Sets the reason of a domain that cannot be issued for lack of a CA, in the call that registers it.
    pub(crate) fn show_missing_ca(&self, entry: &mut DomainEntry) {
        if self.slots.is_empty() && entry.domain.certificate == CertificateMode::Acme {
            entry.status.reason = Some(NO_CA.to_owned());
        }
    }

    /// Runs the rounds. Never returns.
    pub(crate) async fn run(&self) {
        self.load_budgets().await;
        self.measure_start();
        loop {
            self.check_clock();
            self.closed_until.set(None);
            for (count, host) in self.registry.take_changed().into_iter().enumerate() {
                self.reconsider(&host);
                if count % ROUND_PART == ROUND_PART - 1 {
                    yield_now().await;
                }
            }
            let now = clock::timestamp();
            // The borrow must end before the body, which sets timers.
            while let Some(host) = { self.timers.borrow_mut().pop_due(now) } {
                self.reconsider(&host);
            }
            self.warn_default();
            self.records.read_requested(self);
            self.start_verifications();
            self.start_orders();
            let round = clock::now().after(CERTIFICATES_ROUND);
            self.registry.wait_until(self.next_wakeup().map_or(round, |at| at.min(round))).await;
        }
    }

    /// Clears backoff and parking of a domain that was verified successfully on request.
    pub(crate) fn retry_now(&self, host: &Hostname) {
        let is_changed = self
            .registry
            .table_mut()
            .get_mut(host)
            .and_then(|entry| entry.record.as_mut())
            .is_some_and(IssuanceRecord::retry_now);
        if is_changed {
            self.records.save(host);
        }
    }

    /// Returns the next time at which a timer, a budget or a CA is due.
    fn next_wakeup(&self) -> Option<Tick> {
        let queue = self.queue.borrow();
        let closed = if queue.has_ready() { self.closed_until.get() } else { None };
        let due = [self.timers.borrow().next(), queue.next_due(), closed];
        let first = due.into_iter().flatten().min()?;
        let wait = Duration::from_millis(first.0.saturating_sub(clock::timestamp().0));
        // Wall clock and monotonic clock differ by fractions of a millisecond: prevents a busy loop.
        Some(clock::now().after(wait.max(SHORTEST_WAIT)))
    }

    fn check_clock(&self) {
        let now = clock::timestamp();
        let problem = self.clock.borrow_mut().check(now, clock::now());
        if self.clock_problem.replace(problem) != problem {
            match problem {
                Some(problem) => tracing::error!("{}", problem.message(now)),
                None => tracing::info!("system clock is plausible again; renewals resumed"),
            }
        }
    }

    /// Sets the spread of the first attempts by the number of domains without a certificate.
    fn measure_start(&self) {
        let table = self.registry.table();
        let without = table
            .iter()
            .filter(|(_, entry)| {
                entry.is_from_start
                    && entry.stored == StoredCertificate::None
                    && entry.domain.certificate == CertificateMode::Acme
            })
            .count();
        let spread = if without > UNSPREAD_MAX { START_SPREAD * without as u32 } else { Duration::ZERO };
        self.start_spread.set(spread.min(START_SPREAD_MAX));
    }

    /// Decides a domain's next step, and sets it off or sets its timer.
    fn reconsider(&self, host: &Hostname) {
        let now = clock::timestamp();
        let mut table = self.registry.table_mut();
        let Some(entry) = table.get_mut(host) else {
            self.dequeue(host);
            self.timers.borrow_mut().clear(host);
            return;
        };
        if entry.domain.certificate != CertificateMode::Acme {
            if entry.stage != Stage::Idle {
                self.dequeue(host);
            }
            entry.status = IssuanceStatus::default();
            if !matches!(entry.stage, Stage::Ordering(_)) {
                entry.stage = Stage::Idle;
            }
        }
        if entry.domain.certificate == CertificateMode::None {
            self.timers.borrow_mut().clear(host);
            return;
        }
        if entry.record.is_none() {
            self.records.request(host);
            entry.status.state =
                if self.slots.is_empty() { CertificateState::None } else { CertificateState::Verifying };
            return;
        }
        let warn_at = self.warn_expiry(host, entry, now);
        if entry.domain.certificate == CertificateMode::Acme {
            let at = self.advance(host, entry, now);
            let at = [at, warn_at].into_iter().flatten().min();
            match at {
                Some(at) => self.timers.borrow_mut().set(host, at),
                None => self.timers.borrow_mut().clear(host),
            }
        } else if let Some(at) = warn_at {
            self.timers.borrow_mut().set(host, at);
        }
    }

    /// Sets off the next step of a domain with mode `acme` whose record is known; returns when to reconsider
    /// it.
    fn advance(&self, host: &Hostname, entry: &mut DomainEntry, now: Timestamp) -> Option<Timestamp> {
        let is_clock_right = self.clock_problem.get().is_none();
        let facts = match &entry.stored {
            StoredCertificate::Loaded { facts, .. } => Some(facts.clone()),
            // It is being read, and marked as changed afterwards.
            StoredCertificate::Unread { .. } => {
                entry.status.state = CertificateState::Active;
                return None;
            }
            StoredCertificate::None | StoredCertificate::Damaged { .. } => None,
        };
        let record = entry.record.as_ref()?;
        let renew_at = facts.as_ref().map(|facts| {
            let origin = record.issued.as_ref().filter(|origin| origin.fingerprint == facts.fingerprint);
            if origin.is_some_and(|origin| self.is_left_over_from_staging(origin)) {
                // No client trusts a staging certificate: it is replaced as soon as the CA is changed.
                return facts.not_before;
            }
            let suggestion = origin.and_then(|origin| origin.suggestion);
            renewal_at(host, facts, self.settings.renew_before, suggestion)
        });
        entry.status.renewal_at = renew_at;
        if self.slots.is_empty() {
            entry.status.state =
                if facts.is_some() { CertificateState::Active } else { CertificateState::None };
            entry.status.reason = Some(NO_CA.to_owned());
            return None;
        }
        let info_at =
            facts.as_ref().and_then(|facts| self.update_renewal_info(host, record, &facts.fingerprint, now));
        // An order of an earlier registration marks the domain as changed when it ends.
        if entry.stage != Stage::Idle || self.queue.borrow().is_in_flight(host) {
            return info_at;
        }
        let installed = match &facts {
            Some(_) => Installed::Certificate(renew_at.filter(|_| is_clock_right)),
            None => Installed::None,
        };
        let next = record.next(installed, entry.domain.updated_at, now);
        let record = record.clone();
        entry.status.failures = record.failures;
        entry.status.next_try = None;
        let at = match next {
            NextStep::Rest(at) => {
                entry.status.state = CertificateState::Active;
                entry.status.reason = None;
                Some(at)
            }
            NextStep::Wait(at) => {
                entry.status.state = match record.failure_kind {
                    Some(FailureKind::Dns) => CertificateState::PendingDns,
                    Some(FailureKind::Refusal) | None => CertificateState::Failed,
                };
                entry.status.reason = record.reason;
                entry.status.next_try = Some(at);
                Some(at)
            }
            NextStep::Parked => {
                entry.status.state = CertificateState::Parked;
                entry.status.reason = record.reason;
                None
            }
            NextStep::Try(kind) => {
                let spread = part(self.start_spread.get().as_millis() as u64, fraction(host, "start"));
                let is_first = std::mem::take(&mut entry.is_from_start);
                entry.show(kind, CertificateState::Verifying);
                if is_first && kind == OrderKind::Issue && spread > 0 {
                    return Some(Timestamp(now.0 + spread));
                }
                entry.stage = Stage::Verifying(kind);
                self.to_verify.borrow_mut().push_back(host.clone());
                None
            }
        };
        [at, info_at].into_iter().flatten().min()
    }

    fn is_left_over_from_staging(&self, origin: &Origin) -> bool {
        LimitPolicy::of(&origin.directory) == LimitPolicy::LetsEncryptStaging
            && self.slot_of(&origin.directory).is_none()
    }

    /// Removes a domain from all queues.
    fn dequeue(&self, host: &Hostname) {
        self.queue.borrow_mut().remove(host);
        self.records.cancel(host);
        let mut to_verify = self.to_verify.borrow_mut();
        if let Some(index) = to_verify.iter().position(|waiting| waiting == host) {
            to_verify.remove(index);
        }
        self.drop_forecast();
    }

    /// Postpones a domain for a reason that is not its fault.
    fn postpone(&self, host: &Hostname, number: u64, by: Duration, reason: &str) {
        let now = clock::timestamp();
        if let Some(entry) = self.registry.table_mut().get_mut(host)
            && entry.number == number
        {
            if matches!(entry.stage, Stage::Ordering(_)) {
                // It was verified before the order.
                entry.record.get_or_insert_default().clear_dns_failures();
            }
            entry.stage = Stage::Idle;
            entry.postpone(now.after(by), reason.to_owned());
        }
        self.registry.mark_changed(host);
    }

    fn slot_of(&self, directory: &str) -> Option<&Rc<CaSlot>> {
        self.slots.iter().find(|slot| slot.authority.url() == directory)
    }

    /// Reads the persisted budgets.
    async fn load_budgets(&self) {
        if let Some((budgets, seen_at)) = records::load_budgets(&self.disk).await {
            *self.clock.borrow_mut() = ClockCheck::new(seen_at);
            *self.budgets.borrow_mut() = budgets;
        }
    }

    /// Persists the budgets.
    async fn save_budgets(&self) {
        let stored = self.budgets.borrow_mut().store(clock::timestamp());
        records::save_budgets(&self.disk, stored).await;
    }
}

impl DomainEntry {
    /// Shows a step in progress; a domain whose certificate is being renewed stays `active`.
    fn show(&mut self, kind: OrderKind, state: CertificateState) {
        self.status.state = if kind == OrderKind::Renew { CertificateState::Active } else { state };
        self.status.next_try = None;
    }

    fn postpone(&mut self, at: Timestamp, reason: String) {
        let record = self.record.get_or_insert_default();
        record.next_try = Some(at.0);
        record.reason = Some(reason);
    }

    /// Origin of the stored certificate, if that is this CA.
    fn origin_at(&self, directory: &str) -> Option<&Origin> {
        let fingerprint = &self.stored.facts()?.fingerprint;
        let origin = self.record.as_ref()?.issued.as_ref()?;
        (origin.directory == directory && origin.fingerprint == *fingerprint).then_some(origin)
    }
}

/// Duration of an order before the first was measured.
const ORDER_DURATION_GUESS: Duration = Duration::from_secs(10);
/// Domains that are reconsidered before other tasks run.
const ROUND_PART: usize = 512;
/// Domains without a certificate that are tried at once after a start; more are spread.
const UNSPREAD_MAX: usize = 20;
/// Longest window over which the first attempts are spread.
const START_SPREAD_MAX: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// Retry after an internal error, such as a full disk or unresponsive cores.
const INTERNAL_RETRY: Duration = Duration::from_secs(60);
const NO_CA: &str = "no CA is configured: set ACME_EMAIL or ACME_DIRECTORY_URL, or upload a certificate";

#[cfg(test)]
mod tests;
