//! Steps of a trial: its first snapshot, its judgement and its end; proofs of the versions in force.

use ringway_model::{Change, Delta, Owner, SetVersion};
use ringway_traffic::compile::Work;

use super::commits::Commits;
use super::plane::{EndedTrial, TrialStart};
use super::{Engine, ReplyTo};
use crate::status::CoreState;
use crate::submission::Submission;
use crate::time::Now;
use crate::trial::probation::Probation;
use crate::trial::trials::{Begun, TrialCounters, Verdict};
use crate::trial::{NoTrial, RevertReason, TrialStatus};

impl Engine {
    /// Publishes a configuration on one core.
    pub(super) fn begin_trial(&mut self, start: TrialStart, now: Now) {
        let is_following =
            |core| self.plane.cores().any(|known| known.id == core && known.state == CoreState::Following);
        let Some(core) = self.trials.choose_core(is_following) else {
            return self.plane.handle_trial_needless();
        };
        let compiled = match Commits::compile_trial(&start, self.publisher.compiler()) {
            Ok(compiled) => compiled,
            Err(failure) => return self.plane.handle_trial_failed(failure, now.micros),
        };
        if compiled.work() == Work::default() {
            return self.plane.handle_trial_needless();
        }
        // Cannot be outdated: it was compiled in this turn.
        let Ok(published) = self.publisher.compiler_mut().commit(compiled) else { return };
        let TrialStart { id, desired: _, deltas, owner, version, bake } = start;
        let shown = version.as_ref().map_or("", |version| version.as_str());
        tracing::info!(%owner, version = shown, core = core.0, ?bake, "configuration on trial on one core");
        self.publisher.set_trial_core(Some(core));
        let serial = self.publish_to_cores(published, now);
        self.instances.begin_trial(&deltas, self.plane.desired());
        self.plane.handle_trial_begun(serial, now.micros);
        self.credentials.follow(self.plane.desired(), self.plane.on_trial());
        self.trials.begin(Begun { id, owner, version, bake, core, serial }, now);
    }

    /// Publishes the configuration on disk on all cores again.
    pub(super) fn end_trial(&mut self, ended: &EndedTrial, now: Now) {
        let compiled = self.publisher.compiler().revert();
        self.publisher.set_trial_core(None);
        self.publish_compiled(compiled, now);
        self.instances.drop_trial(&ended.deltas, self.plane.desired());
        self.credentials.follow(self.plane.desired(), None);
        let Some(status) = self.trials.handle_reverted(ended.reason.clone(), now.micros) else { return };
        let TrialStatus { owner, version, core, on_trial, others, z, .. } = status;
        let reason = &ended.reason;
        if reason.blames_configuration() {
            if let Some(version) = SetVersion::parse(&version) {
                self.probation.refuse(&owner, &version);
                self.commits.save(self.probation.clone());
            }
            tracing::error!(
                %owner, %version, %core, %reason, code = reason.code(), requests = on_trial.requests,
                errors = on_trial.errors, others.requests, others.errors, ?z, "configuration reverted"
            );
        } else {
            tracing::warn!(%owner, %version, %core, %reason, code = reason.code(), "configuration reverted");
        }
    }

    /// Judges the running trial.
    pub(super) fn advance_trial(&mut self, now: Now) {
        self.trials.record(self.publisher.core_counts(), now.micros);
        let progress = |id| self.plane.cores().find(|core| core.id == id);
        match self.trials.review(self.publisher.core_counts(), progress, now.micros) {
            // Neither fails: there is a trial.
            Some(Verdict::Promote) => drop(self.promote_trial()),
            Some(Verdict::Revert(reason)) => _ = self.plane.handle_revert(reason),
            None => {}
        }
    }

    /// Takes over the versions that a commit stored.
    pub(super) fn follow_versions(&mut self, deltas: &[Delta], now: Now) {
        let mut is_changed = false;
        for delta in deltas {
            if let Some(owner) = self.proving.handle_stored(delta, self.plane.desired(), now.micros) {
                is_changed |= self.probation.forget(&owner);
            }
        }
        if is_changed {
            self.commits.save(self.probation.clone());
        }
    }

    /// Submits the proofs of versions that have served long enough.
    pub(super) fn prove_versions(&mut self, now: Now) {
        while self.shutdown.is_running()
            && let Some(key) = self.proving.poll(now.micros)
        {
            let change = Change::ProveVersion { key: key.clone(), is_proven: true };
            self.handle_submit(Submission::of(change), ReplyTo::ProvenVersion(key), now);
        }
    }

    /// The refused version of an owner, which must not be tried again by itself.
    pub(crate) fn refused_version(&self, owner: &Owner) -> Option<SetVersion> {
        self.probation.refused(owner).map(|(version, _)| version.clone())
    }

    pub(crate) fn probation(&self) -> &Probation {
        &self.probation
    }

    /// Promotes the configuration on trial at once.
    pub(crate) fn promote_trial(&mut self) -> Result<(), NoTrial> {
        if !self.plane.handle_promotion() {
            return Err(NoTrial);
        }
        self.trials.handle_promoting();
        Ok(())
    }

    /// Reverts the configuration on trial, unless it is being stored.
    pub(crate) fn abort_trial(&mut self) -> Result<(), NoTrial> {
        if self.plane.handle_revert(RevertReason::Aborted) { Ok(()) } else { Err(NoTrial) }
    }

    /// The running trial, or the last one.
    pub(crate) fn trial(&self, now: Now) -> Option<TrialStatus> {
        self.trials.status(now.micros)
    }

    pub(crate) fn trial_counters(&self) -> TrialCounters {
        self.trials.counters()
    }
}
