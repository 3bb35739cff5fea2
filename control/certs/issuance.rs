//! The tasks that get and renew certificates: who is verified, who orders, what is asked of the CA meanwhile.
//!
//! ```text
//!   touched, or its moment has come
//!            │
//!            ▼          Course (pure)              Queue, Budgets, Health (pure)
//!        reconsider ──▶ to be verified ─▶ verified ─▶ queued ─▶ an order in flight ─▶ installed
//!            ▲                                │                      │
//!            └──────── memory on the disk ◀───┴── failed, later ◀────┘
//! ```
//! One task goes the rounds and decides; verifications, orders and questions about renewals are tasks of their own, each with
//! a bound. What they find they write into the domain's memory, and touch it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::limits::{
    AUTHORITY_FAILOVER_AFTER, CERTIFICATES_ROUND, START_SPREAD, VERIFICATION_TTL, VERIFICATIONS_OF_QUEUE_MAX,
};
use ringway_model::{CertificateMode, Hostname, Tick, Timestamp};
use ringway_net::{clock, spawn, yield_now};

use crate::acme::authority::Authority;
use crate::budget::{Budgets, Kind, Policy};
use crate::certificates::{Certificates, log_panic};
use crate::course::{After, Has, Memory, Next, Origin, Trouble, Warned};
use crate::domains::{Course, Entry, Held};
use crate::event::CertificateEvent;
use crate::queue::{Errand, Queue, Turn};
use crate::renewal::{Lateness, fraction, is_overdue, part, renewal_at};
use crate::report::{AuthorityState, Overview, QueuePlace, State};
use crate::settings::Settings;
use crate::verification::Readiness;
use crate::watchdog::{ClockFault, ClockJudge, Health};

mod attempt;
mod memories;
mod orders;
mod renewal_info;
mod report;
mod timers;
mod verifications;
mod warnings;

use attempt::Attempt;
use timers::Timers;

/// All that the tasks share.
pub(crate) struct Issuance {
    /// The CAs, in the order in which they are asked.
    seats: Vec<Rc<Seat>>,
    budgets: RefCell<Budgets>,
    queue: RefCell<Queue>,
    to_verify: RefCell<VecDeque<Hostname>>,
    verifying: Cell<usize>,
    /// Whose memory is to be read from the disk.
    unread: RefCell<BTreeSet<Hostname>>,
    is_reading: Cell<bool>,
    timers: RefCell<Timers>,
    asking: RefCell<HashSet<Hostname, ahash::RandomState>>,
    clock: RefCell<ClockJudge>,
    clock_fault: Cell<Option<ClockFault>>,
    /// Over how long the first attempts of domains that were there at the start are spread.
    start_spread: Cell<Duration>,
    /// When a CA that is closed may be asked again.
    closed_until: Cell<Option<Timestamp>>,
    /// How long an order takes, by the last ones.
    order_takes: Cell<Duration>,
    default_warned: Cell<Option<Warned>>,
    places: RefCell<Option<Places>>,
    counts: Counts,
}

/// Everybody's place in the queue, and when it was found out.
struct Places {
    at: Tick,
    of: HashMap<Hostname, QueuePlace, ahash::RandomState>,
}

/// A CA, with what is known of its health.
struct Seat {
    authority: Authority,
    health: RefCell<Health>,
    in_flight: Cell<usize>,
    /// When it last issued something.
    succeeded_at: Cell<Option<Tick>>,
}

/// What came of orders, since the start.
#[derive(Debug, Default)]
struct Counts {
    issued: Cell<u64>,
    renewed: Cell<u64>,
    refused: Cell<u64>,
    limited: Cell<u64>,
    outages: Cell<u64>,
    failed: Cell<u64>,
    lost: Cell<u64>,
    own_faults: Cell<u64>,
}

/// What is being done for a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing.
    #[default]
    Idle,
    /// It waits to be verified, or is.
    Verifying(Errand),
    /// It waits for its order.
    Queued(Errand),
    /// It has one.
    Ordering(Errand),
}

impl Issuance {
    pub(crate) fn new(settings: &Settings) -> Self {
        let seats = settings.acme.iter().flat_map(|acme| {
            acme.directories.iter().map(|directory| {
                Rc::new(Seat {
                    authority: Authority::new(directory.clone(), acme.clone()),
                    health: RefCell::default(),
                    in_flight: Cell::new(0),
                    succeeded_at: Cell::new(None),
                })
            })
        });
        Self {
            seats: seats.collect(),
            budgets: RefCell::default(),
            queue: RefCell::default(),
            to_verify: RefCell::default(),
            verifying: Cell::new(0),
            unread: RefCell::default(),
            is_reading: Cell::new(false),
            timers: RefCell::default(),
            asking: RefCell::default(),
            clock: RefCell::new(ClockJudge::new(Timestamp(0))),
            clock_fault: Cell::new(None),
            start_spread: Cell::new(Duration::ZERO),
            closed_until: Cell::new(None),
            order_takes: Cell::new(FIRST_GUESS),
            default_warned: Cell::new(None),
            places: RefCell::default(),
            counts: Counts::default(),
        }
    }

    fn seat_of(&self, directory: &str) -> Option<&Rc<Seat>> {
        self.seats.iter().find(|seat| seat.authority.url() == directory)
    }
}

/// How long an order takes, before there was one.
const FIRST_GUESS: Duration = Duration::from_secs(10);

impl Certificates {
    fn issuance(&self) -> &Issuance {
        &self.shared.issuance
    }

    /// Says of a domain that was put what will not change: whoever put it is answered before its turn comes.
    pub(crate) fn show_outlook(&self, entry: &mut Entry) {
        if self.issuance().seats.is_empty() && entry.domain.certificate == CertificateMode::Acme {
            entry.course.reason = Some(NO_CA.to_owned());
        }
    }

    /// Goes the rounds, for ever.
    pub(crate) async fn look_after_orders(&self) {
        self.read_budgets().await;
        self.measure_start();
        loop {
            self.judge_clock();
            self.issuance().closed_until.set(None);
            for (count, host) in self.take_touched().into_iter().enumerate() {
                self.reconsider(&host);
                if count % ROUND_PART == ROUND_PART - 1 {
                    yield_now().await;
                }
            }
            let now = clock::timestamp();
            // Bound before the body: the timers are changed in it.
            while let Some(host) = { self.issuance().timers.borrow_mut().pop_due(now) } {
                self.reconsider(&host);
            }
            self.watch_default();
            self.read_memories();
            self.start_verifications();
            self.start_orders();
            let round = clock::now().after(CERTIFICATES_ROUND);
            self.shared.stir.wait_until(self.next_moment().map_or(round, |at| at.min(round))).await;
        }
    }

    /// When there is something to do even if nobody stirs.
    fn next_moment(&self) -> Option<Tick> {
        let issuance = self.issuance();
        let queue = issuance.queue.borrow();
        let closed = if queue.has_ready() { issuance.closed_until.get() } else { None };
        let moments = [issuance.timers.borrow().next(), queue.next_due(), closed];
        let first = moments.into_iter().flatten().min()?;
        let wait = Duration::from_millis(first.0.saturating_sub(clock::timestamp().0));
        // The two clocks do not tick together: never in a hot loop for a millisecond's sake.
        Some(clock::now().after(wait.max(SHORTEST_WAIT)))
    }

    fn judge_clock(&self) {
        let issuance = self.issuance();
        let now = clock::timestamp();
        let fault = issuance.clock.borrow_mut().judge(now, clock::now());
        if issuance.clock_fault.replace(fault) != fault {
            match fault {
                Some(fault) => tracing::error!("{}", fault.words(now)),
                None => tracing::info!("the clock can be believed again"),
            }
        }
    }

    /// Domains that are there at the start and have no certificate are not all tried in its first second.
    fn measure_start(&self) {
        let domains = self.shared.domains.borrow();
        let without = domains
            .iter()
            .filter(|(_, entry)| {
                entry.is_from_start
                    && entry.held == Held::Nothing
                    && entry.domain.certificate == CertificateMode::Acme
            })
            .count();
        let spread = if without > AT_ONCE { START_SPREAD * without as u32 } else { Duration::ZERO };
        self.issuance().start_spread.set(spread.min(START_SPREAD_MAX));
    }

    /// Decides what comes next for a domain, and arranges it.
    fn reconsider(&self, host: &Hostname) {
        let issuance = self.issuance();
        let now = clock::timestamp();
        let mut domains = self.shared.domains.borrow_mut();
        let Some(entry) = domains.get_mut(host) else {
            self.dismiss(host);
            issuance.timers.borrow_mut().clear(host);
            return;
        };
        if entry.domain.certificate != CertificateMode::Acme {
            if entry.stage != Stage::Idle {
                self.dismiss(host);
            }
            entry.course = Course::default();
            if !matches!(entry.stage, Stage::Ordering(_)) {
                entry.stage = Stage::Idle;
            }
        }
        if entry.domain.certificate == CertificateMode::None {
            issuance.timers.borrow_mut().clear(host);
            return;
        }
        if entry.memory.is_none() {
            issuance.unread.borrow_mut().insert(host.clone());
            entry.course.state = if issuance.seats.is_empty() { State::None } else { State::Verifying };
            return;
        }
        let watch_at = self.watch(host, entry, now);
        if entry.domain.certificate == CertificateMode::Acme {
            let at = self.arrange(host, entry, now);
            let at = [at, watch_at].into_iter().flatten().min();
            match at {
                Some(at) => issuance.timers.borrow_mut().set(host, at),
                None => issuance.timers.borrow_mut().clear(host),
            }
        } else if let Some(at) = watch_at {
            issuance.timers.borrow_mut().set(host, at);
        }
    }

    /// For a domain with mode `acme` whose memory is known; when to look again.
    fn arrange(&self, host: &Hostname, entry: &mut Entry, now: Timestamp) -> Option<Timestamp> {
        let issuance = self.issuance();
        let is_clock_right = issuance.clock_fault.get().is_none();
        let facts = match &entry.held {
            Held::Ready { facts, .. } => Some(facts.clone()),
            // It is being read, and touched then.
            Held::Unread { .. } => {
                entry.course.state = State::Active;
                return None;
            }
            Held::Nothing | Held::Damaged { .. } => None,
        };
        let memory = entry.memory.as_ref()?;
        let moment = facts.as_ref().map(|facts| {
            let suggestion = memory
                .issued
                .as_ref()
                .filter(|origin| origin.fingerprint == facts.fingerprint)
                .and_then(|origin| origin.suggestion);
            let is_trial = memory.issued.as_ref().is_some_and(|origin| {
                origin.fingerprint == facts.fingerprint
                    && Policy::of(&origin.directory) == Policy::LetsEncryptStaging
                    && issuance.seat_of(&origin.directory).is_none()
            });
            if is_trial {
                // Nobody trusts what a staging CA issues: after the trial, it is replaced at once.
                return facts.not_before;
            }
            renewal_at(host, facts, self.shared.settings.renew_before, suggestion)
        });
        entry.course.renewal_at = moment;
        if issuance.seats.is_empty() {
            entry.course.state = if facts.is_some() { State::Active } else { State::None };
            entry.course.reason = Some(NO_CA.to_owned());
            return None;
        }
        let ask_at = facts.as_ref().and_then(|facts| self.ask_at(host, memory, &facts.fingerprint, now));
        // An order that was begun for an earlier registration touches the domain when it ends.
        if entry.stage != Stage::Idle || issuance.queue.borrow().is_in_flight(host) {
            return ask_at;
        }
        let has = match &facts {
            Some(_) => Has::Certificate(moment.filter(|_| is_clock_right)),
            None => Has::Nothing,
        };
        let next = memory.next(has, entry.domain.updated_at, now);
        let memory = memory.clone();
        entry.course.failures = memory.failures;
        entry.course.next_try = None;
        let at = match next {
            Next::Rest(at) => {
                entry.course.state = State::Active;
                entry.course.reason = None;
                Some(at)
            }
            Next::Wait(at) => {
                entry.course.state = match memory.trouble {
                    Some(Trouble::Dns) => State::PendingDns,
                    Some(Trouble::Refusal) | None => State::Failed,
                };
                entry.course.reason = memory.reason;
                entry.course.next_try = Some(at);
                Some(at)
            }
            Next::Parked => {
                entry.course.state = State::Parked;
                entry.course.reason = memory.reason;
                None
            }
            Next::Try(errand) => {
                let spread = part(issuance.start_spread.get().as_millis() as u64, fraction(host, "start"));
                let is_first = std::mem::take(&mut entry.is_from_start);
                entry.show(errand, State::Verifying);
                if is_first && errand == Errand::Issue && spread > 0 {
                    return Some(Timestamp(now.0 + spread));
                }
                entry.stage = Stage::Verifying(errand);
                issuance.to_verify.borrow_mut().push_back(host.clone());
                None
            }
        };
        [at, ask_at].into_iter().flatten().min()
    }

    /// It is wished for no more, or otherwise: it waits for nothing.
    fn dismiss(&self, host: &Hostname) {
        let issuance = self.issuance();
        issuance.queue.borrow_mut().remove(host);
        issuance.unread.borrow_mut().remove(host);
        let mut to_verify = issuance.to_verify.borrow_mut();
        if let Some(index) = to_verify.iter().position(|waiting| waiting == host) {
            to_verify.remove(index);
        }
        self.forget_places();
    }

    /// Later, for a reason that is no fault of the domain.
    fn postpone(&self, host: &Hostname, number: u64, by: Duration, reason: &str) {
        let now = clock::timestamp();
        if let Some(entry) = self.shared.domains.borrow_mut().get_mut(host)
            && entry.number == number
        {
            if matches!(entry.stage, Stage::Ordering(_)) {
                // It leads here, whatever it did before: it was verified.
                entry.memory.get_or_insert_default().forget_dns();
            }
            entry.stage = Stage::Idle;
            entry.postpone(now.after(by), reason.to_owned());
        }
        self.touch(host);
    }

    /// Whether an order for it makes sense still.
    pub(crate) fn is_wanted(&self, host: &Hostname) -> bool {
        let domains = self.shared.domains.borrow();
        domains.get(host).is_some_and(|entry| entry.domain.certificate == CertificateMode::Acme)
    }

    /// Somebody has found that the domain leads here: what was given up, or waits for long, is tried now.
    pub(crate) fn revive(&self, host: &Hostname) {
        let is_changed = self
            .shared
            .domains
            .borrow_mut()
            .get_mut(host)
            .and_then(|entry| entry.memory.as_mut())
            .is_some_and(Memory::revive);
        if is_changed {
            self.remember(host);
        }
    }

    fn forget_places(&self) {
        self.issuance().places.borrow_mut().take();
    }
}

impl Entry {
    /// Shows what is being done for it; a certificate that is served meanwhile stays `active`.
    fn show(&mut self, errand: Errand, state: State) {
        self.course.state = if errand == Errand::Renew { State::Active } else { state };
        self.course.next_try = None;
    }

    fn postpone(&mut self, at: Timestamp, reason: String) {
        let memory = self.memory.get_or_insert_default();
        memory.next_try = Some(at.0);
        memory.reason = Some(reason);
    }

    /// Where the certificate that it has came from, if that was this CA.
    fn origin_at(&self, directory: &str) -> Option<&Origin> {
        let fingerprint = &self.held.facts()?.fingerprint;
        let origin = self.memory.as_ref()?.issued.as_ref()?;
        (origin.directory == directory && origin.fingerprint == *fingerprint).then_some(origin)
    }
}

/// Domains that are reconsidered before others have their turn.
const ROUND_PART: usize = 512;
/// So many domains without a certificate are tried at once after a start.
const AT_ONCE: usize = 20;
/// The first attempts are spread over this at most.
const START_SPREAD_MAX: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// After a fault of our own: a disk that is full, cores that do not answer.
const OWN_RETRY: Duration = Duration::from_secs(60);
const NO_CA: &str = "no CA is configured: set ACME_EMAIL or ACME_DIRECTORY_URL, or upload a certificate";

#[cfg(test)]
mod tests;
