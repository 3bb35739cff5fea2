//! What the disk remembers of domains and of what was asked of the CAs: read after a start, written in the background.

use crate::limits::MEMORIES_READ_BATCH;
use ringway_model::{Hostname, Timestamp};
use ringway_net::{blocking, clock, spawn};

use super::OWN_RETRY;
use crate::budget::{Budgets, Stored};
use crate::certificates::{Certificates, log_panic};
use crate::course::{After, Memory};
use crate::files::{FilesError, Record};
use crate::watchdog::ClockJudge;

impl Certificates {
    /// Reads memories of domains that nobody has looked at since the start, a few at a time.
    pub(super) fn read_memories(&self) {
        let issuance = self.issuance();
        if issuance.is_reading.get() || issuance.unread.borrow().is_empty() {
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < MEMORIES_READ_BATCH
            && let Some(host) = { issuance.unread.borrow_mut().pop_first() }
        {
            batch.push(host);
        }
        issuance.is_reading.set(true);
        let (this, again) = (self.clone(), self.clone());
        spawn(
            async move {
                this.read_batch_of_memories(batch).await;
                this.issuance().is_reading.set(false);
                this.shared.stir.stir();
            },
            move |panic| {
                again.issuance().is_reading.set(false);
                log_panic(panic);
            },
        );
    }

    async fn read_batch_of_memories(&self, batch: Vec<Hostname>) {
        let files = self.shared.files.clone();
        let hosts = batch.clone();
        let read = blocking(move || {
            hosts.iter().map(|host| files.read_record::<Memory>(host, Record::State)).collect::<Vec<_>>()
        });
        let Ok(read) = read.await else {
            self.issuance().unread.borrow_mut().extend(batch);
            return;
        };
        for (host, memory) in batch.into_iter().zip(read) {
            let memory = match memory {
                Ok(memory) => memory,
                // It was set aside, and is begun anew.
                Err(FilesError::Damaged { .. }) => {
                    tracing::error!(%host, "what was remembered of a domain's certificate is damaged");
                    None
                }
                Err(error) => {
                    // Nothing is tried meanwhile: how often it was tried before is not known.
                    let retry_at = clock::timestamp().after(OWN_RETRY);
                    self.issuance().timers.borrow_mut().set(&host, retry_at);
                    if let Some(entry) = self.shared.domains.borrow_mut().get_mut(&host) {
                        entry.course.reason = Some(error.to_string());
                    }
                    continue;
                }
            };
            if let Some(entry) = self.shared.domains.borrow_mut().get_mut(&host)
                && entry.memory.is_none()
            {
                entry.memory = Some(memory.unwrap_or_default());
            }
            self.touch(&host);
        }
    }

    /// Has the disk remember it. In the background: what is lost in a crash is tried again.
    pub(super) fn remember(&self, host: &Hostname) {
        let memory = {
            let domains = self.shared.domains.borrow();
            match domains.get(host).and_then(|entry| entry.memory.clone()) {
                Some(memory) => memory,
                None => return,
            }
        };
        let (this, host) = (self.clone(), host.clone());
        spawn(
            async move {
                let name = host.clone();
                let stored = this
                    .on_disk_of(&host, move |files| files.write_record(&name, Record::State, &memory))
                    .await;
                if let Err(error) = stored {
                    tracing::warn!(%host, %error, "where a domain stands with the CA could not be stored");
                }
            },
            log_panic,
        );
    }

    pub(super) async fn read_budgets(&self) {
        let stored = self.on_disk(|files| files.read_common::<Stored>(BUDGETS)).await;
        let stored = stored.unwrap_or_else(|error| {
            tracing::error!(%error, "what was asked of the CAs before the start cannot be read: it is counted anew");
            None
        });
        if let Some(stored) = stored {
            *self.issuance().clock.borrow_mut() = ClockJudge::new(Timestamp(stored.seen_at));
            *self.issuance().budgets.borrow_mut() = Budgets::restore(stored);
        }
    }

    pub(super) async fn save_budgets(&self) {
        let stored = self.issuance().budgets.borrow_mut().store(clock::timestamp());
        if let Err(error) = self.on_disk(move |files| files.write_common(BUDGETS, &stored)).await {
            tracing::warn!(%error, "what is asked of the CAs could not be stored");
        }
    }
}

/// The budgets' file.
const BUDGETS: &str = "budgets.json";
