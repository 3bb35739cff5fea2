//! What certificates need of the control plane around them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use ringway_model::Hostname;

use crate::event::CertificateEvent;

/// The control plane, as certificates see it. Its futures are ready when every core has acknowledged.
pub trait Host: Clone + 'static {
    /// Has every core answer `GET /.well-known/acme-challenge/<token>` with the key authorization, or with 404 again.
    fn publish_challenge(
        &self,
        token: &str,
        key_authorization: Option<&str>,
    ) -> impl Future<Output = Result<(), Unpublished>>;

    /// Has every core serve this version of a domain's certificate, or none.
    fn publish_certificate(
        &self,
        host: &Hostname,
        version: Option<u64>,
    ) -> impl Future<Output = Result<(), Unpublished>>;

    /// Has every core serve this version of the default certificate, or none.
    fn publish_default(&self, version: Option<u64>) -> impl Future<Output = Result<(), Unpublished>>;

    /// Told once per event, for webhooks.
    fn notify(&self, event: CertificateEvent);
}

/// Why not every core has what was published. What was published stays wanted: a slow core takes it over later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpublished {
    /// Not every core has acknowledged in time.
    SlowCores,
    /// As many challenges as there may be are published already.
    Full,
    /// The domain is not registered any more.
    UnknownDomain,
    /// The control plane ends.
    Stopping,
}

impl fmt::Display for Unpublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SlowCores => "not every core has acknowledged in time",
            Self::Full => "as many challenges as there may be are published already",
            Self::UnknownDomain => "the domain is not registered any more",
            Self::Stopping => "the control plane ends",
        })
    }
}

impl std::error::Error for Unpublished {}

/// A [`Host`] behind a pointer: the handle is given out before the host is known, and has no type parameter.
pub(crate) trait AnyHost {
    fn publish_challenge(&self, token: String, key_authorization: Option<String>) -> Publishing;
    fn publish_certificate(&self, host: Hostname, version: Option<u64>) -> Publishing;
    fn publish_default(&self, version: Option<u64>) -> Publishing;
    fn notify(&self, event: CertificateEvent);
}

pub(crate) type Publishing = Pin<Box<dyn Future<Output = Result<(), Unpublished>>>>;

impl<H: Host> AnyHost for H {
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
