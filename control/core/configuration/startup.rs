//! Configuration at a start: the documents become the set of owner `file` before the first snapshot.
//!
//! ```text
//!  stored Desired + documents ─► conflicts with other owners? ─► their routes are left out (quarantine)
//!                                        └─────────────────────► Desired to serve, and the deltas to store
//! ```
//! A registration must not be able to prevent a start, so a conflict with one leaves out a route and not the
//! whole set. At run time it refuses the set.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use ringway_config::{Document, Finding, Places, Source, StaticValue};
use ringway_model::{
    AppId, Change, Conflict, Delta, Desired, EndpointSpec, Kind, MiddlewareSpec, NewVersion, OperatorSet,
    Owner, PluginSpec, PolicySpec, PoolSpec, Replacement, RouteSpec, SetVersion, StageSpec, Timestamp,
};
use ringway_traffic::pattern::{Pattern, Patterns};
use ringway_traffic::policy::Defaults;

use super::checks;
use super::governance::{Reserved, reserved_hosts};
use super::history;
use super::judge::{KnownPlaces, conflict_finding, error};
use crate::trial::probation::{Probation, Refused, Standing};

/// Source of the operator's configuration.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationSettings {
    /// The file or folder, as the operator named it; `None` without one.
    pub path: Option<PathBuf>,
    /// Documents from elsewhere, such as the environment: read before those of the file.
    pub fixed: Vec<Source>,
    /// Whether the file is watched for changes.
    pub is_watched: bool,
    /// Static settings of this process: a difference from those of the file needs a restart.
    pub statics: Vec<StaticValue>,
    /// Documents at the start.
    pub start: Start,
    /// Treatment of a mistake at the start.
    pub on_bad: OnBadConfig,
}

/// Documents at the start.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// There are none: without a file, the stored set of owner `file` is dropped.
    #[default]
    Empty,
    /// Valid documents.
    Documents {
        /// The texts, the fixed ones first.
        sources: Vec<Source>,
        /// Their content.
        document: Arc<Document>,
    },
    /// Documents with mistakes: the stored set of owner `file` serves.
    LastGood(Vec<Finding>),
}

impl Start {
    /// The valid documents.
    pub(super) fn document(&self) -> Option<&Document> {
        match self {
            Self::Documents { document, .. } => Some(document),
            Self::Empty | Self::LastGood(_) => None,
        }
    }
}

/// Treatment of a configuration with mistakes at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadConfig {
    /// The start fails.
    #[default]
    Fail,
    /// The stored set of owner `file` serves.
    LastGood,
}

/// Result of the start.
#[derive(Debug)]
pub(crate) struct Started {
    /// Configuration to serve.
    pub(crate) desired: Desired,
    /// Its differences from the stored one.
    pub(crate) deltas: Vec<Delta>,
    pub(crate) settings: ConfigurationSettings,
    pub(crate) defaults: Defaults,
    pub(crate) patterns: Patterns,
    /// Compiled patterns of the documents, kept until the first snapshot has them.
    _compiled: Vec<Arc<Pattern>>,
    /// Routes, pools and policies of the documents that are left out, and their conflicts.
    pub(crate) quarantined: Vec<Finding>,
}

impl Started {
    /// Hosts that registrations may not add, from the first request on.
    pub(crate) fn reserved(&self) -> Reserved {
        self.settings
            .start
            .document()
            .map(|document| reserved_hosts(&document.governance))
            .unwrap_or_default()
    }
}

/// Puts the documents of the start into force.
///
/// # Errors
/// Mistakes of the documents that their text does not show, unless the last good set may serve.
pub(crate) fn prepare(
    stored: Desired,
    mut settings: ConfigurationSettings,
    (defaults, patterns): (Defaults, Patterns),
    probation: &mut Probation,
    now: Timestamp,
) -> Result<Started, Vec<Finding>> {
    let fallbacks = review_versions(stored, &mut settings, probation, now);
    let (stored, mut deltas) = (fallbacks.desired, fallbacks.deltas);
    let unchanged = |settings, deltas| Started {
        desired: stored.clone(),
        deltas,
        settings,
        defaults: defaults.clone(),
        patterns: patterns.clone(),
        _compiled: Vec::new(),
        quarantined: Vec::new(),
    };
    let mut compiled = Vec::new();
    let (set, version, places) = match &settings.start {
        Start::Empty => (OperatorSet::default(), None, Places::default()),
        Start::Documents { document, .. } => {
            let places = document.places.clone();
            let conflicts = stored.conflicts(&Owner::File, &document.set);
            let own = conflicts.iter().filter(|conflict| is_mistake(conflict));
            let own = own.map(|conflict| conflict_finding(conflict, &places, &Unknown));
            let routes = checks::routes(document, defaults.slashes, &patterns);
            compiled = routes.patterns;
            let has_pool = |id: &str| stored.owner_of(Kind::App, id).is_some_and(|of| *of != Owner::File);
            let scripts = checks::scripts(document, &has_pool);
            let checked = routes.findings.into_iter().chain(checks::files(document)).chain(scripts);
            let mistakes: Vec<Finding> = checked.filter(Finding::is_error).chain(own).collect();
            if !mistakes.is_empty() {
                if settings.on_bad == OnBadConfig::Fail {
                    return Err(mistakes);
                }
                settings.start = Start::LastGood(mistakes);
                return Ok(unchanged(settings, deltas));
            }
            let version = NewVersion {
                version: document.version.clone(),
                by: "file".into(),
                reason: "start".into(),
                source: history::pack(&document.canonical),
                is_proven: false,
            };
            (OperatorSet::clone(&document.set), Some(version), places)
        }
        Start::LastGood(_) => return Ok(unchanged(settings, deltas)),
    };
    let (set, quarantined) = quarantine(&stored, set, &places);
    let change = Change::ReplaceOwned(Arc::new(Replacement {
        owner: Owner::File,
        set: Arc::new(set),
        expect: None,
        version,
    }));
    match stored.apply(&change, now) {
        Ok(applied) => {
            deltas.extend(applied.deltas);
            let desired = applied.desired;
            Ok(Started { desired, deltas, settings, defaults, patterns, _compiled: compiled, quarantined })
        }
        Err(rejection) => {
            let failure = error("conflict", rejection.to_string(), None);
            settings.start = Start::LastGood(vec![failure]);
            Ok(unchanged(settings, deltas))
        }
    }
}

/// Stored configuration after versions that must not serve were replaced.
struct Fallbacks {
    desired: Desired,
    deltas: Vec<Delta>,
}

/// Counts this start for the version of each owner, and replaces those that are refused.
fn review_versions(
    stored: Desired,
    settings: &mut ConfigurationSettings,
    probation: &mut Probation,
    now: Timestamp,
) -> Fallbacks {
    let mut fallbacks = Fallbacks { desired: stored, deltas: Vec::new() };
    for owner in [Owner::File, Owner::Admin] {
        let present = fallbacks.desired.version_of(&owner).map(|version| version.version.clone());
        let version = match (&owner, &settings.start) {
            (Owner::File, Start::Documents { document, .. }) => Some(document.version.clone()),
            (Owner::File, Start::Empty) => None,
            _ => present.clone(),
        };
        let Some(version) = version else { continue };
        let history = fallbacks.desired.versions_of(&owner);
        let is_proven = history.iter().any(|known| known.version == version && known.is_proven);
        let Standing::Refused(why) = probation.begin(&owner, &version, is_proven) else { continue };
        let has_proven = history.iter().any(|known| known.is_proven && known.version != version);
        if why == Refused::Crashed && !has_proven {
            // Nothing at all would be worse than what was acknowledged, and crashes may have other reasons.
            tracing::error!(%owner, %version, "the process crashed twice with this version; it stays in force, as no version is proven");
            continue;
        }
        let message = match why {
            Refused::Crashed => format!("version {version} is refused: the process crashed with it twice"),
            Refused::Reverted => format!("version {version} is refused: it was reverted on trial"),
        };
        tracing::error!(%owner, "{message}; the last good version serves");
        if owner == Owner::File {
            settings.start = Start::LastGood(vec![error("refused", message.clone(), None)]);
        }
        if present.as_ref() == Some(&version) {
            fallbacks.fall_back(&owner, &version, &message, now);
        }
    }
    fallbacks
}

impl Fallbacks {
    /// Replaces a refused version by the last proven one; by nothing when there is none.
    fn fall_back(&mut self, owner: &Owner, refused: &SetVersion, reason: &str, now: Timestamp) {
        let history = self.desired.versions_of(owner);
        let proven = history.iter().rev().find(|version| version.is_proven && version.version != *refused);
        let (set, version) = match proven.map(|proven| (proven, history::reopen(proven))) {
            Some((proven, Ok(document))) => {
                let version = NewVersion {
                    version: proven.version.clone(),
                    by: "probation".into(),
                    reason: reason.into(),
                    source: proven.source.clone(),
                    is_proven: true,
                };
                (OperatorSet::clone(&document.set), Some(version))
            }
            Some((proven, Err(findings))) => {
                let finding = findings.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(%owner, version = %proven.version, finding, "proven version unreadable");
                (OperatorSet::default(), None)
            }
            None => (OperatorSet::default(), None),
        };
        let (set, _) = quarantine(&self.desired, set, &Places::default());
        let replacement = Replacement { owner: owner.clone(), set: Arc::new(set), expect: None, version };
        match self.desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), now) {
            Ok(applied) => {
                self.desired = applied.desired;
                self.deltas.extend(applied.deltas);
            }
            Err(rejection) => tracing::error!(%owner, %rejection, "proven version cannot be restored"),
        }
    }
}

/// Whether a conflict is the documents' own mistake, which no registration can cause.
fn is_mistake(conflict: &Conflict) -> bool {
    match conflict {
        Conflict::UnknownPool { .. }
        | Conflict::UnknownPolicy { .. }
        | Conflict::Unknown { .. }
        | Conflict::Full { .. } => true,
        Conflict::IdTaken { .. } | Conflict::HostTaken { .. } | Conflict::InUse { .. } => false,
    }
}

/// Leaves out what conflicts with other owners, and what depends on it; keeps what others use.
fn quarantine(stored: &Desired, mut set: OperatorSet, places: &Places) -> (OperatorSet, Vec<Finding>) {
    let mut findings = Vec::new();
    // Each round leaves out or keeps at least one resource.
    for _ in 0..=set.len() + stored.owned(&Owner::File).count() {
        let conflicts = stored.conflicts(&Owner::File, &set);
        if conflicts.is_empty() {
            break;
        }
        let mut gone: BTreeSet<(Kind, Arc<str>)> = BTreeSet::new();
        for conflict in &conflicts {
            findings.push(conflict_finding(conflict, places, &Unknown));
            match conflict {
                Conflict::HostTaken { route, .. } | Conflict::UnknownPool { route, .. } => {
                    gone.insert((Kind::Route, route.as_str().into()));
                }
                Conflict::IdTaken { kind, id, .. } => {
                    gone.insert((*kind, id.clone()));
                    // Another owner's chain must not take the place of one that protects requests.
                    gone.extend(users(&set, *kind, id));
                }
                Conflict::UnknownPolicy { kind, id, .. } => _ = gone.insert((*kind, id.clone())),
                // A route without its chain would serve what the chain protects.
                Conflict::Unknown { user_kind, user, .. } => _ = gone.insert((*user_kind, user.clone())),
                Conflict::InUse { kind, id, .. } => keep_stored(stored, &mut set, *kind, id),
                Conflict::Full { .. } => {}
            }
        }
        let is_gone = |kind: Kind, id: &str| gone.contains(&(kind, Arc::from(id)));
        set.policies.retain(|policy| !is_gone(Kind::Policy, policy.id.as_str()));
        set.pools.retain(|pool| !is_gone(Kind::App, pool.id.as_str()));
        for pool in &mut set.pools {
            pool.endpoints.retain(|endpoint| !is_gone(Kind::Instance, endpoint.id.as_str()));
        }
        set.routes.retain(|route| !is_gone(Kind::Route, route.id.as_str()));
        set.middlewares.retain(|of| !is_gone(Kind::Middleware, of.id.as_str()));
        set.plugins.retain(|of| !is_gone(Kind::Plugin, of.id.as_str()));
        set.scripts.retain(|of| !is_gone(Kind::Script, &of.id));
    }
    (set, findings)
}

/// Resources of a set whose middleware refers to one.
fn users(set: &OperatorSet, kind: Kind, id: &str) -> Vec<(Kind, Arc<str>)> {
    let passes = |route: &&Arc<RouteSpec>| {
        kind == Kind::Middleware && route.middleware.iter().any(|chain| chain.as_str() == id)
    };
    let routes = set.routes.iter().filter(passes).map(|route| (Kind::Route, route.id.as_str().into()));
    let asks =
        |chain: &&Arc<MiddlewareSpec>| chain.references().any(|(used, name)| used == kind && *name == *id);
    let chains =
        set.middlewares.iter().filter(asks).map(|chain| (Kind::Middleware, chain.id.as_str().into()));
    let is_asked = |plugin: &&Arc<PluginSpec>| {
        kind == Kind::App && plugin.external().is_some_and(|filter| filter.pool.as_str() == id)
    };
    let plugins = set.plugins.iter().filter(is_asked).map(|plugin| (Kind::Plugin, plugin.id.as_str().into()));
    routes.chain(chains).chain(plugins).collect()
}

/// Keeps a stored resource, with all that it refers to, unless the set has one of its id.
fn keep_stored(stored: &Desired, set: &mut OperatorSet, kind: Kind, id: &str) {
    match kind {
        Kind::Middleware if set.middlewares.iter().all(|of| of.id.as_str() != id) => {
            let Some(chain) = stored.middleware(id) else { return };
            set.middlewares.push(chain.spec.clone());
            for (kind, id) in chain.spec.references() {
                keep_stored(stored, set, kind, &id);
            }
            for policy in chain.spec.stages.iter().filter_map(StageSpec::policy) {
                keep_stored(stored, set, Kind::Policy, policy.as_str());
            }
        }
        Kind::Plugin if set.plugins.iter().all(|of| of.id.as_str() != id) => {
            let Some(plugin) = stored.plugin(id) else { return };
            set.plugins.push(plugin.spec.clone());
            if let Some(filter) = plugin.spec.external() {
                keep_stored(stored, set, Kind::App, filter.pool.as_str());
            }
        }
        Kind::App if set.pools.iter().all(|of| of.id.as_str() != id) => {
            set.pools.extend(stored_pool(stored, id));
        }
        Kind::Policy if set.policies.iter().all(|of| of.id.as_str() != id) => {
            set.policies.extend(stored_policy(stored, id));
        }
        _ => {}
    }
}

fn stored_pool(stored: &Desired, id: &str) -> Option<PoolSpec> {
    let pool = stored.app(id)?;
    let endpoints = stored.instances_of(id).map(|endpoint| EndpointSpec {
        id: endpoint.id.clone(),
        target: endpoint.target.clone(),
        weight: endpoint.weight,
        health_check: endpoint.health_check.clone(),
    });
    Some(PoolSpec {
        traffic: pool.traffic.clone().unwrap_or_default(),
        id: AppId::clone(&pool.id),
        endpoints: endpoints.collect(),
        balancer: pool.balancer,
        upstream_tls: pool.upstream_tls.clone(),
        failures: pool.failures,
        on_all_unhealthy: pool.on_all_unhealthy,
        policy: pool.policy.clone(),
    })
}

fn stored_policy(stored: &Desired, id: &str) -> Option<PolicySpec> {
    let policy = stored.policy(id)?;
    Some(PolicySpec { id: policy.id.clone(), settings: policy.settings.clone() })
}

/// No document of another owner has been read yet.
struct Unknown;

impl KnownPlaces for Unknown {
    fn place(&self, _: &Owner, _: Kind, _: &str) -> Option<&ringway_config::Place> {
        None
    }
}

#[cfg(test)]
#[path = "startup_tests.rs"]
mod tests;
