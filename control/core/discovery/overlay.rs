//! What a resolver says, beside the configuration: routes that nobody registered and nobody stores.
//!
//! They are compiled like the configuration's, from a second [`Desired`] whose ids nobody can register, and published as
//! snapshots of the same revision. A domain that is registered goes before the resolver's word.

use crate::limits::RESOLVED_TARGETS_MAX;
use ringway_model::{
    AppId, AppSpec, Change, CoreId, Delta, Desired, DomainKind, DomainSpec, HealthCheck, Hostname,
    InstanceId, InstanceSpec, Kind, Owner, Resource, Target, Timestamp,
};
use ringway_traffic::report::Order;

use crate::discovery::schedule::{Effect, Hosts, Verdict};
use crate::discovery::threads::{Resolution, Resolved, ResolvedTarget, ResolverLink};
use crate::engine::Engine;
use crate::time::Now;

/// The resolver, and what it said.
#[derive(Debug)]
pub(crate) struct ResolvedHosts {
    link: ResolverLink,
    hosts: Hosts,
    desired: Desired,
    tally: Tally,
    /// Answers that failed since the last good one.
    failures: u64,
}

/// What became of questions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) known: u64,
    pub(crate) unknown: u64,
    pub(crate) failed: u64,
}

impl ResolvedHosts {
    pub(crate) fn new(link: ResolverLink) -> Self {
        let (hosts, desired) = (Hosts::default(), Desired::default());
        Self { link, hosts, desired, tally: Tally::default(), failures: 0 }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Hosts that are served as the resolver says.
    pub(crate) fn served(&self) -> usize {
        self.desired.count(Kind::Domain)
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Serves the host by these targets from now on. What differs.
    fn put(&mut self, host: &Hostname, targets: &[Target], at: Timestamp) -> Vec<Delta> {
        let app = AppId::resolved(host);
        let id_of = |target: &Target| InstanceId::resolved(host, target);
        let mut changes = Vec::new();
        if self.desired.domain(host.as_str()).is_none() {
            changes.push(Change::Register {
                app: AppSpec::new(app.clone()),
                instance: None,
                domain: Some(DomainSpec {
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
            let id = id_of(target);
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

    /// Serves the host no more.
    fn remove(&mut self, host: &Hostname, at: Timestamp) -> Vec<Delta> {
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
                // Bounds of the configuration, which these hosts have as well.
                Err(rejection) => tracing::warn!(%rejection, "a resolver's answer cannot be used whole"),
            }
        }
        deltas
    }
}

impl Engine {
    /// A request on this core asks for a host without a route, or for one whose route the resolver gave.
    pub(crate) fn handle_host_wanted(&mut self, core: CoreId, host: &Hostname, now: Now) {
        // It has a route already, or will have one in a moment.
        if self.desired().domain(host.as_str()).is_some() {
            return;
        }
        let Some(resolved) = self.resolved_mut() else { return };
        let effect = resolved.hosts.handle_wanted(host, core, now.tick);
        self.follow(effect, now);
    }

    /// An instance of the resolver's could not be connected to.
    pub(crate) fn handle_resolved_unreachable(&mut self, instance: &InstanceId, now: Now) {
        let Some(resolved) = self.resolved_mut() else { return };
        let Some(instance) = resolved.desired.instance(instance.as_str()).cloned() else { return };
        let hosts: Vec<_> =
            resolved.desired.domains_of(instance.app.as_str()).map(|domain| domain.name.clone()).collect();
        hosts.iter().for_each(|host| resolved.hosts.handle_unreachable(host, now.tick));
    }

    /// Takes answers, asks what is to be asked, and does what has become due.
    pub(crate) fn advance_resolver(&mut self, now: Now) {
        let Some(resolved) = self.resolved_mut() else { return };
        let effects = resolved.hosts.handle_time(now.tick);
        self.follow(effects, now);
        while let Some(resolution) = self.resolved_mut().and_then(|resolved| resolved.link.poll()) {
            self.handle_resolution(resolution, now);
        }
        let Some(resolved) = self.resolved_mut() else { return };
        while resolved.link.has_room()
            && let Some(host) = resolved.hosts.poll_question()
        {
            if let Err(host) = resolved.link.ask(host) {
                // Its thread is gone, which only a defect of ours can do: the question is answered all the same.
                let effects = resolved.hosts.handle_answer(&host, Verdict::Failed, now.tick);
                return self.follow(effects, now);
            }
        }
    }

    /// The host was registered: what the resolver says of it does not count any more. Called after the cores were given the
    /// domain's own route, which stays.
    pub(crate) fn forget_resolved(&mut self, host: &Hostname, now: Now) {
        let Some(resolved) = self.resolved_mut() else { return };
        resolved.hosts.forget(host);
        let mut deltas = resolved.remove(host, now.at);
        deltas.retain(|delta| !matches!(delta, Delta::Remove(Resource::Domain(_))));
        self.publish_resolved(&deltas, now);
    }

    fn handle_resolution(&mut self, Resolution { host, result }: Resolution, now: Now) {
        let is_registered = self.desired().domain(host.as_str()).is_some();
        let Some(resolved) = self.resolved_mut() else { return };
        match &result {
            Ok(_) if resolved.failures > 0 => {
                tracing::info!(failures = resolved.failures, "the resolver answers again");
                resolved.failures = 0;
            }
            Ok(_) => {}
            Err(error) => {
                resolved.failures += 1;
                // The first, and then ever more rarely: requests ask many times a second.
                if resolved.failures.is_power_of_two() {
                    let failures = resolved.failures;
                    tracing::error!(%host, %error, failures, "the resolver could not say where a host is served");
                }
            }
        }
        if is_registered {
            return resolved.hosts.forget(&host);
        }
        let verdict = match result {
            Ok(Resolved::Targets(targets)) => {
                resolved.tally.known += 1;
                Verdict::Known(healthy(targets))
            }
            Ok(Resolved::Unknown) => {
                resolved.tally.unknown += 1;
                Verdict::Unknown
            }
            Err(_) => {
                resolved.tally.failed += 1;
                Verdict::Failed
            }
        };
        let effects = resolved.hosts.handle_answer(&host, verdict, now.tick);
        self.follow(effects, now);
    }

    fn follow(&mut self, effects: impl IntoIterator<Item = Effect>, now: Now) {
        for effect in effects {
            match effect {
                Effect::Tell(cores, host, why) => {
                    for link in self.links().iter().filter(|link| cores.contains(&link.core)) {
                        // Full: the requests that wait are answered when their patience ends.
                        let _ = link.orders.send(Order::HostAbsent { host: host.clone(), why });
                    }
                }
                Effect::Put(host, targets) => {
                    let Some(resolved) = self.resolved_mut() else { return };
                    let deltas = resolved.put(&host, &targets, now.at);
                    self.publish_resolved(&deltas, now);
                }
                Effect::Remove(host) => {
                    let Some(resolved) = self.resolved_mut() else { return };
                    let deltas = resolved.remove(&host, now.at);
                    self.publish_resolved(&deltas, now);
                }
            }
        }
    }

    fn publish_resolved(&mut self, deltas: &[Delta], now: Now) {
        let Some(resolved) = self.resolved() else { return };
        if deltas.is_empty() {
            return;
        }
        let compiled = self.compiler().compile_resolved(&resolved.desired, deltas);
        self.publish_compiled(compiled, now);
    }
}

/// Those that may be sent to, each once.
fn healthy(targets: Vec<ResolvedTarget>) -> Vec<Target> {
    let mut healthy = Vec::new();
    for ResolvedTarget { target, .. } in targets.into_iter().filter(|target| target.healthy) {
        if !healthy.contains(&target) && healthy.len() < RESOLVED_TARGETS_MAX {
            healthy.push(target);
        }
    }
    healthy
}
