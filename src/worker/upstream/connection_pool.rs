//! Idle connections to endpoints, one pool per core.

use std::cell::Cell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{PeerState, Stream};
use ringway_traffic::snapshot::{EndpointId, Snapshot};

/// A connection to an endpoint, or a stream of one. An upload shares it with the response.
pub(crate) struct UpstreamConn<S> {
    pub(crate) stream: S,
    pub(crate) endpoint: EndpointId,
    /// A stream of a connection that other requests use, too: it ends with its request.
    pub(crate) is_shared: bool,
    /// Requests that it has carried.
    pub(crate) requests: Cell<u32>,
    /// Idle timeout of the endpoint, where a response named it.
    pub(crate) keep_alive: Cell<Option<Duration>>,
    /// Descriptor of a connection that is not shared.
    pub(crate) _file: Option<File>,
}

/// Number of open connections of a core to endpoints, without those that requests share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(Rc<Cell<usize>>);

/// An open connection, counted while this lives.
#[derive(Debug)]
pub(crate) struct File(Files);

impl Files {
    /// Counts a connection.
    pub(crate) fn open(&self) -> File {
        self.0.update(|count| count + 1);
        File(self.clone())
    }

    /// Number of open connections.
    pub(crate) fn count(&self) -> usize {
        self.0.get()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.0.0.update(|count| count - 1);
    }
}

struct Idle<S> {
    /// Behind a pointer, for every request takes it out and puts it back.
    upstream: Rc<UpstreamConn<S>>,
    until: Tick,
}

/// The idle connections of one core. Keyed by endpoint ids, which are never reused: a connection can never
/// serve another target than the one it was made to.
pub(crate) struct ConnectionPool<S> {
    idle: HashMap<EndpointId, VecDeque<Idle<S>>, BuildHasherDefault<IdHasher>>,
    count: usize,
    count_max: usize,
}

impl<S: Stream> ConnectionPool<S> {
    /// Keeps at most `clients_max / 2` idle connections, and fewer where descriptors are short
    /// ([`close_one`](Self::close_one)).
    pub(crate) fn new(clients_max: usize) -> Self {
        let count_max = limits::UPSTREAM_IDLE_PER_CORE_MAX.min(clients_max.div_ceil(2));
        Self { idle: HashMap::default(), count: 0, count_max }
    }

    /// Takes the connection that was used last, which is the likeliest to be alive. One that was closed, or
    /// on which bytes arrived without a request, is dropped: its next response would belong to another
    /// request.
    pub(crate) fn checkout(&mut self, endpoint: EndpointId, now: Tick) -> Option<Rc<UpstreamConn<S>>> {
        let idle = self.idle.get_mut(&endpoint)?;
        while let Some(candidate) = idle.pop_back() {
            self.count -= 1;
            if candidate.until > now && matches!(candidate.upstream.stream.peek_state(), PeerState::Idle) {
                return Some(candidate.upstream);
            }
        }
        None
    }

    /// Keeps a connection for the next request, unless the pool is full or the connection has carried its
    /// most requests. `is_in_use` checks whether the snapshot still sends requests to an endpoint; it is
    /// called only for endpoints without an entry.
    pub(crate) fn give(
        &mut self,
        upstream: Rc<UpstreamConn<S>>,
        now: Tick,
        is_in_use: impl FnOnce(EndpointId) -> bool,
    ) {
        let requests = upstream.requests.get() + 1;
        upstream.requests.set(requests);
        if upstream.is_shared || requests >= limits::UPSTREAM_REQUESTS_MAX || self.count >= self.count_max {
            return;
        }
        // A second less than the endpoint promises: its clock runs from before ours.
        let promised = upstream.keep_alive.get().map(|time| time.saturating_sub(Duration::from_secs(1)));
        let keep =
            promised.map_or(limits::UPSTREAM_IDLE_TIMEOUT, |time| time.min(limits::UPSTREAM_IDLE_TIMEOUT));
        if keep.is_zero() {
            return;
        }
        let idle = match self.idle.entry(upstream.endpoint) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if !is_in_use(upstream.endpoint) => return,
            Entry::Vacant(new) => new.insert(VecDeque::new()),
        };
        if idle.len() < limits::UPSTREAM_IDLE_PER_ENDPOINT_MAX {
            idle.push_back(Idle { upstream, until: now.after(keep) });
            self.count += 1;
        }
    }

    /// Closes a connection to free its descriptor. False when none is idle.
    pub(crate) fn close_one(&mut self) -> bool {
        let closed = self.idle.values_mut().find_map(VecDeque::pop_front);
        self.count -= usize::from(closed.is_some());
        closed.is_some()
    }

    /// Closes connections past their idle timeout.
    pub(crate) fn expire(&mut self, now: Tick) {
        self.retain(|idle| idle.until > now);
    }

    /// Closes connections to endpoints that a new snapshot no longer sends requests to. Their entries go too:
    /// connections in use now are closed when they are given back.
    pub(crate) fn keep_only(&mut self, snapshot: &Snapshot) {
        let mut closed = 0;
        self.idle.retain(|endpoint, idle| {
            let is_in_use = snapshot.keeps_connections(*endpoint) || endpoint.is_destination();
            closed += if is_in_use { 0 } else { idle.len() };
            is_in_use
        });
        self.count -= closed;
    }

    /// Closes all.
    pub(crate) fn clear(&mut self) {
        self.idle.clear();
        self.count = 0;
    }

    fn retain(&mut self, keep: impl Fn(&Idle<S>) -> bool) {
        let mut count = 0;
        self.idle.retain(|_, idle| {
            idle.retain(&keep);
            count += idle.len();
            !idle.is_empty()
        });
        self.count = count;
    }
}

/// Multiplicative hash: endpoint ids are a counter, not chosen by clients.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
