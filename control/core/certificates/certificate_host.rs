//! The control plane as the host of certificates: publishes their updates and reports their events.
//!
//! ```text
//! Certificates ── Host ──► Engine: the update is compiled, a snapshot published ──► cores
//!      ▲                                                                             │
//!      └───────────────────── AckWaiters: every core acknowledged ◄──────────────────┘
//! ```

use std::sync::Arc;

use ringway_certs::{CertificateEvent, Host, PublishError};
use ringway_model::Hostname;

use super::CertificateUpdate;
use crate::control::Control;
use crate::engine::Acknowledged;

/// Implementation of [`Host`] over the control plane.
#[derive(Clone)]
pub(crate) struct CertificateHost {
    control: Control,
}

impl CertificateHost {
    pub(crate) fn new(control: Control) -> Self {
        Self { control }
    }

    async fn publish(&self, update: CertificateUpdate<'_>) -> Result<(), PublishError> {
        let acknowledged = self.control.turn(|engine, now| engine.publish_certificates(&update, now))?;
        match acknowledged.await {
            Ok(Acknowledged::ByAll) => Ok(()),
            Ok(Acknowledged::NotByAll) => Err(PublishError::SlowCores),
            // The engine is gone.
            Err(_) => Err(PublishError::Stopping),
        }
    }
}

impl Host for CertificateHost {
    async fn publish_challenge(
        &self,
        token: &str,
        key_authorization: Option<&str>,
    ) -> Result<(), PublishError> {
        let key_authorization = key_authorization.map(Arc::from);
        self.publish(CertificateUpdate::Challenge { token, key_authorization }).await
    }

    async fn publish_certificate(&self, host: &Hostname, version: Option<u64>) -> Result<(), PublishError> {
        self.publish(CertificateUpdate::Domain { host, version }).await
    }

    async fn publish_default(&self, version: Option<u64>) -> Result<(), PublishError> {
        self.publish(CertificateUpdate::Default { version }).await
    }

    fn notify(&self, event: CertificateEvent) {
        log(&event);
        self.control.turn(|engine, now| engine.handle_certificate_event(&event, now));
    }
}

fn log(event: &CertificateEvent) {
    match event {
        CertificateEvent::Issued { host, facts } => {
            tracing::info!(%host, issuer = facts.issuer, expires = %facts.not_after.to_rfc3339(), "certificate issued");
        }
        CertificateEvent::Renewed { host, facts } => {
            tracing::info!(%host, issuer = facts.issuer, expires = %facts.not_after.to_rfc3339(), "certificate renewed");
        }
        CertificateEvent::Uploaded { host, facts } => {
            tracing::info!(%host, issuer = facts.issuer, expires = %facts.not_after.to_rfc3339(), "certificate uploaded");
        }
        CertificateEvent::Failed { host, reason, next_try } => {
            let next_try = next_try.map(|at| at.to_rfc3339());
            tracing::warn!(%host, reason, next_try, "certificate order failed");
        }
        CertificateEvent::Parked { host, reason } => {
            tracing::warn!(%host, reason, "certificate orders stopped; verify or change the domain to resume");
        }
        CertificateEvent::ExpiringSoon { host, not_after } => {
            let host = host.as_ref().map(Hostname::as_str);
            tracing::error!(host, expires = %not_after.to_rfc3339(), "certificate expires soon and was not renewed");
        }
        CertificateEvent::Removed { host } => tracing::info!(%host, "certificate removed with its domain"),
        CertificateEvent::Damaged { host, reason } => {
            tracing::error!(%host, reason, "certificate on disk cannot be served");
        }
        CertificateEvent::DefaultReplaced { facts } => {
            let (fingerprint, expires) = (&facts.fingerprint, facts.not_after.to_rfc3339());
            tracing::info!(fingerprint, expires, "default certificate replaced");
        }
        CertificateEvent::DefaultRefused { reason } => {
            tracing::error!(
                reason,
                "files of the default certificate changed and cannot be served: the old one stays in use"
            );
        }
        CertificateEvent::DirectoryUnusable { reason } => {
            tracing::error!(reason, "certificate directory unusable");
        }
        // Events may be added without a new version of this crate; an unknown one is still logged.
        other => tracing::info!(event = ?other, "certificate event"),
    }
}

#[cfg(test)]
#[path = "certificate_host_tests.rs"]
mod tests;
