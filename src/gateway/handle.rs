//! A running gateway: what it can be told, and its end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_control::{Client, ControlThread, Liveness, Refusal, Submission};
use ringway_model::{
    AppId, AppSpec, Change, DomainKind, DomainSpec, HealthCheck, Hostname, InstanceId, InstanceSpec, Target,
    TenantId, limits,
};
use ringway_net::Driver;
use ringway_telemetry::LogHandle;

/// A running gateway. Dropping it leaves the gateway running until the process ends; see [`Handle::shutdown`].
#[derive(Debug)]
pub struct Handle {
    pub(super) http_addresses: Vec<SocketAddr>,
    pub(super) https_addresses: Vec<SocketAddr>,
    pub(super) admin_addresses: Vec<SocketAddr>,
    pub(super) driver: Option<Driver>,
    pub(super) client: Client,
    pub(super) liveness: Liveness,
    pub(super) control: ControlThread,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) log: Option<Arc<LogHandle>>,
}

impl Handle {
    /// Where clients are served.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Where clients are served over TLS; empty when nowhere.
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https_addresses
    }

    /// Where the admin API listens; empty without one.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// The driver that the workers run on.
    pub fn driver(&self) -> Option<Driver> {
        self.driver
    }

    /// The control plane: every change, status and metrics, from any thread.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Registers an instance of an app, the app too if it is new. `target` is a URL such as `http://10.0.0.5:3001`;
    /// the instance is named after it.
    ///
    /// # Errors
    /// See [`RegisterError`]; nothing has changed then.
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

    /// Serves a domain by an app that is registered, for a tenant if one is given.
    ///
    /// # Errors
    /// See [`RegisterError`]; nothing has changed then.
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

    /// Whether the control thread and all workers make progress: what a watchdog should be fed by.
    pub fn is_alive(&self) -> bool {
        self.liveness.is_recent(limits::LIVENESS_AGE_MAX)
            && !self.control.is_finished()
            && self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Opens the access log's file anew, after it was rotated away.
    pub fn reopen_access_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Ends in an orderly way: listeners stop, requests under way finish within `drain`, the store is closed. Returns
    /// whether every connection ended by itself.
    ///
    /// # Errors
    /// When the control thread is not there any more.
    pub fn shutdown(self, drain: Duration) -> Result<bool, Refusal> {
        let drained = self.client.shutdown(drain)?;
        for thread in self.threads {
            // A worker's panic was logged when it happened.
            let _ = thread.join();
        }
        if let Err(error) = self.control.join() {
            tracing::error!(%error, "the control thread ended with an error");
        }
        if let Some(log) = self.log.and_then(Arc::into_inner) {
            log.finish(limits::LOG_FINISH_TIMEOUT);
        }
        Ok(drained.pending.is_empty())
    }
}

/// Why something was not registered.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// An argument is not what it must be.
    Invalid(&'static str, String),
    /// The control plane refused.
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
