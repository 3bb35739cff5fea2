//! Outgoing side: snapshots, challenges and events to the control plane, new certificates to the cores.

use std::cell::RefCell;
use std::rc::Rc;

use ringway_bridge::{MailboxSender, SendError};
use ringway_model::Hostname;
use ringway_tls::{Identity, IdentityName, Secret, SecretKey, SecretUpdate};

use crate::event::CertificateEvent;
use crate::host::{DynHost, Host, PublishError};

/// Handle to the control plane and the cores. Clones share it.
#[derive(Clone)]
pub(crate) struct Publisher(Rc<Inner>);

struct Inner {
    /// `None` until [`Publisher::attach`].
    host: RefCell<Option<Rc<dyn DynHost>>>,
    /// Mailbox of each core for secrets that it did not request.
    cores: Vec<MailboxSender<SecretUpdate>>,
}

impl Publisher {
    pub(crate) fn new(cores: Vec<MailboxSender<SecretUpdate>>) -> Self {
        Self(Rc::new(Inner { host: RefCell::default(), cores }))
    }

    /// Sets the control plane. Calls before it publish nothing.
    pub(crate) fn attach(&self, host: impl Host) {
        *self.0.host.borrow_mut() = Some(Rc::new(host));
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.0.host.borrow().is_some()
    }

    /// Sends an event to the control plane.
    pub(crate) fn notify(&self, event: CertificateEvent) {
        if let Ok(host) = self.host() {
            host.notify(event);
        }
    }

    /// Publishes the response to a challenge, or withdraws it.
    pub(crate) async fn publish_challenge(
        &self,
        token: String,
        key_authorization: Option<String>,
    ) -> Result<(), PublishError> {
        self.host()?.publish_challenge(token, key_authorization).await
    }

    /// Publishes the certificate version of a domain.
    pub(crate) async fn publish_certificate(
        &self,
        host: &Hostname,
        version: Option<u64>,
    ) -> Result<(), PublishError> {
        self.host()?.publish_certificate(host.clone(), version).await
    }

    /// Publishes the version of the default certificate.
    pub(crate) async fn publish_default(&self, version: Option<u64>) -> Result<(), PublishError> {
        self.host()?.publish_default(version).await
    }

    /// Pushes a new certificate to all cores, before the snapshot with its version: a core that acknowledges
    /// the version would otherwise serve the older certificate until the loader has read a slow disk. Returns
    /// whether all mailboxes had room.
    pub(crate) fn push_identity(&self, host: &Hostname, version: u64, identity: &Identity) -> bool {
        let key = SecretKey::Identity(IdentityName::Domain(host.clone()));
        let mut has_reached_all = true;
        for core in &self.0.cores {
            let result = Ok(Secret::Identity(identity.clone()));
            if let Err(SendError::Full(_)) = core.send(SecretUpdate { key: key.clone(), version, result }) {
                has_reached_all = false;
            }
        }
        has_reached_all
    }

    fn host(&self) -> Result<Rc<dyn DynHost>, PublishError> {
        self.0.host.borrow().clone().ok_or(PublishError::Stopping)
    }
}
