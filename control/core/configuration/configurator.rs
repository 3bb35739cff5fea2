//! The state of the configuration thread, and every change of it.
//!
//! ```text
//!  documents ─► read ─► claims ─► governance ─► size guard ─► change and result ─► control thread ─► receipt
//! ```
//! The control thread compiles, stores and publishes the change, whose result it takes over if nothing else
//! was changed meanwhile; with a bake time it is tried on one core first.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::SlotSender;
use ringway_config::{Document, Finding, Places};
use ringway_model::{Desired, NewVersion, Owner, Rejection, SetVersion, Tick};
use ringway_net::clock;

use super::basis::{Basis, Guards, InForce, SharedBasis, version_of};
use super::error::{ConfigError, Step};
use super::files::{Content, Files};
use super::governance;
use super::history;
use super::judge;
use super::plane::Plane;
use super::plans::Plans;
use super::questions::Questions;
use super::replacement::{OPERATORS, kept, unreadable};
use super::requests::{
    Applied, ApplyContent, ApplyRequest, ConfigurationStatus, ReloadRequest, RollbackRequest,
};
use super::startup::Started;
use super::thread::Notice;
use crate::limits::{CHANGES_REPORTED_MAX, REASON_BYTES_MAX};
use crate::submission::{KnownResult, Receipt, Refusal, Submission};
use crate::trial::{TrialId, TrialState};

/// State of the thread.
pub(crate) struct Configurator {
    plane: Arc<dyn Plane>,
    files: Option<Files>,
    basis: SharedBasis,
    plans: Plans,
    /// A change of the files on trial.
    trial: Option<TrialId>,
    trial_due: Tick,
    status: ConfigurationStatus,
    notices: SlotSender<Notice>,
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

impl Configurator {
    pub(crate) fn new(plane: Arc<dyn Plane>, started: Started, notices: SlotSender<Notice>) -> Self {
        let Started { desired, settings, defaults, patterns, quarantined, .. } = started;
        let of_documents = settings.start.document().map(InForce::of);
        let basis = Basis {
            file: of_documents.unwrap_or_else(|| InForce::stored(&desired, &Owner::File)),
            admin: InForce::stored(&desired, &Owner::Admin),
            fixed: settings.fixed.clone().into(),
            defaults,
            patterns,
        };
        let mut configurator = Self {
            plane,
            files: Files::start(settings, quarantined),
            basis: SharedBasis::new(basis),
            plans: Plans::default(),
            trial: None,
            trial_due: Tick::NEVER,
            status: ConfigurationStatus::default(),
            notices,
        };
        configurator.report(&desired);
        configurator
    }

    /// Questions about the same configuration, for a thread of their own.
    pub(crate) fn questions(&self) -> Questions {
        Questions::new(Arc::clone(&self.plane), self.basis.clone(), self.plans.clone())
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
                self.basis.put(&Owner::File, InForce::stored(&desired, &Owner::File));
            }
        }
        self.report_present();
    }

    // --- Changes ------------------------------------------------------------------------------------------

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
                let (document, findings) = self.basis.get().read_valid(&base, &proposal)?;
                (proposal.owner, document, findings)
            }
            ApplyContent::Plan(id) => {
                let (owner, document) = self.plans.find(&id, &base)?;
                (owner, document, Vec::new())
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

    // --- Steps --------------------------------------------------------------------------------------------

    fn put_into_force(
        &mut self,
        base: Desired,
        owner: Owner,
        document: Document,
        mut warnings: Vec<Finding>,
        application: Application,
    ) -> Result<Applied, ConfigError> {
        let Application { by, reason, expect, bake, guards } = application;
        let previous = version_of(&base, &owner);
        if let Some(expected) = expect
            && previous.as_ref().map(SetVersion::as_str) != Some(&*expected)
        {
            let current = previous.map(|version| version.as_str().into());
            return Err(ConfigError::Stale { owner, current });
        }
        let version = NewVersion {
            version: document.version.clone(),
            by,
            reason: cut(&reason, REASON_BYTES_MAX).into(),
            source: history::pack(&document.canonical),
            is_proven: false,
        };
        let basis = self.basis.get();
        let proposed = basis.judge(base, owner.clone(), document, Some(version), guards);
        if let Some((step, _)) = proposed.findings.iter().find(|(_, finding)| finding.is_error()) {
            let of_step = proposed.findings.iter().filter(|(of, _)| of == step);
            warnings.extend(of_step.map(|(_, finding)| finding.clone()));
            return Err(ConfigError::Refused { step: *step, findings: warnings });
        }
        warnings.extend(proposed.findings.iter().map(|(_, finding)| finding.clone()));
        let document = &proposed.document;
        let bake = bake.or(document.bake).or(basis.file.bake).unwrap_or(Duration::ZERO);
        let is_unchanged = proposed.applied.as_ref().is_some_and(|applied| applied.deltas.is_empty());
        // The configuration in force replaces the one on trial.
        let receipt = match is_unchanged && !self.is_on_trial(&owner)? {
            true => None,
            false => {
                let base = proposed.base.revision();
                let result = proposed.applied.clone().map(|applied| KnownResult { base, applied });
                let submission = Submission::on_trial(proposed.change.clone(), bake);
                Some(self.submit(Submission { result, ..submission }, &document.places)?)
            }
        };
        self.basis.put(&owner, InForce::of(document));
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
            auth_changes: proposed.auth_changes(),
            effects,
            findings: warnings,
            restart_needed: self.status.restart_needed.clone(),
            receipt,
        })
    }

    fn is_on_trial(&self, owner: &Owner) -> Result<bool, ConfigError> {
        let trial = self.plane.trial()?;
        Ok(trial.is_some_and(|trial| trial.owner == *owner && !trial.state.is_over()))
    }

    fn submit(&self, submission: Submission, places: &Places) -> Result<Receipt, ConfigError> {
        let basis = self.basis.get();
        self.plane.submit(submission).map_err(|refusal| match refusal {
            // A registration came between judgement and submission.
            Refusal::Rejected(Rejection::Conflicts(conflicts)) => ConfigError::Refused {
                step: Step::Claims,
                findings: conflicts
                    .iter()
                    .map(|conflict| judge::conflict_finding(conflict, places, &*basis))
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
        let reading = self.basis.get().read_files(&sources);
        if let Some(files) = &mut self.files {
            files.handle_version(reading.document.as_ref().map(|document| &document.version));
        }
        let Some(document) = reading.document else {
            return Err(ConfigError::Refused { step: Step::Reading, findings: reading.findings });
        };
        if let Some(files) = &mut self.files {
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
        let basis = self.basis.get();
        let rules: Vec<_> = basis.file.governance.iter().chain(&basis.admin.governance).cloned().collect();
        let reserved = governance::reserved_hosts(&rules);
        self.notices.publish(Notice { status: self.status.clone(), reserved });
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Interval of looking at a trial of the files.
const TRIAL_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
#[path = "configurator_tests.rs"]
mod tests;
