//! The engine: events in, effects out, on the control thread.
//!
//! ```text
//!  submit ─► plane ─► commits ──────► publisher ──► plane ────────────► reply
//!            queue    compile, store  all cores     acknowledgements
//! ```
//! Its parts own their state and do not depend on each other: `instances` (health, leases, drains),
//! `discovery` (addresses, hosts of the external resolver), `notifications` (webhooks), and the folder beside
//! this file. Every event is one `handle_*` call, followed by [`Engine::advance`], which does the work that
//! has become due.

mod ack_waiters;
mod canary_steps;
mod commits;
pub(crate) mod core_acks;
mod core_watch;
mod idempotency;
mod overrides;
mod plane;
#[cfg(test)]
mod plane_tests;
#[cfg(test)]
mod plane_trial_tests;
mod publisher;
mod security_steps;
mod shutdown;
pub(crate) mod store_thread;
mod trial_steps;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use ringway_bridge::{ReplySender, Waker};
use ringway_cache::Store;
use ringway_certs::{CertificateEvent, Certificates, PublishError};
use ringway_health::HealthChange;
use ringway_model::{
    AppId, Change, Delta, Desired, Generation, Hostname, InstanceId, Rejection, Resource, RouteId, Serial,
    TargetHost, Tick,
};
use ringway_net::sync::{Receiver, Sender};
use ringway_store::{Description, LoadReport};
use ringway_telemetry::{LogReading, Registry};
use ringway_tls::{LoadError, SecretKey};
use ringway_traffic::compile::{Compiled, Compiler, Outdated, Published};
use ringway_traffic::report::{Order, Report};
use ringway_traffic::samples::SampledHeads;

pub(crate) use self::ack_waiters::Acknowledged;
use self::ack_waiters::{AckState, AckWaiters};
pub(crate) use self::commits::Commits;
use self::commits::{StoreEvent, TrialBranch};
use self::core_watch::{CoreWatch, has_stalled};
use self::plane::{Commit, Plane, Publication, Step, Ticket};
pub(crate) use self::publisher::Publisher;
pub use self::publisher::WorkerLink;
pub use self::shutdown::Drained;
use self::shutdown::Shutdown;
use self::store_thread::StoreLink;
use crate::cache::Cache;
use crate::canaries::Canaries;
use crate::certificates::CertificateUpdate;
use crate::certificates::file_watch::FileProblems;
use crate::configuration::{ConfigurationStatus, Notice, Reserved};
use crate::credentials::Credentials;
use crate::discovery::dns_refresh::{DnsCounters, DnsRefresh, usable_addresses};
use crate::discovery::overlay::{self, Overlay};
use crate::discovery::threads::ResolverLink;
use crate::error_chain::with_causes;
use crate::instances::{self, Instances, outage};
use crate::limits::STORE_CLOSE_TIMEOUT;
use crate::liveness::Liveness;
use crate::notifications::{Availability, Notifications, changed_apps};
use crate::own_event::EventHook;
use crate::security_log::SecurityLog;
use crate::settings::ControlSettings;
use crate::simulation::{SampleRequests, Simulation};
use crate::status::CoreState;
use crate::submission::{Receipt, Refusal, Submission};
use crate::time::{Micros, Now};
use crate::trial::probation::Probation;
use crate::trial::proving::Proving;
use crate::trial::trials::Trials;
use crate::trial::{RevertReason, TrialStatus};
use crate::view::View;

/// Driver of the control plane.
pub(crate) struct Engine {
    settings: ControlSettings,
    plane: Plane,
    commits: Commits,
    publisher: Publisher,
    replies: AHashMap<Ticket, ReplyTo>,
    instances: Instances,
    dns: DnsRefresh,
    dns_counters: DnsCounters,
    overlay: Option<Overlay>,
    credentials: Credentials,
    certificates: Option<Certificates>,
    cache: Option<Cache>,
    ack_waiters: AckWaiters,
    files: FileProblems,
    configuration: ConfigurationStatus,
    sample_requests: SampleRequests,
    trials: Trials,
    proving: Proving,
    probation: Probation,
    canaries: Canaries,
    security: SecurityLog,
    notifications: Notifications,
    core_watch: CoreWatch,
    shutdown: Shutdown,
    liveness: Liveness,
    started: Micros,
    /// Wakes the thread's loop for an earlier deadline.
    waker: Waker,
    /// Deadline of the thread's loop.
    armed: Tick,
    log: Option<Box<dyn Fn() -> LogReading + Send>>,
    on_event: Option<EventHook>,
}

/// Components of an engine.
pub(crate) struct EngineParts {
    pub(crate) settings: ControlSettings,
    pub(crate) desired: Desired,
    pub(crate) reserved: Reserved,
    pub(crate) compiler: Compiler,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) cache: Option<Arc<Store>>,
    pub(crate) resolver: Option<ResolverLink>,
    pub(crate) first: Published,
    pub(crate) registry: Registry,
    pub(crate) log: Option<Box<dyn Fn() -> LogReading + Send>>,
    pub(crate) on_event: Option<EventHook>,
    pub(crate) links: Vec<WorkerLink>,
    pub(crate) store: StoreLink,
    pub(crate) description: Description,
    pub(crate) report: LoadReport,
    pub(crate) probation: Probation,
    pub(crate) liveness: Liveness,
    pub(crate) waker: Waker,
}

/// Recipient of the reply to a submission.
pub(crate) enum ReplyTo {
    /// A task of this thread.
    Task(Sender<Result<Receipt, Refusal>>),
    /// Another thread.
    Client(ReplySender<Result<Receipt, Refusal>>),
    /// The engine itself, for an instance whose heartbeats stopped.
    ExpiredInstance(InstanceId),
    /// The engine itself, for an instance that has drained.
    DrainedInstance(InstanceId),
    /// The engine itself, for a version that has proven itself.
    ProvenVersion(Arc<str>),
    /// The engine itself, for the state of a canary.
    Canary(RouteId),
}

/// Log line of reinstated endpoints.
const REINSTATED: &str =
    "circuit breaker closed: more endpoints were ejected than the pool's max_ejection_percent allows";

impl Engine {
    /// Publishes the first snapshot to all cores.
    pub(crate) fn new(parts: EngineParts, now: Now) -> Self {
        let cores: Vec<_> = parts.links.iter().map(|link| link.core).collect();
        let instances =
            Instances::new(&parts.settings, parts.desired.instances().map(|instance| &**instance));
        if let Some(certificates) = &parts.certificates {
            parts.desired.domains().for_each(|domain| certificates.put_domain(domain));
        }
        let proving = Proving::new(&parts.desired, now.micros);
        let first_view = View { desired: &parts.desired, snapshot: &parts.first.snapshot, trial: None, now };
        let canaries = Canaries::new(parts.settings.canary_interval, first_view);
        let keys_folder = parts.description.path.as_ref().map(|path| path.join("keys"));
        let mut engine = Self {
            plane: Plane::new(parts.desired, cores.iter().copied()),
            commits: Commits::new(parts.store, parts.description, &parts.report),
            publisher: Publisher::new(parts.compiler, parts.registry, parts.links, now.tick),
            replies: AHashMap::new(),
            instances,
            dns: DnsRefresh::default(),
            dns_counters: DnsCounters::default(),
            overlay: parts.resolver.map(Overlay::new),
            credentials: Credentials::new(keys_folder, parts.waker.clone()),
            certificates: parts.certificates,
            cache: parts.cache.map(Cache::new),
            ack_waiters: AckWaiters::default(),
            files: FileProblems::default(),
            configuration: ConfigurationStatus::default(),
            sample_requests: SampleRequests::default(),
            trials: Trials::default(),
            proving,
            probation: parts.probation,
            canaries,
            security: SecurityLog::default(),
            notifications: Notifications::new(parts.settings.certificate_webhook.clone()),
            core_watch: CoreWatch::new(cores.len()),
            shutdown: Shutdown::Running,
            liveness: parts.liveness,
            started: now.micros,
            waker: parts.waker,
            armed: Tick(0),
            log: parts.log,
            on_event: parts.on_event,
            settings: parts.settings,
        };
        engine.plane.reserve(parts.reserved);
        engine.credentials.follow(engine.plane.desired(), None);
        let serial = parts.first.snapshot.serial;
        engine.instances.mark_joining(engine.view(now));
        engine.publish(parts.first, now);
        engine.instances.resume_drains(serial, view(&engine.plane, &engine.publisher, now));
        let apps: Vec<_> = engine.plane.desired().apps().map(|app| app.id.clone()).collect();
        apps.iter().for_each(|app| engine.review_app(app, now));
        engine
    }

    // --- Events -------------------------------------------------------------------------------------------

    /// Takes a change. Its reply is sent when it is stored and acknowledged, or refused.
    pub(crate) fn handle_submit(&mut self, submission: Submission, reply_to: ReplyTo, now: Now) {
        let ticket = self.plane.handle_submit(submission, now.micros);
        self.replies.insert(ticket, reply_to);
    }

    pub(crate) fn handle_heartbeat(
        &mut self,
        id: &InstanceId,
        generation: Option<Generation>,
        now: Now,
    ) -> Result<(), Rejection> {
        let view = view(&self.plane, &self.publisher, now);
        if let Some(app) = self.instances.handle_heartbeat(id, generation, view)? {
            self.review_app(&app, now);
        }
        Ok(())
    }

    /// Takes a result of the health checks.
    pub(crate) fn handle_health_change(&mut self, change: &HealthChange, now: Now) {
        let view = view(&self.plane, &self.publisher, now);
        if let Some(app) = self.instances.handle_health_change(change, view) {
            self.review_app(&app, now);
        }
    }

    /// Takes a report of a worker.
    pub(crate) fn handle_report(&mut self, report: Report, now: Now) {
        match report {
            Report::Applied { core, serial } => self.plane.handle_ack(core, serial, now.micros),
            // The cores read the state itself from the endpoint; the report is for log and webhooks.
            Report::BreakerChanged { instance, open, .. } => {
                match open {
                    true => {
                        tracing::warn!(%instance, "circuit breaker opened: requests to this instance keep failing");
                    }
                    false => tracing::info!(%instance, "circuit breaker closed"),
                }
                let app = self.view(now).instance(&instance).map(|known| known.app.clone());
                if let Some(app) = app {
                    self.review_app(&app, now);
                }
            }
            Report::Reinstated { pool } => {
                tracing::info!(%pool, "{REINSTATED}");
                self.review_app(&pool, now);
            }
            Report::CircuitChanged { pool, route, open } => {
                let route = route.as_deref();
                match open {
                    true => {
                        tracing::warn!(%pool, route, "circuit breaker opened: requests to this pool are refused")
                    }
                    false => tracing::info!(%pool, route, "circuit breaker closed"),
                }
                let view = view(&self.plane, &self.publisher, now);
                self.notifications.handle_circuit_change(&pool, route, open, view);
            }
            Report::ConnectFailed { instance } => {
                let known = view(&self.plane, &self.publisher, now).instance(&instance);
                if let Some(known) = known
                    && let TargetHost::Name(name) = known.target.host()
                {
                    self.dns.request(name, now.tick);
                }
                if let Some(overlay) = &mut self.overlay {
                    overlay.handle_unreachable(&instance, now.tick);
                }
            }
            Report::AttemptsFailed { app, instance, reason, text, failures } => {
                let due = self.instances.count_failed_attempts(&instance, failures, now.tick);
                if let Some(failures) = due {
                    tracing::warn!(%app, %instance, reason, error = %text, failures, "upstream attempts failed");
                }
            }
            Report::Security { events } => {
                for (event, count) in events {
                    self.security.count(event, count, now.tick);
                }
            }
            Report::HostWanted { core, host } => {
                // A registered domain has its own route, or gets it with the next snapshot.
                if self.plane.desired().domain(host.as_str()).is_none()
                    && let Some(overlay) = &mut self.overlay
                {
                    overlay.handle_wanted(&host, core, now.tick);
                }
            }
            Report::CredentialsWanted { core, source, known } => {
                if !self.credentials.refresh(source.clone(), known) {
                    self.publisher.send(&Order::CredentialsSettled { source }, |of| of == core);
                }
            }
            Report::PasswordWanted { core, job } => {
                if !self.credentials.verify(core, &job) {
                    let refusal = Order::PasswordVerified { ticket: job.ticket, is_right: None };
                    self.publisher.send(&refusal, |of| of == core);
                }
            }
            Report::Samples { core, heads } => self.sample_requests.handle_samples(core, heads),
            Report::Drained { core } => self.plane.handle_drained(core, now.micros),
            Report::WorkerPanicked { core } => {
                tracing::error!(core = core.0, "worker thread panicked; its core serves no requests");
                self.plane.handle_dead(core, now.micros);
            }
        }
    }

    /// Takes the result of a DNS lookup.
    pub(crate) fn handle_addresses(&mut self, name: &Hostname, addresses: io::Result<Vec<IpAddr>>, now: Now) {
        let addresses = addresses.and_then(usable_addresses);
        let Some(failures) = self.dns.handle_result(name, addresses.is_ok(), now.tick) else { return };
        match addresses {
            Ok(addresses) => {
                if let Some(compiled) = self.publisher.compiler().update_addresses(name, &addresses) {
                    tracing::info!(%name, ?addresses, "name resolved to new addresses");
                    self.dns_counters.changed += 1;
                    self.publish_compiled(compiled, now);
                }
            }
            Err(error) => {
                self.dns_counters.failed += 1;
                if failures == 1 {
                    tracing::warn!(%name, %error, "name cannot be resolved; known addresses stay in use");
                }
            }
        }
        self.plane.handle_resolved(name, now.micros);
    }

    /// Publishes an update of the certificates. The receiver gets the result when all cores have it, or have
    /// timed out.
    ///
    /// # Errors
    /// [`PublishError::Stopping`] during shutdown; else see [`CertificateUpdate::compile`].
    pub(crate) fn publish_certificates(
        &mut self,
        update: &CertificateUpdate<'_>,
        now: Now,
    ) -> Result<Receiver<Acknowledged>, PublishError> {
        if !self.shutdown.is_running() {
            return Err(PublishError::Stopping);
        }
        if let Some(compiled) = update.compile(self.plane.desired(), self.publisher.compiler_mut())? {
            self.publish_compiled(compiled, now);
        }
        Ok(self.ack_waiters.wait(self.plane.published(), now.micros))
    }

    pub(crate) fn handle_certificate_event(&mut self, event: &CertificateEvent, now: Now) {
        let view = view(&self.plane, &self.publisher, now);
        self.notifications.handle_certificate_event(event, view);
    }

    /// Takes the problems of the files that apps and domains name.
    pub(crate) fn handle_file_problems(&mut self, problems: AHashMap<SecretKey, LoadError>) {
        self.files.put(problems);
    }

    /// Collects the last requests of all cores for a simulation.
    pub(crate) fn handle_sample_request(&mut self, reply: ReplySender<Vec<Arc<SampledHeads>>>, now: Now) {
        if self.sample_requests.wait(reply) {
            let full = self.publisher.send(&Order::ReportSamples, |_| true);
            let following = self.plane.cores().filter(|core| core.state == CoreState::Following);
            let asked = following.map(|core| core.id).filter(|core| !full.contains(core)).collect();
            self.sample_requests.handle_asked(asked, now.micros);
        }
    }

    /// Takes the state of the operator's configuration.
    pub(crate) fn handle_configuration_notice(&mut self, notice: Notice) {
        self.configuration = notice.status;
        self.plane.reserve(notice.reserved);
    }

    /// Begins the shutdown, or moves the deadline of a running one forward.
    pub(crate) fn handle_shutdown(&mut self, deadline: Tick, caller: Option<ReplySender<Drained>>, now: Now) {
        if self.shutdown.begin(deadline, caller) {
            tracing::info!(time = ?now.tick.until(deadline), "shutdown: draining connections");
            self.plane.handle_shutdown();
            // A core with a full mailbox has not read its orders for long; it is cut off at the deadline.
            for core in self.publisher.send(&Order::Drain { deadline }, |_| true) {
                tracing::warn!(core = core.0, "core cannot be drained: its mailbox is full");
            }
        }
    }

    // --- Work that is due ---------------------------------------------------------------------------------

    /// Does the work that is due. Returns names to look up; [`Engine::handle_addresses`] takes the results.
    pub(crate) fn advance(&mut self, now: Now) -> Vec<Hostname> {
        self.advance_store(now);
        self.plane.handle_time(now.micros);
        self.advance_instances(now);
        self.advance_overlay(now);
        self.advance_credentials(now);
        self.advance_security(now);
        self.advance_trial(now);
        self.prove_versions(now);
        self.advance_canaries(now);
        self.advance_cache(now);
        self.advance_plane(now);
        self.probe_cores(now);
        self.release_ack_waiters(now);
        self.sample_requests.release(now.micros);
        self.send_replies();
        self.advance_shutdown(now);
        self.core_watch.log_changes(self.plane.cores());
        self.record_liveness(now);
        let names = std::iter::from_fn(|| self.dns.poll_lookup(now.tick)).collect();
        if self.next_deadline(now) < self.armed {
            self.waker.wake();
        }
        names
    }

    /// Time of the next call of [`Engine::advance`], which the caller guarantees.
    pub(crate) fn arm(&mut self, now: Now) -> Tick {
        self.armed = self.next_deadline(now);
        self.armed
    }

    fn next_deadline(&self, now: Now) -> Tick {
        // During shutdown leases and drains have no effect.
        let instances = match self.shutdown.is_running() {
            true => self.instances.next_deadline(now.tick),
            false => Tick::NEVER,
        };
        let overlay = self.overlay.as_ref().map_or(Tick::NEVER, Overlay::next_deadline);
        let deadlines = [
            self.shutdown.next_deadline(),
            self.plane.next_deadline().tick(),
            self.ack_waiters.next_deadline().tick(),
            self.sample_requests.next_deadline().tick(),
            self.trials.next_deadline().tick(),
            self.proving.next_deadline().tick(),
            self.dns.next_deadline(),
            self.canaries.next_deadline(),
            self.security.next_deadline(),
            now.tick.after(RECORD_INTERVAL),
            instances,
            overlay,
        ];
        deadlines.into_iter().min().unwrap_or(Tick::NEVER)
    }

    fn advance_store(&mut self, now: Now) {
        while let Some(event) = self.commits.poll(now.micros) {
            match event {
                StoreEvent::Stored(commit, compiled) => self.finish_commit(&commit, *compiled, now),
                StoreEvent::Failed(failure) => self.plane.handle_stored(Err(failure), now.micros),
                StoreEvent::Closed => self.shutdown.handle_closed(now.tick),
            }
        }
    }

    /// Takes the steps of the plane up to the next batch to store.
    fn advance_plane(&mut self, now: Now) {
        while let Some(step) = self.plane.poll_step(now.micros, now.at) {
            match step {
                Step::Commit(commit) => self.begin_commit(commit, now),
                Step::BeginTrial(start) => self.begin_trial(start, now),
                Step::EndTrial(ended) => self.end_trial(&ended, now),
            }
        }
    }

    fn begin_commit(&mut self, commit: Commit, now: Now) {
        match self.commits.begin(commit, self.publisher.compiler(), now.micros) {
            Ok(TrialBranch::Intact) => {}
            Ok(TrialBranch::Broken) => {
                let why = "it does not compile with that".to_owned();
                self.plane.handle_revert(RevertReason::Conflict(why));
            }
            Err(failure) => self.plane.handle_stored(Err(failure), now.micros),
        }
    }

    /// Publishes a stored batch and hands its records to the parts.
    fn finish_commit(&mut self, commit: &Commit, mut compiled: Compiled, now: Now) {
        let published = loop {
            match self.publisher.compiler_mut().commit(compiled) {
                Ok(published) => break published,
                // Addresses changed while the store was busy: compile again on top of them.
                Err(Outdated) => {
                    compiled = commit.compile(self.publisher.compiler());
                }
            }
        };
        if commit.promotes {
            self.publisher.set_trial_core(None);
        }
        let serial = self.publish_to_cores(published, now);
        let mut unresolved = Vec::new();
        let mut reasons = AHashMap::new();
        for delta in &commit.deltas {
            let view = view(&self.plane, &self.publisher, now);
            let reason = self.instances.handle_stored(delta, serial, view);
            match delta {
                Delta::Put(Resource::Instance(instance)) => {
                    if let TargetHost::Name(name) = instance.target.host()
                        && self.publisher.compiler().addresses(name.as_str()).is_some_and(<[_]>::is_empty)
                    {
                        self.dns.request(name, now.tick);
                        if self.dns.is_lookup_pending(name, now.tick) && !unresolved.contains(name) {
                            unresolved.push(name.clone());
                        }
                    }
                }
                Delta::Remove(Resource::Instance(instance)) => {
                    if let Some(reason) = reason {
                        reasons.insert(instance.id.clone(), reason);
                    }
                }
                Delta::Put(Resource::Domain(domain)) => {
                    if let Some(certificates) = &self.certificates {
                        certificates.put_domain(domain);
                    }
                }
                Delta::Remove(Resource::Domain(domain)) => {
                    if let Some(certificates) = &self.certificates {
                        certificates.remove_domain(&domain.name);
                    }
                }
                Delta::Put(
                    Resource::App(_)
                    | Resource::Policy(_)
                    | Resource::Route(_)
                    | Resource::ConfigVersion(_)
                    | Resource::Certificate(_)
                    | Resource::CanaryState(_)
                    | Resource::EndpointOverride(_)
                    | Resource::Middleware(_)
                    | Resource::Plugin(_)
                    | Resource::Script(_),
                )
                | Delta::Remove(
                    Resource::App(_)
                    | Resource::Policy(_)
                    | Resource::Route(_)
                    | Resource::ConfigVersion(_)
                    | Resource::Certificate(_)
                    | Resource::CanaryState(_)
                    | Resource::EndpointOverride(_)
                    | Resource::Middleware(_)
                    | Resource::Plugin(_)
                    | Resource::Script(_),
                ) => {}
            }
        }
        self.plane.handle_stored(Ok(Publication { serial, unresolved }), now.micros);
        if commit.promotes
            && let Some(status) = self.trials.handle_promoted(now.micros)
        {
            let TrialStatus { owner, version, on_trial, .. } = status;
            tracing::info!(
                %owner, %version, requests = on_trial.requests, errors = on_trial.errors,
                "configuration promoted to all cores"
            );
        }
        self.credentials.handle_stored(&commit.deltas, self.plane.desired(), self.plane.on_trial());
        self.follow_versions(&commit.deltas, now);
        self.follow_canaries(&commit.deltas, now);
        overrides::log_dropped(&commit.deltas);
        self.drop_overlay_routes(&commit.deltas, now);
        let view = view(&self.plane, &self.publisher, now);
        self.notifications.handle_stored(&commit.deltas, &reasons, view);
        for app in changed_apps(&commit.deltas) {
            self.review_app(&app, now);
        }
    }

    /// Removes the overlay's routes of domains that were registered, after the publication of their own.
    fn drop_overlay_routes(&mut self, deltas: &[Delta], now: Now) {
        for delta in deltas {
            if let Delta::Put(Resource::Domain(domain)) = delta
                && let Some(overlay) = &mut self.overlay
            {
                let deltas = overlay.handle_registered(&domain.name, now.at);
                self.publish_overlay(&deltas, now);
            }
        }
    }

    /// Publishes a snapshot that was compiled in this turn.
    fn publish_compiled(&mut self, compiled: Compiled, now: Now) {
        // Cannot be outdated: nothing else was committed since.
        if let Ok(published) = self.publisher.compiler_mut().commit(compiled) {
            self.publish(published, now);
        }
    }

    /// Publishes a snapshot that comes from no change.
    fn publish(&mut self, published: Published, now: Now) {
        let serial = self.publish_to_cores(published, now);
        self.plane.handle_published(serial, now.micros);
    }

    /// Publishes a snapshot, and reports the endpoints that it reinstated.
    fn publish_to_cores(&mut self, mut published: Published, now: Now) -> Serial {
        let reinstated = std::mem::take(&mut published.reinstated);
        let serial = self.publisher.publish(published, &mut self.dns, now.tick);
        for (pool, instance) in reinstated {
            tracing::info!(%pool, %instance, "{REINSTATED}");
            self.review_app(&pool, now);
        }
        serial
    }

    fn publish_overlay(&mut self, deltas: &[Delta], now: Now) {
        let Some(overlay) = &self.overlay else { return };
        if !deltas.is_empty() {
            let compiled = self.publisher.compiler().compile_resolved(overlay.desired(), deltas);
            self.publish_compiled(compiled, now);
        }
    }

    fn advance_instances(&mut self, now: Now) {
        while self.shutdown.is_running() {
            let plane = &self.plane;
            let is_acknowledged = |serial| plane.have_cores(serial) && !plane.lag_behind(serial);
            let view = view(plane, &self.publisher, now);
            let Some(effect) = self.instances.poll_effect(is_acknowledged, view) else { return };
            let (id, generation, reply_to) = match effect {
                instances::Effect::ReviewApp(app) => {
                    self.review_app(&app, now);
                    continue;
                }
                instances::Effect::RemoveExpired(id, generation) => {
                    (id.clone(), generation, ReplyTo::ExpiredInstance(id))
                }
                instances::Effect::RemoveDrained(id, generation) => {
                    (id.clone(), generation, ReplyTo::DrainedInstance(id))
                }
            };
            let change = Change::RemoveInstance { id, generation: Some(generation) };
            self.handle_submit(Submission::of(change), reply_to, now);
        }
    }

    fn advance_overlay(&mut self, now: Now) {
        let Some(overlay) = &mut self.overlay else { return };
        let desired = self.plane.desired();
        overlay.advance(|host| desired.domain(host.as_str()).is_some(), now);
        while let Some(effect) = self.overlay.as_mut().and_then(|overlay| overlay.poll_effect(now.at)) {
            match effect {
                overlay::Effect::Publish(deltas) => self.publish_overlay(&deltas, now),
                overlay::Effect::ReportAbsence(cores, host, why) => {
                    // A full mailbox: the waiting requests time out.
                    self.publisher.send(&Order::HostAbsent { host, why }, |core| cores.contains(&core));
                }
            }
        }
    }

    fn advance_credentials(&mut self, now: Now) {
        while let Some(event) = self.credentials.poll() {
            match event {
                ringway_auth::Event::Loaded { source, credentials } => {
                    let compiler = self.publisher.compiler();
                    if let Some(compiled) = compiler.update_credentials(&source, credentials.as_ref()) {
                        self.publish_compiled(compiled, now);
                    }
                }
                ringway_auth::Event::Settled { source, .. } => {
                    // A full mailbox: the waiting requests time out.
                    self.publisher.send(&Order::CredentialsSettled { source }, |_| true);
                }
                ringway_auth::Event::Verified { core, ticket, is_right } => {
                    let order = Order::PasswordVerified { ticket, is_right };
                    self.publisher.send(&order, |of| of == core);
                }
            }
        }
    }

    fn advance_cache(&mut self, now: Now) {
        let view = view(&self.plane, &self.publisher, now);
        if let Some(cache) = &mut self.cache {
            cache.advance(view);
        }
    }

    /// Publishes the present configuration under a new serial when the cores have had nothing to acknowledge
    /// for a while: a core that hangs is noticed without a change.
    fn probe_cores(&mut self, now: Now) {
        if self.publisher.is_liveness_due(now.tick) && !self.commits.is_busy() && self.shutdown.is_running() {
            let compiled = self.publisher.compiler().compile(self.plane.desired(), &[]);
            self.publish_compiled(compiled, now);
        }
    }

    fn release_ack_waiters(&mut self, now: Now) {
        let state = |serial| match (self.plane.have_cores(serial), self.plane.lag_behind(serial)) {
            (false, _) => AckState::Pending,
            (true, true) => AckState::AllButLagging,
            (true, false) => AckState::All,
        };
        self.ack_waiters.release(state, now.micros);
    }

    fn send_replies(&mut self) {
        while let Some((ticket, result)) = self.plane.poll_reply() {
            let result = result.map_err(|refusal| match refusal {
                Refusal::Rejected(Rejection::UnknownInstance(id)) => {
                    Refusal::Rejected(self.instances.unknown(&id))
                }
                refusal => refusal,
            });
            match self.replies.remove(&ticket) {
                Some(ReplyTo::Task(reply)) => reply.send(result),
                // The change has its effect with or without a receiver.
                Some(ReplyTo::Client(reply)) => drop(reply.send(result)),
                Some(ReplyTo::ExpiredInstance(instance)) => {
                    self.instances.handle_expired_removal(&instance, result.err().as_ref());
                }
                Some(ReplyTo::ProvenVersion(key)) => match result {
                    Ok(_) => tracing::info!(version = %key, "configuration has served for a minute: proven"),
                    Err(error) => {
                        let error = with_causes(&error);
                        tracing::warn!(version = %key, error, "proof of a configuration not stored; will retry");
                    }
                },
                Some(ReplyTo::Canary(route)) => {
                    if let Err(error) = result {
                        let error = with_causes(&error);
                        tracing::warn!(%route, error, "state of a canary not stored; will retry");
                    }
                }
                Some(ReplyTo::DrainedInstance(instance)) => {
                    self.instances.handle_drained_removal(&instance, result.err().as_ref());
                }
                None => {}
            }
        }
    }

    fn advance_shutdown(&mut self, now: Now) {
        let is_drained = self.plane.have_cores_ended() && self.plane.is_idle();
        if self.shutdown.is_closing_due(is_drained, now.tick) {
            self.publisher.send(&Order::Stop, |_| true);
            if self.probation.handle_end() {
                self.commits.save(self.probation.clone());
            }
            let deadline = match self.commits.close() {
                Ok(()) => now.tick.after(STORE_CLOSE_TIMEOUT),
                Err(_) => now.tick,
            };
            self.shutdown.handle_closing(self.plane.cores_not_drained(), deadline);
        } else {
            self.shutdown.end_if_due(now.tick);
        }
    }

    /// Records that this thread and all cores make progress.
    fn record_liveness(&self, now: Now) {
        if !self.plane.cores().any(|core| has_stalled(&core, now.micros)) {
            self.liveness.record(now.tick);
        }
    }

    /// Sends and logs a change of an app's availability.
    /// Reports a change of an app's availability. Where its health left more endpoints ejected than its pool
    /// allows, they are reinstated first.
    fn review_app(&mut self, app: &AppId, now: Now) {
        let view = view(&self.plane, &self.publisher, now);
        for endpoint in
            view.snapshot.pool_of_app(app.as_str()).into_iter().flat_map(|pool| pool.reinstate_excess())
        {
            tracing::info!(pool = %app, instance = %endpoint.instance, "{REINSTATED}");
        }
        if self.notifications.review_app(app, view) == Some(Availability::Lost) {
            match outage::describe(app, &self.instances, view) {
                Some(outage) => tracing::warn!(%app, "{outage}"),
                None => tracing::warn!(%app, "no instance of the app is available"),
            }
        }
    }

    // --- Readings -----------------------------------------------------------------------------------------

    /// Configuration in force at `now`.
    pub(crate) fn view(&self, now: Now) -> View<'_> {
        view(&self.plane, &self.publisher, now)
    }

    pub(crate) fn desired(&self) -> &Desired {
        self.plane.desired()
    }

    pub(crate) fn settings(&self) -> &ControlSettings {
        &self.settings
    }

    pub(crate) fn plane(&self) -> &Plane {
        &self.plane
    }

    pub(crate) fn commits(&self) -> &Commits {
        &self.commits
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(crate) fn instances(&self) -> &Instances {
        &self.instances
    }

    pub(crate) fn dns_counters(&self) -> DnsCounters {
        self.dns_counters
    }

    pub(crate) fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    pub(crate) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The store of responses, if the process has one.
    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    pub(crate) fn files(&self) -> &FileProblems {
        &self.files
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn configuration(&self) -> &ConfigurationStatus {
        &self.configuration
    }

    pub(crate) fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    pub(crate) fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    /// Copies of the configuration and of the compiler, for a simulation.
    pub(crate) fn simulation(&self) -> Simulation {
        let compiler = self.publisher.compiler().clone();
        let cache = self.cache.as_ref().map(|cache| cache.store().clone());
        Simulation::new(self.plane.desired().clone(), compiler, Vec::new()).with_cache(cache)
    }

    /// State of the access log, if there is one.
    pub(crate) fn log_reading(&self) -> Option<LogReading> {
        self.log.as_ref().map(|read| read())
    }

    pub(crate) fn uptime(&self, now: Now) -> Duration {
        now.micros.since(self.started)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.shutdown.is_running()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.shutdown.has_ended()
    }

    /// Whether every core serves and the process is not shutting down.
    pub(crate) fn is_ready(&self) -> bool {
        self.shutdown.is_running() && self.plane.have_cores_started()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("revision", &self.plane.desired().revision()).finish_non_exhaustive()
    }
}

/// View over two parts of the engine, while the others may change.
fn view<'a>(plane: &'a Plane, publisher: &'a Publisher, now: Now) -> View<'a> {
    let trial = plane.on_trial().zip(publisher.snapshot_on_trial());
    View { desired: plane.desired(), snapshot: publisher.snapshot(), trial, now }
}

/// Liveness is recorded at least this often.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);
