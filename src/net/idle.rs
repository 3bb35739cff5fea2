//! Set of idle connections: a slab entry each, and one epoll instance. No task, no operation of the runtime,
//! no buffer.
//!
//! ```text
//! park(stream, deadline, context) ─▶ an entry, registered with the set's epoll instance
//! wait() ─ the instance is readable (one wait of the runtime for all) ─▶ Ready(stream, context)
//!        └ the earliest deadline has passed ──────────────────────────▶ Expired(context)
//! ```

use crate::core;
use crate::duplex::Duplex;
use crate::limits::IDLE_BATCH_MAX;
use crate::reaper::Direction;
use crate::socket::TcpStream;
use crate::stream::Stream;
use ringway_model::Tick;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Idle connections of one core, each with a context of its owner.
pub struct IdleSet<T> {
    /// Epoll instance. The runtime has no type for it; of this one only the wait for readability is used.
    epoll: Duplex<monoio::net::UnixStream>,
    entries: RefCell<Slab<IdleEntry<T>>>,
    /// Lower bound of all deadlines.
    earliest: Cell<Tick>,
    /// Deadline of the current [`wait`](Self::wait).
    waits_until: Cell<Tick>,
}

struct IdleEntry<T> {
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    deadline: Tick,
    context: T,
}

/// Connection that leaves an [`IdleSet`].
#[derive(Debug)]
pub enum Wakeup<T> {
    /// It is readable: data, the end of the stream, or an error.
    Ready(TcpStream, T),
    /// Its deadline has passed, or it could not be restored; it is closed.
    Expired(T),
}

impl<T> IdleSet<T> {
    /// An empty set. Inside of [`run`](crate::run) only.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        core::current()?;
        // SAFETY: takes a number and no memory.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just created it, and nothing else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            epoll: Duplex::new(monoio::net::UnixStream::from_std(epoll.into())?)?,
            entries: RefCell::default(),
            earliest: Cell::new(Tick::NEVER),
            waits_until: Cell::new(Tick::NEVER),
        })
    }

    /// Keeps a connection until it is readable, or until `deadline`. The caller drops `stream`, on which no
    /// operation may be pending.
    ///
    /// # Errors
    /// The context, when file descriptors or memory are exhausted; the stream is unchanged.
    pub fn park(&self, stream: &TcpStream, deadline: Tick, context: T) -> Result<(), T> {
        // The runtime returns a descriptor only if no operation was ever abandoned on it; a duplicate can
        // always be made.
        let Ok(socket) = stream.duplex.as_fd().try_clone_to_owned() else { return Err(context) };
        let mut entries = self.entries.borrow_mut();
        let entry = entries.vacant_entry();
        if watch(self.epoll.raw_fd(), socket.as_raw_fd(), entry.key()).is_err() {
            return Err(context);
        }
        entry.insert(IdleEntry { socket, peer: stream.peer_addr(), deadline, context });
        if deadline < self.earliest.get() {
            self.earliest.set(deadline);
        }
        if deadline < self.waits_until.get() {
            self.epoll.cancel(Direction::Read);
        }
        Ok(())
    }

    /// Waits until at least one connection leaves the set, and appends those that do to `wakeups`. One caller
    /// at a time.
    ///
    /// # Errors
    /// The system's; not to be expected.
    pub async fn wait(&self, wakeups: &mut Vec<Wakeup<T>>) -> io::Result<()> {
        loop {
            self.epoll.resume(Direction::Read);
            self.waits_until.set(self.earliest.get());
            let ready = self.epoll.readable(self.earliest.get()).await;
            self.waits_until.set(Tick::NEVER);
            match ready {
                Ok(()) => self.take_ready(wakeups)?,
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    self.take_expired(crate::clock::now(), wakeups)
                }
                // A connection with an earlier deadline was parked.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if !wakeups.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes all connections out of the set.
    pub fn take_all(&self) -> Vec<Wakeup<T>> {
        let keys: Vec<usize> = self.entries.borrow().iter().map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.take(key)).collect()
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_ready(&self, wakeups: &mut Vec<Wakeup<T>>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; IDLE_BATCH_MAX];
        // SAFETY: the kernel writes at most as many events as the array has.
        let count =
            unsafe { libc::epoll_wait(self.epoll.raw_fd(), events.as_mut_ptr(), IDLE_BATCH_MAX as i32, 0) };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => 0,
                error => return Err(error),
            },
        };
        wakeups.extend(events[..count].iter().filter_map(|event| self.take(event.u64 as usize)));
        Ok(())
    }

    fn take_expired(&self, now: Tick, wakeups: &mut Vec<Wakeup<T>>) {
        let mut entries = self.entries.borrow_mut();
        let mut earliest = Tick::NEVER;
        let mut expired = Vec::new();
        for (key, entry) in entries.iter() {
            match entry.deadline <= now {
                true => expired.push(key),
                false => earliest = earliest.min(entry.deadline),
            }
        }
        self.earliest.set(earliest);
        wakeups.extend(expired.into_iter().map(|key| {
            let entry = entries.remove(key);
            self.unwatch(&entry.socket);
            Wakeup::Expired(entry.context)
        }));
    }

    /// Unregisters a socket. A close is not enough: a duplicate of the descriptor may exist for a moment.
    fn unwatch(&self, socket: &OwnedFd) {
        // It fails only for a socket that is not registered.
        let _ = control(self.epoll.raw_fd(), libc::EPOLL_CTL_DEL, socket.as_raw_fd(), 0, 0);
    }

    fn take(&self, key: usize) -> Option<Wakeup<T>> {
        let IdleEntry { socket, peer, context, .. } = self.entries.borrow_mut().try_remove(key)?;
        self.unwatch(&socket);
        Some(match TcpStream::adopt(socket.into(), peer) {
            Ok(stream) => Wakeup::Ready(stream, context),
            Err(_) => Wakeup::Expired(context),
        })
    }
}

fn watch(epoll: RawFd, socket: RawFd, key: usize) -> io::Result<()> {
    control(epoll, libc::EPOLL_CTL_ADD, socket, libc::EPOLLIN | libc::EPOLLRDHUP, key as u64)
}

fn control(epoll: RawFd, operation: i32, socket: RawFd, interest: i32, key: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: interest as u32, u64: key };
    // SAFETY: both descriptors are open, for their owners are borrowed by the callers, and the event outlives
    // the call.
    match unsafe { libc::epoll_ctl(epoll, operation, socket, &raw mut event) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

impl<T> fmt::Debug for IdleSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleSet").field("connections", &self.len()).finish_non_exhaustive()
    }
}
