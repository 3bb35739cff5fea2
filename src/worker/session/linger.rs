//! Lingering closes: what a client still sends of a request that was answered is discarded for a while.
//!
//! ```text
//! answered before all of the request came ─► permit? ─► discard: 30 s, 5 s of silence, 16 MiB/s ─► close, or RST_STREAM
//!                                              └─ none ─► discard: 2 s, 256 KiB ────────────────────┘
//! ```
//! Many clients read no answer before they have sent their request. A close with unread bytes is a reset, and some HTTP/2 clients take
//! RST_STREAM for a failure: either loses the answer. It costs neither memory nor copies, but a connection or a stream: hence the
//! permits, of which a core and each client have a bounded number.

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
use crate::session::downstream::DownstreamConn;

/// The requests of one core that are being discarded.
#[derive(Default)]
pub(crate) struct Lingering {
    count: Cell<usize>,
    clients: RefCell<HashMap<u128, usize, ahash::RandomState>>,
}

impl Lingering {
    /// Lets one more request be discarded in full; `client` is `None` for one that has no limit of its own.
    fn enter(&self, client: Option<u128>) -> Option<Permit<'_>> {
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

/// One request that is being discarded, counted while this lives.
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
    /// All of it.
    Read,
    /// Not all of it: the client may be sending the rest.
    Unread,
}

/// Ends a client's connection so that the client gets the last answer, by `deadline` at the latest.
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

/// Discards the rest of a request that was answered, on a stream within a connection.
pub(crate) async fn discard_request<R: Runtime>(core: &Core<R>, client: &DownstreamConn<R::Stream>) {
    let (_permit, limits) = admit(core, client.peer, Request::Unread);
    discard_all(&client.stream, limits, &RuntimeClock(&core.runtime)).await;
}

/// Keeps a stream that was answered open for a moment, so that its reset does not go out in one piece with the answer.
pub(crate) async fn hold<R: Runtime, T>(core: &Core<R>, peer: IpAddr, stream: T) {
    let (permit, _) = admit(core, peer, Request::Unread);
    if permit.is_some() {
        core.runtime.sleep(limits::H2_RESET_DELAY).await;
    }
    drop(stream);
}

/// Discards what a client sends while its answer is on the way, until reading is cancelled: it may read nothing before it has sent all.
pub(crate) async fn discard_beside<R: Runtime>(core: &Core<R>, client: &DownstreamConn<R::Stream>) {
    discard_all(&client.stream, LingerLimits::UPLOAD, &RuntimeClock(&core.runtime)).await;
}

fn admit<R: Runtime>(core: &Core<R>, peer: IpAddr, request: Request) -> (Option<Permit<'_>>, LingerLimits) {
    let permit = match request {
        Request::Read => None,
        Request::Unread => core.lingering.enter((!core.settings.trusts(peer)).then(|| network(peer))),
    };
    let limits = if permit.is_some() { LingerLimits::UPLOAD } else { LingerLimits::BRIEF };
    (permit, limits)
}

/// The time of the world that a core lives in.
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
    fn a_client_and_a_core_have_so_many() {
        let lingering = Lingering::default();
        let mut permits: Vec<_> = (0..limits::LINGERING_PER_CLIENT_MAX)
            .map(|_| lingering.enter(Some(1)).expect("it has room"))
            .collect();
        assert!(lingering.enter(Some(1)).is_none());
        permits.pop();
        permits.push(lingering.enter(Some(1)).expect("one has ended"));
        while permits.len() < limits::LINGERING_PER_CORE_MAX {
            permits.push(lingering.enter(None).expect("a proxy has no limit of its own"));
        }
        assert!(lingering.enter(Some(2)).is_none() && lingering.enter(None).is_none());
        drop(permits);
        assert_eq!(lingering.count.get(), 0);
        assert!(lingering.clients.borrow().is_empty());
    }
}
