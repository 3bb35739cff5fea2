//! Shared table of registered domains, and the set of domains to reconsider.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::HashSet;
use std::rc::Rc;

use ringway_model::{CertificateMode, Hostname, Tick};
use ringway_net::sync::Notify;

use crate::domains::{DomainTable, OnDisk};

/// Handle to the domain table. Clones share it; all live on the control thread.
#[derive(Clone, Debug)]
pub(crate) struct Registry(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    table: RefCell<DomainTable>,
    /// Domains changed since the last [`Registry::take_changed`]: registered, changed, removed, uploaded,
    /// verified or read from the disk. Bounded by the number of domains.
    changed: RefCell<HashSet<Hostname, ahash::RandomState>>,
    notify: Notify,
}

impl Registry {
    /// Creates an empty table, with the folders found on the disk.
    pub(crate) fn new(on_disk: OnDisk) -> Self {
        Self(Rc::new(Inner {
            table: RefCell::new(DomainTable::new(on_disk)),
            changed: RefCell::default(),
            notify: Notify::default(),
        }))
    }

    pub(crate) fn table(&self) -> Ref<'_, DomainTable> {
        self.0.table.borrow()
    }

    pub(crate) fn table_mut(&self) -> RefMut<'_, DomainTable> {
        self.0.table.borrow_mut()
    }

    pub(crate) fn is_registered(&self, host: &Hostname) -> bool {
        self.table().get(host).is_some()
    }

    /// Whether the domain is registered for a certificate from the CA.
    pub(crate) fn wants_acme(&self, host: &Hostname) -> bool {
        self.table().get(host).is_some_and(|entry| entry.domain.certificate == CertificateMode::Acme)
    }

    /// Adds a domain to the changed set and wakes the issuance task.
    pub(crate) fn mark_changed(&self, host: &Hostname) {
        self.0.changed.borrow_mut().insert(host.clone());
        self.wake();
    }

    /// Takes the changed set.
    pub(crate) fn take_changed(&self) -> Vec<Hostname> {
        self.0.changed.borrow_mut().drain().collect()
    }

    #[cfg(test)]
    pub(crate) fn is_unchanged(&self) -> bool {
        self.0.changed.borrow().is_empty()
    }

    /// Wakes the issuance task.
    pub(crate) fn wake(&self) {
        self.0.notify.notify();
    }

    /// Waits for [`Self::mark_changed`] or [`Self::wake`], until `deadline` at most.
    pub(crate) async fn wait_until(&self, deadline: Tick) {
        self.0.notify.notified_until(deadline).await;
    }
}
