//! Forward proxy of a gateway: its settings, and the link to its threads.

use std::net::SocketAddr;
use std::sync::Arc;

use ringway_bridge::{MailboxReceiver, MailboxSender, Waker, mailbox};
use ringway_forward::limits;
use ringway_forward::messages::Update;
use ringway_forward_control::{ForwardSettings, Link, Started};
use ringway_model::ForwardSpec;
use ringway_worker::ForwardSource;

use super::{Listener, StartError};

/// Forward proxy, for [`Builder::forward`](super::Builder::forward).
#[derive(Clone, Debug)]
pub struct ForwardProxy {
    /// Listeners, clients, targets and lists.
    pub spec: Arc<ForwardSpec>,
    /// Name server; those of `/etc/resolv.conf` when absent.
    pub dns: Option<SocketAddr>,
}

/// Mailboxes of the cores.
#[derive(Default)]
pub(super) struct Mailboxes {
    senders: Vec<MailboxSender<Update>>,
    receivers: Vec<MailboxReceiver<Update>>,
}

impl Mailboxes {
    /// Adds the mailbox of the next core.
    pub(super) fn add(&mut self, waker: Waker) {
        let (sender, receiver) = mailbox(limits::MESSAGES_MAX, waker);
        self.senders.push(sender);
        self.receivers.push(receiver);
    }
}

impl ForwardProxy {
    /// Its listener.
    pub(super) fn listener(&self) -> Listener {
        Listener::forward(self.spec.listen.clone(), &self.spec.limits)
    }

    /// Loads the rules and starts the threads; returns the link, and the source of each core.
    pub(super) fn start(
        self,
        own_ports: Vec<u16>,
        mailboxes: Mailboxes,
    ) -> Result<(Link, Vec<ForwardSource>), StartError> {
        let settings = ForwardSettings { spec: self.spec, dns: self.dns, own_ports };
        let Started { link, policy, names } =
            ringway_forward_control::start(settings, mailboxes.senders).map_err(StartError::Forward)?;
        let source = |updates| ForwardSource { policy: policy.clone(), names: names.clone(), updates };
        Ok((link, mailboxes.receivers.into_iter().map(source).collect()))
    }
}
