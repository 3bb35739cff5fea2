//! Interface to the control plane: publication to the cores, and events.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use ringway_model::Hostname;

use crate::event::CertificateEvent;

/// The control plane. Its futures complete when every core has acknowledged.
pub trait Host: Clone + 'static {
    /// Has every core respond to `GET /.well-known/acme-challenge/<token>` with the key authorization; `None`
    /// withdraws it.
    fn publish_challenge(
        &self,
        token: &str,
        key_authorization: Option<&str>,
    ) -> impl Future<Output = Result<(), PublishError>>;

    /// Has every core serve this version of a domain's certificate, or none.
    fn publish_certificate(
        &self,
        host: &Hostname,
        version: Option<u64>,
    ) -> impl Future<Output = Result<(), PublishError>>;

    /// Has every core serve this version of the default certificate, or none.
    fn publish_default(&self, version: Option<u64>) -> impl Future<Output = Result<(), PublishError>>;

    /// Receives each event once, for webhooks.
    fn notify(&self, event: CertificateEvent);
}

/// Reason why not every core has acknowledged. The publication stays in force: a slow core applies it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Not every core acknowledged in time.
    SlowCores,
    /// The limit of published challenges is reached.
    Full,
    /// The domain is no longer registered.
    UnknownDomain,
    /// The control plane is shutting down.
    Stopping,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SlowCores => "not every core acknowledged in time",
            Self::Full => "the limit of published challenges is reached",
            Self::UnknownDomain => "the domain is no longer registered",
            Self::Stopping => "the control plane is shutting down",
        })
    }
}

impl std::error::Error for PublishError {}

/// Object-safe form of [`Host`]: the certificates handle exists before its host, and has no type parameter.
pub(crate) trait DynHost {
    fn publish_challenge(&self, token: String, key_authorization: Option<String>) -> Publishing;
    fn publish_certificate(&self, host: Hostname, version: Option<u64>) -> Publishing;
    fn publish_default(&self, version: Option<u64>) -> Publishing;
    fn notify(&self, event: CertificateEvent);
}

pub(crate) type Publishing = Pin<Box<dyn Future<Output = Result<(), PublishError>>>>;

impl<H: Host> DynHost for H {
    fn publish_challenge(&self, token: String, key_authorization: Option<String>) -> Publishing {
        let host = self.clone();
        Box::pin(async move { Host::publish_challenge(&host, &token, key_authorization.as_deref()).await })
    }

    fn publish_certificate(&self, name: Hostname, version: Option<u64>) -> Publishing {
        let host = self.clone();
        Box::pin(async move { Host::publish_certificate(&host, &name, version).await })
    }

    fn publish_default(&self, version: Option<u64>) -> Publishing {
        let host = self.clone();
        Box::pin(async move { Host::publish_default(&host, version).await })
    }

    fn notify(&self, event: CertificateEvent) {
        Host::notify(self, event);
    }
}
