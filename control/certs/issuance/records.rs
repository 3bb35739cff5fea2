//! Persistence of issuance records and budgets: read in batches after a start, written in the background.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use ringway_model::{Hostname, Timestamp};
use ringway_net::{blocking, clock, spawn};

use super::{INTERNAL_RETRY, Issuance};
use crate::budget::{Budgets, StoredBudgets};
use crate::disk::Disk;
use crate::files::{DomainFile, FilesError};
use crate::issuance_state::{After, IssuanceRecord};
use crate::limits::RECORDS_READ_BATCH;
use crate::registry::Registry;
use crate::tasks::{log_panic, spawn_logged};

/// Issuance records on the disk. Clones share the state.
#[derive(Clone)]
pub(super) struct Records(Rc<Inner>);

struct Inner {
    registry: Registry,
    disk: Disk,
    /// Domains whose record is to be read.
    requested: RefCell<BTreeSet<Hostname>>,
    is_reading: Cell<bool>,
}

impl Records {
    pub(super) fn new(registry: Registry, disk: Disk) -> Self {
        Self(Rc::new(Inner { registry, disk, requested: RefCell::default(), is_reading: Cell::new(false) }))
    }

    /// Requests the record of a domain.
    pub(super) fn request(&self, host: &Hostname) {
        self.0.requested.borrow_mut().insert(host.clone());
    }

    /// Withdraws the request of a domain.
    pub(super) fn cancel(&self, host: &Hostname) {
        self.0.requested.borrow_mut().remove(host);
    }

    /// Reads the next batch of requested records, unless one is being read. `issuance` sets the timer of a
    /// record that could not be read.
    pub(super) fn read_requested(&self, issuance: &Issuance) {
        if self.0.is_reading.get() || self.0.requested.borrow().is_empty() {
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < RECORDS_READ_BATCH
            && let Some(host) = { self.0.requested.borrow_mut().pop_first() }
        {
            batch.push(host);
        }
        self.0.is_reading.set(true);
        let (this, panicked, issuance) = (self.clone(), self.clone(), issuance.clone());
        spawn(
            async move {
                this.read_batch(batch, &issuance).await;
                this.0.is_reading.set(false);
                this.0.registry.wake();
            },
            move |panic| {
                panicked.0.is_reading.set(false);
                log_panic(panic);
            },
        );
    }

    async fn read_batch(&self, batch: Vec<Hostname>, issuance: &Issuance) {
        let Inner { registry, disk, requested, .. } = &*self.0;
        let files = disk.files().clone();
        let hosts = batch.clone();
        let read = blocking(move || {
            let read = |host| files.read_domain_file::<IssuanceRecord>(host, DomainFile::State);
            hosts.iter().map(read).collect::<Vec<_>>()
        });
        let Ok(read) = read.await else {
            requested.borrow_mut().extend(batch);
            return;
        };
        for (host, record) in batch.into_iter().zip(read) {
            let record = match record {
                Ok(record) => record,
                // The file was moved aside: starts with an empty record.
                Err(FilesError::Damaged { .. }) => {
                    tracing::error!(%host, "issuance record is damaged; backoff and origin of the certificate are lost");
                    None
                }
                Err(error) => {
                    // No attempt meanwhile: the number of earlier ones is unknown.
                    let retry_at = clock::timestamp().after(INTERNAL_RETRY);
                    issuance.timers.borrow_mut().set(&host, retry_at);
                    if let Some(entry) = registry.table_mut().get_mut(&host) {
                        entry.status.reason = Some(error.to_string());
                    }
                    continue;
                }
            };
            if let Some(entry) = registry.table_mut().get_mut(&host)
                && entry.record.is_none()
            {
                entry.record = Some(record.unwrap_or_default());
            }
            registry.mark_changed(&host);
        }
    }

    /// Writes the record of a domain in the background: an attempt lost in a crash is repeated.
    pub(super) fn save(&self, host: &Hostname) {
        let record = {
            let table = self.0.registry.table();
            match table.get(host).and_then(|entry| entry.record.clone()) {
                Some(record) => record,
                None => return,
            }
        };
        let (disk, host) = (self.0.disk.clone(), host.clone());
        spawn_logged(async move {
            let name = host.clone();
            let stored = disk
                .run_for(&host, move |files| files.write_domain_file(&name, DomainFile::State, &record))
                .await;
            if let Err(error) = stored {
                tracing::warn!(%host, %error, "issuance record could not be stored");
            }
        });
    }
}

/// Reads the budgets, and the latest time that was seen.
pub(super) async fn load_budgets(disk: &Disk) -> Option<(Budgets, Timestamp)> {
    let stored = disk.run(|files| files.read_common::<StoredBudgets>(BUDGETS_FILE)).await;
    let stored = stored.unwrap_or_else(|error| {
        tracing::error!(%error, "rate-limit budgets could not be read; counting starts at zero");
        None
    })?;
    let seen_at = Timestamp(stored.seen_at);
    Some((Budgets::restore(stored), seen_at))
}

/// Writes the budgets.
pub(super) async fn save_budgets(disk: &Disk, stored: StoredBudgets) {
    if let Err(error) = disk.run(move |files| files.write_common(BUDGETS_FILE, &stored)).await {
        tracing::warn!(%error, "rate-limit budgets could not be stored");
    }
}

const BUDGETS_FILE: &str = "budgets.json";
