//! The state of the configuration thread, and every request to it.
//!
//! ```text
//!  documents ─► read ─► claims ─► governance ─► size guard ─► Change::ReplaceOwned ─► control thread ─► receipt
//! ```
//! The control thread compiles, stores and publishes the change; with a bake time it is tried on one core
//! first.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ringway_bridge::SlotSender;
use ringway_config::{Beside, Document, Finding, GovernanceRule, Place, Places, Severity};
use ringway_model::{
    Change, ConfigVersion, Delta, Desired, Kind, NewVersion, OperatorSet, Owner, Rejection, Replacement,
    SetVersion, Tick, Timestamp,
};
use ringway_net::clock;
use ringway_wire::path::Slashes;

use super::checks;
use super::diff;
use super::error::{ConfigError, Step};
use super::files::{Content, Files};
use super::governance::{self, Judged};
use super::history;
use super::judge::{self, KnownPlaces};
use super::requests::{
    Applied, ApplyContent, ApplyRequest, ConfigurationStatus, Current, Diff, DiffRequest, Effects,
    ExplainRequest, Explanation, FieldChange, Mode, Proposal, ReloadRequest, Rerouting, RollbackRequest,
    Sampled, Validation, Version,
};
use super::routing;
use super::startup::Started;
use super::thread::Notice;
use crate::client::Client;
use crate::limits::{CHANGES_REPORTED_MAX, CONFIG_PLANS_MAX, REASON_BYTES_MAX};
use crate::simulation::Simulation;
use crate::submission::{Receipt, Refusal, Submission};
use crate::trial::{TrialId, TrialState, TrialStatus};

/// The control thread, as this thread uses it.
pub(crate) trait Plane: Send {
    /// Present configuration.
    fn desired(&self) -> Result<Desired, Refusal>;
    /// Applies a change.
    fn submit(&self, submission: Submission) -> Result<Receipt, Refusal>;
    /// The present trial, or the last one.
    fn trial(&self) -> Result<Option<TrialStatus>, Refusal>;
    /// Copies of what is in force, for simulations.
    fn simulation(&self) -> Result<Simulation, Refusal>;
}

impl Plane for Client {
    fn desired(&self) -> Result<Desired, Refusal> {
        Self::desired(self)
    }

    fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        Self::submit(self, submission)
    }

    fn trial(&self) -> Result<Option<TrialStatus>, Refusal> {
        Self::trial(self)
    }

    fn simulation(&self) -> Result<Simulation, Refusal> {
        Self::simulation(self)
    }
}

/// State of the thread.
pub(crate) struct Configurator {
    plane: Box<dyn Plane>,
    files: Option<Files>,
    /// Places and rules of the documents of owner `file` that are in force.
    file: InForce,
    /// Rules of the documents of owner `admin` that are in force.
    admin: InForce,
    plans: VecDeque<Plan>,
    slashes: Slashes,
    /// A change of the files on trial.
    trial: Option<TrialId>,
    trial_due: Tick,
    status: ConfigurationStatus,
    notices: SlotSender<Notice>,
}

/// Parts of an owner's documents that are not in the model.
#[derive(Debug, Default)]
struct InForce {
    places: Places,
    governance: Vec<GovernanceRule>,
    bake: Option<Duration>,
}

impl InForce {
    fn of(document: &Document) -> Self {
        let Document { places, governance, bake, .. } = document;
        Self { places: places.clone(), governance: governance.clone(), bake: *bake }
    }
}

/// A proposal that an operator has looked at.
struct Plan {
    id: Arc<str>,
    owner: Owner,
    document: Document,
    /// Versions of all operators' sets that it was compared with.
    base: Vec<Option<SetVersion>>,
}

/// A proposal and everything that is known about it.
struct Proposed {
    base: Desired,
    owner: Owner,
    document: Document,
    /// Configuration after it; `None` when claims refuse it.
    after: Option<Desired>,
    deltas: Vec<Delta>,
    /// Findings of the steps, in their order.
    findings: Vec<(Step, Finding)>,
}

/// Conditions of one application.
struct Application {
    by: Arc<str>,
    reason: Arc<str>,
    expect: Option<Arc<str>>,
    /// Time on one core first; that of the documents when absent.
    bake: Option<Duration>,
    guards: Guards,
}

/// Guards that an application may skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guards {
    All,
    /// All but the size guard.
    ForcedSize,
    /// Claims only: content that was in force before is put back in a hurry.
    Claims,
}

impl Configurator {
    pub(crate) fn new(plane: Box<dyn Plane>, started: Started, notices: SlotSender<Notice>) -> Self {
        let Started { desired, settings, slashes, quarantined, .. } = started;
        let file = settings.start.document().map(InForce::of).unwrap_or_default();
        let mut configurator = Self {
            plane,
            files: None,
            file,
            admin: stored_in_force(&desired, &Owner::Admin),
            plans: VecDeque::new(),
            slashes,
            trial: None,
            trial_due: Tick::NEVER,
            status: ConfigurationStatus::default(),
            notices,
        };
        if configurator.file.governance.is_empty() && settings.start.document().is_none() {
            configurator.file = stored_in_force(&desired, &Owner::File);
        }
        configurator.files = Files::start(settings, quarantined);
        configurator.report(&desired);
        configurator
    }

    // --- Work that is due ---------------------------------------------------------------------------------

    /// Descriptor that becomes readable when a file may have changed.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.files.as_ref()?.descriptor()
    }

    /// Time of the next call of [`Configurator::advance`].
    pub(crate) fn next_deadline(&self) -> Tick {
        self.files.as_ref().map_or(Tick::NEVER, Files::next_deadline).min(self.trial_due)
    }

    /// Applies the files if they have changed, and follows a trial of them.
    pub(crate) fn advance(&mut self, now: Tick) {
        if self.trial_due <= now {
            self.follow_trial(now);
        }
        let Some(files) = &mut self.files else { return };
        let Some(reading) = files.poll(now) else { return };
        let application = Application {
            by: "file".into(),
            reason: "changed on disk".into(),
            expect: None,
            bake: None,
            guards: Guards::All,
        };
        // The result is in the log and in the status.
        let _ = self.apply_files(reading, application);
    }

    fn follow_trial(&mut self, now: Tick) {
        self.trial_due = now.after(TRIAL_INTERVAL);
        let Ok(Some(trial)) = self.plane.trial() else { return };
        if Some(trial.id) != self.trial {
            self.trial = None;
            self.trial_due = Tick::NEVER;
            return;
        }
        if !trial.state.is_over() {
            return;
        }
        self.trial = None;
        self.trial_due = Tick::NEVER;
        if let TrialState::Reverted(reason) = &trial.state
            && let Some(files) = &mut self.files
        {
            let message = format!("reverted after a trial on one core: {reason}");
            let is_news =
                files.refuse(vec![judge::error("trial", message, None)], !reason.blames_configuration());
            self.status.refused += u64::from(is_news);
            if let Ok(desired) = self.plane.desired() {
                self.file = stored_in_force(&desired, &Owner::File);
            }
        }
        self.report_present();
    }

    // --- Requests -----------------------------------------------------------------------------------------

    pub(super) fn validate(&mut self, proposal: &Proposal) -> Result<Validation, ConfigError> {
        let base = self.plane.desired()?;
        let (document, mut findings) = match self.read(&base, proposal)? {
            (Some(document), findings) => (document, findings),
            (None, findings) => return Ok(Validation { version: None, findings, effects: None }),
        };
        let proposed = self.judge(base, proposal.owner.clone(), document, None, Guards::All);
        findings.extend(proposed.findings.iter().map(|(_, finding)| finding.clone()));
        let version = Some(proposed.document.version.as_str().into());
        Ok(Validation { version, findings, effects: Some(proposed.effects()) })
    }

    pub(super) fn diff(&mut self, request: DiffRequest) -> Result<Diff, ConfigError> {
        let base = self.plane.desired()?;
        let (proposed, from, mut findings) = match request {
            DiffRequest::Proposal(proposal) => {
                let (document, findings) = self.read_valid(&base, &proposal)?;
                let from = base.version_of(&proposal.owner).map(|version| version.version.clone());
                (self.judge(base, proposal.owner, document, None, Guards::All), from, findings)
            }
            DiffRequest::Versions { owner, from, to } => {
                let (from, to) = (kept(&base, &owner, Some(from))?, kept(&base, &owner, Some(to))?);
                let before = history::reopen(&from).map_err(unreadable)?;
                let base =
                    self.judge(base, owner.clone(), before, None, Guards::Claims).after_or_refusal()?;
                let after =
                    self.judge(base, owner, history::reopen(&to).map_err(unreadable)?, None, Guards::Claims);
                let diff = Diff { plan: None, ..after.diff(Some(from.version.as_str().into()), Vec::new()) };
                return Ok(diff);
            }
        };
        findings.extend(proposed.findings.iter().map(|(_, finding)| finding.clone()));
        let mut diff = proposed.diff(from.map(|version| version.as_str().into()), findings);
        let simulated = self
            .plane
            .simulation()
            .map_err(ConfigError::from)
            .and_then(|simulation| reroute(&simulation, &proposed.owner, &proposed.document.set));
        // Claims refuse the proposal: there is nothing to route by.
        diff.effects.sampled =
            simulated.ok().map(|found| Sampled { requests: found.requests, rerouted: found.rerouted });
        // The files' set is replaced by saving them.
        if proposed.owner == Owner::File {
            return Ok(diff);
        }
        let plan = Plan {
            id: plan_id(&proposed.base, &proposed.owner, &proposed.document.version),
            base: versions(&proposed.base),
            owner: proposed.owner,
            document: proposed.document,
        };
        self.plans.retain(|known| known.id != plan.id);
        self.plans.truncate(CONFIG_PLANS_MAX - 1);
        let id = plan.id.clone();
        self.plans.push_front(plan);
        Ok(Diff { plan: Some(id), ..diff })
    }

    pub(super) fn apply(&mut self, request: ApplyRequest) -> Result<Applied, ConfigError> {
        let result = self.try_apply(request);
        self.count(&result);
        result
    }

    fn try_apply(&mut self, request: ApplyRequest) -> Result<Applied, ConfigError> {
        let base = self.plane.desired()?;
        let (owner, document, findings) = match request.content {
            ApplyContent::Proposal(proposal) => {
                if proposal.owner != Owner::Admin {
                    return Err(ConfigError::NotReplaceable(proposal.owner));
                }
                let (document, findings) = self.read_valid(&base, &proposal)?;
                (proposal.owner, document, findings)
            }
            ApplyContent::Plan(id) => {
                let plan = self.plans.iter().find(|plan| plan.id == id).ok_or(ConfigError::PlanOutdated)?;
                if plan.base != versions(&base) {
                    return Err(ConfigError::PlanOutdated);
                }
                (plan.owner.clone(), plan.document.clone(), Vec::new())
            }
        };
        let application = Application {
            by: request.by,
            reason: request.reason,
            expect: request.expect,
            bake: request.bake,
            guards: if request.force_size { Guards::ForcedSize } else { Guards::All },
        };
        self.put_into_force(base, owner, document, findings, application)
    }

    pub(super) fn rollback(&mut self, request: RollbackRequest) -> Result<Applied, ConfigError> {
        let result = self.try_rollback(request);
        self.count(&result);
        result
    }

    fn try_rollback(&mut self, request: RollbackRequest) -> Result<Applied, ConfigError> {
        let RollbackRequest { owner, version, expect, reason, by } = request;
        if !owner.is_operator() {
            return Err(ConfigError::NotReplaceable(owner));
        }
        let base = self.plane.desired()?;
        let kept = kept(&base, &owner, version)?;
        let document = history::reopen(&kept).map_err(unreadable)?;
        let application =
            Application { by, reason, expect, bake: Some(Duration::ZERO), guards: Guards::Claims };
        let version = document.version.clone();
        let applied = self.put_into_force(base, owner.clone(), document, Vec::new(), application)?;
        if owner == Owner::File
            && let Some(files) = &mut self.files
        {
            files.handle_rollback(&version);
        }
        Ok(applied)
    }

    pub(super) fn reload(&mut self, request: &ReloadRequest) -> Result<Applied, ConfigError> {
        let files = self.files.as_mut().ok_or(ConfigError::NoFile)?;
        let reading = files.read_now(clock::now());
        let application = Application {
            by: request.by.clone(),
            reason: request.reason.clone(),
            expect: None,
            bake: None,
            guards: if request.force_size { Guards::ForcedSize } else { Guards::All },
        };
        self.apply_files(reading, application)
    }

    pub(super) fn current(&mut self, owner: Option<&Owner>) -> Result<Vec<Current>, ConfigError> {
        let desired = self.plane.desired()?;
        let owners = OPERATORS.iter().filter(|operator| owner.is_none_or(|owner| owner == *operator));
        let versions = owners.filter_map(|owner| desired.version_of(owner));
        versions.map(|version| history::show(version, true).map_err(unreadable)).collect()
    }

    pub(super) fn history(&mut self, owner: &Owner) -> Result<Vec<Version>, ConfigError> {
        Ok(history::versions(&self.plane.desired()?, owner))
    }

    pub(super) fn version(&mut self, owner: &Owner, version: &Arc<str>) -> Result<Current, ConfigError> {
        let desired = self.plane.desired()?;
        let found = kept(&desired, owner, Some(version.clone()))?;
        let is_current = desired.version_of(owner).is_some_and(|current| current.sequence == found.sequence);
        history::show(&found, is_current).map_err(unreadable)
    }

    pub(super) fn explain(&mut self, request: &ExplainRequest) -> Result<Explanation, ConfigError> {
        let simulation = self.plane.simulation()?;
        let (snapshot, proposed) = match &request.proposal {
            None => (Arc::clone(simulation.snapshot()), None),
            Some(proposal) => {
                let (document, _) = self.read_valid(&simulation.desired, proposal)?;
                let change = replace(&proposal.owner, &document.set, None, None);
                let snapshot = simulation.snapshot_after(&proposal.owner, &change, Timestamp::default());
                (snapshot.map_err(Refusal::Rejected)?, Some((&proposal.owner, document)))
            }
        };
        let place = |owner: &Owner, kind: Kind, id: &str| match &proposed {
            Some((of, document)) if *of == owner => document.places.get(kind, id).cloned(),
            _ => self.place(owner, kind, id).cloned(),
        };
        routing::explain(request, &snapshot, place).map_err(|finding| unreadable(vec![finding]))
    }

    pub(super) fn simulate(&mut self, proposal: &Proposal) -> Result<Rerouting, ConfigError> {
        let simulation = self.plane.simulation()?;
        let (document, _) = self.read_valid(&simulation.desired, proposal)?;
        reroute(&simulation, &proposal.owner, &document.set)
    }

    // --- Steps --------------------------------------------------------------------------------------------

    /// Reads a proposal. Sections that it leaves out are those of the owner's present documents; those of the
    /// files are all that owner has.
    fn read(
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
        let beside = Beside { is_known: &is_known, base: present.as_ref() };
        let fixed = self.files.iter().filter(|_| is_file).flat_map(Files::fixed);
        let sources: Vec<_> = fixed.chain(&proposal.sources).cloned().collect();
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

    fn read_valid(
        &self,
        base: &Desired,
        proposal: &Proposal,
    ) -> Result<(Document, Vec<Finding>), ConfigError> {
        match self.read(base, proposal)? {
            (Some(document), findings) => Ok((document, findings)),
            (None, findings) => Err(ConfigError::Refused { step: Step::Reading, findings }),
        }
    }

    fn judge(
        &self,
        base: Desired,
        owner: Owner,
        document: Document,
        reason: Option<&str>,
        guards: Guards,
    ) -> Proposed {
        let mistakes = checks::mistakes(&document, self.slashes);
        let mut findings: Vec<(Step, Finding)> =
            mistakes.into_iter().map(|mistake| (Step::Reading, mistake)).collect();
        let change = replace(&owner, &document.set, None, None);
        let (after, deltas) = match base.apply(&change, Timestamp::default()) {
            Ok(applied) => (Some(applied.desired), applied.deltas),
            Err(Rejection::Conflicts(conflicts)) => {
                findings.extend(conflicts.iter().map(|conflict| {
                    (Step::Claims, judge::conflict_finding(conflict, &document.places, self))
                }));
                (None, Vec::new())
            }
            Err(other) => {
                findings.push((Step::Claims, judge::error("not_applied", other.to_string(), None)));
                (None, Vec::new())
            }
        };
        if let (Some(after), Guards::All | Guards::ForcedSize) = (&after, guards) {
            let judged = Judged { before: &base, after, deltas: &deltas, owner: &owner, reason };
            // A set cannot lift the rules that it is judged by, and the files rule over changes by requests.
            let rules = match owner {
                Owner::File => vec![&self.file.governance, &document.governance],
                _ => vec![&self.file.governance, &self.admin.governance, &document.governance],
            };
            let broken = governance::judge(rules, &judged, &document.places, clock::timestamp());
            findings.extend(broken.into_iter().map(|finding| (Step::Governance, finding)));
            if guards == Guards::All {
                let guard = judge::size_guard(owned(&base, &owner), owned(after, &owner));
                findings.extend(guard.map(|finding| (Step::Size, finding)));
            }
        }
        Proposed { base, owner, document, after, deltas, findings }
    }

    fn put_into_force(
        &mut self,
        base: Desired,
        owner: Owner,
        document: Document,
        mut warnings: Vec<Finding>,
        application: Application,
    ) -> Result<Applied, ConfigError> {
        let Application { by, reason, expect, bake, guards } = application;
        let previous = base.version_of(&owner).map(|kept| kept.version.clone());
        if let Some(expected) = expect
            && previous.as_ref().map(SetVersion::as_str) != Some(&*expected)
        {
            let current = previous.map(|version| version.as_str().into());
            return Err(ConfigError::Stale { owner, current });
        }
        let reason: Arc<str> = cut(&reason, REASON_BYTES_MAX).into();
        let proposed = self.judge(base, owner.clone(), document, Some(&reason), guards);
        if let Some((step, _)) = proposed.findings.iter().find(|(_, finding)| finding.is_error()) {
            let of_step = proposed.findings.iter().filter(|(of, _)| of == step);
            warnings.extend(of_step.map(|(_, finding)| finding.clone()));
            return Err(ConfigError::Refused { step: *step, findings: warnings });
        }
        warnings.extend(proposed.findings.iter().map(|(_, finding)| finding.clone()));
        let document = &proposed.document;
        let bake = bake.or(document.bake).or(self.file.bake).unwrap_or(Duration::ZERO);
        // The configuration in force replaces the one on trial.
        let is_on_trial =
            self.plane.trial()?.is_some_and(|trial| trial.owner == owner && !trial.state.is_over());
        let is_in_force =
            proposed.deltas.is_empty() && previous.as_ref() == Some(&document.version) && !is_on_trial;
        let receipt = match is_in_force {
            true => None,
            false => {
                let version = NewVersion {
                    version: document.version.clone(),
                    by,
                    reason,
                    source: history::pack(&document.canonical),
                    is_proven: false,
                };
                let change = replace(&owner, &document.set, Some(previous.clone()), Some(version));
                Some(self.submit(Submission::on_trial(change, bake), &document.places)?)
            }
        };
        let in_force = InForce::of(document);
        match owner {
            Owner::File => self.file = in_force,
            _ => self.admin = in_force,
        }
        if owner == Owner::File {
            self.trial = receipt.as_ref().and_then(|receipt| receipt.trial);
            self.trial_due = match self.trial {
                Some(_) => clock::now().after(TRIAL_INTERVAL),
                None => Tick::NEVER,
            };
        }
        self.status.last_success = Some(clock::timestamp());
        // Described once it is in force: no request waits for it.
        let (changes, effects) = (proposed.changes(), proposed.effects());
        let (count, mut listed) = (changes.len(), changes);
        listed.truncate(CHANGES_REPORTED_MAX);
        Ok(Applied {
            owner,
            version: document.version.as_str().into(),
            previous: previous.map(|version| version.as_str().into()),
            changes: (count, listed),
            effects,
            findings: warnings,
            restart_needed: self.status.restart_needed.clone(),
            receipt,
        })
    }

    fn submit(&self, submission: Submission, places: &Places) -> Result<Receipt, ConfigError> {
        self.plane.submit(submission).map_err(|refusal| match refusal {
            // A registration came between judgement and submission.
            Refusal::Rejected(Rejection::Conflicts(conflicts)) => ConfigError::Refused {
                step: Step::Claims,
                findings: conflicts
                    .iter()
                    .map(|conflict| judge::conflict_finding(conflict, places, self))
                    .collect(),
            },
            Refusal::Rejected(Rejection::StaleVersion { owner, current }) => {
                let current = current.map(|version| version.as_str().into());
                ConfigError::Stale { owner, current }
            }
            refusal => ConfigError::ControlPlane(refusal),
        })
    }

    /// Applies the documents of the files.
    fn apply_files(&mut self, reading: Content, application: Application) -> Result<Applied, ConfigError> {
        let result = self.try_files(reading, application);
        let is_news = match (&mut self.files, &result) {
            (Some(files), Ok(applied)) => {
                files.handle_applied(applied);
                false
            }
            (Some(files), Err(error)) => files.handle_refused(error),
            (None, _) => false,
        };
        // One that is tried again by itself counts once.
        self.status.refused += u64::from(is_news);
        self.report_present();
        result
    }

    fn try_files(&mut self, reading: Content, application: Application) -> Result<Applied, ConfigError> {
        let sources = match reading {
            Content::Read(sources) => sources,
            Content::Unreadable(findings) => {
                if let Some(files) = &mut self.files {
                    files.handle_version(None);
                }
                return Err(ConfigError::Refused { step: Step::Reading, findings });
            }
        };
        let reading = ringway_config::read(&sources);
        if let Some(files) = &mut self.files {
            files.handle_version(reading.document.as_ref().map(|document| &document.version));
        }
        let Some(document) = reading.document else {
            return Err(ConfigError::Refused { step: Step::Reading, findings: reading.findings });
        };
        if let Some(files) = &self.files {
            self.status.restart_needed = files.restart_needed(&document);
        }
        let base = self.plane.desired()?;
        self.put_into_force(base, Owner::File, document, reading.findings, application)
    }

    /// Counts a refusal, and publishes the status.
    fn count(&mut self, result: &Result<Applied, ConfigError>) {
        self.status.refused += u64::from(result.is_err());
        self.report_present();
    }

    fn report_present(&mut self) {
        if let Ok(desired) = self.plane.desired() {
            self.report(&desired);
        }
    }

    /// Publishes the status.
    fn report(&mut self, desired: &Desired) {
        let version =
            |owner: &Owner| Some((owner.clone(), Arc::from(desired.version_of(owner)?.version.as_str())));
        self.status.versions = OPERATORS.iter().filter_map(version).collect();
        if let Some(files) = &self.files {
            files.describe(&mut self.status, desired);
        }
        let rules: Vec<_> = self.file.governance.iter().chain(&self.admin.governance).cloned().collect();
        let reserved = governance::reserved_hosts(&rules);
        self.notices.publish(Notice { status: self.status.clone(), reserved });
    }
}

impl KnownPlaces for Configurator {
    fn place(&self, owner: &Owner, kind: Kind, id: &str) -> Option<&Place> {
        match owner {
            Owner::File => self.file.places.get(kind, id),
            // Places of requests name nothing that still exists.
            _ => None,
        }
    }
}

impl Proposed {
    fn changes(&self) -> Vec<FieldChange> {
        let Some(after) = &self.after else { return Vec::new() };
        diff::changes(&self.base, after, &self.deltas, &self.owner)
    }

    fn effects(&self) -> Effects {
        let Some(after) = &self.after else { return Effects::default() };
        diff::effects(&self.base, after, &self.deltas)
    }

    fn diff(&self, from: Option<Arc<str>>, findings: Vec<Finding>) -> Diff {
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

    fn after_or_refusal(self) -> Result<Desired, ConfigError> {
        let findings = self.findings.into_iter().map(|(_, finding)| finding).collect();
        self.after.ok_or(ConfigError::Refused { step: Step::Claims, findings })
    }
}

/// Routes the last requests by the configuration in force, and by that with another set of an owner.
fn reroute(simulation: &Simulation, owner: &Owner, set: &Arc<OperatorSet>) -> Result<Rerouting, ConfigError> {
    let change = replace(owner, set, None, None);
    let after = simulation.snapshot_after(owner, &change, Timestamp::default()).map_err(Refusal::Rejected)?;
    Ok(routing::rerouted(&simulation.samples, simulation.snapshot(), &after))
}

fn replace(
    owner: &Owner,
    set: &Arc<OperatorSet>,
    expect: Option<Option<SetVersion>>,
    version: Option<NewVersion>,
) -> Change {
    Change::ReplaceOwned(Arc::new(Replacement {
        owner: owner.clone(),
        set: Arc::clone(set),
        expect,
        version,
    }))
}

fn kept(
    desired: &Desired,
    owner: &Owner,
    version: Option<Arc<str>>,
) -> Result<Arc<ConfigVersion>, ConfigError> {
    let found = match &version {
        Some(version) => history::find(desired, owner, version),
        None => history::previous(desired, owner),
    };
    found.ok_or_else(|| ConfigError::UnknownVersion { owner: owner.clone(), version })
}

fn unreadable(findings: Vec<Finding>) -> ConfigError {
    ConfigError::Refused { step: Step::Reading, findings }
}

fn stored_in_force(desired: &Desired, owner: &Owner) -> InForce {
    let document = desired.version_of(owner).and_then(|version| history::reopen(version).ok());
    document.map_or_else(InForce::default, |document| InForce {
        places: Places::default(),
        governance: document.governance,
        bake: document.bake,
    })
}

/// Versions of all operators' sets.
fn versions(desired: &Desired) -> Vec<Option<SetVersion>> {
    let version = |owner| desired.version_of(owner).map(|version| version.version.clone());
    OPERATORS.iter().map(version).collect()
}

fn plan_id(desired: &Desired, owner: &Owner, version: &SetVersion) -> Arc<str> {
    // Plans live as long as this process.
    static KEY: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);
    format!("{:016x}", KEY.hash_one((owner, version, versions(desired)))).into()
}

/// Number of an owner's objects, as the size guard counts them.
fn owned(desired: &Desired, owner: &Owner) -> usize {
    let counts = |kind: &Kind| matches!(kind, Kind::Route | Kind::App | Kind::Policy);
    desired.owned(owner).filter(|(kind, _)| counts(kind)).count()
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Owners whose sets are replaced whole.
const OPERATORS: [Owner; 2] = [Owner::File, Owner::Admin];

/// Interval of looking at a trial of the files.
const TRIAL_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
#[path = "configurator_tests.rs"]
mod tests;
