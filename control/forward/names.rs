//! Thread that resolves names for the cores: keeps results, and asks for each name once. Each lookup in
//! flight has a thread of its own, for name servers answer when they like.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, MailboxSender, TryRecvError};
use ringway_dns::{DnsError, Resolver};
use ringway_forward::limits;
use ringway_forward::messages::{NameError, NameMessage, NameRequest, Update};
use ringway_model::{CoreId, Hostname};
use ringway_net::clock;

use crate::hosts_file::HostsFile;
use crate::lookups::{Found, Lookups, Step};

/// The thread's parts.
pub(crate) struct Names {
    pub(crate) server: Option<SocketAddr>,
    pub(crate) messages: MailboxSender<NameMessage>,
    pub(crate) cores: Vec<MailboxSender<Update>>,
}

/// Starts the thread, which ends with [`NameMessage::End`].
pub(crate) fn start(names: Names, received: MailboxReceiver<NameMessage>) -> io::Result<()> {
    thread::Builder::new().name("ringway-names".to_owned()).spawn(move || names.run(&received))?;
    Ok(())
}

impl Names {
    fn run(&self, received: &MailboxReceiver<NameMessage>) {
        let (mut lookups, mut hosts) = (Lookups::default(), HostsFile::read());
        loop {
            match received.recv_timeout(Duration::MAX) {
                Ok(NameMessage::Wanted(NameRequest { core, name })) => {
                    if let Step::Answer(resolved) = lookups.want(core, &name, clock::now()) {
                        self.send(core, Update::Resolved(resolved));
                    }
                }
                Ok(NameMessage::Found { name, found }) => {
                    let (resolved, cores) = lookups.handle_found(&name, found, clock::now());
                    for core in cores {
                        self.send(core, Update::Resolved(resolved.clone()));
                    }
                }
                Ok(NameMessage::Reload) => {
                    hosts = HostsFile::read();
                    // Pending lookups answer to a table that does not know them, which is harmless.
                    lookups = Lookups::default();
                }
                Ok(NameMessage::End) | Err(TryRecvError::Closed) => return,
                Err(TryRecvError::Empty) => {}
            }
            while let Some(name) = lookups.begin() {
                if let Some(addresses) = hosts.find(&name) {
                    let (resolved, cores) =
                        lookups.handle_found(&name, Ok((addresses, limits::NAME_TTL_MAX)), clock::now());
                    for core in cores {
                        self.send(core, Update::Resolved(resolved.clone()));
                    }
                    continue;
                }
                self.look_up(name);
            }
        }
    }

    /// Looks a name up on a thread of its own.
    fn look_up(&self, name: Arc<str>) {
        let (server, messages, asked) = (self.server, self.messages.clone(), name.clone());
        let run = move || {
            let found = look_up(server, &asked);
            // The mailbox has room for one result of each lookup beside the requests.
            let _ = messages.send(NameMessage::Found { name: asked, found });
        };
        let spawned =
            thread::Builder::new().name("ringway-lookup".to_owned()).stack_size(STACK_BYTES).spawn(run);
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a name lookup; the name fails");
            let _ = self.messages.send(NameMessage::Found { name, found: Err(NameError::Failed) });
        }
    }

    fn send(&self, core: CoreId, update: Update) {
        let Some(mailbox) = self.cores.get(usize::from(core.0)) else { return };
        if mailbox.send(update).is_err() {
            // Its requests end with their timeout.
            tracing::warn!(core = core.0, "a core takes no results of names");
        }
    }
}

/// Asks the name servers; blocks, for [`LOOKUP_TIMEOUT`](limits::LOOKUP_TIMEOUT) at most.
fn look_up(server: Option<SocketAddr>, name: &str) -> Found {
    let Ok(host) = Hostname::parse(name) else { return Err(NameError::Failed) };
    let resolver = Resolver::until(server, clock::now().after(limits::LOOKUP_TIMEOUT));
    match resolver.addresses(&host) {
        Ok(lookup) if lookup.addresses.is_empty() => Err(NameError::Failed),
        Ok(lookup) => Ok((interleaved(&lookup.addresses), lookup.ttl)),
        Err(DnsError::TimedOut) => Err(NameError::TimedOut),
        Err(_) => Err(NameError::Failed),
    }
}

/// Addresses of both families in turn, IPv6 first (RFC 8305 §4).
fn interleaved(addresses: &[IpAddr]) -> Arc<[IpAddr]> {
    let (mut six, mut four): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|ip| ip.is_ipv6());
    six.reverse();
    four.reverse();
    let mut all = Vec::with_capacity(addresses.len());
    while !(six.is_empty() && four.is_empty()) {
        all.extend(six.pop());
        all.extend(four.pop());
    }
    all.truncate(limits::ADDRESSES_PER_NAME_MAX);
    all.into()
}

/// 256 KiB: the stack of a lookup.
const STACK_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_dns::testing::{Rcode, Server, ip};

    #[test]
    fn a_lookup_has_the_addresses_of_both_families_and_their_ttl() {
        let server = Server::zone(vec![
            ("a.example", ip("192.0.2.1")),
            ("a.example", ip("192.0.2.2")),
            ("a.example", ip("2001:db8::1")),
        ]);
        let (addresses, ttl) = look_up(Some(server.address), "a.example").unwrap();
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["2001:db8::1", "192.0.2.1", "192.0.2.2"]);
        assert_eq!(ttl, Duration::from_secs(60));
        assert_eq!(look_up(Some(server.address), "b.example"), Err(NameError::Failed));
    }

    #[test]
    fn a_failing_server_is_a_failure() {
        let server = Server::new(|query| vec![query.response(Rcode::SERVFAIL, &[])]);
        assert_eq!(look_up(Some(server.address), "a.example"), Err(NameError::Failed));
    }
}
