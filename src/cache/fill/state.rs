//! State of a fill: a machine without locks, wake-ups or clocks.
//!
//! ```text
//!           ┌────────────── leader gone, a waiter leads (twice at most) ──┐
//!           ▼                                                             │
//!        Asking ──► Streaming ──► complete                                │
//!           │           ├───────► cut                                     │
//!           ├──► validated, failed, retry, alone ◄────────────────────────┘
//! ```

use std::sync::Arc;

use bytes::Bytes;
use ringway_model::Tick;

use super::content::Content;
use super::cores::Cores;
use crate::StoredHead;
use crate::entry::Entry;
use crate::limits::{FILL_WAITERS_MAX, ORPHAN_REST_BYTES, READER_STALL, SUCCESSIONS_MAX, WINDOW_BYTES};
use crate::store::variant_set::VariantSet;

/// State of a fill; `F` is a failure of the origin.
#[derive(Debug)]
pub(super) struct State<F> {
    phase: Phase<F>,
    /// Requests that joined, and neither follow nor have left.
    waiters: u32,
    /// Leaders after the first one, of earlier fills of its requests too.
    successions: u8,
    /// Cores of waiters, readers and, while it waits for room, the writer.
    cores: Cores,
}

#[derive(Debug)]
enum Phase<F> {
    Asking { has_leader: bool },
    Streaming(Stream),
    Ended(End<F>),
}

/// End of a fill that was not streamed to it.
#[derive(Clone, Debug)]
pub(super) enum End<F> {
    /// The stored response is valid.
    Validated(Arc<Entry>),
    /// The origin failed.
    Failed(F),
    /// The response is for one request only.
    Alone,
    /// Look up again: the response was stored otherwise, or broke off.
    Retry,
}

/// Head of a response that is streamed.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) head: Arc<StoredHead>,
    /// Key under which it will be stored.
    pub(super) key: Arc<[u8]>,
    pub(super) set: Option<Arc<VariantSet>>,
    /// Length of the content, if the origin named it.
    pub(super) expected: Option<u64>,
}

#[derive(Debug)]
struct Stream {
    started: Started,
    content: Content,
    is_complete: bool,
    readers: Vec<Option<ReaderState>>,
    /// Set while the response passes without being stored.
    window: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
struct ReaderState {
    at: u64,
    /// Last time that it took something.
    moved_at: Tick,
    is_cut: bool,
}

/// Pacing of a response that is not stored.
#[derive(Clone, Copy, Debug)]
struct Window {
    bytes: u64,
    /// Time since which the writer waits, and its core.
    full_since: Option<(Tick, usize)>,
}

/// Result of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    Waits,
    /// There was no leader.
    Leads,
    /// The fill has as many waiters as it may.
    Crowded,
    /// Find another fill.
    Ended,
}

/// State as a waiter sees it.
#[derive(Clone, Debug)]
pub(super) enum Seen<F> {
    Pending,
    /// The waiter leads from now on; it waits no longer.
    Leads,
    Started(Started),
    Ended(End<F>),
}

/// Result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes, at most one chunk.
    Bytes(Bytes),
    /// Nothing yet: a wake-up follows.
    Pending,
    /// The end of the response, complete.
    End,
    /// The response broke off, or this reader held it up for too long. A client that has got bytes of it must
    /// see its connection aborted, never a clean end.
    Cut,
}

/// Room for more bytes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Write on.
    Ready,
    /// The slowest reader is too far behind: ask again after a wake-up, or at this time.
    Full {
        /// Time at which it is cut off.
        until: Tick,
    },
}

impl<F: Clone> State<F> {
    /// A fill with a leader.
    pub(super) fn new(successions: u8) -> Self {
        Self { phase: Phase::Asking { has_leader: true }, waiters: 0, successions, cores: Cores::default() }
    }

    pub(super) fn waiters(&self) -> u32 {
        self.waiters
    }

    pub(super) fn successions(&self) -> u8 {
        self.successions
    }

    /// Head of the response, once it is there.
    pub(super) fn head(&self) -> Option<&Arc<StoredHead>> {
        self.started().map(|started| &started.head)
    }

    /// Key of the variant that is streamed, if it is another one than the request's.
    pub(super) fn variant_key(&self) -> Option<Arc<[u8]>> {
        self.started().filter(|started| started.set.is_some()).map(|started| started.key.clone())
    }

    fn started(&self) -> Option<&Started> {
        match &self.phase {
            Phase::Streaming(stream) => Some(&stream.started),
            Phase::Asking { .. } | Phase::Ended(_) => None,
        }
    }

    /// Cores to wake after a change.
    pub(super) fn cores(&self) -> Cores {
        self.cores.clone()
    }

    // --- Requests that join ---

    pub(super) fn join(&mut self, core: usize) -> Joined {
        match &mut self.phase {
            Phase::Ended(_) => return Joined::Ended,
            Phase::Asking { has_leader } if !*has_leader => {
                *has_leader = true;
                return Joined::Leads;
            }
            Phase::Asking { .. } | Phase::Streaming(_) if self.waiters >= FILL_WAITERS_MAX => {
                return Joined::Crowded;
            }
            Phase::Asking { .. } | Phase::Streaming(_) => {}
        }
        self.waiters += 1;
        self.cores.add(core);
        Joined::Waits
    }

    pub(super) fn see(&mut self, core: usize) -> Seen<F> {
        match &mut self.phase {
            Phase::Asking { has_leader: true } => Seen::Pending,
            Phase::Asking { has_leader } => {
                *has_leader = true;
                self.waiters -= 1;
                self.cores.remove(core);
                Seen::Leads
            }
            // Its beginning has passed.
            Phase::Streaming(stream) if stream.content.start() > 0 => Seen::Ended(End::Alone),
            Phase::Streaming(stream) => Seen::Started(stream.started.clone()),
            Phase::Ended(end) => Seen::Ended(end.clone()),
        }
    }

    /// Removes a waiter. Returns whether the fill is of no use any longer: the last one left, and none leads.
    pub(super) fn leave(&mut self, core: usize) -> bool {
        self.waiters -= 1;
        self.cores.remove(core);
        let is_orphaned = self.waiters == 0 && matches!(self.phase, Phase::Asking { has_leader: false });
        if is_orphaned {
            self.phase = Phase::Ended(End::Retry);
        }
        is_orphaned
    }

    /// Makes a waiter a reader, from the beginning of the content. `None` when that has passed, or the
    /// response broke off.
    pub(super) fn follow(&mut self, now: Tick) -> Option<usize> {
        let Phase::Streaming(stream) = &mut self.phase else { return None };
        if stream.content.start() > 0 {
            return None;
        }
        self.waiters -= 1;
        // Its core stays one of those that are woken.
        Some(stream.add_reader(now))
    }

    // --- The leader ---

    /// The leader's client is gone. Returns whether the fill goes on with another leader.
    pub(super) fn abandon(&mut self) -> bool {
        let goes_on = self.waiters > 0 && self.successions < SUCCESSIONS_MAX;
        if goes_on {
            self.successions += 1;
            self.phase = Phase::Asking { has_leader: false };
        } else {
            self.phase = Phase::Ended(End::Alone);
        }
        goes_on
    }

    /// Ends the fill; returns the former state, to be freed without the lock.
    pub(super) fn end(&mut self, end: End<F>) -> impl Sized + use<F> {
        std::mem::replace(&mut self.phase, Phase::Ended(end))
    }

    /// Begins to stream, with the leader as first reader.
    pub(super) fn start(&mut self, started: Started, core: usize, now: Tick) -> usize {
        let mut stream = Stream {
            started,
            content: Content::default(),
            is_complete: false,
            readers: Vec::new(),
            window: None,
        };
        let reader = stream.add_reader(now);
        self.cores.add(core);
        self.phase = Phase::Streaming(stream);
        reader
    }

    // --- The writer ---

    pub(super) fn content(&mut self) -> Option<&mut Content> {
        match &mut self.phase {
            Phase::Streaming(stream) => Some(&mut stream.content),
            Phase::Asking { .. } | Phase::Ended(_) => None,
        }
    }

    /// Lets the content pass from now on: it is not stored, and waits for its slowest reader.
    pub(super) fn pass_through(&mut self, bytes: u64) {
        if let Phase::Streaming(stream) = &mut self.phase {
            let bytes = bytes.min(WINDOW_BYTES);
            stream.window =
                Some(Window { full_since: stream.window.and_then(|window| window.full_since), bytes });
        }
    }

    /// Whether there is room for more bytes. Cuts readers that have held up the others for too long.
    pub(super) fn room(&mut self, core: usize, now: Tick) -> Room {
        let Phase::Streaming(stream) = &mut self.phase else { return Room::Ready };
        let Some(Window { bytes, full_since }) = stream.window else { return Room::Ready };
        loop {
            let slowest = stream.readers.iter_mut().flatten().filter(|reader| !reader.is_cut);
            let slowest = slowest.min_by_key(|reader| reader.at);
            let Some(slowest) = slowest.filter(|reader| stream.content.len() - reader.at >= bytes) else {
                break;
            };
            let since = full_since.map_or(now, |(since, _)| since);
            let until = since.max(slowest.moved_at).after(READER_STALL);
            if until > now {
                if full_since.is_none() {
                    self.cores.add(core);
                }
                stream.window = Some(Window { bytes, full_since: Some((since, core)) });
                return Room::Full { until };
            }
            slowest.is_cut = true;
        }
        if let Some((_, core)) = full_since {
            self.cores.remove(core);
        }
        stream.window = Some(Window { bytes, full_since: None });
        Room::Ready
    }

    /// Whether the rest of the content is worth fetching: it has readers or waiters, or is to be stored and
    /// mostly there.
    pub(super) fn is_wanted(&self) -> bool {
        let Phase::Streaming(stream) = &self.phase else { return false };
        if self.waiters > 0 || stream.readers.iter().flatten().any(|reader| !reader.is_cut) {
            return true;
        }
        let len = stream.content.len();
        stream.window.is_none()
            && stream.started.expected.is_some_and(|expected| {
                let rest = expected.saturating_sub(len);
                rest <= len || rest <= ORPHAN_REST_BYTES
            })
    }

    /// Ends the content. `false`, and no end, if its length is another one than the origin named: a
    /// connection that vanished is to be cut.
    pub(super) fn complete(&mut self) -> bool {
        let Phase::Streaming(stream) = &mut self.phase else { return false };
        let len = stream.content.len();
        stream.is_complete = stream.started.expected.is_none_or(|expected| expected == len);
        stream.is_complete
    }

    /// Breaks off; returns the former state, to be freed without the lock. Waiters that have not begun to
    /// read elect another leader.
    pub(super) fn cut(&mut self) -> impl Sized + use<F> {
        // They look up again as those of a next fill.
        self.successions = self.successions.saturating_add(1);
        self.end(End::Retry)
    }

    // --- Readers ---

    /// Reads for a reader. The second value has the chunks that no reader needs any longer, to be freed
    /// without the lock.
    pub(super) fn read(&mut self, reader: usize, now: Tick) -> (Read, Vec<Bytes>) {
        let Phase::Streaming(stream) = &mut self.phase else { return (Read::Cut, Vec::new()) };
        let Some(Some(state)) = stream.readers.get_mut(reader) else { return (Read::Cut, Vec::new()) };
        if state.is_cut {
            return (Read::Cut, Vec::new());
        }
        let Some(bytes) = stream.content.read(state.at) else {
            let read = if stream.is_complete { Read::End } else { Read::Pending };
            return (read, Vec::new());
        };
        state.at += bytes.len() as u64;
        state.moved_at = now;
        (Read::Bytes(bytes), stream.forget())
    }

    /// Core of the writer, if it waits for readers.
    pub(super) fn waiting_writer(&self) -> Option<usize> {
        let Phase::Streaming(stream) = &self.phase else { return None };
        stream.window?.full_since.map(|(_, core)| core)
    }

    /// Removes a reader; returns chunks to free, as [`read`](Self::read) does.
    pub(super) fn leave_reader(&mut self, reader: usize, core: usize) -> Vec<Bytes> {
        self.cores.remove(core);
        let Phase::Streaming(stream) = &mut self.phase else { return Vec::new() };
        if let Some(state) = stream.readers.get_mut(reader) {
            *state = None;
        }
        stream.forget()
    }
}

impl Stream {
    fn add_reader(&mut self, now: Tick) -> usize {
        let state = Some(ReaderState { at: 0, moved_at: now, is_cut: false });
        match self.readers.iter().position(Option::is_none) {
            Some(free) => {
                self.readers[free] = state;
                free
            }
            None => {
                self.readers.push(state);
                self.readers.len() - 1
            }
        }
    }

    /// Takes out the chunks of a passing response that all readers have read.
    fn forget(&mut self) -> Vec<Bytes> {
        if self.window.is_none() {
            return Vec::new();
        }
        let readers = self.readers.iter().flatten().filter(|reader| !reader.is_cut);
        let slowest = readers.map(|reader| reader.at).min().unwrap_or(self.content.len());
        self.content.forget(slowest)
    }
}

#[cfg(all(test, not(loom)))]
#[path = "state_tests.rs"]
mod tests;
