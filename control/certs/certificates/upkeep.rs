//! What is done for the files as long as the process runs: read by and by, tried again, followed, removed.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::{CERTIFICATE_ORPHAN_GRACE, CERTIFICATE_SCAN_BATCH};
use ringway_bridge::{MailboxReceiver, WakeSource};
use ringway_model::{Hostname, Tick};
use ringway_net::{Notified, blocking, clock, sleep, spawn, yield_now};

use super::opening::NEWS_WAITING;
use super::{Certificates, log_panic};
use crate::domains::Held;
use crate::event::CertificateEvent;
use crate::loader::{News, read_identity};
use crate::report::DefaultState;

impl Certificates {
    /// The part of [`Certificates::run`] that is not about CAs. Never ends by itself.
    pub(crate) async fn look_after_files(&self) {
        let news = self.shared.news.borrow_mut().take();
        let Some((news, source)) = news else { return };
        self.tell_directory_problem();
        let (follower, reader, mender) = (self.clone(), self.clone(), self.clone());
        spawn(async move { follower.follow_default(news, source).await }, log_panic);
        spawn(async move { reader.read_by_and_by().await }, log_panic);
        spawn(async move { mender.follow_directory().await }, log_panic);
        loop {
            sleep(CERTIFICATE_ORPHAN_GRACE).await;
            self.remove_orphans().await;
        }
    }

    /// Removes what nobody has registered since the start. Not at once: a store that was lost, or that lives in memory, is
    /// filled again by the apps, and certificates cost a CA's patience.
    pub(super) async fn remove_orphans(&self) {
        let orphans: Vec<Hostname> = self.shared.domains.borrow().orphans().cloned().collect();
        for host in orphans {
            if self.remove_files(&host).await {
                tracing::info!(%host, "removed a certificate whose domain is not registered");
                self.notify(CertificateEvent::Removed { host });
            }
        }
    }

    /// Reads what was on the disk at the start, a few at a time, so that it is known when each certificate ends and which of
    /// them cannot be served. Never ends: what is registered later may find on the disk what was there before it.
    async fn read_by_and_by(&self) {
        loop {
            let unread = self.unread();
            for batch in unread.chunks(CERTIFICATE_SCAN_BATCH) {
                self.read_batch(batch.to_vec()).await;
                yield_now().await;
            }
            // What could not be read for want of threads is read later.
            let again_at =
                if self.unread().is_empty() { Tick::NEVER } else { clock::now().after(REREAD_INTERVAL) };
            self.shared.unread.wait_until(again_at).await;
        }
    }

    fn unread(&self) -> Vec<(Hostname, u64)> {
        let domains = self.shared.domains.borrow();
        let unread = domains.iter().filter_map(|(host, entry)| match entry.held {
            Held::Unread { version } => Some((host.clone(), version)),
            Held::Nothing | Held::Ready { .. } | Held::Damaged { .. } => None,
        });
        unread.collect()
    }

    async fn read_batch(&self, batch: Vec<(Hostname, u64)>) {
        let files = self.shared.files.clone();
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
                let mut domains = self.shared.domains.borrow_mut();
                let Some(entry) =
                    domains.get_mut(&host).filter(|entry| entry.held == Held::Unread { version })
                else {
                    continue;
                };
                match result {
                    Ok(identity) => {
                        let facts = Arc::new(identity.facts().clone());
                        entry.held = Held::Ready { version, facts };
                        None
                    }
                    Err(reason) => {
                        entry.held = Held::Damaged { reason: reason.to_string() };
                        Some(reason.to_string())
                    }
                }
            };
            if let Some(reason) = damage {
                tracing::error!(%host, %reason, "a certificate on the disk cannot be served");
                // So that the default certificate, or plain HTTP, serves in its place.
                self.publish_logged(&host).await;
                self.notify(CertificateEvent::Damaged { host: host.clone(), reason });
            }
            self.touch(&host);
        }
    }

    /// Tries a directory that cannot be used again and again, and takes up what stands in it when it can be.
    async fn follow_directory(&self) {
        loop {
            sleep(DIRECTORY_RETRY_INTERVAL).await;
            if self.directory_problem().is_some() {
                self.try_directory().await;
            }
        }
    }

    pub(super) async fn try_directory(&self) {
        let listed = self.on_disk(|files| files.prepare().and_then(|_| files.list())).await;
        let Ok(listing) = listed else { return };
        for host in listing.with_identity {
            let version = self.next_version();
            if self.shared.domains.borrow_mut().find(&host, version) {
                self.publish_logged(&host).await;
                self.touch(&host);
            }
        }
        self.shared.unread.stir();
        self.shared.stir.stir();
    }

    async fn follow_default(&self, news: MailboxReceiver<News>, source: WakeSource) {
        let notified = source.stream().and_then(Notified::new);
        let mut notified = match notified {
            Ok(notified) => notified,
            Err(error) => {
                tracing::error!(%error, "changes of the default certificate cannot be followed");
                return;
            }
        };
        while notified.wait().await.is_ok() {
            source.rearm();
            for news in news.drain(NEWS_WAITING) {
                self.handle_news(news).await;
            }
        }
    }

    async fn handle_news(&self, news: News) {
        match news {
            News::Replaced { facts, version } => {
                let state = DefaultState { facts: Arc::clone(&facts), version, problem: None };
                *self.shared.default.borrow_mut() = Some(state);
                if let Some(host) = self.host()
                    && let Err(error) = host.publish_default(Some(version)).await
                {
                    tracing::warn!(%error, "the default certificate is not live on every core yet");
                }
                self.notify(CertificateEvent::DefaultReplaced { facts });
            }
            News::Refused(error) => {
                if let Some(default) = &mut *self.shared.default.borrow_mut() {
                    default.problem = Some(error.to_string());
                }
                self.notify(CertificateEvent::DefaultRefused { reason: error.to_string() });
            }
            News::Restored => {
                tracing::info!("the default certificate's files are right again");
                if let Some(default) = &mut *self.shared.default.borrow_mut() {
                    default.problem = None;
                }
            }
        }
    }
}

/// A directory that cannot be used is tried again after this.
const DIRECTORY_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// What could not be read is tried again after this.
const REREAD_INTERVAL: Duration = Duration::from_secs(10);
