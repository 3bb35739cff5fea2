//! Plane, leases, names, compiler and health put together: events in, effects out, on the control thread.
//!
//! Every event is one call here, followed by [`Engine::advance`], which does what has become due: commits to the
//! store, answers, removals of silent instances. `shutdown` has the steps of the end, `status_report` what is told of it all.

pub(crate) mod core_acks;
pub(crate) mod idempotency;
pub(crate) mod plane;
#[cfg(test)]
mod plane_tests;
mod shutdown;
mod status_report;
pub(crate) mod store_thread;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{CORE_STALL, LIVENESS_INTERVAL};
use ahash::AHashMap;
use ringway_bridge::{MailboxSender, ReplySender, SlotSender, Waker};
use ringway_certs::Certificates;
use ringway_health::{Checker, Verdict};
use ringway_model::{
    AppId, Change, CoreId, Delta, Desired, Generation, Health, Hostname, InstanceId, Rejection, Resource,
    TargetHost, Tick, Webhook,
};
use ringway_net::DriverChoice;
use ringway_store::{Description, LoadReport};
use ringway_telemetry::{LogReading, Registry};
use ringway_tls::{LoadError, SecretKey};
use ringway_traffic::compile::{Compiled, Compiler, Outdated, Published, SlotChange};
use ringway_traffic::policy::Defaults;
use ringway_traffic::report::{Order, Report};
use ringway_traffic::snapshot::Snapshot;

use self::shutdown::Phase;
use crate::certificates::certificate_host::{Acknowledged, Publications, Reached};
use crate::certificates::file_watch::FileProblems;
use crate::control::Answer;
use crate::discovery::dns_refresh::{Answered, Names};
use crate::discovery::overlay::ResolvedHosts;
use crate::discovery::threads::ResolverLink;
use crate::engine::core_acks::{CoreProgress, CoreState};
use crate::engine::plane::{Commit, Plane, Publication, Ticket};
use crate::engine::store_thread::{Done, StoreLink};
use crate::error_chain::with_causes;
use crate::instances::attempt_warnings::AttemptWarnings;
use crate::instances::drains::{Drains, log_removal};
use crate::instances::lease::{Deregistered, Deregistration, LeaseEnd, Leases};
use crate::notifications::Hooks;
use crate::submission::{Receipt, Refusal, StorageFailure, Submission};
use crate::thread::Pulse;
use crate::time::{Micros, Now};

/// What the operator settled.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Health checks of instances that do not say otherwise.
    pub health: ringway_health::Defaults,
    /// An instance that has sent heartbeats leaves the rotation this long after the last one, and is deregistered after as long
    /// again.
    pub heartbeat_timeout: Duration,
    /// Key of the hash that stands for a tenant in access logs.
    pub hash_key: u64,
    /// The control thread's own I/O driver.
    pub driver: DriverChoice,
    /// Version of the program, for status and metrics.
    pub version: &'static str,
    /// Source revision that it was built from, or `unknown`.
    pub commit: &'static str,
    /// Settings of rules and pools that have no others; the builder of a gateway makes the policy from the data plane's
    /// settings.
    pub defaults: Defaults,
    /// Where the operator hears of every certificate, beside the webhooks of apps.
    pub certificate_webhook: Option<Webhook>,
}

impl Default for ControlSettings {
    /// The defaults of `ringway_model::limits`, and a hash key of this process's own.
    fn default() -> Self {
        Self {
            health: ringway_health::Defaults::default(),
            heartbeat_timeout: ringway_model::limits::HEARTBEAT_TIMEOUT,
            hash_key: std::hash::BuildHasher::hash_one(&ahash::RandomState::new(), 0_u8),
            driver: DriverChoice::Auto,
            version: env!("CARGO_PKG_VERSION"),
            commit: "unknown",
            defaults: Defaults::default(),
            certificate_webhook: None,
        }
    }
}

/// The control thread's ends of what connects it with one worker.
#[derive(Debug)]
pub struct WorkerLink {
    /// Which core.
    pub core: CoreId,
    /// Where it finds the newest snapshot.
    pub snapshots: SlotSender<Arc<Snapshot>>,
    /// Where it finds its orders.
    pub orders: MailboxSender<Order>,
}

/// Everything that the control thread knows and does.
pub(crate) struct Engine {
    settings: ControlSettings,
    plane: Plane,
    leases: Leases,
    drains: Drains,
    deregistered: Deregistered,
    names: Names,
    attempt_warnings: AttemptWarnings,
    compiler: Compiler,
    certificates: Option<Certificates>,
    publications: Publications,
    hooks: Hooks,
    files: FileProblems,
    resolved: Option<ResolvedHosts>,
    checker: Checker,
    registry: Registry,
    log: Option<Box<dyn Fn() -> LogReading + Send>>,
    links: Vec<WorkerLink>,
    store: StoreLink,
    store_facts: StoreFacts,
    committing: Option<Committing>,
    askers: AHashMap<Ticket, Asker>,
    tally: Tally,
    phase: Phase,
    pulse: Pulse,
    started: Micros,
    /// When the cores were last given something to acknowledge.
    last_published: Tick,
    /// The states that were last logged.
    core_states: Vec<CoreState>,
    /// Rings when the thread's loop has to look at its deadline again.
    waker: Waker,
    /// When the loop looks next.
    armed: Tick,
}

/// What an engine is made of.
pub(crate) struct EngineParts {
    pub(crate) settings: ControlSettings,
    pub(crate) desired: Desired,
    pub(crate) compiler: Compiler,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) resolver: Option<ResolverLink>,
    pub(crate) first: Published,
    pub(crate) registry: Registry,
    pub(crate) log: Option<Box<dyn Fn() -> LogReading + Send>>,
    pub(crate) links: Vec<WorkerLink>,
    pub(crate) store: StoreLink,
    pub(crate) description: Description,
    pub(crate) report: LoadReport,
    pub(crate) pulse: Pulse,
    pub(crate) waker: Waker,
}

/// Who gets an answer.
pub(crate) enum Asker {
    /// A task of this thread.
    Task(Rc<RefCell<Answer>>),
    /// Another thread.
    Client(ReplySender<Result<Receipt, Refusal>>),
    /// Ourselves: the instance's heartbeats stopped.
    Lease(InstanceId),
    /// Ourselves: the instance's drain is over.
    Drain(InstanceId),
}

/// A commit that the store has in hand, compiled already: what is stored is known to compile.
struct Committing {
    commit: Arc<Commit>,
    compiled: Compiled,
    since: Micros,
}

struct StoreFacts {
    description: Description,
    /// What was found at start.
    found: Vec<String>,
    /// Why the last commit failed, if it did.
    failure: Option<StorageFailure>,
}

#[derive(Default)]
struct Tally {
    changes_stored: u64,
    batches_stored: u64,
    batches_failed: u64,
    store_micros: u64,
    leases_expired: u64,
    names_changed: u64,
    names_failed: u64,
}

/// The compiler panicked over a batch, so it was not stored.
#[derive(Clone, Copy, Debug)]
struct NotCompiled;

impl fmt::Display for NotCompiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration could not be compiled")
    }
}

impl std::error::Error for NotCompiled {}

impl Engine {
    /// Gives all cores the first snapshot.
    pub(crate) fn new(parts: EngineParts, now: Now) -> Self {
        let ids: Vec<CoreId> = parts.links.iter().map(|link| link.core).collect();
        let found = match parts.report.is_degraded() {
            true => parts.report.to_string().lines().map(str::to_owned).collect(),
            false => Vec::new(),
        };
        let mut engine = Self {
            plane: Plane::new(parts.desired, ids.iter().copied()),
            leases: Leases::new(parts.settings.heartbeat_timeout),
            drains: Drains::default(),
            deregistered: Deregistered::default(),
            names: Names::default(),
            attempt_warnings: AttemptWarnings::default(),
            compiler: parts.compiler,
            certificates: parts.certificates,
            publications: Publications::default(),
            hooks: Hooks::default(),
            files: FileProblems::default(),
            resolved: parts.resolver.map(ResolvedHosts::new),
            checker: Checker::new(parts.settings.health),
            registry: parts.registry,
            log: parts.log,
            links: parts.links,
            store: parts.store,
            store_facts: StoreFacts { description: parts.description, found, failure: None },
            committing: None,
            askers: AHashMap::new(),
            tally: Tally::default(),
            phase: Phase::Running,
            pulse: parts.pulse,
            started: now.micros,
            last_published: now.tick,
            core_states: vec![CoreState::Following; ids.len()],
            waker: parts.waker,
            armed: Tick(0),
            settings: parts.settings,
        };
        engine.checker.set_targets(engine.plane.desired().instances().map(|instance| &**instance));
        if let Some(certificates) = &engine.certificates {
            engine.plane.desired().domains().for_each(|domain| certificates.put_domain(domain));
        }
        let serial = parts.first.snapshot.serial;
        engine.join_again(&parts.first.snapshot, now);
        engine.publish(parts.first, now);
        let desired = engine.desired().clone();
        for instance in desired.instances().filter(|instance| instance.draining.is_some()) {
            engine.note_drain(instance, serial, now);
        }
        let apps: Vec<_> = engine.desired().apps().map(|app| app.id.clone()).collect();
        apps.iter().for_each(|app| engine.look_at_app(app, now));
        engine
    }

    pub(crate) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Whether an instance sent heartbeats and stopped.
    pub(crate) fn has_lapsed(&self, id: &InstanceId) -> bool {
        self.leases.lease(id).is_some_and(|lease| lease.is_lapsed())
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    pub(crate) fn hooks_mut(&mut self) -> &mut Hooks {
        &mut self.hooks
    }

    pub(crate) fn resolved(&self) -> Option<&ResolvedHosts> {
        self.resolved.as_ref()
    }

    pub(crate) fn resolved_mut(&mut self) -> Option<&mut ResolvedHosts> {
        self.resolved.as_mut()
    }

    pub(crate) fn links(&self) -> &[WorkerLink] {
        &self.links
    }

    pub(crate) fn settings(&self) -> &ControlSettings {
        &self.settings
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    pub(crate) fn compiler_mut(&mut self) -> &mut Compiler {
        &mut self.compiler
    }

    pub(crate) fn drains(&self) -> &Drains {
        &self.drains
    }

    pub(crate) fn drains_mut(&mut self) -> &mut Drains {
        &mut self.drains
    }

    /// The drains, and what decides on their end.
    pub(crate) fn drains_and_facts(&mut self) -> (&mut Drains, &Plane, &Desired, &Snapshot) {
        (&mut self.drains, &self.plane, self.plane.desired(), self.compiler.snapshot())
    }

    /// Submits the removal of a drained instance.
    pub(crate) fn submit_removal(&mut self, submission: Submission, id: InstanceId, now: Now) {
        self.handle_submit(submission, Asker::Drain(id), now);
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    pub(crate) fn desired(&self) -> &Desired {
        self.plane.desired()
    }

    pub(crate) fn checker(&self) -> &Checker {
        &self.checker
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.plane.have_cores_started()
    }

    // --- Events ------------------------------------------------------------------------------------------------

    pub(crate) fn handle_submit(&mut self, submission: Submission, asker: Asker, now: Now) {
        let ticket = self.plane.handle_submit(submission, now.micros);
        self.askers.insert(ticket, asker);
    }

    pub(crate) fn handle_heartbeat(
        &mut self,
        id: &InstanceId,
        generation: Option<Generation>,
        now: Now,
    ) -> Result<(), Rejection> {
        let Some(instance) = self.plane.desired().instance(id.as_str()) else {
            return Err(self.unknown_instance(id));
        };
        let (current, app) = (instance.generation, instance.app.clone());
        if generation.is_some_and(|generation| generation != current) {
            return Err(Rejection::StaleGeneration { id: id.clone(), current });
        }
        let silence = self.leases.lease(id).map(|lease| lease.silence(now.tick)).unwrap_or_default();
        if self.leases.handle_heartbeat(id, current, now.tick, now.at) {
            let checked = self.checker.status(id.as_str()).map_or(Health::Unknown, |checked| checked.health);
            // Not known to be well by now: traffic only while no other instance can take it.
            let health = if checked == Health::Unknown { Health::Joining } else { checked };
            let seconds = silence.as_secs();
            tracing::info!(instance = %id, %app, seconds, health = health.as_str(), "heartbeats came back");
            self.settle_health(&app, id, health);
            self.look_at_app(&app, now);
        }
        Ok(())
    }

    /// The rejection of a message about an instance that is not registered.
    fn unknown_instance(&self, id: &InstanceId) -> Rejection {
        match self.deregistered.get(id) {
            Some(Deregistration { at, silence }) => Rejection::Deregistered { id: id.clone(), at, silence },
            None => Rejection::UnknownInstance(id.clone()),
        }
    }

    /// Writes an instance's health where the cores read it: what its checks say, unless its heartbeats are missing. Returns what
    /// it was before and is now; the caller looks at the app when they differ.
    fn settle_health(&self, app: &AppId, id: &InstanceId, checked: Health) -> Option<(Health, Health)> {
        let is_lapsed = self.has_lapsed(id);
        let health = if is_lapsed { Health::Unhealthy } else { checked };
        let snapshot = self.compiler.snapshot();
        let endpoint = snapshot.endpoint(app.as_str(), id.as_str())?;
        let before = endpoint.state.health();
        endpoint.state.set_health(health);
        Some((before, health))
    }

    /// What is wrong with the files that apps and domains name.
    pub(crate) fn handle_file_problems(&mut self, problems: AHashMap<SecretKey, LoadError>) {
        self.files.put(problems);
    }

    pub(crate) fn handle_report(&mut self, report: Report, now: Now) {
        match report {
            Report::Applied { core, serial } => self.plane.handle_ack(core, serial, now.micros),
            // The state itself is where everybody reads it; this is for the log.
            Report::BreakerChanged { instance, open, .. } => {
                match open {
                    true => {
                        tracing::warn!(%instance, "circuit breaker opened: requests to this instance keep failing");
                    }
                    false => tracing::info!(%instance, "circuit breaker closed"),
                }
                if let Some(instance) = self.plane.desired().instance(instance.as_str()).cloned() {
                    self.look_at_app(&instance.app, now);
                }
            }
            Report::ConnectFailed { instance } => {
                if let Some(known) = self.plane.desired().instance(instance.as_str())
                    && let TargetHost::Name(name) = known.target.host()
                {
                    self.names.handle_wanted(name, now.tick);
                }
                self.handle_resolved_unreachable(&instance, now);
            }
            Report::AttemptsFailed { app, instance, reason, text, failures } => {
                if let Some(failures) = self.attempt_warnings.count(&instance, failures, now.tick) {
                    tracing::warn!(%app, %instance, reason, error = %text, failures, "upstream attempts failed");
                }
            }
            Report::HostWanted { core, host } => self.handle_host_wanted(core, &host, now),
            Report::Drained { core } => self.plane.handle_drained(core, now.micros),
            Report::WorkerPanicked { core } => {
                tracing::error!(
                    core = core.0,
                    "a worker's thread panicked; its core serves nothing any more"
                );
                self.plane.handle_dead(core, now.micros);
            }
        }
    }

    pub(crate) fn handle_verdict(&mut self, verdict: &Verdict, now: Now) {
        let Some(instance) = self.plane.desired().instance(verdict.instance.as_str()).cloned() else {
            return;
        };
        let snapshot = self.compiler.snapshot();
        let endpoint = snapshot.endpoint(instance.app.as_str(), instance.id.as_str());
        if endpoint.is_none_or(|endpoint| endpoint.generation != verdict.generation) {
            return;
        }
        let (id, app, streak) = (&instance.id, &instance.app, verdict.streak.len());
        let Some((before, health)) = self.settle_health(app, id, verdict.health) else { return };
        if before == health {
            // Without heartbeats it is out of rotation, whatever its checks say.
            return;
        }
        let instance = id;
        match (verdict.health, &verdict.reason) {
            (Health::Unhealthy, Some(reason)) => {
                let reason = verdict.plan.explain(*reason);
                tracing::warn!(%instance, %app, streak, %reason, "instance is unhealthy and leaves the rotation");
            }
            (Health::Unhealthy, None) => {
                tracing::warn!(%instance, %app, streak, "instance is unhealthy and leaves the rotation");
            }
            (Health::Healthy, _) if before == Health::Unhealthy => {
                tracing::info!(%instance, %app, streak, "instance is healthy again and returns to the rotation");
            }
            (Health::Healthy, _) if before == Health::Joining => {
                tracing::info!(%instance, %app, "instance is healthy and joins the rotation");
            }
            (Health::Healthy | Health::Unknown | Health::Joining, _) => {}
        }
        self.look_at_app(app, now);
    }

    pub(crate) fn handle_addresses(&mut self, name: &Hostname, addresses: io::Result<Vec<IpAddr>>, now: Now) {
        // What nobody can listen on is no answer: a poisoned or mistaken record must not make us connect to ourselves.
        let addresses = addresses.and_then(|mut addresses| {
            addresses.retain(|address| !address.is_unspecified() && !address.is_multicast());
            if addresses.is_empty() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(addresses) }
        });
        let answered = self.names.handle_answer(name, addresses.is_ok(), now.tick);
        let Answered::Known { failures } = answered else { return };
        match addresses {
            Ok(addresses) => {
                if let Some(compiled) = self.compiler.update_addresses(name, &addresses) {
                    tracing::info!(%name, ?addresses, "name resolved to new addresses");
                    self.tally.names_changed += 1;
                    if let Ok(published) = self.compiler.commit(compiled) {
                        self.publish(published, now);
                    }
                }
            }
            Err(error) => {
                self.tally.names_failed += 1;
                if failures == 1 {
                    tracing::warn!(%name, %error, "name cannot be resolved; known addresses stay in use");
                }
            }
        }
        self.plane.handle_resolved(name, now.micros);
    }

    // --- What follows ------------------------------------------------------------------------------------------

    /// Does everything that is due. Returns names that have to be resolved; [`Engine::handle_addresses`] takes the answers.
    pub(crate) fn advance(&mut self, now: Now) -> Vec<Hostname> {
        self.take_from_store(now);
        self.plane.handle_time(now.micros);
        self.expire_leases(now);
        self.advance_drains(now);
        self.advance_resolver(now);
        if let Some(commit) = self.plane.poll_commit(now.micros, now.at) {
            self.begin_commit(commit, now);
        }
        self.check_liveness(now);
        let reached = |serial| match (self.plane.have_cores(serial), self.plane.lag_behind(serial)) {
            (false, _) => Reached::NotYet,
            (true, true) => Reached::NotAll,
            (true, false) => Reached::All,
        };
        self.publications.release(reached, now.micros);
        self.answer();
        self.advance_end(now);
        self.log_cores();
        self.feed_pulse(now);
        let names = std::iter::from_fn(|| self.names.poll_start(now.tick)).collect();
        if self.next_deadline(now) < self.armed {
            self.waker.wake();
        }
        names
    }

    /// When the loop has to call [`Engine::advance`] next; it promises to.
    pub(crate) fn arm(&mut self, now: Now) -> Tick {
        self.armed = self.next_deadline(now);
        self.armed
    }

    fn next_deadline(&self, now: Now) -> Tick {
        let plane = self.plane.next_deadline().tick();
        // At the end leases run out without effect: nothing is due then.
        let leases = match &self.phase {
            Phase::Running => self.leases.next_deadline(),
            Phase::Draining { .. } | Phase::Closing { .. } | Phase::Ended => Tick::NEVER,
        };
        let drains = match &self.phase {
            Phase::Running => self.drains.next_deadline(now.tick),
            Phase::Draining { .. } | Phase::Closing { .. } | Phase::Ended => Tick::NEVER,
        };
        // Once a second at least, to feed the pulse.
        let pulse = now.tick.after(PULSE_INTERVAL);
        let publications = self.publications.next_deadline().tick();
        let resolver =
            self.resolved.as_ref().map_or(Tick::NEVER, |resolved| resolved.hosts().next_deadline());
        self.phase
            .next_deadline()
            .min(resolver)
            .min(plane)
            .min(publications)
            .min(pulse)
            .min(leases)
            .min(drains)
            .min(self.names.next_deadline())
    }

    fn begin_commit(&mut self, commit: Commit, now: Now) {
        // Compiling has no way to fail but a defect of ours. That must cost the batch and not the control plane, which
        // would wait for the store's answer for ever.
        let compile = || self.compiler.compile(&commit.desired, &commit.deltas);
        let Ok(compiled) = catch_unwind(AssertUnwindSafe(compile)) else {
            tracing::error!(changes = commit.changes, "changes could not be compiled and were refused");
            return self.refuse_commit(StorageFailure::new(NotCompiled), now);
        };
        let commit = Arc::new(commit);
        match self.store.commit(Arc::clone(&commit)) {
            Ok(()) => self.committing = Some(Committing { commit, compiled, since: now.micros }),
            Err(gone) => self.refuse_commit(StorageFailure::new(gone), now),
        }
    }

    fn refuse_commit(&mut self, failure: StorageFailure, now: Now) {
        self.tally.batches_failed += 1;
        self.store_facts.failure = Some(failure.clone());
        self.plane.handle_stored(Err(failure), now.micros);
    }

    fn take_from_store(&mut self, now: Now) {
        if let Some(description) = self.store.poll_description() {
            self.store_facts.description = description;
        }
        while let Some(done) = self.store.poll_done() {
            match done {
                Done::Stored(result) => self.finish_commit(result, now),
                Done::Closed => {
                    if let Phase::Closing { deadline, .. } = &mut self.phase {
                        *deadline = now.tick;
                    }
                }
            }
        }
    }

    fn finish_commit(&mut self, result: Result<(), StorageFailure>, now: Now) {
        let Some(Committing { commit, mut compiled, since }) = self.committing.take() else { return };
        if let Err(failure) = result {
            return self.refuse_commit(failure, now);
        }
        self.store_facts.failure = None;
        self.tally.batches_stored += 1;
        self.tally.changes_stored += commit.changes as u64;
        self.tally.store_micros += u64::try_from(now.micros.since(since).as_micros()).unwrap_or(u64::MAX);
        let published = loop {
            match self.compiler.commit(compiled) {
                Ok(published) => break published,
                // Addresses changed while the store was busy: compiled on top of them, it is up to date.
                Err(Outdated) => compiled = self.compiler.compile(&commit.desired, &commit.deltas),
            }
        };
        let serial = published.snapshot.serial;
        self.give_out(published, now);
        let mut unresolved = Vec::new();
        let mut reasons = AHashMap::new();
        for delta in &commit.deltas {
            match delta {
                Delta::Put(Resource::Instance(instance)) => {
                    self.deregistered.forget(&instance.id);
                    self.leases.handle_registered(&instance.id, instance.generation);
                    self.checker.upsert(instance);
                    self.note_drain(instance, serial, now);
                    if let TargetHost::Name(name) = instance.target.host()
                        && self.compiler.addresses(name.as_str()).is_some_and(<[_]>::is_empty)
                    {
                        self.names.handle_wanted(name, now.tick);
                        if self.names.is_expected(name, now.tick) && !unresolved.contains(name) {
                            unresolved.push(name.clone());
                        }
                    }
                }
                Delta::Remove(Resource::Instance(instance)) => {
                    let (app, id) = (&instance.app, &instance.id);
                    if let Some(reason) = self.handle_removed(app, id, now) {
                        reasons.insert(id.clone(), reason);
                    }
                    self.drains.handle_gone(id, now.tick);
                }
                Delta::Put(Resource::Domain(domain)) => {
                    if let Some(certificates) = &self.certificates {
                        certificates.put_domain(domain);
                    }
                    self.forget_resolved(&domain.name, now);
                }
                Delta::Remove(Resource::Domain(domain)) => {
                    if let Some(certificates) = &self.certificates {
                        certificates.remove_domain(&domain.name);
                    }
                }
                Delta::Put(Resource::App(_)) | Delta::Remove(Resource::App(_)) => {}
            }
        }
        self.plane.handle_stored(Ok(Publication { serial, unresolved }), now.micros);
        self.tell_of_changes(&commit.deltas, &reasons, now);
    }

    /// Gives all cores what was compiled a moment ago, on top of what they have.
    pub(crate) fn publish_compiled(&mut self, compiled: Compiled, now: Now) {
        // Nothing else was committed since: this thread has compiled it in this very turn.
        if let Ok(published) = self.compiler.commit(compiled) {
            self.publish(published, now);
        }
    }

    /// Somebody waits until all cores have what was published last.
    pub(crate) fn wait_for_cores(&mut self, now: Now) -> Rc<RefCell<Acknowledged>> {
        self.publications.wait(self.plane.published(), now.micros)
    }

    /// Gives all cores a snapshot that comes from no change.
    fn publish(&mut self, published: Published, now: Now) {
        let serial = published.snapshot.serial;
        self.give_out(published, now);
        self.plane.handle_published(serial, now.micros);
    }

    fn give_out(&mut self, published: Published, now: Now) {
        for change in published.slots {
            apply_slot(&mut self.registry, change);
        }
        for name in &published.names_removed {
            self.names.handle_removed(name);
        }
        for name in &published.names_added {
            self.names.handle_added(name, now.tick);
        }
        for link in &mut self.links {
            // An older snapshot that the core did not take is dropped here, not there.
            drop(link.snapshots.publish(Arc::clone(&published.snapshot)));
        }
        self.last_published = now.tick;
    }

    fn expire_leases(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        while let Some(end) = self.leases.poll_end(now.tick) {
            match end {
                LeaseEnd::Lapsed(id) => self.handle_lapsed(&id, now),
                LeaseEnd::Expired(id, generation) => {
                    let change = Change::RemoveInstance { id: id.clone(), generation: Some(generation) };
                    self.handle_submit(Submission::of(change), Asker::Lease(id), now);
                }
            }
        }
    }

    fn handle_lapsed(&mut self, id: &InstanceId, now: Now) {
        let Some(instance) = self.plane.desired().instance(id.as_str()).cloned() else { return };
        let Some(lease) = self.leases.lease(id) else { return };
        let (app, seconds) = (&instance.app, lease.silence(now.tick).as_secs());
        let deregistered_in = now.tick.until(lease.deregisters).as_secs();
        tracing::warn!(
            instance = %id, %app, seconds, deregistered_in,
            "no heartbeat: instance is unhealthy and leaves the rotation"
        );
        self.settle_health(app, id, Health::Unhealthy);
        self.look_at_app(app, now);
    }

    /// An instance is gone. Returns why, where it was for lack of heartbeats.
    fn handle_removed(&mut self, app: &AppId, id: &InstanceId, now: Now) -> Option<String> {
        let lease = self.leases.lease(id).filter(|lease| lease.is_expired());
        self.leases.handle_gone(id);
        self.checker.remove(id);
        let silence = lease?.silence(now.tick);
        self.deregistered.insert(id.clone(), Deregistration { at: now.at, silence });
        let seconds = silence.as_secs();
        tracing::warn!(instance = %id, %app, seconds, "no heartbeat: instance is deregistered");
        Some(no_heartbeat(silence))
    }

    /// Gives the cores the same configuration again under a new serial when they have had nothing to acknowledge for a
    /// while: a core that hangs is noticed though nobody changes anything.
    fn check_liveness(&mut self, now: Now) {
        let is_due = now.tick >= self.last_published.after(LIVENESS_INTERVAL);
        if !is_due || self.committing.is_some() || !matches!(self.phase, Phase::Running) {
            return;
        }
        let compiled = self.compiler.compile(self.plane.desired(), &[]);
        if let Ok(published) = self.compiler.commit(compiled) {
            self.publish(published, now);
        }
    }

    fn answer(&mut self) {
        while let Some((ticket, result)) = self.plane.poll_answer() {
            let result = result.map_err(|refusal| match refusal {
                Refusal::Rejected(Rejection::UnknownInstance(id)) => {
                    Refusal::Rejected(self.unknown_instance(&id))
                }
                refusal => refusal,
            });
            match self.askers.remove(&ticket) {
                Some(Asker::Task(answer)) => {
                    let mut answer = answer.borrow_mut();
                    answer.result = Some(result);
                    if let Some(waker) = answer.waker.take() {
                        waker.wake();
                    }
                }
                Some(Asker::Client(reply)) => {
                    // Nobody waits any more: the change has happened, or not, all the same.
                    let _ = reply.send(result);
                }
                Some(Asker::Lease(instance)) => match result {
                    Ok(_) => self.tally.leases_expired += 1,
                    // Registered again or removed meanwhile: as it should be.
                    Err(Refusal::Rejected(_)) => {}
                    Err(refusal) => {
                        let error = with_causes(&refusal);
                        tracing::warn!(%instance, error, "a silent instance could not be deregistered yet");
                    }
                },
                Some(Asker::Drain(instance)) => log_removal(&instance, result.err().as_ref()),
                None => {}
            }
        }
    }

    fn log_cores(&mut self) {
        for (core, logged) in self.plane.cores().zip(&mut self.core_states) {
            if core.state == *logged {
                continue;
            }
            let id = core.id.0;
            match core.state {
                CoreState::Lagging => {
                    tracing::warn!(core = id, "core has not acknowledged the configuration in time");
                }
                CoreState::Following => tracing::info!(core = id, "core follows the configuration again"),
                CoreState::Drained => tracing::info!(core = id, "core has drained"),
                // Said where it was reported.
                CoreState::Dead => {}
            }
            *logged = core.state;
        }
    }

    /// Says that this thread and all cores make progress; a core that has ended in good order need not.
    fn feed_pulse(&self, now: Now) {
        let stalled = |core: CoreProgress| match core.state {
            CoreState::Following | CoreState::Lagging => {
                core.behind_since.is_some_and(|since| since.after(CORE_STALL) <= now.micros)
            }
            CoreState::Drained => false,
            CoreState::Dead => true,
        };
        if !self.plane.cores().any(stalled) {
            self.pulse.beat(now.tick);
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("revision", &self.plane.desired().revision()).finish_non_exhaustive()
    }
}

fn apply_slot(registry: &mut Registry, change: SlotChange) {
    match change {
        SlotChange::NameRoute { slot, host, app } => registry.name_route(slot.0, host.as_str(), app.as_str()),
        SlotChange::FreeRoute { slot } => registry.free_route(slot.0),
        SlotChange::NamePool { slot, app } => registry.name_pool(slot.0, app.as_str()),
        SlotChange::FreePool { slot } => registry.free_pool(slot.0),
        SlotChange::NameEndpoint { slot, app, target, .. } => {
            registry.name_endpoint(slot.0, app.as_str(), &target.to_string());
        }
        SlotChange::FreeEndpoint { slot } => registry.free_endpoint(slot.0),
    }
}

/// The reason of an instance whose heartbeats stopped.
fn no_heartbeat(silence: Duration) -> String {
    format!("no heartbeat for {} s", silence.as_secs())
}

/// The pulse is fed at least this often.
const PULSE_INTERVAL: Duration = Duration::from_secs(1);
