//! Certificates of domains: stored on the disk, pushed to the cores, published by version.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use ringway_model::{Hostname, Tick};
use ringway_net::sync::Notify;
use ringway_tls::{Facts, Identity};

use crate::disk::{Disk, DiskError};
use crate::domains::StoredCertificate;
use crate::event::CertificateEvent;
use crate::files::Pair;
use crate::host::PublishError;
use crate::open::FIRST_VERSION;
use crate::publisher::Publisher;
use crate::registry::Registry;
use crate::upload::UploadError;

/// Handle to the certificates of domains. Clones share it.
#[derive(Clone)]
pub(crate) struct CertificateStore(Rc<Inner>);

struct Inner {
    registry: Registry,
    disk: Disk,
    publisher: Publisher,
    last_version: Cell<u64>,
    /// Wakes the task that reads certificates found on the disk.
    unread: Notify,
}

/// Reason why a certificate could not be installed.
#[derive(Debug)]
pub(crate) enum InstallError {
    /// It could not be stored.
    Disk(DiskError),
    /// The domain is no longer registered.
    Unregistered,
    /// It is stored, but not every core has acknowledged it.
    NotLive(PublishError),
}

impl CertificateStore {
    pub(crate) fn new(registry: Registry, disk: Disk, publisher: Publisher) -> Self {
        let (last_version, unread) = (Cell::new(FIRST_VERSION), Notify::default());
        Self(Rc::new(Inner { registry, disk, publisher, last_version, unread }))
    }

    /// Replaces a domain's certificate on the disk and on every core.
    pub(crate) async fn install(
        &self,
        host: &Hostname,
        pair: Pair,
        identity: Identity,
        facts: Arc<Facts>,
    ) -> Result<(), InstallError> {
        let Inner { registry, disk, publisher, .. } = &*self.0;
        let guard = disk.lock().await.map_err(InstallError::Disk)?;
        if !registry.is_registered(host) {
            return Err(InstallError::Unregistered);
        }
        let name = host.clone();
        guard.run(move |files| files.write_identity(&name, &pair)).await.map_err(InstallError::Disk)?;
        let version = self.next_version();
        match registry.table_mut().get_mut(host) {
            Some(entry) => entry.stored = StoredCertificate::Loaded { version, facts },
            // The removal waits for the disk behind this guard, and deletes the file.
            None => return Err(InstallError::Unregistered),
        }
        drop(guard);
        registry.mark_changed(host);
        let has_reached_all = publisher.push_identity(host, version, &identity);
        self.publish(host).await.map_err(InstallError::NotLive)?;
        if has_reached_all { Ok(()) } else { Err(InstallError::NotLive(PublishError::SlowCores)) }
    }

    /// Removes a domain's certificate from the disk and from every core.
    pub(crate) async fn discard(&self, host: &Hostname) -> Result<(), UploadError> {
        let Inner { registry, disk, .. } = &*self.0;
        let not_stored = |error: DiskError| match error {
            DiskError::Busy => UploadError::Busy,
            error => UploadError::NotStored(error.to_string()),
        };
        let guard = disk.lock().await.map_err(not_stored)?;
        let name = host.clone();
        let removed = guard.run(move |files| files.remove_domain(&name)).await;
        removed.map_err(|error| UploadError::NotStored(error.to_string()))?;
        match registry.table_mut().get_mut(host) {
            Some(entry) => entry.stored = StoredCertificate::None,
            None => return Err(UploadError::UnknownDomain),
        }
        drop(guard);
        registry.mark_changed(host);
        self.publish(host).await.map_err(UploadError::NotLive)
    }

    /// Deletes the folder of an unregistered domain, unless it has been registered again; returns whether it
    /// did.
    pub(crate) async fn remove_unregistered(&self, host: &Hostname) -> bool {
        let Inner { registry, disk, .. } = &*self.0;
        let Ok(guard) = disk.lock().await else {
            tracing::warn!(%host, "certificate of a removed domain not deleted yet: the disk queue is full");
            return false;
        };
        if registry.is_registered(host) {
            return false;
        }
        // A registration from here on starts without a certificate.
        registry.table_mut().forget_orphan(host);
        let name = host.clone();
        match guard.run(move |files| files.remove_domain(&name)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%host, %error, "certificate of a removed domain could not be deleted");
                false
            }
        }
    }

    /// Deletes the folders of all domains that are not registered.
    pub(crate) async fn remove_orphans(&self) {
        let orphans: Vec<Hostname> = self.0.registry.table().orphans().cloned().collect();
        for host in orphans {
            if self.remove_unregistered(&host).await {
                tracing::info!(%host, "deleted the certificate of an unregistered domain");
                self.0.publisher.notify(CertificateEvent::Removed { host });
            }
        }
    }

    /// Publishes the version that the domain has now.
    pub(crate) async fn publish(&self, host: &Hostname) -> Result<(), PublishError> {
        let Inner { registry, publisher, .. } = &*self.0;
        if !publisher.is_attached() {
            return Err(PublishError::Stopping);
        }
        let version = {
            let mut table = registry.table_mut();
            let entry = table.get_mut(host).ok_or(PublishError::UnknownDomain)?;
            // Read and sent in one step, so that concurrent calls never publish out of order.
            entry.published = entry.wanted_version();
            entry.published
        };
        publisher.publish_certificate(host, version).await
    }

    /// Publishes the version that the domain has now, and logs a failure.
    pub(crate) async fn publish_logged(&self, host: &Hostname) {
        match self.publish(host).await {
            Ok(()) | Err(PublishError::UnknownDomain | PublishError::Stopping) => {}
            Err(error) => tracing::warn!(%host, %error, "certificate is not live on every core yet"),
        }
    }

    /// Prepares and lists the directory again, and takes over certificates that were not there before.
    pub(crate) async fn rescan(&self) {
        let Inner { registry, disk, .. } = &*self.0;
        let listed = disk.run(|files| files.prepare().and_then(|_| files.list())).await;
        let Ok(listing) = listed else { return };
        for host in listing.with_identity {
            let version = self.next_version();
            let is_new = registry.table_mut().find(&host, version);
            if is_new {
                self.publish_logged(&host).await;
                registry.mark_changed(&host);
            }
        }
        self.read_soon();
        registry.wake();
    }

    /// Wakes the task that reads certificates found on the disk.
    pub(crate) fn read_soon(&self) {
        self.0.unread.notify();
    }

    /// Waits for [`Self::read_soon`], until `deadline` at most.
    pub(crate) async fn wait_for_unread(&self, deadline: Tick) {
        self.0.unread.notified_until(deadline).await;
    }

    fn next_version(&self) -> u64 {
        let version = self.0.last_version.get() + 1;
        self.0.last_version.set(version);
        version
    }
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Unregistered => f.write_str("the domain is no longer registered"),
            Self::NotLive(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InstallError {}
