//! The plane's guarantees: one by one, and over random interleavings of all events.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::limits::{APPLY_DEADLINE, CHANGES_PER_BATCH_MAX, CHANGES_WAITING_MAX};
use proptest::prelude::*;
use ringway_model::{
    AppId, AppSpec, Change, CoreId, Desired, DomainKind, DomainSpec, HostPattern, Hostname, Outcome, Owner,
    Rejection, Revision, Serial, Timestamp,
};

use crate::engine::plane::{Commit, Plane, Publication, Step, Ticket};
use crate::engine::store_thread::StoreGone;
use crate::status::CoreState;
use crate::submission::{Idempotency, KnownResult, Receipt, Refusal, StorageFailure, Submission};
use crate::time::Micros;

pub(super) const CORES: [CoreId; 2] = [CoreId(0), CoreId(1)];
pub(super) const AT: Timestamp = Timestamp(0);

pub(super) fn app(id: &str) -> AppId {
    AppId::parse(id).unwrap()
}

pub(super) fn register(app: &str) -> Change {
    Change::Register { app: AppSpec::new(self::app(app)), instance: None, domain: None }
}

fn remove(app: &str) -> Change {
    Change::RemoveApp { id: AppId::parse(app).unwrap() }
}

pub(super) fn add_domain(name: &str, app: &str) -> Change {
    Change::AddDomain(DomainSpec {
        policy: None,
        certificate: None,
        client_auth: None,
        name: Hostname::parse(name).unwrap(),
        app: AppId::parse(app).unwrap(),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
    })
}

fn keyed(change: Change, key: &str, hash: u64) -> Submission {
    let idempotency = Idempotency { key: key.into(), request_hash: hash };
    Submission { idempotency: Some(idempotency), ..Submission::of(change) }
}

pub(super) fn failure() -> StorageFailure {
    StorageFailure::new(StoreGone)
}

/// The next step of a plane without trials.
fn next_commit(plane: &mut Plane, now: Micros) -> Option<Commit> {
    match plane.poll_step(now, AT)? {
        Step::Commit(commit) => Some(commit),
        step => panic!("{step:?}"),
    }
}

/// A plane driven step by step.
pub(super) struct Scene {
    pub(super) plane: Plane,
    pub(super) now: Micros,
    pub(super) serial: u64,
    replies: BTreeMap<Ticket, Result<Receipt, Refusal>>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let mut scene = Self {
            plane: Plane::new(Desired::default(), CORES),
            now: Micros(0),
            serial: 0,
            replies: BTreeMap::new(),
        };
        scene.publish();
        scene.ack_all();
        scene
    }

    pub(super) fn submit(&mut self, change: Change) -> Ticket {
        self.submit_all(Submission::of(change))
    }

    pub(super) fn submit_all(&mut self, submission: Submission) -> Ticket {
        let ticket = self.plane.handle_submit(submission, self.now);
        self.collect();
        ticket
    }

    /// Polls for a commit; returns the number of changes in it, 0 for none.
    fn commit(&mut self) -> usize {
        let changes = next_commit(&mut self.plane, self.now).map_or(0, |commit| commit.changes);
        self.collect();
        changes
    }

    pub(super) fn stored(&mut self) {
        self.serial += 1;
        let publication = Publication { serial: Serial(self.serial), unresolved: Vec::new() };
        self.plane.handle_stored(Ok(publication), self.now);
        self.collect();
    }

    pub(super) fn not_stored(&mut self) {
        self.plane.handle_stored(Err(failure()), self.now);
        self.collect();
    }

    fn publish(&mut self) {
        self.serial += 1;
        self.plane.handle_published(Serial(self.serial), self.now);
        self.collect();
    }

    pub(super) fn ack(&mut self, core: CoreId) {
        self.plane.handle_ack(core, Serial(self.serial), self.now);
        self.collect();
    }

    pub(super) fn ack_all(&mut self) {
        CORES.into_iter().for_each(|core| self.ack(core));
    }

    fn pass(&mut self, micros: u64) {
        self.now.0 += micros;
        self.plane.handle_time(self.now);
        self.collect();
    }

    fn pass_deadline(&mut self) {
        self.pass(u64::try_from(APPLY_DEADLINE.as_micros()).unwrap());
    }

    pub(super) fn collect(&mut self) {
        while let Some((ticket, reply)) = self.plane.poll_reply() {
            assert!(self.replies.insert(ticket, reply).is_none(), "{ticket:?} got two replies");
        }
    }

    pub(super) fn receipt(&self, ticket: Ticket) -> &Receipt {
        match self.replies.get(&ticket) {
            Some(Ok(receipt)) => receipt,
            other => panic!("{ticket:?} has no receipt but {other:?}"),
        }
    }

    pub(super) fn refusal(&self, ticket: Ticket) -> &Refusal {
        match self.replies.get(&ticket) {
            Some(Err(refusal)) => refusal,
            other => panic!("{ticket:?} has no refusal but {other:?}"),
        }
    }

    pub(super) fn has_reply(&self, ticket: Ticket) -> bool {
        self.replies.contains_key(&ticket)
    }
}

#[test]
fn a_receipt_comes_after_the_store_and_after_the_last_core() {
    let mut scene = Scene::new();
    let ticket = scene.submit(register("a"));
    assert_eq!(scene.commit(), 1);
    assert!(!scene.has_reply(ticket), "not stored");
    assert_eq!(scene.plane.desired().revision(), Revision(0), "not in force before it is stored");
    scene.pass(100);
    scene.stored();
    scene.ack(CORES[0]);
    assert!(!scene.has_reply(ticket), "core 1 has not acknowledged");
    scene.pass(20);
    scene.ack(CORES[1]);
    let receipt = scene.receipt(ticket);
    assert_eq!((receipt.revision, receipt.outcome), (Revision(1), Outcome::Created));
    assert!(receipt.pending.is_empty() && !receipt.replayed);
    assert_eq!(receipt.applied_in.as_micros(), 120);
}

#[test]
fn queued_changes_are_stored_and_published_together() {
    let mut scene = Scene::new();
    let first = scene.submit(register("a"));
    assert_eq!(scene.commit(), 1);
    let rest: Vec<Ticket> = ["b", "c", "d"].map(|app| scene.submit(register(app))).into();
    assert_eq!(scene.commit(), 0, "the store is busy");
    scene.stored();
    assert_eq!(scene.commit(), 3);
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(first).revision, Revision(1));
    let revisions: Vec<u64> = rest.iter().map(|ticket| scene.receipt(*ticket).revision.0).collect();
    assert_eq!(revisions, [2, 3, 4]);
    assert!(scene.plane.is_idle());
}

/// A change with its result on the present configuration, at a time by which it is known again.
fn known(scene: &Scene, change: Change) -> Submission {
    let (base, applied) = (scene.plane.desired().revision(), scene.plane.desired().apply(&change, JUDGED_AT));
    let result = Some(KnownResult { base, applied: applied.unwrap() });
    Submission { result, ..Submission::of(change) }
}

const JUDGED_AT: Timestamp = Timestamp(77);

#[test]
fn a_known_result_is_taken_over_while_its_configuration_is_in_force() {
    let mut scene = Scene::new();
    let submission = known(&scene, register("a"));
    let ticket = scene.submit_all(submission);
    assert_eq!(scene.commit(), 1);
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(ticket).revision, Revision(1));
    assert_eq!(scene.plane.desired().app("a").unwrap().created_at, JUDGED_AT);
}

#[test]
fn a_result_on_another_configuration_is_of_no_use() {
    let mut scene = Scene::new();
    // In one batch: the first change is before the second, and not stored yet.
    let second = known(&scene, register("b"));
    scene.submit(register("a"));
    let ticket = scene.submit_all(second);
    // Stored meanwhile.
    let third = known(&scene, register("c"));
    assert_eq!(scene.commit(), 2);
    scene.stored();
    let last = scene.submit_all(third);
    assert_eq!(scene.commit(), 1);
    scene.stored();
    scene.ack_all();
    assert_eq!([ticket, last].map(|ticket| scene.receipt(ticket).revision), [Revision(2), Revision(3)]);
    for app in ["a", "b", "c"] {
        assert_eq!(scene.plane.desired().app(app).unwrap().created_at, AT, "{app} was applied again");
    }
}

#[test]
fn a_result_on_a_configuration_that_was_not_stored_is_none_of_the_next() {
    let mut scene = Scene::new();
    let submission = known(&scene, register("b"));
    scene.submit(register("a"));
    scene.commit();
    scene.not_stored();
    let ticket = scene.submit_all(submission);
    assert_eq!(scene.commit(), 1);
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(ticket).revision, Revision(1));
    let desired = scene.plane.desired();
    assert!(desired.app("a").is_none());
    assert_eq!(desired.app("b").unwrap().created_at, JUDGED_AT, "the configuration on disk is the same");
}

#[test]
fn a_batch_is_bounded() {
    let mut scene = Scene::new();
    for n in 0..=CHANGES_PER_BATCH_MAX {
        scene.submit(register(&format!("a{n}")));
    }
    assert_eq!(scene.commit(), CHANGES_PER_BATCH_MAX);
    scene.stored();
    assert_eq!(scene.commit(), 1);
}

#[test]
fn a_full_queue_refuses_with_a_retry_delay_and_drains() {
    let mut scene = Scene::new();
    for n in 0..CHANGES_WAITING_MAX {
        scene.submit(register(&format!("a{n}")));
    }
    assert_eq!(scene.plane.pending(), CHANGES_WAITING_MAX);
    let refused = scene.submit(register("one-too-many"));
    assert!(matches!(scene.refusal(refused), Refusal::Busy { .. }));
    while scene.commit() > 0 {
        scene.stored();
    }
    scene.ack_all();
    assert!(scene.plane.is_idle());
    let accepted = scene.submit(register("one-too-many"));
    scene.commit();
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(accepted).outcome, Outcome::Created);
}

#[test]
fn a_rejected_change_gets_its_reply_at_once_and_has_no_effect() {
    let mut scene = Scene::new();
    let ticket = scene.submit(remove("nobody"));
    assert_eq!(scene.commit(), 0);
    assert!(matches!(scene.refusal(ticket), Refusal::Rejected(Rejection::UnknownApp(_))));
    assert_eq!(scene.plane.desired().revision(), Revision(0));
}

#[test]
fn a_rejection_that_depends_on_an_unstored_change_waits_for_it() {
    let mut scene = Scene::new();
    scene.submit(register("a"));
    scene.submit(add_domain("x.test", "a"));
    // Rejected only because of the domain before it.
    let removal = scene.submit(remove("a"));
    assert_eq!(scene.commit(), 3);
    assert!(!scene.has_reply(removal));
    scene.not_stored();
    assert!(matches!(scene.refusal(removal), Refusal::Storage(_)), "the domain was never stored");
    assert_eq!(scene.plane.desired().revision(), Revision(0));

    scene.submit(register("a"));
    scene.submit(add_domain("x.test", "a"));
    let removal = scene.submit(remove("a"));
    scene.commit();
    scene.stored();
    assert!(matches!(scene.refusal(removal), Refusal::Rejected(Rejection::AppHasDomains(..))));
}

#[test]
fn a_store_that_fails_loses_its_batch_and_nothing_else() {
    let mut scene = Scene::new();
    let lost = scene.submit(register("a"));
    scene.commit();
    let next = scene.submit(register("b"));
    scene.not_stored();
    assert!(matches!(scene.refusal(lost), Refusal::Storage(_)));
    assert_eq!(scene.commit(), 1);
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(next).revision, Revision(1));
    assert!(scene.plane.desired().app("a").is_none() && scene.plane.desired().app("b").is_some());
}

#[test]
fn a_slow_core_is_pending_at_the_deadline_and_later_not_waited_for() {
    let mut scene = Scene::new();
    let ticket = scene.submit(register("a"));
    scene.commit();
    scene.stored();
    scene.ack(CORES[0]);
    let deadline = scene.plane.next_deadline();
    assert_eq!(deadline, scene.now.after(APPLY_DEADLINE));
    scene.pass(deadline.0 - scene.now.0 - 1);
    assert!(!scene.has_reply(ticket));
    scene.pass(1);
    assert_eq!(scene.receipt(ticket).pending, [CORES[1]]);

    let next = scene.submit(register("b"));
    scene.commit();
    scene.stored();
    scene.ack(CORES[0]);
    assert_eq!(scene.receipt(next).pending, [CORES[1]], "no wait for the lagging core");

    scene.ack(CORES[1]);
    let last = scene.submit(register("c"));
    scene.commit();
    scene.stored();
    scene.ack(CORES[0]);
    assert!(!scene.has_reply(last), "it has caught up, so it is waited for again");
    scene.ack(CORES[1]);
    assert!(scene.receipt(last).pending.is_empty());
}

#[test]
fn an_unchanged_result_is_confirmed_once_every_core_has_it() {
    let mut scene = Scene::new();
    let first = scene.submit(register("a"));
    scene.commit();
    scene.stored();
    let again = scene.submit(register("a"));
    assert_eq!(scene.commit(), 0, "nothing to store");
    assert!(!scene.has_reply(again));
    scene.ack_all();
    assert_eq!(scene.receipt(first).revision, Revision(1));
    let receipt = scene.receipt(again);
    assert_eq!((receipt.revision, receipt.outcome), (Revision(1), Outcome::Unchanged));
}

#[test]
fn if_match_sees_the_changes_before_it() {
    let mut scene = Scene::new();
    let at = |revision| Some(Revision(revision));
    let first = scene.submit_all(Submission { if_match: at(0), ..Submission::of(register("a")) });
    let second = scene.submit_all(Submission { if_match: at(0), ..Submission::of(register("b")) });
    let third = scene.submit_all(Submission { if_match: at(1), ..Submission::of(register("c")) });
    scene.commit();
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(first).revision, Revision(1));
    assert!(matches!(scene.refusal(second), Refusal::RevisionMismatch { current: Revision(1) }));
    assert_eq!(scene.receipt(third).revision, Revision(2));
}

#[test]
fn an_idempotency_key_is_processed_once() {
    let mut scene = Scene::new();
    let first = scene.submit_all(keyed(register("a"), "k", 1));
    let joined = scene.submit_all(keyed(register("a"), "k", 1));
    let other = scene.submit_all(keyed(register("b"), "k", 2));
    assert!(matches!(scene.refusal(other), Refusal::IdempotencyConflict));
    assert_eq!(scene.commit(), 1);
    scene.stored();
    assert!(!scene.has_reply(joined));
    scene.ack_all();
    assert!(!scene.receipt(first).replayed);
    let replay = Receipt { replayed: true, ..scene.receipt(first).clone() };
    assert_eq!(*scene.receipt(joined), replay);
    let later = scene.submit_all(keyed(register("a"), "k", 1));
    assert_eq!(*scene.receipt(later), replay);
    assert_eq!(scene.plane.desired().revision(), Revision(1));
    assert!(scene.plane.is_idle());
}

#[test]
fn a_key_can_be_retried_after_a_storage_failure() {
    let mut scene = Scene::new();
    let first = scene.submit_all(keyed(register("a"), "k", 1));
    let joined = scene.submit_all(keyed(register("a"), "k", 1));
    scene.commit();
    scene.not_stored();
    assert!(matches!(scene.refusal(first), Refusal::Storage(_)));
    assert!(matches!(scene.refusal(joined), Refusal::Storage(_)));
    let again = scene.submit_all(keyed(register("a"), "k", 1));
    scene.commit();
    scene.stored();
    scene.ack_all();
    assert!(!scene.receipt(again).replayed);
}

#[test]
fn a_receipt_waits_for_the_addresses_of_a_new_name() {
    let mut scene = Scene::new();
    let name = Hostname::parse("app.internal").unwrap();
    let ticket = scene.submit(register("a"));
    scene.commit();
    scene.serial += 1;
    let publication = Publication { serial: Serial(scene.serial), unresolved: vec![name.clone()] };
    scene.plane.handle_stored(Ok(publication), scene.now);
    scene.ack_all();
    assert!(!scene.has_reply(ticket), "the name is not resolved");
    scene.publish();
    scene.plane.handle_resolved(&name, scene.now);
    scene.collect();
    assert!(!scene.has_reply(ticket), "the cores do not have its addresses");
    scene.ack_all();
    assert!(scene.receipt(ticket).pending.is_empty());
}

#[test]
fn a_name_that_does_not_resolve_holds_a_receipt_until_the_deadline_only() {
    let mut scene = Scene::new();
    let name = Hostname::parse("app.internal").unwrap();
    let ticket = scene.submit(register("a"));
    scene.commit();
    scene.serial += 1;
    let publication = Publication { serial: Serial(scene.serial), unresolved: vec![name] };
    scene.plane.handle_stored(Ok(publication), scene.now);
    scene.ack_all();
    scene.pass_deadline();
    assert!(scene.receipt(ticket).pending.is_empty(), "the cores have the change");
}

#[test]
fn shutdown_refuses_new_changes_and_finishes_queued_ones() {
    let mut scene = Scene::new();
    let before = scene.submit(register("a"));
    scene.plane.handle_shutdown();
    let after = scene.submit(register("b"));
    assert!(matches!(scene.refusal(after), Refusal::ShuttingDown));
    scene.commit();
    scene.stored();
    CORES.into_iter().for_each(|core| scene.plane.handle_drained(core, scene.now));
    scene.collect();
    assert_eq!(scene.receipt(before).revision, Revision(1));
    assert!(scene.plane.is_idle() && scene.plane.have_cores_ended());
}

/// One event of a plane.
#[derive(Clone, Debug)]
enum Event {
    Submit {
        change: u8,
        app: u8,
        if_match: Option<u8>,
        key: Option<(u8, u8)>,
    },
    Commit,
    Stored {
        unresolved: bool,
    },
    NotStored,
    Republish,
    Resolved,
    /// `age` is a number of serials before the newest.
    Ack {
        core: u8,
        age: u8,
    },
    Pass {
        millis: u16,
    },
    Dead {
        core: u8,
    },
    Drained {
        core: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let submit =
        (0u8..4, 0u8..4, prop::option::weighted(0.2, 0u8..6), prop::option::weighted(0.3, (0u8..4, 0u8..2)));
    prop_oneof![
        8 => submit.prop_map(|(change, app, if_match, key)| Event::Submit { change, app, if_match, key }),
        4 => Just(Event::Commit),
        4 => any::<bool>().prop_map(|unresolved| Event::Stored { unresolved }),
        1 => Just(Event::NotStored),
        1 => Just(Event::Republish),
        1 => Just(Event::Resolved),
        8 => (0u8..3, 0u8..3).prop_map(|(core, age)| Event::Ack { core, age }),
        3 => (0u16..1_500).prop_map(|millis| Event::Pass { millis }),
        1 => (0u8..30).prop_map(|core| Event::Dead { core }),
        1 => (0u8..30).prop_map(|core| Event::Drained { core }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// For any order of events: one reply each, receipts only for stored and acknowledged changes (lagging
    /// cores are named), revisions that only rise, and a configuration that equals the receipts.
    #[test]
    fn guarantees_hold_over_any_interleaving(events in prop::collection::vec(event(), 0..120)) {
        let name = Hostname::parse("app.internal").unwrap();
        let mut plane = Plane::new(Desired::default(), CORES);
        let (mut now, mut serial) = (Micros(0), 1u64);
        plane.handle_published(Serial(1), now);
        // The model: time of each submission, acknowledged serials, revision of each serial.
        let mut submitted: BTreeMap<Ticket, Micros> = BTreeMap::new();
        let mut replies: BTreeMap<Ticket, Result<Receipt, Refusal>> = BTreeMap::new();
        let mut acked = [0u64; 2];
        let mut gone = [false; 2];
        let mut dead = [false; 2];
        let mut serial_of_revision: Vec<(u64, Revision)> = vec![(1, Revision(0))];
        let mut published_at: BTreeMap<u64, Micros> = BTreeMap::from([(1, now)]);
        let mut committed: Option<Desired> = None;
        let mut last_revision = Revision(0);
        for event in events {
            match event {
                Event::Submit { change, app, if_match, key } => {
                    let app = format!("a{app}");
                    let change = match change {
                        0 => register(&app),
                        1 => remove(&app),
                        2 => add_domain("x.test", &app),
                        _ => Change::RemoveDomain { name: Hostname::parse("x.test").unwrap() },
                    };
                    let if_match = if_match.map(|revision| Revision(revision.into()));
                    let idempotency = key.map(|(key, hash)| Idempotency {
                        key: key.to_string().into(),
                        request_hash: hash.into(),
                    });
                    let ticket = plane.handle_submit(Submission { if_match, idempotency, ..Submission::of(change) }, now);
                    prop_assert!(submitted.insert(ticket, now).is_none(), "a ticket is given once");
                }
                Event::Commit => {
                    let before = plane.desired().revision();
                    if let Some(commit) = next_commit(&mut plane, now) {
                        prop_assert!(committed.is_none(), "one commit at a time");
                        prop_assert!(commit.desired.revision() > before);
                        committed = Some(commit.desired);
                    }
                    prop_assert_eq!(plane.desired().revision(), before, "nothing is in force before it is stored");
                }
                Event::Stored { unresolved } => if let Some(desired) = committed.take() {
                    serial += 1;
                    serial_of_revision.push((serial, desired.revision()));
                    published_at.insert(serial, now);
                    let unresolved = if unresolved { vec![name.clone()] } else { Vec::new() };
                    plane.handle_stored(Ok(Publication { serial: Serial(serial), unresolved }), now);
                    prop_assert_eq!(plane.desired().revision(), desired.revision());
                },
                Event::NotStored => if committed.take().is_some() {
                    let before = plane.desired().revision();
                    plane.handle_stored(Err(failure()), now);
                    prop_assert_eq!(plane.desired().revision(), before);
                },
                Event::Republish => {
                    serial += 1;
                    serial_of_revision.push((serial, plane.desired().revision()));
                    published_at.insert(serial, now);
                    plane.handle_published(Serial(serial), now);
                }
                Event::Resolved => plane.handle_resolved(&name, now),
                Event::Ack { core, age } => {
                    let value = serial.saturating_sub(age.into());
                    if let Some(acked) = acked.get_mut(usize::from(core)) {
                        *acked = value.max(*acked);
                    }
                    plane.handle_ack(CoreId(core.into()), Serial(value), now);
                }
                Event::Pass { millis } => {
                    now.0 += u64::from(millis) * 1_000;
                    plane.handle_time(now);
                }
                Event::Dead { core } => {
                    if let Some(gone) = gone.get_mut(usize::from(core)) {
                        *gone = true;
                        dead[usize::from(core)] = true;
                    }
                    plane.handle_dead(CoreId(core.into()), now);
                }
                Event::Drained { core } => {
                    if let Some(gone) = gone.get_mut(usize::from(core)) {
                        *gone = true;
                        dead[usize::from(core)] = false;
                    }
                    plane.handle_drained(CoreId(core.into()), now);
                }
            }
            prop_assert!(plane.desired().revision() >= last_revision, "never backwards");
            last_revision = plane.desired().revision();
            while let Some((ticket, reply)) = plane.poll_reply() {
                prop_assert!(submitted.contains_key(&ticket), "{:?} was never submitted", ticket);
                if let Ok(receipt) = &reply && !receipt.replayed {
                    prop_assert!(receipt.revision <= plane.desired().revision(), "a receipt for an unstored change");
                    // The first serial that holds the revision: with it, a core has the change.
                    let needed = serial_of_revision.iter().find(|(_, held)| *held >= receipt.revision).unwrap().0;
                    for (at, core) in CORES.into_iter().enumerate() {
                        let has_it = acked[at] >= needed && !dead[at];
                        let is_named = receipt.pending.contains(&core);
                        prop_assert!(has_it || gone[at] || is_named, "{} is neither acknowledged nor named", core);
                        // No core is named that may still acknowledge in time.
                        let state = plane.cores().nth(at).unwrap().state;
                        let is_late = now >= published_at[&needed].after(APPLY_DEADLINE);
                        prop_assert!(!is_named || state != CoreState::Following || is_late, "{} was still in time", core);
                    }
                    prop_assert_eq!(receipt.applied_in, now.since(submitted[&ticket]));
                }
                prop_assert!(replies.insert(ticket, reply).is_none(), "two replies");
            }
            // A submission without a reply is counted as pending.
            if let Some(oldest) = submitted.iter().find(|(ticket, _)| !replies.contains_key(*ticket)) {
                prop_assert!(plane.pending() > 0, "{:?} is forgotten", oldest);
            }
            prop_assert_eq!(plane.pending(), submitted.len() - replies.len());
        }
        // At the end the store finishes and time passes: every submission has its reply.
        for _ in 0..4 {
            if committed.take().is_some() || next_commit(&mut plane, now).is_some() {
                serial += 1;
                plane.handle_stored(Ok(Publication { serial: Serial(serial), unresolved: Vec::new() }), now);
            }
            now = now.after(APPLY_DEADLINE);
            plane.handle_time(now);
        }
        while let Some((ticket, reply)) = plane.poll_reply() {
            prop_assert!(replies.insert(ticket, reply).is_none(), "two replies");
        }
        prop_assert_eq!(replies.len(), submitted.len(), "every submission has a reply");
        prop_assert!(plane.is_idle());
        prop_assert_eq!(plane.next_deadline(), Micros::NEVER);
    }

    /// The configuration equals the accepted changes in the order of their revisions; refused ones left no
    /// trace.
    #[test]
    fn the_configuration_is_exactly_what_was_accepted(
        changes in prop::collection::vec((0u8..4, 0u8..3), 1..60),
        batch in 1usize..8,
        fails in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut scene = Scene::new();
        let mut submitted = BTreeMap::new();
        let mut fails = fails.into_iter();
        for chunk in changes.chunks(batch) {
            for (change, app) in chunk {
                let app = format!("a{app}");
                let change = match change {
                    0 => register(&app),
                    1 => remove(&app),
                    2 => add_domain("x.test", &app),
                    _ => Change::RemoveDomain { name: Hostname::parse("x.test").unwrap() },
                };
                let ticket = scene.submit(change.clone());
                submitted.insert(ticket, change);
            }
            if scene.commit() > 0 {
                if fails.next() == Some(true) { scene.not_stored() } else { scene.stored() }
                scene.ack_all();
            }
        }
        scene.ack_all();
        let mut accepted: Vec<(Revision, &Change)> = submitted
            .iter()
            .filter_map(|(ticket, change)| match scene.replies.get(ticket) {
                Some(Ok(receipt)) if receipt.outcome != Outcome::Unchanged => Some((receipt.revision, change)),
                _ => None,
            })
            .collect();
        accepted.sort_by_key(|(revision, _)| *revision);
        let mut model = Desired::default();
        for (revision, change) in accepted {
            model = model.apply(change, AT).unwrap().desired;
            prop_assert_eq!(model.revision(), revision, "every revision belongs to a change");
        }
        let plane = scene.plane.desired();
        prop_assert_eq!(model.revision(), plane.revision());
        let apps = |desired: &Desired| {
            let mut apps: Vec<String> = desired.apps().map(|app| app.id.to_string()).collect();
            apps.sort();
            apps
        };
        prop_assert_eq!(apps(&model), apps(plane));
        let domain = |desired: &Desired| desired.domain("x.test").map(|domain| domain.app.clone());
        prop_assert_eq!(domain(&model), domain(plane));
    }
}

#[test]
fn a_reserved_host_cannot_be_registered() {
    let mut scene = Scene::new();
    let pattern = HostPattern::parse("*.corp.example").unwrap();
    let registered = [scene.submit(register("app")), scene.submit(add_domain("old.corp.example", "app"))];
    scene.commit();
    scene.stored();
    scene.ack_all();
    scene.plane.reserve([(pattern, Owner::File)].into_iter().collect());
    let refused = scene.submit(add_domain("wiki.corp.example", "app"));
    let others = [
        scene.submit(add_domain("wiki.example", "app")),
        // Registered before the rule: an app that starts again is not refused.
        scene.submit(add_domain("old.corp.example", "app")),
    ];
    scene.commit();
    scene.stored();
    scene.ack_all();
    let refusal = scene.replies[&refused].as_ref().unwrap_err().to_string();
    assert_eq!(refusal, "host wiki.corp.example is reserved for owner file");
    assert!(registered.iter().chain(&others).all(|ticket| scene.replies[ticket].is_ok()));
}
