//! Handle to the control plane for tasks of its thread.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::limits::DNS_TIMEOUT;
use ringway_cache::{Purge, Purged};
use ringway_certs::Certificates;
use ringway_model::{
    AppId, CanaryState, Desired, Generation, Hostname, InstanceId, Owner, Rejection, Revision, RouteId,
    SetVersion, SetWeight, Tick,
};
use ringway_net::sync::oneshot;
use ringway_net::{clock, spawn};

use crate::cache::{CacheScopeStatus, CacheStatus, CachedFilter, CachedResponse};
use crate::canaries::{CanaryError, CanaryStatus};
use crate::configuration::ConfigClient;
use crate::engine::{Engine, ReplyTo};
use crate::instances::outage;
use crate::simulation::Simulation;
use crate::status::{
    AppStatus, CircuitStatus, EjectionStatus, InstanceDrained, InstanceStatus, Status, circuits, metrics,
    status_report,
};
use crate::submission::{Receipt, Refusal, Submission};
use crate::time::Now;
use crate::trial::{NoTrial, TrialStatus};

/// The control plane for tasks of its thread, such as the admin API. Cheap to clone; see
/// [`Client`](crate::Client) for other threads.
#[derive(Clone)]
pub struct Control {
    engine: Rc<RefCell<Engine>>,
    configuration: ConfigClient,
}

impl Control {
    pub(crate) fn new(engine: Engine, configuration: ConfigClient) -> Self {
        Self { engine: Rc::new(RefCell::new(engine)), configuration }
    }

    /// The configuration of operators: files, and sets that requests replace.
    pub fn configuration(&self) -> &ConfigClient {
        &self.configuration
    }

    /// Applies a change. With a receipt it is on disk and on every core that the receipt does not name as
    /// pending; that takes an fsync and a wake-up of the cores, at most
    /// `APPLY_DEADLINE` after the store is done.
    ///
    /// Dropping the future does not cancel the change.
    ///
    /// # Errors
    /// See [`Refusal`]; the configuration is unchanged then.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let (reply, receiver) = oneshot();
        self.turn(|engine, now| engine.handle_submit(submission, ReplyTo::Task(reply), now));
        // Without a reply the engine is gone, and the change may be with the store.
        receiver.await.unwrap_or(Err(Refusal::Unconfirmed))
    }

    /// Takes a heartbeat of an instance, which has a lease from its first one on. Nothing is stored.
    ///
    /// # Errors
    /// [`Rejection::UnknownInstance`]; [`Rejection::Deregistered`] after its heartbeats had stopped; and
    /// [`Rejection::StaleGeneration`] for a message of a process that has been replaced: `generation` is not
    /// the present one.
    pub fn heartbeat(&self, instance: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection> {
        self.turn(|engine, now| engine.handle_heartbeat(instance, generation, now))
    }

    /// Configuration on disk. Costs a few reference counts.
    pub fn desired(&self) -> Desired {
        self.engine.borrow().desired().clone()
    }

    /// Revision of the configuration on disk.
    pub fn revision(&self) -> Revision {
        self.engine.borrow().desired().revision()
    }

    /// Status of an instance; `None` when it is not registered. Costs a few lookups.
    pub fn instance_status(&self, instance: &InstanceId) -> Option<InstanceStatus> {
        status_report::instance_status(&self.engine.borrow(), instance, Now::read())
    }

    /// Result of the drain of a registration; `None` while it drains, and when it ended long ago.
    pub fn drained(&self, instance: &InstanceId, generation: Generation) -> Option<InstanceDrained> {
        self.engine.borrow().instances().drained(instance, generation)
    }

    /// Description of an app's outage and of the treatment of its requests; `None` while it has a healthy
    /// instance.
    pub fn outage(&self, app: &AppId) -> Option<String> {
        let engine = self.engine.borrow();
        outage::describe(app, engine.instances(), engine.view(Now::read()))
    }

    /// Circuit breakers of the pools, then those of the routes, each by name.
    pub fn circuits(&self) -> Vec<CircuitStatus> {
        let (engine, now) = (self.engine.borrow(), Now::read());
        circuits::circuits(engine.view(now).snapshot, now)
    }

    /// Ejections of the pools that have had any, or would have, by pool.
    pub fn ejections(&self) -> Vec<EjectionStatus> {
        circuits::ejections(self.engine.borrow().view(Now::read()).snapshot)
    }

    /// Status of the whole process. Visits every instance, at some 20 ns each.
    pub fn status(&self) -> Status {
        status_report::status(&self.engine.borrow(), Now::read())
    }

    /// Status of the apps: those in trouble first, then by traffic; at most `most`. Visits every instance and
    /// counter: some 0.1 ms for 1,000 apps.
    pub fn app_statuses(&self, most: usize) -> Vec<AppStatus> {
        status_report::app_statuses(&self.engine.borrow(), most, Now::read())
    }

    /// Status of the canaries, by route.
    pub fn canaries(&self) -> Vec<CanaryStatus> {
        self.engine.borrow().canaries().statuses(Now::read().at)
    }

    /// The state that resumes a braked canary: submitted as a `Change::PutCanaryState`, it is in force when
    /// it is stored.
    ///
    /// # Errors
    /// The route has no canary, or it is not braked.
    pub fn resumed_canary(&self, route: &RouteId) -> Result<CanaryState, CanaryError> {
        self.engine.borrow().canaries().resumed(route, Now::read().at)
    }

    /// The state of a canary with a weight in place of its plan's; `None` for the plan's again.
    ///
    /// # Errors
    /// The route has no canary, or it is braked or stepping.
    pub fn weighted_canary(
        &self,
        route: &RouteId,
        set_weight: Option<SetWeight>,
    ) -> Result<CanaryState, CanaryError> {
        self.engine.borrow().canaries().weighted(route, set_weight, Now::read().at)
    }

    /// State of the cache; `None` without one.
    pub fn cache_status(&self) -> Option<CacheStatus> {
        let engine = self.engine.borrow();
        Some(engine.cache()?.status(engine.publisher().registry()))
    }

    /// State of the cache of each route, by tenant and route; `None` without a cache.
    pub fn cache_scopes(&self) -> Option<Vec<CacheScopeStatus>> {
        let engine = self.engine.borrow();
        Some(engine.cache()?.scopes(engine.publisher().registry()))
    }

    /// Stored responses, by tenant and route; `None` without a cache. Compares all: some milliseconds for
    /// 100,000.
    pub fn cached_responses(&self, filter: &CachedFilter) -> Option<Vec<CachedResponse>> {
        Some(self.engine.borrow().cache()?.responses(filter, Now::read().at))
    }

    /// Purges stored responses, on all cores when it returns; `None` without a cache. Costs a scan of all: 2
    /// to 40 ms for 100,000.
    pub fn purge_cache(&self, purge: &Purge) -> Option<Purged> {
        Some(self.engine.borrow().cache()?.purge(purge, Now::read().at))
    }

    /// The certificate component, if it is in use.
    pub fn certificates(&self) -> Option<Certificates> {
        self.engine.borrow().certificates().cloned()
    }

    /// The configuration on trial, or the last one that was.
    pub fn trial(&self) -> Option<TrialStatus> {
        self.engine.borrow().trial(Now::read())
    }

    /// The version of an owner that must not be tried again by itself: it was reverted on trial, or the
    /// process crashed with it. An explicit change may.
    pub fn refused_version(&self, owner: &Owner) -> Option<SetVersion> {
        self.engine.borrow().refused_version(owner)
    }

    /// Promotes the configuration on trial without waiting for the end of its bake time.
    ///
    /// # Errors
    /// There is none.
    pub fn promote_trial(&self) -> Result<(), NoTrial> {
        self.turn(|engine, _| engine.promote_trial())
    }

    /// Reverts the configuration on trial.
    ///
    /// # Errors
    /// There is none, or it is being stored already.
    pub fn abort_trial(&self) -> Result<(), NoTrial> {
        self.turn(|engine, _| engine.abort_trial())
    }

    /// Copies of the configuration in force for a simulation, without samples.
    pub(crate) fn simulation(&self) -> Simulation {
        self.engine.borrow().simulation()
    }

    /// Whether every core serves and the process is not shutting down.
    pub fn is_ready(&self) -> bool {
        self.engine.borrow().is_ready()
    }

    /// Appends all metrics as Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        metrics::render(&self.engine.borrow(), Now::read(), out);
    }

    /// Begins the orderly shutdown: cores drain until `deadline`, then the store is closed and the thread
    /// ends.
    pub fn shut_down(&self, deadline: Tick) {
        self.turn(|engine, now| engine.handle_shutdown(deadline, None, now));
    }

    /// Runs one event through the engine, then the work that has become due.
    pub(crate) fn turn<T>(&self, event: impl FnOnce(&mut Engine, Now) -> T) -> T {
        let now = Now::read();
        let mut engine = self.engine.borrow_mut();
        let result = event(&mut engine, now);
        let names = engine.advance(now);
        drop(engine);
        for name in names {
            self.look_up(name);
        }
        result
    }

    /// Starts a DNS lookup, which runs on a blocking thread.
    fn look_up(&self, name: Hostname) {
        let (control, host) = (self.clone(), name.clone());
        let lookup = async move {
            // The compiler adds the port to the addresses.
            let result = ringway_net::resolve(host.as_str(), 0, clock::now().after(DNS_TIMEOUT)).await;
            let addresses = result.map(|found| found.iter().map(|address| address.ip()).collect());
            control.turn(|engine, now| engine.handle_addresses(&host, addresses, now));
        };
        let control = self.clone();
        spawn(lookup, move |panic| {
            tracing::error!(%panic, %name, "DNS lookup panicked");
            let failure = Err(std::io::ErrorKind::Other.into());
            control.turn(|engine, now| engine.handle_addresses(&name, failure, now));
        });
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
