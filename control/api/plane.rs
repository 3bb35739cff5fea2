//! The `Plane` trait: everything that the API needs of the control plane. Tests have an implementation of their own.

use std::future::Future;
use std::sync::Arc;

use ringway_certs::{DomainState, Overview, UploadError, Verification};
use ringway_control::{
    AppStatus, Control, InstanceDrained, InstanceStatus, Receipt, Refusal, Status, Submission,
};
use ringway_model::{AppId, Desired, Generation, Hostname, InstanceId, Rejection};
use ringway_tls::{Facts, LoadError, SecretKey};

/// What the API administers.
pub trait Plane: 'static {
    /// Applies a change: stored, published, and acknowledged by the cores or by the deadline.
    fn submit(&self, submission: Submission) -> impl Future<Output = Result<Receipt, Refusal>>;
    /// Takes note that an instance lives.
    ///
    /// # Errors
    /// [`Rejection::UnknownInstance`] or [`Rejection::Deregistered`], and [`Rejection::StaleGeneration`] for the message of a replaced process.
    fn heartbeat(&self, id: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection>;
    /// The configuration as it is now. One pointer.
    fn desired(&self) -> Desired;
    /// What is known of an instance besides its registration.
    fn instance_status(&self, id: &InstanceId) -> Option<InstanceStatus>;
    /// End of the drain of a registration; `None` while it is under way, and when it is long over.
    fn drained(&self, id: &InstanceId, generation: Generation) -> Option<InstanceDrained>;
    /// Why requests for an app find no healthy instance, and what becomes of them; `None` while there is one.
    fn outage(&self, app: &AppId) -> Option<String>;
    /// How the process does.
    fn status(&self) -> Status;
    /// The apps by trouble, then by traffic; `most` of them.
    fn app_statuses(&self, most: usize) -> Vec<AppStatus>;
    /// Whether traffic should be sent here: configuration loaded, listeners open, not draining.
    fn is_ready(&self) -> bool;
    /// Appends the metrics in the Prometheus text format.
    fn metrics(&self, out: &mut String);

    /// Whether somebody looks after certificates here.
    fn has_certificates(&self) -> bool;
    /// Where the certificate of a domain stands; `None` when it is not registered, or nobody looks after certificates.
    fn certificate(&self, host: &Hostname) -> Option<DomainState>;
    /// Certificates as a whole; `None` when nobody looks after them.
    fn certificates(&self) -> Option<Overview>;
    /// Looks at a domain's DNS records and at our own challenge URL, now. `None` when too many verifications wait, or the
    /// domain is not registered.
    fn verify(&self, host: &Hostname) -> impl Future<Output = Option<Arc<Verification>>>;
    /// What an upload would say, as far as it shows without making it.
    ///
    /// # Errors
    /// What is wrong with chain or key; neither is repeated.
    fn check_certificate(&self, host: &Hostname, chain: &[u8], key: &[u8])
    -> Result<Arc<Facts>, UploadError>;
    /// Reads what a change names by its path.
    ///
    /// # Errors
    /// Which file is of no use, and why.
    fn check_files(&self, want: SecretKey) -> impl Future<Output = Result<(), LoadError>>;
    /// Stores a certificate of a domain whose mode is `provided`, and has every core serve it.
    fn upload_certificate(
        &self,
        host: &Hostname,
        chain: &[u8],
        key: &[u8],
    ) -> impl Future<Output = Result<Arc<Facts>, UploadError>>;
    /// Removes what was stored of a domain's certificate; no core serves it any more.
    fn discard_certificate(&self, host: &Hostname) -> impl Future<Output = Result<(), UploadError>>;
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
}
