//! Routes from the external resolver: an overlay on the configuration that is neither registered nor stored.
//!
//! The routes are compiled like those of the configuration, from a second [`Desired`] whose ids cannot be
//! registered, and published as snapshots of the same revision. A registered domain takes precedence.
//!
//! Events come in through `handle_*` and [`Overlay::advance`]; effects go out through
//! [`Overlay::poll_effect`].

use std::collections::VecDeque;

use ringway_model::{
    AppId, AppSpec, Change, CoreId, Delta, Desired, DomainKind, DomainSpec, HealthCheck, Hostname,
    InstanceId, InstanceSpec, Kind, Owner, Resource, Target, Tick, Timestamp,
};
use ringway_traffic::report::Absence;

use super::schedule::{self, LookupResult, Schedule};
use super::target_resolver::{Resolved, ResolvedTarget};
use super::threads::{Resolution, ResolverLink};
use crate::limits::RESOLVED_TARGETS_MAX;
use crate::time::Now;

/// The resolver's threads, the schedule of its lookups, and its routes.
#[derive(Debug)]
pub(crate) struct Overlay {
    link: ResolverLink,
    schedule: Schedule,
    desired: Desired,
    effects: VecDeque<schedule::Effect>,
    counters: LookupCounters,
    /// Failed lookups since the last successful one.
    failures: u64,
}

/// Lookups by result since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LookupCounters {
    pub(crate) found: u64,
    pub(crate) unknown: u64,
    pub(crate) failed: u64,
}

/// Work for the engine.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Publish the routes that these records changed in [`Overlay::desired`].
    Publish(Vec<Delta>),
    /// Report to these cores that the host has no route.
    ReportAbsence(Vec<CoreId>, Hostname, Absence),
}

impl Overlay {
    pub(crate) fn new(link: ResolverLink) -> Self {
        Self {
            link,
            schedule: Schedule::default(),
            desired: Desired::default(),
            effects: VecDeque::new(),
            counters: LookupCounters::default(),
            failures: 0,
        }
    }

    /// Apps, instances and domains of the routes.
    pub(crate) fn desired(&self) -> &Desired {
        &self.desired
    }

    pub(crate) fn counters(&self) -> LookupCounters {
        self.counters
    }

    /// Number of hosts with a route.
    pub(crate) fn hosts_routed(&self) -> usize {
        self.desired.count(Kind::Domain)
    }

    /// Time at which [`Overlay::advance`] is due.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.schedule.next_deadline()
    }

    /// Handles a core's request for a host that is not registered.
    pub(crate) fn handle_wanted(&mut self, host: &Hostname, core: CoreId, now: Tick) {
        self.effects.extend(self.schedule.handle_wanted(host, core, now));
    }

    /// Handles a failed connection to an instance; one that is not of the overlay is ignored.
    pub(crate) fn handle_unreachable(&mut self, instance: &InstanceId, now: Tick) {
        let Some(instance) = self.desired.instance(instance.as_str()) else { return };
        for domain in self.desired.domains_of(instance.app.as_str()) {
            self.schedule.handle_unreachable(&domain.name, now);
        }
    }

    /// Drops the routes of a host that was registered. Returns the changed records, without that of the
    /// domain: the registered domain has its own route, which stays.
    pub(crate) fn handle_registered(&mut self, host: &Hostname, at: Timestamp) -> Vec<Delta> {
        self.schedule.forget(host);
        let mut deltas = self.remove_route(host, at);
        deltas.retain(|delta| !matches!(delta, Delta::Remove(Resource::Domain(_))));
        deltas
    }

    /// Applies deadlines, takes results and starts lookups. `is_registered` is about the configuration.
    pub(crate) fn advance(&mut self, is_registered: impl Fn(&Hostname) -> bool, now: Now) {
        self.effects.extend(self.schedule.handle_time(now.tick));
        while let Some(resolution) = self.link.poll() {
            let is_registered = is_registered(&resolution.host);
            self.handle_resolution(resolution, is_registered, now);
        }
        while self.link.has_room()
            && let Some(host) = self.schedule.poll_lookup()
        {
            if let Err(host) = self.link.start_lookup(host) {
                // The thread has ended, which is a defect: the lookup fails, and waiting requests get their
                // response.
                return self.effects.extend(self.schedule.handle_result(
                    &host,
                    LookupResult::Failed,
                    now.tick,
                ));
            }
        }
    }

    /// Next effect. Changes of routes are applied to [`Overlay::desired`] one by one, so that each can be
    /// compiled.
    pub(crate) fn poll_effect(&mut self, at: Timestamp) -> Option<Effect> {
        loop {
            let deltas = match self.effects.pop_front()? {
                schedule::Effect::ReportAbsence(cores, host, why) => {
                    return Some(Effect::ReportAbsence(cores, host, why));
                }
                schedule::Effect::PutRoute(host, targets) => self.put_route(&host, &targets, at),
                schedule::Effect::RemoveRoute(host) => self.remove_route(&host, at),
            };
            if !deltas.is_empty() {
                return Some(Effect::Publish(deltas));
            }
        }
    }

    fn handle_resolution(&mut self, Resolution { host, result }: Resolution, is_registered: bool, now: Now) {
        match &result {
            Ok(_) if self.failures > 0 => {
                tracing::info!(failures = self.failures, "resolver works again");
                self.failures = 0;
            }
            Ok(_) => {}
            Err(error) => {
                self.failures += 1;
                // The first, then at each doubling: requests cause many lookups a second.
                if self.failures.is_power_of_two() {
                    let failures = self.failures;
                    tracing::error!(%host, %error, failures, "resolver failed; the last result stays in use for a while");
                }
            }
        }
        if is_registered {
            return self.schedule.forget(&host);
        }
        let (count, result) = match result {
            Ok(Resolved::Targets(targets)) => {
                (&mut self.counters.found, LookupResult::Targets(healthy(targets)))
            }
            Ok(Resolved::Unknown) => (&mut self.counters.unknown, LookupResult::Unknown),
            Err(_) => (&mut self.counters.failed, LookupResult::Failed),
        };
        *count += 1;
        self.effects.extend(self.schedule.handle_result(&host, result, now.tick));
    }

    /// Routes the host to exactly these targets; returns the changed records.
    fn put_route(&mut self, host: &Hostname, targets: &[Target], at: Timestamp) -> Vec<Delta> {
        let app = AppId::resolved(host);
        let mut changes = Vec::new();
        if self.desired.domain(host.as_str()).is_none() {
            changes.push(Change::Register {
                app: AppSpec::new(app.clone()),
                instance: None,
                domain: Some(DomainSpec {
                    policy: None,
                    name: host.clone(),
                    app: app.clone(),
                    tenant: None,
                    kind: DomainKind::Subdomain,
                    cname_target: None,
                    certificate: None,
                    client_auth: None,
                }),
            });
        }
        for instance in self.desired.instances_of(app.as_str()) {
            if !targets.contains(&instance.target) {
                changes.push(Change::RemoveInstance { id: instance.id.clone(), generation: None });
            }
        }
        for target in targets {
            let id = InstanceId::resolved(host, target);
            if self.desired.instance(id.as_str()).is_none() {
                let (app, target) = (app.clone(), target.clone());
                changes.push(Change::AddInstance(InstanceSpec {
                    id,
                    app,
                    target,
                    health_check: HealthCheck::default(),
                }));
            }
        }
        self.apply(&changes, at)
    }

    fn remove_route(&mut self, host: &Hostname, at: Timestamp) -> Vec<Delta> {
        if self.desired.domain(host.as_str()).is_none() {
            return Vec::new();
        }
        let changes =
            [Change::RemoveDomain { name: host.clone() }, Change::RemoveApp { id: AppId::resolved(host) }];
        self.apply(&changes, at)
    }

    fn apply(&mut self, changes: &[Change], at: Timestamp) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for change in changes {
            match self.desired.apply_as(&Owner::Resolver, change, at) {
                Ok(applied) => {
                    self.desired = applied.desired;
                    deltas.extend(applied.deltas);
                }
                // The limits of the configuration hold for these hosts as well.
                Err(rejection) => {
                    tracing::warn!(%rejection, "resolver result exceeds a limit and is used in part only");
                }
            }
        }
        deltas
    }
}

/// Healthy targets without duplicates, up to the limit.
fn healthy(targets: Vec<ResolvedTarget>) -> Vec<Target> {
    let mut healthy = Vec::new();
    for ResolvedTarget { target, .. } in targets.into_iter().filter(|target| target.healthy) {
        if !healthy.contains(&target) && healthy.len() < RESOLVED_TARGETS_MAX {
            healthy.push(target);
        }
    }
    healthy
}
