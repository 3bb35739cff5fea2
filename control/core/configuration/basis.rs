//! Judgement of proposals: read, then checked by claims, the operator's rules and the size guard.
//!
//! A judgement changes nothing. The thread of the changes and that of the questions judge by the same
//! [`Basis`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringway_config::{Beside, Document, Finding, GovernanceRule, Place, Places, Reading, Severity, Source};
use ringway_model::{Applied, Change, Desired, Kind, NewVersion, Owner, Rejection, RouteId, SetVersion};
use ringway_net::clock;
use ringway_traffic::pattern::{Pattern, Patterns};
use ringway_traffic::policy::Defaults;

use super::auth_changes::{AuthChange, auth_changes};
use super::checks;
use super::diff;
use super::error::{ConfigError, Step};
use super::governance::{self, Judged};
use super::history;
use super::judge::{self, KnownPlaces};
use super::replacement::{replace, unreadable};
use super::requests::{Diff, Effects, FieldChange, Mode, Proposal};

/// Everything beside the model by which proposals are read and judged. A clone shares the large parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Basis {
    /// Parts of the documents of owner `file` that are in force.
    pub(super) file: InForce,
    /// Parts of the documents of owner `admin` that are in force.
    pub(super) admin: InForce,
    /// Documents before those of the files.
    pub(super) fixed: Arc<[Source]>,
    /// Settings of the process, which routes have where the documents leave them out.
    pub(super) defaults: Defaults,
    /// Compiled patterns, which the compiler of the control thread uses too.
    pub(super) patterns: Patterns,
}

/// The present basis. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedBasis(Arc<Mutex<Arc<Basis>>>);

impl SharedBasis {
    pub(super) fn new(basis: Basis) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(basis))))
    }

    pub(super) fn get(&self) -> Arc<Basis> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, owner: &Owner, in_force: InForce) {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let basis = Arc::make_mut(&mut shared);
        match owner {
            Owner::File => basis.file = in_force,
            _ => basis.admin = in_force,
        }
    }
}

/// Parts of an owner's documents that are not in the model.
#[derive(Clone, Debug, Default)]
pub(super) struct InForce {
    pub(super) places: Places,
    pub(super) governance: Vec<GovernanceRule>,
    pub(super) bake: Option<Duration>,
}

impl InForce {
    pub(super) fn of(document: &Document) -> Self {
        let Document { places, governance, bake, .. } = document;
        Self { places: places.clone(), governance: governance.clone(), bake: *bake }
    }

    /// Those of the stored version of an owner: without places.
    pub(super) fn stored(desired: &Desired, owner: &Owner) -> Self {
        let document = desired.version_of(owner).and_then(|version| history::reopen(version).ok());
        document.map_or_else(Self::default, |document| Self {
            places: Places::default(),
            governance: document.governance,
            bake: document.bake,
        })
    }
}

/// A proposal and everything that is known about it.
pub(super) struct Proposed {
    pub(super) base: Desired,
    pub(super) owner: Owner,
    pub(super) document: Document,
    pub(super) change: Change,
    /// Result of the change; `None` when claims refuse it.
    pub(super) applied: Option<Applied>,
    /// Findings of the steps, in their order.
    pub(super) findings: Vec<(Step, Finding)>,
    /// Compiled patterns of its routes, kept until the compiler has them too.
    _patterns: Vec<Arc<Pattern>>,
}

/// Guards that an application may skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guards {
    All,
    /// All but the size guard.
    ForcedSize,
    /// Claims only: content that was in force before is put back in a hurry.
    Claims,
}

impl Basis {
    /// Reads a proposal. Sections that it leaves out are those of the owner's present documents; those of the
    /// files are all that owner has.
    pub(super) fn read(
        &self,
        base: &Desired,
        proposal: &Proposal,
    ) -> Result<(Option<Document>, Vec<Finding>), ConfigError> {
        if !proposal.owner.is_operator() {
            return Err(ConfigError::NotReplaceable(proposal.owner.clone()));
        }
        let is_known = |kind: Kind, id: &str| {
            base.owner_of(kind, id).is_some_and(|owner| owner.is_operator() && *owner != proposal.owner)
        };
        let is_file = proposal.owner == Owner::File;
        let present = match proposal.mode {
            _ if is_file => None,
            Mode::Replace => None,
            Mode::Merge => match base.version_of(&proposal.owner) {
                Some(version) => Some(history::reopen(version).map_err(unreadable)?),
                None => None,
            },
        };
        let builtins: Vec<_> = self.defaults.builtins.names().cloned().collect();
        let beside = Beside { is_known: &is_known, base: present.as_ref(), builtins: Some(&builtins) };
        let fixed: &[Source] = if is_file { &self.fixed } else { &[] };
        let sources: Vec<_> = fixed.iter().chain(&proposal.sources).cloned().collect();
        let mut reading = ringway_config::read_beside(&sources, &beside);
        if !is_file && let Some(of_process) = reading.statics.first() {
            reading.findings.push(Finding {
                severity: Severity::Warning,
                code: "unsupported",
                pointer: of_process.path.to_string(),
                message: "is a setting of the process and has no effect here: it belongs into a file"
                    .to_owned(),
                place: Some(of_process.place.clone()),
            });
        }
        Ok((reading.document, reading.findings))
    }

    /// Reads the documents of the files.
    pub(super) fn read_files(&self, sources: &[Source]) -> Reading {
        let builtins: Vec<_> = self.defaults.builtins.names().cloned().collect();
        ringway_config::read_beside(sources, &Beside { builtins: Some(&builtins), ..Beside::NOTHING })
    }

    /// As [`Basis::read`]; a document with mistakes is refused.
    pub(super) fn read_valid(
        &self,
        base: &Desired,
        proposal: &Proposal,
    ) -> Result<(Document, Vec<Finding>), ConfigError> {
        match self.read(base, proposal)? {
            (Some(document), findings) => Ok((document, findings)),
            (None, findings) => Err(ConfigError::Refused { step: Step::Reading, findings }),
        }
    }

    /// As [`Basis::read_valid`], for a proposal whose routes are to be compiled: with their patterns.
    pub(super) fn read_routable(
        &self,
        base: &Desired,
        proposal: &Proposal,
    ) -> Result<(Document, Vec<Arc<Pattern>>), ConfigError> {
        let (document, _) = self.read_valid(base, proposal)?;
        let routes = checks::routes(&document, self.defaults.slashes, &self.patterns);
        match routes.has_mistakes() {
            true => Err(unreadable(routes.findings)),
            false => Ok((document, routes.patterns)),
        }
    }

    /// Judges a document as an owner's new set. `version`: its entry for the history, which has the reason;
    /// `None` for a question.
    pub(super) fn judge(
        &self,
        base: Desired,
        owner: Owner,
        document: Document,
        version: Option<NewVersion>,
        guards: Guards,
    ) -> Proposed {
        let routes = checks::routes(&document, self.defaults.slashes, &self.patterns);
        let of_others = |id: &str| base.owner_of(Kind::App, id).is_some_and(|of| *of != owner);
        let scripts = match guards {
            // They were compiled before, perhaps beside other pools.
            Guards::Claims => Vec::new(),
            Guards::All | Guards::ForcedSize => scripts_of(&owner, &document, &of_others),
        };
        let mistakes = routes.findings.into_iter().chain(checks::files(&document)).chain(scripts);
        let mut findings: Vec<(Step, Finding)> = mistakes.map(|mistake| (Step::Reading, mistake)).collect();
        let reason = version.as_ref().map(|version| version.reason.clone());
        let expect = version.as_ref().map(|_| version_of(&base, &owner));
        let change = replace(&owner, &document.set, expect, version);
        let now = clock::timestamp();
        let applied = match base.apply(&change, now) {
            Ok(applied) => Some(applied),
            Err(Rejection::Conflicts(conflicts)) => {
                findings.extend(conflicts.iter().map(|conflict| {
                    (Step::Claims, judge::conflict_finding(conflict, &document.places, self))
                }));
                None
            }
            Err(other) => {
                findings.push((Step::Claims, judge::error("not_applied", other.to_string(), None)));
                None
            }
        };
        if let (Some(applied), Guards::All | Guards::ForcedSize) = (&applied, guards) {
            let Applied { desired: after, deltas, .. } = applied;
            let (reason, default_timeout) = (reason.as_deref(), self.defaults.policy.head_timeout());
            let judged = Judged { before: &base, after, deltas, owner: &owner, reason, default_timeout };
            // A set cannot lift the rules that it is judged by, and the files rule over changes by requests.
            let rules = match owner {
                Owner::File => vec![&self.file.governance, &document.governance],
                _ => vec![&self.file.governance, &self.admin.governance, &document.governance],
            };
            let broken = governance::judge(rules, &judged, &document.places, now);
            findings.extend(broken.into_iter().map(|finding| (Step::Governance, finding)));
            if guards == Guards::All {
                let guard = judge::size_guard(owned(&base, &owner), owned(after, &owner));
                findings.extend(guard.map(|finding| (Step::Size, finding)));
            }
        }
        Proposed { base, owner, document, change, applied, findings, _patterns: routes.patterns }
    }
}

impl KnownPlaces for Basis {
    fn place(&self, owner: &Owner, kind: Kind, id: &str) -> Option<&Place> {
        match owner {
            Owner::File => self.file.places.get(kind, id),
            // Places of requests name nothing that still exists.
            _ => None,
        }
    }
}

impl Proposed {
    /// Whether a document with these routes and files could not be used by any owner.
    pub(super) fn has_mistakes(&self) -> bool {
        self.findings.iter().any(|(step, finding)| *step == Step::Reading && finding.is_error())
    }

    pub(super) fn changes(&self) -> Vec<FieldChange> {
        let Some(Applied { desired: after, deltas, .. }) = &self.applied else { return Vec::new() };
        diff::changes(&self.base, after, deltas, &self.owner)
    }

    pub(super) fn auth_changes(&self) -> Vec<(AuthChange, RouteId)> {
        let Some(Applied { desired: after, deltas, .. }) = &self.applied else { return Vec::new() };
        auth_changes(&self.base, after, deltas)
    }

    pub(super) fn effects(&self) -> Effects {
        let Some(Applied { desired: after, deltas, .. }) = &self.applied else { return Effects::default() };
        diff::effects(&self.base, after, deltas)
    }

    pub(super) fn diff(&self, from: Option<Arc<str>>, findings: Vec<Finding>) -> Diff {
        Diff {
            plan: None,
            owner: self.owner.clone(),
            from,
            to: self.document.version.as_str().into(),
            changes: self.changes(),
            effects: self.effects(),
            findings,
        }
    }

    pub(super) fn after_or_refusal(self) -> Result<Desired, ConfigError> {
        let findings = self.findings.into_iter().map(|(_, finding)| finding).collect();
        let applied = self.applied.ok_or(ConfigError::Refused { step: Step::Claims, findings })?;
        Ok(applied.desired)
    }
}

/// Mistakes of the scripts of a document. Scripts are code: they come from the operator's files only.
fn scripts_of(owner: &Owner, document: &Document, has_pool: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    match document.set.scripts.first() {
        Some(script) if *owner != Owner::File => {
            let message = "scripts come from the files of the operator, not from requests".to_owned();
            let place = document.places.get(Kind::Script, &script.id).cloned();
            vec![judge::error("unsupported", message, place)]
        }
        _ => checks::scripts(document, has_pool),
    }
}

/// The present version of an owner's set.
pub(super) fn version_of(desired: &Desired, owner: &Owner) -> Option<SetVersion> {
    desired.version_of(owner).map(|kept| kept.version.clone())
}

/// Number of an owner's objects, as the size guard counts them.
fn owned(desired: &Desired, owner: &Owner) -> usize {
    [Kind::Route, Kind::App, Kind::Policy].map(|kind| desired.owned_count(owner, kind)).into_iter().sum()
}
