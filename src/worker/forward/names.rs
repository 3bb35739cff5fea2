//! Addresses of names on one core: kept for their time, requested once however many requests wait.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ahash::AHashMap;
use ringway_bridge::MailboxSender;
use ringway_forward::messages::{NameError, NameMessage, NameRequest, Resolved};
use ringway_forward::{Denial, limits};
use ringway_model::{CoreId, Tick};
use ringway_net::Waits;

use crate::lru_cache::LruCache;

/// Names of one core.
pub(crate) struct Names {
    core: CoreId,
    requests: MailboxSender<NameMessage>,
    known: RefCell<LruCache<Arc<str>, Known>>,
    waiting: RefCell<AHashMap<Arc<str>, Vec<Waker>>>,
}

/// Result that is kept.
struct Known {
    addresses: Result<Arc<[IpAddr]>, NameError>,
    until: Tick,
}

impl Names {
    pub(super) fn new(core: CoreId, requests: MailboxSender<NameMessage>) -> Self {
        let known = RefCell::new(LruCache::new(limits::NAMES_PER_CORE_MAX));
        Self { core, requests, known, waiting: RefCell::default() }
    }

    /// Takes a result, and wakes the requests that wait for it.
    pub(super) fn handle_resolved(&self, resolved: Resolved, now: Tick) {
        // Those that wait look it up: it is there for them, however short its time.
        let until = now.after(resolved.ttl.max(TTL_MIN));
        let known = Known { addresses: resolved.addresses, until };
        self.known.borrow_mut().insert(resolved.name.clone(), known);
        let waiters = self.waiting.borrow_mut().remove(&resolved.name);
        waiters.into_iter().flatten().for_each(Waker::wake);
    }

    /// The addresses of a name, forbidden ones among them. Waits for
    /// [`LOOKUP_TIMEOUT`](limits::LOOKUP_TIMEOUT) and a second more at most.
    pub(super) async fn resolve(&self, name: &str, now: Tick) -> Result<Arc<[IpAddr]>, Denial> {
        if let Some(kept) = self.kept(name, now) {
            return kept.map_err(denial);
        }
        self.request(name)?;
        let poll = |cx: &mut std::task::Context<'_>| {
            let mut waiting = self.waiting.borrow_mut();
            // The result has come, and its waiters are gone.
            let Some(waiters) = waiting.get_mut(name) else { return Poll::Ready(Ok(())) };
            if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
                waiters.push(cx.waker().clone());
            }
            Poll::Pending
        };
        let deadline = now.after(limits::LOOKUP_TIMEOUT + Duration::from_secs(1));
        let waited = match Waits::new() {
            Ok(waits) => waits.read(deadline, poll).await,
            Err(error) => Err(error),
        };
        if waited.is_err() {
            // A later request asks again.
            self.waiting.borrow_mut().remove(name);
            return Err(Denial::NameTimedOut);
        }
        // The time of a result that has just come is not over yet at the time of the request.
        self.kept(name, now).unwrap_or(Err(NameError::TimedOut)).map_err(denial)
    }

    fn kept(&self, name: &str, now: Tick) -> Option<Result<Arc<[IpAddr]>, NameError>> {
        let mut known = self.known.borrow_mut();
        let found = known.get(name)?;
        (now < found.until).then(|| found.addresses.clone())
    }

    /// Requests a name, unless another request waits for it already.
    fn request(&self, name: &str) -> Result<(), Denial> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.contains_key(name) {
            return Ok(());
        }
        if waiting.len() >= limits::LOOKUPS_QUEUED_MAX {
            return Err(Denial::NameQueueFull);
        }
        let name: Arc<str> = name.into();
        let request = NameMessage::Wanted(NameRequest { core: self.core, name: name.clone() });
        self.requests.send(request).map_err(|_| Denial::NameQueueFull)?;
        waiting.insert(name, Vec::new());
        Ok(())
    }
}

fn denial(error: NameError) -> Denial {
    match error {
        NameError::Failed => Denial::NameFailed,
        NameError::TimedOut => Denial::NameTimedOut,
        NameError::Full => Denial::NameQueueFull,
    }
}

/// 1 s: a result is kept at least this long, for the requests that it wakes.
const TTL_MIN: Duration = Duration::from_secs(1);
