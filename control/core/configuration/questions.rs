//! Questions about the configuration. None changes anything but the plans, so that they are answered on a
//! thread of their own: no change waits for one.

use std::sync::Arc;

use ringway_model::{Desired, Kind, OperatorSet, Owner, StageSpec, Timestamp};
use ringway_net::clock;
use ringway_traffic::simulate::Simulated;

use super::auth_check::{self, AuthCheckRequest, AuthChecked};
use super::basis::{Guards, SharedBasis};
use super::error::ConfigError;
use super::explained_cache::Stored;
use super::history;
use super::judge::KnownPlaces;
use super::plane::Plane;
use super::plans::Plans;
use super::replacement::{OPERATORS, kept, replace, unreadable};
use super::requests::{
    Current, Diff, DiffRequest, ExplainRequest, Explanation, Proposal, Sampled, Validation, Version,
};
use super::routing;
use crate::simulation::Simulation;
use crate::submission::Refusal;

/// State of the thread that answers questions.
pub(crate) struct Questions {
    plane: Arc<dyn Plane>,
    basis: SharedBasis,
    plans: Plans,
}

impl Questions {
    pub(super) fn new(plane: Arc<dyn Plane>, basis: SharedBasis, plans: Plans) -> Self {
        Self { plane, basis, plans }
    }

    pub(super) fn validate(&self, proposal: &Proposal) -> Result<Validation, ConfigError> {
        let (basis, base) = (self.basis.get(), self.plane.desired()?);
        let (document, mut findings) = match basis.read(&base, proposal)? {
            (Some(document), findings) => (document, findings),
            (None, findings) => return Ok(Validation { version: None, findings, effects: None }),
        };
        let proposed = basis.judge(base, proposal.owner.clone(), document, None, Guards::All);
        findings.extend(proposed.findings.iter().map(|(_, finding)| finding.clone()));
        let version = Some(proposed.document.version.as_str().into());
        Ok(Validation { version, findings, effects: Some(proposed.effects()) })
    }

    pub(super) fn diff(&self, request: DiffRequest) -> Result<Diff, ConfigError> {
        let (basis, base) = (self.basis.get(), self.plane.desired()?);
        let (proposed, from, mut findings) = match request {
            DiffRequest::Proposal(proposal) => {
                let (document, findings) = basis.read_valid(&base, &proposal)?;
                let from = base.version_of(&proposal.owner).map(|version| version.version.clone());
                (basis.judge(base, proposal.owner, document, None, Guards::All), from, findings)
            }
            DiffRequest::Versions { owner, from, to } => {
                let (from, to) = (kept(&base, &owner, Some(from))?, kept(&base, &owner, Some(to))?);
                let before = history::reopen(&from).map_err(unreadable)?;
                let base =
                    basis.judge(base, owner.clone(), before, None, Guards::Claims).after_or_refusal()?;
                let after =
                    basis.judge(base, owner, history::reopen(&to).map_err(unreadable)?, None, Guards::Claims);
                let diff = Diff { plan: None, ..after.diff(Some(from.version.as_str().into()), Vec::new()) };
                return Ok(diff);
            }
        };
        findings.extend(proposed.findings.iter().map(|(_, finding)| finding.clone()));
        let mut diff = proposed.diff(from.map(|version| version.as_str().into()), findings);
        // A proposal with mistakes, or that claims refuse, gives nothing to route by.
        if proposed.applied.is_some() && !proposed.has_mistakes() {
            let simulated = self
                .plane
                .simulation()
                .map_err(ConfigError::from)
                .and_then(|simulation| reroute(&simulation, &proposed.owner, &proposed.document.set));
            diff.effects.sampled =
                simulated.ok().map(|found| Sampled { requests: found.requests, rerouted: found.rerouted });
        }
        // The files' set is replaced by saving them.
        if proposed.owner == Owner::File {
            return Ok(diff);
        }
        let id = self.plans.keep(&proposed.base, proposed.owner, proposed.document);
        Ok(Diff { plan: Some(id), ..diff })
    }

    pub(super) fn current(&self, owner: Option<&Owner>) -> Result<Vec<Current>, ConfigError> {
        let desired = self.plane.desired()?;
        let owners = OPERATORS.iter().filter(|operator| owner.is_none_or(|owner| owner == *operator));
        let versions = owners.filter_map(|owner| desired.version_of(owner));
        versions.map(|version| history::show(version, true).map_err(unreadable)).collect()
    }

    pub(super) fn history(&self, owner: &Owner) -> Result<Vec<Version>, ConfigError> {
        Ok(history::versions(&self.plane.desired()?, owner))
    }

    pub(super) fn version(&self, owner: &Owner, version: &Arc<str>) -> Result<Current, ConfigError> {
        let desired = self.plane.desired()?;
        let found = kept(&desired, owner, Some(version.clone()))?;
        let is_current = desired.version_of(owner).is_some_and(|current| current.sequence == found.sequence);
        history::show(&found, is_current).map_err(unreadable)
    }

    pub(super) fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ConfigError> {
        let (basis, simulation) = (self.basis.get(), self.plane.simulation()?);
        let (snapshot, proposed) = match &request.proposal {
            None => (Arc::clone(simulation.snapshot()), None),
            Some(proposal) => {
                let (document, _patterns) = basis.read_routable(&simulation.desired, proposal)?;
                let change = replace(&proposal.owner, &document.set, None, None);
                let snapshot = simulation.snapshot_after(&proposal.owner, &change, Timestamp::default());
                (snapshot.map_err(Refusal::Rejected)?, Some((&proposal.owner, document)))
            }
        };
        let place = |owner: &Owner, kind: Kind, id: &str| match &proposed {
            Some((of, document)) if *of == owner => document.places.get(kind, id).cloned(),
            _ => basis.place(owner, kind, id).cloned(),
        };
        let set = proposed.as_ref().map(|(_, document)| &document.set);
        let stages = |route: &str| configured_stages(route, set.map(|set| &**set), &simulation.desired);
        let stored = match (&request.proposal, &simulation.cache) {
            (Some(_), _) => Stored::Proposed,
            (None, Some(store)) => Stored::In(store, clock::timestamp()),
            (None, None) => Stored::Nothing,
        };
        routing::explain(request, &snapshot, stored, place, stages)
            .map_err(|finding| unreadable(vec![finding]))
    }

    pub(super) fn check_auth(&self, request: &AuthCheckRequest) -> Result<AuthChecked, ConfigError> {
        auth_check::check(request, self.plane.simulation()?.snapshot())
    }

    pub(super) fn simulate(&self, proposal: &Proposal) -> Result<Simulated, ConfigError> {
        let simulation = self.plane.simulation()?;
        let (document, _patterns) = self.basis.get().read_routable(&simulation.desired, proposal)?;
        reroute(&simulation, &proposal.owner, &document.set)
    }
}

/// Stages of a route as they are configured, by a proposed set or else by what is in force.
fn configured_stages(route: &str, set: Option<&OperatorSet>, desired: &Desired) -> Vec<StageSpec> {
    let proposed = set.and_then(|set| set.routes.iter().find(|of| of.id.as_str() == route));
    let Some(spec) = proposed.or_else(|| desired.route(route).map(|route| &route.spec)) else {
        return Vec::new();
    };
    let stages = spec.middleware.iter().filter_map(|id| {
        let proposed = set.and_then(|set| set.middlewares.iter().find(|of| of.id == *id));
        proposed.or_else(|| desired.middleware(id.as_str()).map(|chain| &chain.spec))
    });
    stages.flat_map(|chain| chain.stages.iter().cloned()).collect()
}

/// Routes the last requests by the configuration in force, and by that with another set of an owner.
fn reroute(simulation: &Simulation, owner: &Owner, set: &Arc<OperatorSet>) -> Result<Simulated, ConfigError> {
    let change = replace(owner, set, None, None);
    let after = simulation.snapshot_after(owner, &change, Timestamp::default()).map_err(Refusal::Rejected)?;
    Ok(routing::rerouted(&simulation.samples, simulation.snapshot(), &after))
}
