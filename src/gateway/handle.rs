//! Handle of a running gateway: registration, status, shutdown.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_api::AuditLog;
use ringway_control::{Client, ControlThread, Liveness, Refusal, Submission};
use ringway_model::{
    AppId, AppSpec, Change, DomainKind, DomainSpec, HealthCheck, Hostname, InstanceId, InstanceSpec, Target,
    TenantId, limits,
};
use ringway_net::Driver;
use ringway_telemetry::LogHandle;

/// A running gateway. Dropping it leaves the gateway running until the process ends; see
/// [`Handle::shutdown`].
#[derive(Debug)]
pub struct Handle {
    pub(super) http_addresses: Vec<SocketAddr>,
    pub(super) https_addresses: Vec<SocketAddr>,
    pub(super) forward_addresses: Vec<SocketAddr>,
    pub(super) forward: Option<ringway_forward_control::Link>,
    pub(super) admin_addresses: Vec<SocketAddr>,
    pub(super) metrics_addresses: Vec<SocketAddr>,
    pub(super) driver: Option<Driver>,
    pub(super) client: Client,
    pub(super) liveness: Liveness,
    pub(super) control: ControlThread,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) log: Option<Arc<LogHandle>>,
    pub(super) audit: Option<AuditLog>,
}

impl Handle {
    /// Addresses of the HTTP listeners.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Addresses of the HTTPS listeners.
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https_addresses
    }

    /// Addresses of the forward proxy; empty without one.
    pub fn forward_addresses(&self) -> &[SocketAddr] {
        &self.forward_addresses
    }

    /// Link to the forward proxy: its rules, lists and reloads.
    pub fn forward(&self) -> Option<&ringway_forward_control::Link> {
        self.forward.as_ref()
    }

    /// Addresses of the admin API; empty without one.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// Addresses of the listeners of metrics and health probes; empty without one.
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        &self.metrics_addresses
    }

    /// Problems of the audit log of the admin API, one sentence each; empty without one.
    pub fn audit_log_warnings(&self) -> Vec<String> {
        self.audit.as_ref().map(AuditLog::warnings).unwrap_or_default()
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// I/O driver of the workers.
    pub fn driver(&self) -> Option<Driver> {
        self.driver
    }

    /// Client of the control plane, for all changes, status and metrics, from any thread.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Registers an instance of an app, and the app if it is new. `target` is a URL such as
    /// `http://10.0.0.5:3001`, which also names the instance.
    ///
    /// # Errors
    /// See [`RegisterError`]; nothing is changed then.
    pub fn register_app(&self, app: &str, target: &str) -> Result<(), RegisterError> {
        let app = AppId::parse(app).map_err(|error| RegisterError::Invalid("app", error.to_string()))?;
        let target =
            Target::parse(target).map_err(|error| RegisterError::Invalid("target", error.to_string()))?;
        let name = target.to_string().replace("http://", "").replace(['[', ']'], "");
        let id = InstanceId::parse(&format!("{app}@{name}"))
            .map_err(|error| RegisterError::Invalid("target", error.to_string()))?;
        let instance = InstanceSpec { id, app: app.clone(), target, health_check: HealthCheck::default() };
        let app = AppSpec::new(app);
        self.submit(Change::Register { app, instance: Some(instance), domain: None })
    }

    /// Routes a domain to a registered app, for a tenant if one is given.
    ///
    /// # Errors
    /// See [`RegisterError`]; nothing is changed then.
    pub fn register_domain(
        &self,
        domain: &str,
        app: &str,
        tenant: Option<&str>,
    ) -> Result<(), RegisterError> {
        let name =
            Hostname::parse(domain).map_err(|error| RegisterError::Invalid("domain", error.to_string()))?;
        let app = AppId::parse(app).map_err(|error| RegisterError::Invalid("app", error.to_string()))?;
        let tenant = tenant
            .map(TenantId::parse)
            .transpose()
            .map_err(|error| RegisterError::Invalid("tenant", error.to_string()))?;
        let kind = if tenant.is_some() { DomainKind::Custom } else { DomainKind::Subdomain };
        self.submit(Change::AddDomain(DomainSpec {
            policy: None,
            name,
            app,
            tenant,
            kind,
            cname_target: None,
            certificate: None,
            client_auth: None,
        }))
    }

    fn submit(&self, change: Change) -> Result<(), RegisterError> {
        self.client.submit(Submission::of(change)).map(drop).map_err(RegisterError::Refused)
    }

    /// Whether the control thread and all workers make progress; for a watchdog.
    pub fn is_alive(&self) -> bool {
        self.liveness.is_recent(limits::LIVENESS_AGE_MAX)
            && !self.control.is_finished()
            && self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Reopens the access log's file after a rotation.
    pub fn reopen_access_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Shuts down in an orderly way: stops listening, lets requests in flight finish within `drain`, closes
    /// the store. Returns whether every connection ended by itself.
    ///
    /// # Errors
    /// The control thread has ended already.
    pub fn shutdown(self, drain: Duration) -> Result<bool, Refusal> {
        let drained = self.client.shutdown(drain)?;
        for thread in self.threads {
            // A worker's panic is logged already.
            let _ = thread.join();
        }
        if let Err(error) = self.control.join() {
            tracing::error!(%error, "the control thread ended with an error");
        }
        if let Some(audit) = self.audit {
            audit.finish();
        }
        if let Some(log) = self.log.and_then(Arc::into_inner) {
            log.finish(limits::LOG_FINISH_TIMEOUT);
        }
        Ok(drained.pending.is_empty())
    }
}

/// Error of a registration.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// Invalid argument: its name and the reason.
    Invalid(&'static str, String),
    /// Refusal of the control plane.
    Refused(Refusal),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what, why) => write!(f, "the {what} {why}"),
            Self::Refused(_) => f.write_str("the registration was refused"),
        }
    }
}

impl std::error::Error for RegisterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(..) => None,
            Self::Refused(refusal) => Some(refusal),
        }
    }
}
