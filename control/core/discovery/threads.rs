//! Somebody else who knows where hosts are served, such as a process manager; and the threads that ask it.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::limits::RESOLVER_THREADS;
use ringway_bridge::{MailboxReceiver, MailboxSender, TryRecvError, Waker, blocking_mailbox, mailbox};
use ringway_model::{Hostname, Target};

use crate::error_chain::with_causes;

/// Knows which targets serve a host that is not registered: a process manager, a service registry.
///
/// It is asked when a request for such a host comes, and about once a second while requests keep coming; registered domains
/// go before it. What it says is never stored. A request waits for the first answer, at most
/// [`RESOLVER_TIMEOUT`](ringway_model::limits::RESOLVER_TIMEOUT); while there is a former answer, that is used meanwhile,
/// and for [`RESOLVED_STALE_MAX`](crate::limits::RESOLVED_STALE_MAX) when the resolver fails.
///
/// It is called on a few threads of its own, on several of them at once, never twice at once for the same host, and may
/// block; a call that does not return holds its thread until it does.
pub trait TargetResolver: Send + Sync + 'static {
    /// Where `host` is served. The name is in lower case, without a port or a trailing dot.
    ///
    /// # Errors
    /// When that cannot be found out now. The client is told 503 unless there is a former answer.
    fn resolve(&self, host: &str) -> Result<Resolved, ResolverError>;
}

/// What a resolver knows of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// No app has it: clients are told 404.
    Unknown,
    /// These serve it, in no order. None at all, or none that is healthy, means that the app is there and cannot answer:
    /// clients are told 503, or what the operator chose for that.
    Targets(Vec<ResolvedTarget>),
}

/// One process that serves a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTarget {
    /// Where it listens. A name is resolved by DNS.
    pub target: Target,
    /// Whether it should be sent requests. ringway makes no health checks of it; one that keeps failing is left out for a
    /// while all the same.
    pub healthy: bool,
}

/// Why a resolver has no answer, in a sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverError(String);

impl ResolverError {
    /// From what went wrong.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// From an error and its causes.
    pub fn because(error: &dyn Error) -> Self {
        Self(with_causes(error))
    }
}

impl fmt::Display for ResolverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ResolverError {}

/// An answer, and to what.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) host: Hostname,
    pub(crate) result: Result<Resolved, ResolverError>,
}

/// The control thread's end of the threads that ask. They end when it is dropped.
#[derive(Debug)]
pub(crate) struct ResolverLink {
    /// One for each thread, with room for one question.
    askers: Vec<Asker>,
    resolutions: MailboxReceiver<Resolution>,
}

#[derive(Debug)]
struct Asker {
    questions: MailboxSender<Hostname>,
    /// What it is asking for.
    busy: Option<Hostname>,
}

/// Starts the threads.
pub(crate) fn start(resolver: Arc<dyn TargetResolver>, waker: Waker) -> io::Result<ResolverLink> {
    let (answers, resolutions) = mailbox(RESOLVER_THREADS, waker);
    let mut askers = Vec::with_capacity(RESOLVER_THREADS);
    for number in 0..RESOLVER_THREADS {
        let (questions, asked) = blocking_mailbox::<Hostname>(1);
        let (resolver, answers) = (Arc::clone(&resolver), answers.clone());
        thread::Builder::new().name(format!("resolver-{number}")).spawn(move || {
            loop {
                let host = match asked.recv_timeout(Duration::MAX) {
                    Ok(host) => host,
                    Err(TryRecvError::Empty) => continue,
                    Err(TryRecvError::Closed) => return,
                };
                let result = ask(&*resolver, &host);
                // There is room for an answer of each thread, so this fails only when nobody waits any more.
                if answers.send(Resolution { host, result }).is_err() {
                    return;
                }
            }
        })?;
        askers.push(Asker { questions, busy: None });
    }
    Ok(ResolverLink { askers, resolutions })
}

fn ask(resolver: &dyn TargetResolver, host: &Hostname) -> Result<Resolved, ResolverError> {
    // Whether it is still usable is its own to know; each call is guarded.
    catch_unwind(AssertUnwindSafe(|| resolver.resolve(host.as_str())))
        .unwrap_or_else(|_| Err(ResolverError::new("the resolver panicked")))
}

impl ResolverLink {
    /// Whether a thread is free.
    pub(crate) fn has_room(&self) -> bool {
        self.askers.iter().any(|asker| asker.busy.is_none())
    }

    /// Has a host asked for; the answer comes by [`ResolverLink::poll`]. Gives it back when no thread is free.
    pub(crate) fn ask(&mut self, host: Hostname) -> Result<(), Hostname> {
        let Some(asker) = self.askers.iter_mut().find(|asker| asker.busy.is_none()) else { return Err(host) };
        asker.questions.send(host.clone()).map_err(|_| host.clone())?;
        asker.busy = Some(host);
        Ok(())
    }

    /// The next answer.
    pub(crate) fn poll(&mut self) -> Option<Resolution> {
        let resolution = self.resolutions.try_recv().ok()?;
        let of_this = |asker: &&mut Asker| asker.busy.as_ref() == Some(&resolution.host);
        if let Some(asker) = self.askers.iter_mut().find(of_this) {
            asker.busy = None;
        }
        Some(resolution)
    }
}
