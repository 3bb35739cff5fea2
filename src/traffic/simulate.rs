//! Simulation of a change: sampled requests, routed by the snapshots before and after it.

use ringway_model::{AppId, Owner};
use ringway_wire::h1::{Limits, Parse, RequestHead};
use std::fmt;
use std::sync::Arc;

use crate::samples::SampledHeads;
use crate::snapshot::Snapshot;
use crate::virtual_host::{Action, Rule, Rules};

/// Result of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Sampled requests.
    pub requests: usize,
    /// Those that would be treated otherwise.
    pub rerouted: usize,
    /// Of them, those that no rule would serve any longer.
    pub lost: usize,
    /// Examples of them, each different, at most 20.
    pub examples: Vec<Rerouted>,
}

/// A request that would be treated otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerouted {
    /// Its method.
    pub method: Box<str>,
    /// Its host.
    pub host: Box<str>,
    /// Its path, without the query, which may hold secrets.
    pub path: Box<str>,
    /// Number of samples that are alike.
    pub count: usize,
    /// Its destination before the change; `None` where no rule serves it.
    pub before: Option<Destination>,
    /// Its destination after it.
    pub after: Option<Destination>,
}

/// Destination of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Owner of the rule.
    pub owner: Owner,
    /// Name of the rule: the id of a route, or a domain.
    pub rule: Arc<str>,
    /// The app or pool; `None` for a response without an endpoint.
    pub app: Option<AppId>,
}

impl fmt::Display for Destination {
    /// Writes the rule, and the app or pool that it leads to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)?;
        match &self.app {
            Some(app) => write!(f, " to {app}"),
            None => Ok(()),
        }
    }
}

/// Routes the samples by both snapshots, with the code that routes requests. About a microsecond each.
///
/// Values that may be secrets are not in the samples: a rule that depends on one of them is not simulated
/// exactly.
pub fn simulate<'s>(
    samples: impl IntoIterator<Item = &'s SampledHeads>,
    before: &Snapshot,
    after: &Snapshot,
) -> Simulated {
    let mut simulated = Simulated::default();
    let (mut head, limits) = (RequestHead::default(), Limits::default());
    for sample in samples.into_iter().flat_map(SampledHeads::iter) {
        head.reset();
        if head.parse(sample, &limits) != Ok(Parse::Complete) {
            continue;
        }
        simulated.requests += 1;
        let rules = [before, after].map(|snapshot| route(snapshot, &head, sample));
        let is_same = match &rules {
            [Some(before), Some(after)] => treats_alike(before, after),
            [None, None] => true,
            [Some(_), None] | [None, Some(_)] => false,
        };
        if is_same {
            continue;
        }
        simulated.rerouted += 1;
        let [before, after] = rules.map(|rule| rule.map(Destination::of));
        simulated.lost += usize::from(after.is_none());
        let (method, host) = (head.method_str(sample).into(), head.host().into());
        let example = Rerouted { method, host, path: head.path(sample).into(), count: 1, before, after };
        match simulated.examples.iter().position(|known| known.is_like(&example)) {
            Some(at) => simulated.examples[at].count += 1,
            None if simulated.examples.len() < EXAMPLES_MAX => simulated.examples.push(example),
            None => {}
        }
    }
    simulated
}

impl Rerouted {
    fn is_like(&self, other: &Self) -> bool {
        let parts = |of: &Self| (of.method.clone(), of.host.clone(), of.path.clone());
        parts(self) == parts(other) && self.before == other.before && self.after == other.after
    }
}

/// Finds the rule of a request as the data plane does.
fn route<'s>(snapshot: &'s Snapshot, head: &RequestHead, buf: &[u8]) -> Option<&'s Rule> {
    let host = snapshot.virtual_host(head.host())?;
    let rule = match &host.rules {
        Rules::One(rule) => Some(rule),
        Rules::Table(table) => {
            let mut head = head.clone();
            // A path that cannot be normalised is answered by no rule.
            head.normalize_path(buf, table.slashes()).ok()?;
            table.find(&head, buf)
        }
    };
    rule.map(|rule| &**rule)
}

/// Whether two rules send a request to the same place. Ids and policies may differ.
fn treats_alike(before: &Rule, after: &Rule) -> bool {
    let is_same_action = match (&before.action, &after.action) {
        (Action::Proxy { rewrite: before, .. }, Action::Proxy { rewrite: after, .. }) => before == after,
        (before, after) => before == after,
    };
    is_same_action && before.app == after.app && before.name == after.name && before.owner == after.owner
}

impl Destination {
    fn of(rule: &Rule) -> Self {
        Self { owner: rule.owner.clone(), rule: rule.name.clone(), app: rule.app.clone() }
    }
}

/// Examples that are kept: enough to see what a change means.
const EXAMPLES_MAX: usize = 20;

#[cfg(test)]
#[path = "simulate_tests.rs"]
mod tests;
