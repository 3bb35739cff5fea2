//! Lingering close: the rest of a request that has its response already is discarded for a while.
//!
//! ```text
//! response before the request's end ─► permit? ─► discard: 30 s, 5 s without bytes, 16 MiB/s ─► close, or RST_STREAM
//!                                        └─ none ─► discard: 2 s, 256 KiB ─────────────────────┘
//! ```
//! Many clients read no response before they have sent their request. A close with unread bytes is a reset,
//! and some HTTP/2 clients take RST_STREAM for a failure: either loses the response. Discarding costs neither
//! memory nor copies, but occupies a connection or a stream: hence permits, bounded per core and per client.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{Clock, LingerLimits, Stream, discard_all, linger};

use crate::accept::handshakes::network;
use crate::core::Core;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;

/// Requests of one core whose rest is being discarded.
#[derive(Default)]
pub(crate) struct Lingering {
    count: Cell<usize>,
    clients: RefCell<HashMap<u128, usize, ahash::RandomState>>,
}

impl Lingering {
    /// Returns a permit to discard one more request in full; `client` is `None` for trusted proxies, which
    /// have no own limit.
    fn acquire(&self, client: Option<u128>) -> Option<Permit<'_>> {
        if self.count.get() >= limits::LINGERING_PER_CORE_MAX {
            return None;
        }
        if let Some(client) = client {
            let mut clients = self.clients.borrow_mut();
            let count = clients.entry(client).or_default();
            if *count >= limits::LINGERING_PER_CLIENT_MAX {
                return None;
            }
            *count += 1;
        }
        self.count.update(|count| count + 1);
        Some(Permit { lingering: self, client })
    }
}

/// Permit to discard one request in full, counted while it lives.
struct Permit<'a> {
    lingering: &'a Lingering,
    client: Option<u128>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.lingering.count.update(|count| count - 1);
        let Some(client) = self.client else { return };
        let mut clients = self.lingering.clients.borrow_mut();
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
            }
        }
        if clients.is_empty() {
            clients.shrink_to_fit();
        }
    }
}

/// Extent to which a request was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Completely.
    Read,
    /// In part: the client may be sending the rest.
    Unread,
}

/// Closes a connection so that the client gets the last response, by `deadline` at the latest.
pub(crate) async fn close<R: Runtime, S: Stream>(
    core: &Core<R>,
    stream: &S,
    peer: IpAddr,
    request: Request,
    deadline: Tick,
) {
    let (_permit, limits) = admit(core, peer, request);
    linger(stream, limits.and_until(deadline, core.runtime.now()), &RuntimeClock(&core.runtime)).await;
}

/// Discards the rest of a request on an HTTP/2 stream.
pub(crate) async fn discard_request<R: Runtime>(core: &Core<R>, client: &DownstreamConn<R::Stream>) {
    let (_permit, limits) = admit(core, client.peer, Request::Unread);
    discard_all(&client.stream, limits, &RuntimeClock(&core.runtime)).await;
}

/// Keeps a stream open for a moment after its response, so that its reset is not sent together with the
/// response.
pub(crate) async fn hold<R: Runtime, T>(core: &Core<R>, peer: IpAddr, stream: T) {
    let (permit, _) = admit(core, peer, Request::Unread);
    if permit.is_some() {
        core.runtime.sleep(limits::H2_RESET_DELAY).await;
    }
    drop(stream);
}

/// Discards the client's bytes while its response is being sent, until reading is cancelled: some clients
/// read nothing before they have sent everything.
pub(crate) async fn discard_beside<R: Runtime>(core: &Core<R>, client: &DownstreamConn<R::Stream>) {
    discard_all(&client.stream, LingerLimits::UPLOAD, &RuntimeClock(&core.runtime)).await;
}

fn admit<R: Runtime>(core: &Core<R>, peer: IpAddr, request: Request) -> (Option<Permit<'_>>, LingerLimits) {
    let permit = match request {
        Request::Read => None,
        Request::Unread => core.lingering.acquire((!core.settings.trusts(peer)).then(|| network(peer))),
    };
    let limits = if permit.is_some() { LingerLimits::UPLOAD } else { LingerLimits::BRIEF };
    (permit, limits)
}

/// Clock of a runtime.
struct RuntimeClock<'a, R>(&'a R);

impl<R: Runtime> Clock for RuntimeClock<'_, R> {
    fn now(&self) -> Tick {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        self.0.sleep(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_permits_per_client_and_core() {
        let lingering = Lingering::default();
        let mut permits: Vec<_> = (0..limits::LINGERING_PER_CLIENT_MAX)
            .map(|_| lingering.acquire(Some(1)).expect("below the limit"))
            .collect();
        assert!(lingering.acquire(Some(1)).is_none());
        permits.pop();
        permits.push(lingering.acquire(Some(1)).expect("a permit was released"));
        while permits.len() < limits::LINGERING_PER_CORE_MAX {
            permits.push(lingering.acquire(None).expect("proxies have no limit of their own"));
        }
        assert!(lingering.acquire(Some(2)).is_none() && lingering.acquire(None).is_none());
        drop(permits);
        assert_eq!(lingering.count.get(), 0);
        assert!(lingering.clients.borrow().is_empty());
    }
}
