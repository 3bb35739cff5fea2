//! The `Plane` trait: everything that the API needs of the control plane. Tests have an implementation of
//! their own.

use std::future::Future;
use std::sync::Arc;

use ringway_certs::{DomainState, Overview, UploadError, Verification};
use ringway_control::{
    AppStatus, Applied, ApplyRequest, AuthCheckRequest, AuthChecked, CacheScopeStatus, CacheStatus,
    CachedFilter, CachedResponse, CanaryError, CanaryStatus, CircuitStatus, ConfigError, Control, Current,
    Diff, DiffRequest, EjectionStatus, ExplainRequest, Explanation, InstanceDrained, InstanceStatus, NoTrial,
    Proposal, Purge, Purged, Receipt, Refusal, ReloadRequest, RollbackRequest, Simulated, Status, Submission,
    TrialStatus, Validation, Version,
};
use ringway_model::{
    AppId, CanaryState, Desired, Generation, Hostname, InstanceId, Owner, Rejection, RouteId, SetWeight,
};
use ringway_tls::{Facts, LoadError, SecretKey};

/// The control plane, as the API uses it.
pub trait Plane: 'static {
    /// Applies a change: stored, published, and acknowledged by the cores until the deadline.
    fn submit(&self, submission: Submission) -> impl Future<Output = Result<Receipt, Refusal>>;
    /// Records a heartbeat of an instance.
    ///
    /// # Errors
    /// [`Rejection::UnknownInstance`] or [`Rejection::Deregistered`], and [`Rejection::StaleGeneration`] for
    /// a replaced process.
    fn heartbeat(&self, id: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection>;
    /// The present configuration. Cost: one pointer.
    fn desired(&self) -> Desired;
    /// Status of an instance.
    fn instance_status(&self, id: &InstanceId) -> Option<InstanceStatus>;
    /// End of the drain of a registration; `None` while it is in progress, and when its result is no longer
    /// kept.
    fn drained(&self, id: &InstanceId, generation: Generation) -> Option<InstanceDrained>;
    /// Reason why an app has no healthy instance, and the treatment of its requests; `None` while it has one.
    fn outage(&self, app: &AppId) -> Option<String>;
    /// Circuit breakers of the pools, then those of the routes, each by name.
    fn circuits(&self) -> Vec<CircuitStatus>;
    /// Ejections of the pools that have had any, or would have, by pool.
    fn ejections(&self) -> Vec<EjectionStatus>;
    /// Status of the process.
    fn status(&self) -> Status;
    /// Status of the first `most` apps, ordered by problems, then by traffic.
    fn app_statuses(&self, most: usize) -> Vec<AppStatus>;
    /// Readiness: configuration loaded, listeners open, not draining.
    fn is_ready(&self) -> bool;
    /// Appends the metrics in the Prometheus text format.
    fn metrics(&self, out: &mut String);

    /// State of the cache; `None` without one.
    fn cache_status(&self) -> Option<CacheStatus>;
    /// State of the cache of each route, by tenant and route; `None` without a cache.
    fn cache_scopes(&self) -> Option<Vec<CacheScopeStatus>>;
    /// Stored responses; `None` without a cache.
    fn cached_responses(&self, filter: &CachedFilter) -> Option<Vec<CachedResponse>>;
    /// Purges stored responses, on all cores when it returns; `None` without a cache.
    fn purge_cache(&self, purge: &Purge) -> Option<Purged>;

    /// Whether certificates are managed.
    fn has_certificates(&self) -> bool;
    /// State of a domain's certificate; `None` when it is not registered, or certificates are not managed.
    fn certificate(&self, host: &Hostname) -> Option<DomainState>;
    /// Overview of all certificates; `None` when they are not managed.
    fn certificates(&self) -> Option<Overview>;
    /// Verifies a domain's DNS records and the challenge URL. `None` when too many verifications wait, or the
    /// domain is not registered.
    fn verify(&self, host: &Hostname) -> impl Future<Output = Option<Arc<Verification>>>;
    /// Checks a certificate before its upload.
    ///
    /// # Errors
    /// The mistake in chain or key; neither is repeated.
    fn check_certificate(&self, host: &Hostname, chain: &[u8], key: &[u8])
    -> Result<Arc<Facts>, UploadError>;
    /// Checks the files that a change names.
    ///
    /// # Errors
    /// The file that cannot be used, and the reason.
    fn check_files(&self, want: SecretKey) -> impl Future<Output = Result<(), LoadError>>;
    /// Stores a certificate of a domain whose mode is `provided`, and publishes it to all cores.
    fn upload_certificate(
        &self,
        host: &Hostname,
        chain: &[u8],
        key: &[u8],
    ) -> impl Future<Output = Result<Arc<Facts>, UploadError>>;
    /// Removes the stored certificate of a domain from the disk and from all cores.
    fn discard_certificate(&self, host: &Hostname) -> impl Future<Output = Result<(), UploadError>>;

    /// Judges documents without a change.
    fn validate(&self, request: Proposal) -> impl Future<Output = Result<Validation, ConfigError>>;
    /// Compares documents, or versions.
    fn diff(&self, request: DiffRequest) -> impl Future<Output = Result<Diff, ConfigError>>;
    /// Replaces an owner's set.
    fn apply(&self, request: ApplyRequest) -> impl Future<Output = Result<Applied, ConfigError>>;
    /// Makes a kept version the present one.
    fn rollback(&self, request: RollbackRequest) -> impl Future<Output = Result<Applied, ConfigError>>;
    /// Reads the files again.
    fn reload(&self, request: ReloadRequest) -> impl Future<Output = Result<Applied, ConfigError>>;
    /// Present sets.
    fn current(&self, owner: Option<Owner>) -> impl Future<Output = Result<Vec<Current>, ConfigError>>;
    /// Kept versions, newest first.
    fn history(&self, owner: Owner) -> impl Future<Output = Result<Vec<Version>, ConfigError>>;
    /// Explains the route of a request.
    fn explain(&self, request: ExplainRequest) -> impl Future<Output = Result<Explanation, ConfigError>>;
    /// Checks a credential by the authentication of a route.
    fn check_auth(&self, request: AuthCheckRequest)
    -> impl Future<Output = Result<AuthChecked, ConfigError>>;
    /// Routes recent requests by a proposed configuration.
    fn simulate(&self, request: Proposal) -> impl Future<Output = Result<Simulated, ConfigError>>;
    /// A kept version.
    fn version(&self, owner: Owner, version: Arc<str>) -> impl Future<Output = Result<Current, ConfigError>>;
    /// Status of the canaries, by route.
    fn canaries(&self) -> Vec<CanaryStatus>;
    /// The state that resumes a braked canary.
    ///
    /// # Errors
    /// The route has no canary, or it is not braked.
    fn resumed_canary(&self, route: &RouteId) -> Result<CanaryState, CanaryError>;
    /// The state of a canary with a weight in place of its plan's; `None` for the plan's again.
    ///
    /// # Errors
    /// The route has no canary, or it is braked or stepping.
    fn weighted_canary(
        &self,
        route: &RouteId,
        set_weight: Option<SetWeight>,
    ) -> Result<CanaryState, CanaryError>;
    /// The configuration on trial, or the last one that was.
    fn trial(&self) -> Option<TrialStatus>;
    /// Promotes the configuration on trial.
    ///
    /// # Errors
    /// There is none.
    fn promote_trial(&self) -> Result<(), NoTrial>;
    /// Reverts the configuration on trial.
    ///
    /// # Errors
    /// There is none.
    fn abort_trial(&self) -> Result<(), NoTrial>;
}

impl Plane for Control {
    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        Self::submit(self, submission).await
    }

    fn heartbeat(&self, id: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection> {
        Self::heartbeat(self, id, generation)
    }

    fn desired(&self) -> Desired {
        Self::desired(self)
    }

    fn instance_status(&self, id: &InstanceId) -> Option<InstanceStatus> {
        Self::instance_status(self, id)
    }

    fn drained(&self, id: &InstanceId, generation: Generation) -> Option<InstanceDrained> {
        Self::drained(self, id, generation)
    }

    fn outage(&self, app: &AppId) -> Option<String> {
        Self::outage(self, app)
    }

    fn circuits(&self) -> Vec<CircuitStatus> {
        Self::circuits(self)
    }

    fn ejections(&self) -> Vec<EjectionStatus> {
        Self::ejections(self)
    }

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn app_statuses(&self, most: usize) -> Vec<AppStatus> {
        Self::app_statuses(self, most)
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn metrics(&self, out: &mut String) {
        Self::metrics(self, out);
    }

    fn cache_status(&self) -> Option<CacheStatus> {
        Self::cache_status(self)
    }

    fn cache_scopes(&self) -> Option<Vec<CacheScopeStatus>> {
        Self::cache_scopes(self)
    }

    fn cached_responses(&self, filter: &CachedFilter) -> Option<Vec<CachedResponse>> {
        Self::cached_responses(self, filter)
    }

    fn purge_cache(&self, purge: &Purge) -> Option<Purged> {
        Self::purge_cache(self, purge)
    }

    fn has_certificates(&self) -> bool {
        Self::certificates(self).is_some()
    }

    fn certificate(&self, host: &Hostname) -> Option<DomainState> {
        Self::certificates(self)?.state(host)
    }

    fn certificates(&self) -> Option<Overview> {
        Some(Self::certificates(self)?.overview())
    }

    async fn verify(&self, host: &Hostname) -> Option<Arc<Verification>> {
        Self::certificates(self)?.verify(host).await
    }

    fn check_certificate(
        &self,
        host: &Hostname,
        chain: &[u8],
        key: &[u8],
    ) -> Result<Arc<Facts>, UploadError> {
        let certificates = Self::certificates(self).ok_or(UploadError::UnknownDomain)?;
        certificates.check(host, chain, key)
    }

    async fn check_files(&self, want: SecretKey) -> Result<(), LoadError> {
        ringway_certs::check_files(want).await
    }

    async fn upload_certificate(
        &self,
        host: &Hostname,
        chain: &[u8],
        key: &[u8],
    ) -> Result<Arc<Facts>, UploadError> {
        let certificates = Self::certificates(self).ok_or(UploadError::UnknownDomain)?;
        certificates.upload(host, chain, key).await
    }

    async fn discard_certificate(&self, host: &Hostname) -> Result<(), UploadError> {
        let certificates = Self::certificates(self).ok_or(UploadError::UnknownDomain)?;
        certificates.discard(host).await
    }

    async fn validate(&self, request: Proposal) -> Result<Validation, ConfigError> {
        self.configuration().validate(request).await
    }

    async fn diff(&self, request: DiffRequest) -> Result<Diff, ConfigError> {
        self.configuration().diff(request).await
    }

    async fn apply(&self, request: ApplyRequest) -> Result<Applied, ConfigError> {
        self.configuration().apply(request).await
    }

    async fn rollback(&self, request: RollbackRequest) -> Result<Applied, ConfigError> {
        self.configuration().rollback(request).await
    }

    async fn reload(&self, request: ReloadRequest) -> Result<Applied, ConfigError> {
        self.configuration().reload(request).await
    }

    async fn current(&self, owner: Option<Owner>) -> Result<Vec<Current>, ConfigError> {
        self.configuration().current(owner).await
    }

    async fn history(&self, owner: Owner) -> Result<Vec<Version>, ConfigError> {
        self.configuration().history(owner).await
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Explanation, ConfigError> {
        self.configuration().explain(request).await
    }

    async fn check_auth(&self, request: AuthCheckRequest) -> Result<AuthChecked, ConfigError> {
        self.configuration().check_auth(request).await
    }

    async fn simulate(&self, request: Proposal) -> Result<Simulated, ConfigError> {
        self.configuration().simulate(request).await
    }

    async fn version(&self, owner: Owner, version: Arc<str>) -> Result<Current, ConfigError> {
        self.configuration().version(owner, version).await
    }

    fn canaries(&self) -> Vec<CanaryStatus> {
        Self::canaries(self)
    }

    fn resumed_canary(&self, route: &RouteId) -> Result<CanaryState, CanaryError> {
        Self::resumed_canary(self, route)
    }

    fn weighted_canary(
        &self,
        route: &RouteId,
        set_weight: Option<SetWeight>,
    ) -> Result<CanaryState, CanaryError> {
        Self::weighted_canary(self, route, set_weight)
    }

    fn trial(&self) -> Option<TrialStatus> {
        Self::trial(self)
    }

    fn promote_trial(&self) -> Result<(), NoTrial> {
        Self::promote_trial(self)
    }

    fn abort_trial(&self) -> Result<(), NoTrial> {
        Self::abort_trial(self)
    }
}
