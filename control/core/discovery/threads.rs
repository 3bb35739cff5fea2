//! Threads that call the external resolver.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, MailboxSender, TryRecvError, Waker, blocking_mailbox, mailbox};
use ringway_model::Hostname;

use super::target_resolver::{Resolved, ResolverError, TargetResolver};
use crate::limits::RESOLVER_THREADS;

/// Result of one lookup.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) host: Hostname,
    pub(crate) result: Result<Resolved, ResolverError>,
}

/// Control thread's end of the resolver threads, which end when it is dropped.
#[derive(Debug)]
pub(crate) struct ResolverLink {
    /// One for each thread, with room for one lookup.
    threads: Vec<ThreadLink>,
    resolutions: MailboxReceiver<Resolution>,
}

#[derive(Debug)]
struct ThreadLink {
    lookups: MailboxSender<Hostname>,
    /// Host of the lookup in flight.
    busy: Option<Hostname>,
}

/// Starts the threads.
pub(crate) fn start(resolver: Arc<dyn TargetResolver>, waker: Waker) -> io::Result<ResolverLink> {
    let (results, resolutions) = mailbox(RESOLVER_THREADS, waker);
    let mut threads = Vec::with_capacity(RESOLVER_THREADS);
    for number in 0..RESOLVER_THREADS {
        let (lookups, hosts) = blocking_mailbox::<Hostname>(1);
        let (resolver, results) = (Arc::clone(&resolver), results.clone());
        thread::Builder::new().name(format!("resolver-{number}")).spawn(move || {
            loop {
                let host = match hosts.recv_timeout(Duration::MAX) {
                    Ok(host) => host,
                    Err(TryRecvError::Empty) => continue,
                    Err(TryRecvError::Closed) => return,
                };
                let result = resolve(&*resolver, &host);
                // The mailbox has room for a result of each thread: this fails only without a receiver.
                if results.send(Resolution { host, result }).is_err() {
                    return;
                }
            }
        })?;
        threads.push(ThreadLink { lookups, busy: None });
    }
    Ok(ResolverLink { threads, resolutions })
}

fn resolve(resolver: &dyn TargetResolver, host: &Hostname) -> Result<Resolved, ResolverError> {
    // The resolver decides whether it is still usable after a panic; each call is guarded.
    catch_unwind(AssertUnwindSafe(|| resolver.resolve(host.as_str())))
        .unwrap_or_else(|_| Err(ResolverError::new("the resolver panicked")))
}

impl ResolverLink {
    /// Whether a thread is free.
    pub(crate) fn has_room(&self) -> bool {
        self.threads.iter().any(|thread_link| thread_link.busy.is_none())
    }

    /// Starts a lookup; its result comes from [`ResolverLink::poll`]. Returns the host when no thread is
    /// free.
    pub(crate) fn start_lookup(&mut self, host: Hostname) -> Result<(), Hostname> {
        let Some(thread_link) = self.threads.iter_mut().find(|thread_link| thread_link.busy.is_none()) else {
            return Err(host);
        };
        thread_link.lookups.send(host.clone()).map_err(|_| host.clone())?;
        thread_link.busy = Some(host);
        Ok(())
    }

    /// Next result.
    pub(crate) fn poll(&mut self) -> Option<Resolution> {
        let resolution = self.resolutions.try_recv().ok()?;
        let is_its_thread =
            |thread_link: &&mut ThreadLink| thread_link.busy.as_ref() == Some(&resolution.host);
        if let Some(thread_link) = self.threads.iter_mut().find(is_its_thread) {
            thread_link.busy = None;
        }
        Some(resolution)
    }
}
