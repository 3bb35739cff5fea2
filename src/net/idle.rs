//! Connections that are silent and may stay so, at the cost of a line in a table each: no task, no operation of the
//! runtime, no buffer.
//!
//! ```text
//! park(stream, until, what) ─▶ a line, and a watch of one epoll instance per set
//! wait() ─ the instance is readable (one wait of the runtime for all of them) ─▶ Ready(stream, what)
//!        └ the earliest `until` is over ──────────────────────────────────────▶ Expired(what)
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

/// Silent connections of one core, each with what its owner has to know to go on.
pub struct IdleSet<T> {
    /// The runtime knows no type for such a descriptor. Of this one only the waiting for readability is used.
    epoll: Duplex<monoio::net::UnixStream>,
    lines: RefCell<Slab<IdleEntry<T>>>,
    /// No line is over before this.
    earliest: Cell<Tick>,
    /// What [`wait`](Self::wait) waits for at most.
    waits_until: Cell<Tick>,
}

struct IdleEntry<T> {
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    until: Tick,
    what: T,
}

/// A connection that left a [`IdleSet`].
#[derive(Debug)]
pub enum Wakeup<T> {
    /// There is something to read: data, the end, or an error.
    Ready(TcpStream, T),
    /// Its time was over, or it could not be taken up again; it is closed.
    Expired(T),
}

impl<T> IdleSet<T> {
    /// An empty one. Inside of [`run`](crate::run) only.
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
        // SAFETY: the kernel has just made it for us, and nobody else knows it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            epoll: Duplex::new(monoio::net::UnixStream::from_std(epoll.into())?)?,
            lines: RefCell::default(),
            earliest: Cell::new(Tick::NEVER),
            waits_until: Cell::new(Tick::NEVER),
        })
    }

    /// Keeps a connection until something can be read from it, or `until`. The caller closes its own end by dropping
    /// `stream`, on which nothing may be pending.
    ///
    /// # Errors
    /// `what`, when the system lacks a descriptor or memory; the stream is as it was.
    pub fn park(&self, stream: &TcpStream, until: Tick, what: T) -> Result<(), T> {
        // The runtime gives a descriptor back only while no operation has ever been left behind on it; another one of
        // the same connection is always to be had.
        let Ok(socket) = stream.duplex.as_fd().try_clone_to_owned() else { return Err(what) };
        let mut lines = self.lines.borrow_mut();
        let line = lines.vacant_entry();
        if watch(self.epoll.raw_fd(), socket.as_raw_fd(), line.key()).is_err() {
            return Err(what);
        }
        line.insert(IdleEntry { socket, peer: stream.peer_addr(), until, what });
        if until < self.earliest.get() {
            self.earliest.set(until);
        }
        if until < self.waits_until.get() {
            self.epoll.cancel(Direction::Read);
        }
        Ok(())
    }

    /// Waits until at least one connection leaves the set, and adds those that do to `left`. One caller at a time.
    ///
    /// # Errors
    /// The system's; not to be expected.
    pub async fn wait(&self, left: &mut Vec<Wakeup<T>>) -> io::Result<()> {
        loop {
            self.epoll.resume(Direction::Read);
            self.waits_until.set(self.earliest.get());
            let ready = self.epoll.readable(self.earliest.get()).await;
            self.waits_until.set(Tick::NEVER);
            match ready {
                Ok(()) => self.take_ready(left)?,
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    self.take_expired(crate::clock::now(), left)
                }
                // An earlier time came in.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if !left.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes all out, as if there were something to read from each.
    pub fn take_all(&self) -> Vec<Wakeup<T>> {
        let keys: Vec<usize> = self.lines.borrow().iter().map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.take(key)).collect()
    }

    /// Number of them.
    pub fn len(&self) -> usize {
        self.lines.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_ready(&self, left: &mut Vec<Wakeup<T>>) -> io::Result<()> {
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
        left.extend(events[..count].iter().filter_map(|event| self.take(event.u64 as usize)));
        Ok(())
    }

    fn take_expired(&self, now: Tick, left: &mut Vec<Wakeup<T>>) {
        let mut lines = self.lines.borrow_mut();
        let mut earliest = Tick::NEVER;
        let mut over = Vec::new();
        for (key, line) in lines.iter() {
            match line.until <= now {
                true => over.push(key),
                false => earliest = earliest.min(line.until),
            }
        }
        self.earliest.set(earliest);
        left.extend(over.into_iter().map(|key| {
            let line = lines.remove(key);
            self.watch_no_more(&line.socket);
            Wakeup::Expired(line.what)
        }));
    }

    /// Not left to the close: somebody may have another descriptor of the same connection for a moment.
    fn watch_no_more(&self, socket: &OwnedFd) {
        // Fails for one that is not watched, and then there is nothing to end.
        let _ = control(self.epoll.raw_fd(), libc::EPOLL_CTL_DEL, socket.as_raw_fd(), 0, 0);
    }

    fn take(&self, key: usize) -> Option<Wakeup<T>> {
        let IdleEntry { socket, peer, what, .. } = self.lines.borrow_mut().try_remove(key)?;
        self.watch_no_more(&socket);
        Some(match TcpStream::adopt(socket.into(), peer) {
            Ok(stream) => Wakeup::Ready(stream, what),
            Err(_) => Wakeup::Expired(what),
        })
    }
}

fn watch(epoll: RawFd, socket: RawFd, key: usize) -> io::Result<()> {
    control(epoll, libc::EPOLL_CTL_ADD, socket, libc::EPOLLIN | libc::EPOLLRDHUP, key as u64)
}

fn control(epoll: RawFd, operation: i32, socket: RawFd, interest: i32, key: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: interest as u32, u64: key };
    // SAFETY: both descriptors are open, for their owners are borrowed by the callers, and the event outlives the call.
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
