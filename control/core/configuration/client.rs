//! Handle to the threads of the configuration for tasks of the control thread.

use std::sync::Arc;

use ringway_model::{Owner, Tick};
use ringway_traffic::simulate::Simulated;

use super::auth_check::{AuthCheckRequest, AuthChecked};
use super::configurator::Configurator;
use super::error::ConfigError;
use super::jobs::{Caller, Channels};
use super::questions::Questions;
use super::requests::{
    Applied, ApplyRequest, Current, Diff, DiffRequest, ExplainRequest, Explanation, Proposal, ReloadRequest,
    RollbackRequest, Validation, Version,
};

/// The configuration of operators, for the admin API. Cheap to clone.
///
/// Changes wait for each other on a thread of their own, and questions on another: reading documents never
/// delays the control thread, and a question no change. Every request is answered within
/// `CONFIG_REQUEST_TIMEOUT`. Dropping its future does not cancel a change.
#[derive(Clone, Debug)]
pub struct ConfigClient {
    caller: Caller,
}

impl ConfigClient {
    pub(crate) fn new(channels: Channels) -> Self {
        Self { caller: Caller::new(channels) }
    }

    /// Judges documents without changing anything.
    ///
    /// # Errors
    /// [`ConfigError::Busy`], [`ConfigError::Failed`], [`ConfigError::NotReplaceable`]. Mistakes are
    /// findings.
    pub async fn validate(&self, proposal: Proposal) -> Result<Validation, ConfigError> {
        self.question(move |questions| questions.validate(&proposal)).await
    }

    /// Compares an owner's present set with a proposal, or two kept versions.
    ///
    /// # Errors
    /// [`ConfigError::Refused`] for documents that cannot be read, [`ConfigError::UnknownVersion`].
    pub async fn diff(&self, request: DiffRequest) -> Result<Diff, ConfigError> {
        self.question(|questions| questions.diff(request)).await
    }

    /// Replaces an owner's set. With an answer it is stored and on every core that the receipt does not name
    /// as pending.
    ///
    /// # Errors
    /// See [`ConfigError`]; nothing is changed then.
    pub async fn apply(&self, request: ApplyRequest) -> Result<Applied, ConfigError> {
        self.change(|configurator| configurator.apply(request)).await
    }

    /// Makes the content of a kept version the owner's set again, as a new version.
    ///
    /// # Errors
    /// See [`ConfigError`]; nothing is changed then.
    pub async fn rollback(&self, request: RollbackRequest) -> Result<Applied, ConfigError> {
        self.change(|configurator| configurator.rollback(request)).await
    }

    /// Reads the files again and applies them, unless they are in force already.
    ///
    /// # Errors
    /// See [`ConfigError`]; nothing is changed then.
    pub async fn reload(&self, request: ReloadRequest) -> Result<Applied, ConfigError> {
        self.change(move |configurator| configurator.reload(&request)).await
    }

    /// Present set of an owner, or of every owner that has one.
    ///
    /// # Errors
    /// [`ConfigError::Busy`], [`ConfigError::Failed`].
    pub async fn current(&self, owner: Option<Owner>) -> Result<Vec<Current>, ConfigError> {
        self.question(move |questions| questions.current(owner.as_ref())).await
    }

    /// Kept versions of an owner, newest first.
    ///
    /// # Errors
    /// [`ConfigError::Busy`], [`ConfigError::Failed`].
    pub async fn history(&self, owner: Owner) -> Result<Vec<Version>, ConfigError> {
        self.question(move |questions| questions.history(&owner)).await
    }

    /// One kept version with its document.
    ///
    /// # Errors
    /// [`ConfigError::UnknownVersion`].
    pub async fn version(&self, owner: Owner, version: Arc<str>) -> Result<Current, ConfigError> {
        self.question(move |questions| questions.version(&owner, &version)).await
    }

    /// Explains which route a request meets, in the present configuration or in a proposed one.
    ///
    /// # Errors
    /// [`ConfigError::Refused`] for a description that is no request, and for a proposal with mistakes.
    pub async fn explain(&self, request: ExplainRequest) -> Result<Explanation, ConfigError> {
        self.question(move |questions| questions.explain(&request)).await
    }

    /// Checks a credential by the authentication of a route.
    ///
    /// # Errors
    /// [`ConfigError::UnknownRoute`], [`ConfigError::NotCheckable`]; none repeats the credential.
    pub async fn check_auth(&self, request: AuthCheckRequest) -> Result<AuthChecked, ConfigError> {
        self.question(move |questions| questions.check_auth(&request)).await
    }

    /// Routes the last requests of all cores by the present configuration and by a proposed one.
    ///
    /// # Errors
    /// As [`ConfigClient::diff`].
    pub async fn simulate(&self, proposal: Proposal) -> Result<Simulated, ConfigError> {
        self.question(move |questions| questions.simulate(&proposal)).await
    }

    async fn change<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Configurator) -> Result<T, ConfigError> + Send + 'static,
    ) -> Result<T, ConfigError> {
        self.caller.change(request).await?
    }

    async fn question<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Questions) -> Result<T, ConfigError> + Send + 'static,
    ) -> Result<T, ConfigError> {
        self.caller.question(request).await?
    }

    /// Wakes the tasks whose answers have arrived.
    pub(crate) fn advance(&self, now: Tick) {
        self.caller.advance(now);
    }
}
