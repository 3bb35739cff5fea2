//! Background tasks for the files: read them in batches, retry an unusable directory, follow the default
//! certificate, delete orphans.

use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, WakeSource};
use ringway_model::{Hostname, Tick};
use ringway_net::{Notified, blocking, clock, sleep, yield_now};

use crate::certificate_store::CertificateStore;
use crate::default_certificate::{DefaultCertificate, DefaultChange};
use crate::disk::Disk;
use crate::domains::StoredCertificate;
use crate::event::CertificateEvent;
use crate::limits::{CERTIFICATE_ORPHAN_GRACE, CERTIFICATE_SCAN_BATCH};
use crate::loader::read_identity;
use crate::open::DEFAULT_CHANGES_QUEUED;
use crate::publisher::Publisher;
use crate::registry::Registry;
use crate::tasks::spawn_logged;

/// Handles that the tasks work on.
#[derive(Clone)]
pub(crate) struct Maintenance {
    pub(crate) registry: Registry,
    pub(crate) publisher: Publisher,
    pub(crate) disk: Disk,
    pub(crate) store: CertificateStore,
    pub(crate) default: DefaultCertificate,
}

impl Maintenance {
    /// Spawns the tasks, and deletes orphans now and then. Never returns.
    pub(crate) async fn run(self, default_changes: (MailboxReceiver<DefaultChange>, WakeSource)) {
        self.disk.report_problem();
        let (changes, source) = default_changes;
        let (follower, reader, retrier) = (self.clone(), self.clone(), self.clone());
        spawn_logged(async move { follower.follow_default(changes, source).await });
        spawn_logged(async move { reader.read_unread().await });
        spawn_logged(async move { retrier.retry_directory().await });
        loop {
            // Not at once: apps fill a lost or in-memory store again within minutes, and certificates are
            // rate-limited.
            sleep(CERTIFICATE_ORPHAN_GRACE).await;
            self.store.remove_orphans().await;
        }
    }

    /// Reads the certificates found on the disk, in batches: then the expiry of each is known, and damaged
    /// ones are withdrawn. Never returns, because a domain registered later may have a folder, too.
    async fn read_unread(&self) {
        loop {
            let unread = self.unread();
            for batch in unread.chunks(CERTIFICATE_SCAN_BATCH) {
                self.read_batch(batch.to_vec()).await;
                yield_now().await;
            }
            // The rest could not be read for lack of threads.
            let again_at =
                if self.unread().is_empty() { Tick::NEVER } else { clock::now().after(REREAD_INTERVAL) };
            self.store.wait_for_unread(again_at).await;
        }
    }

    fn unread(&self) -> Vec<(Hostname, u64)> {
        let table = self.registry.table();
        let unread = table.iter().filter_map(|(host, entry)| match entry.stored {
            StoredCertificate::Unread { version } => Some((host.clone(), version)),
            StoredCertificate::None
            | StoredCertificate::Loaded { .. }
            | StoredCertificate::Damaged { .. } => None,
        });
        unread.collect()
    }

    async fn read_batch(&self, batch: Vec<(Hostname, u64)>) {
        let files = self.disk.files().clone();
        let read = blocking(move || {
            let read = batch.into_iter().map(|(host, version)| {
                let read = read_identity(&files, &host);
                (host, version, read)
            });
            read.collect::<Vec<_>>()
        });
        let Ok(read) = read.await else { return };
        for (host, version, result) in read {
            let damage = {
                let mut table = self.registry.table_mut();
                let is_unread = StoredCertificate::Unread { version };
                let Some(entry) = table.get_mut(&host).filter(|entry| entry.stored == is_unread) else {
                    continue;
                };
                match result {
                    Ok(identity) => {
                        let facts = Arc::new(identity.facts().clone());
                        entry.stored = StoredCertificate::Loaded { version, facts };
                        None
                    }
                    Err(error) => {
                        entry.stored = StoredCertificate::Damaged { reason: error.to_string() };
                        Some(error.to_string())
                    }
                }
            };
            if let Some(reason) = damage {
                tracing::error!(%host, %reason, "certificate on the disk is damaged and withdrawn");
                // The default certificate, or plain HTTP, serves in its place.
                self.store.publish_logged(&host).await;
                self.publisher.notify(CertificateEvent::Damaged { host: host.clone(), reason });
            }
            self.registry.mark_changed(&host);
        }
    }

    /// Retries an unusable directory, and takes over its certificates once it is usable.
    async fn retry_directory(&self) {
        loop {
            sleep(DIRECTORY_RETRY_INTERVAL).await;
            if self.disk.problem().is_some() {
                self.store.rescan().await;
            }
        }
    }

    async fn follow_default(&self, changes: MailboxReceiver<DefaultChange>, source: WakeSource) {
        let notified = source.stream().and_then(Notified::new);
        let mut notified = match notified {
            Ok(notified) => notified,
            Err(error) => {
                tracing::error!(%error, "changes of the default certificate are not followed");
                return;
            }
        };
        while notified.wait().await.is_ok() {
            source.rearm();
            for change in changes.drain(DEFAULT_CHANGES_QUEUED) {
                self.handle_default_change(change).await;
            }
        }
    }

    async fn handle_default_change(&self, change: DefaultChange) {
        self.default.apply(&change);
        match change {
            DefaultChange::Replaced { facts, version } => {
                if self.publisher.is_attached()
                    && let Err(error) = self.publisher.publish_default(Some(version)).await
                {
                    tracing::warn!(%error, "default certificate is not live on every core yet");
                }
                self.publisher.notify(CertificateEvent::DefaultReplaced { facts });
            }
            DefaultChange::Rejected(error) => {
                self.publisher.notify(CertificateEvent::DefaultRefused { reason: error.to_string() });
            }
            DefaultChange::Restored => tracing::info!("files of the default certificate are valid again"),
        }
    }
}

/// Retry interval of an unusable directory.
const DIRECTORY_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Retry interval of certificates that could not be read.
const REREAD_INTERVAL: Duration = Duration::from_secs(10);
