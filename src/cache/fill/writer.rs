//! Writer of a fill: moves the content of the response from the origin into chunks that all readers share.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ringway_model::Tick;

use super::state::{Room, Started};
use super::{Fill, Shared};
use crate::entry::{Body, Entry};
use crate::limits::{BLOCK_BYTES_MIN, BODY_OVERHEAD_BYTES, CHUNK_BYTES, CHUNK_OVERHEAD_BYTES, WINDOW_BYTES};
use crate::store::account::{Charge, Level, Usage};
use crate::store::insert::{InsertError, NewEntry};

/// Writer of a response, for the task that has the connection to the origin. Dropped before
/// [`finish`](Self::finish), the response broke off.
#[must_use = "dropped, the response breaks off"]
pub struct Writer<F: Clone> {
    shared: Arc<Shared<F>>,
    fill: Arc<Fill<F>>,
    started: Started,
    content_max: u64,
    core: usize,
    /// Chunk that is arriving, without its pieces that were published.
    open: BytesMut,
    /// Bytes of that chunk, with the pieces.
    open_len: usize,
    len: u64,
    /// Memory of the chunks; of the window only, once the response is not stored.
    charge: Option<Charge>,
    not_kept: Option<NotKept>,
    is_finished: bool,
}

/// Reason why a response that was to be stored is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// Its content is too long.
    TooLarge,
    /// It broke off.
    Cut,
    /// It was not inserted.
    Refused(InsertError),
}

impl NotKept {
    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::Cut => "cut",
            Self::Refused(InsertError::Full(_)) => "cache-full",
            Self::Refused(InsertError::Invalidated | InsertError::VariantsDropped) => "invalidated",
        }
    }
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("is longer than the route stores"),
            Self::Cut => f.write_str("broke off"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotKept {}

impl<F: Clone> Writer<F> {
    pub(super) fn new(
        shared: Arc<Shared<F>>,
        fill: Arc<Fill<F>>,
        started: Started,
        content_max: u64,
        core: usize,
    ) -> Self {
        Self {
            shared,
            fill,
            started,
            content_max,
            core,
            open: BytesMut::new(),
            open_len: 0,
            len: 0,
            charge: None,
            not_kept: None,
            is_finished: false,
        }
    }

    /// Number by which wake-ups name the fill.
    pub fn id(&self) -> super::FillId {
        self.fill.id
    }

    /// Appends bytes. Whole chunks are published; [`flush`](Self::flush) publishes the rest.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut room = self.open.capacity() - self.open.len();
            if room == 0 {
                room = self.begin_block(bytes.len());
            }
            let taken = bytes.len().min(room).min(CHUNK_BYTES - self.open_len);
            let (head, rest) = bytes.split_at(taken);
            self.open.extend_from_slice(head);
            self.open_len += taken;
            self.len += taken as u64;
            bytes = rest;
            if self.open_len == CHUNK_BYTES {
                self.publish_chunk();
            }
        }
    }

    /// Publishes all bytes: to be called when the origin has no more at the moment.
    pub fn flush(&mut self) {
        if self.publish_piece() {
            self.shared.wake(&self.fill);
        }
    }

    /// Publishes what has come of the open chunk; `false` if that was done.
    fn publish_piece(&mut self) -> bool {
        if self.open.is_empty() {
            return false;
        }
        let piece = self.open.split().freeze();
        if let Some(content) = self.fill.state.lock().content() {
            content.push_piece(piece);
        }
        true
    }

    /// Room for more bytes. Always ready while the response is to be stored; afterwards as far as its readers
    /// are.
    pub fn room(&mut self, now: Tick) -> Room {
        if self.not_kept.is_none() {
            return Room::Ready;
        }
        let (room, kept) = {
            let mut state = self.fill.state.lock();
            (state.room(self.core, now), state.content().map_or(0, |content| content.kept()))
        };
        if let Some(charge) = &mut self.charge {
            charge.shrink(kept + CHUNK_BYTES as u64);
        }
        room
    }

    /// Whether the rest of the response is worth fetching. If not, drop the writer, and with it the
    /// connection.
    pub fn is_wanted(&self) -> bool {
        self.fill.state.lock().is_wanted()
    }

    /// Reason why the response is not stored, if that is known already.
    pub fn not_kept(&self) -> Option<NotKept> {
        self.not_kept
    }

    /// Ends the response, and stores it.
    ///
    /// # Errors
    /// See [`NotKept`]. Its readers get all of it nevertheless, but for [`NotKept::Cut`].
    pub fn finish(mut self, now: Tick) -> Result<Arc<Entry>, NotKept> {
        self.is_finished = true;
        self.publish_chunk();
        let is_whole = self.started.expected.is_none_or(|expected| expected == self.len);
        let stored = match self.not_kept {
            _ if !is_whole => Err(NotKept::Cut),
            None => self.store(),
            Some(reason) => Err(reason),
        };
        if matches!(stored, Err(NotKept::TooLarge)) {
            self.fill.ticket.scope().uncacheable.insert(self.fill.hash, now);
        }
        // After the insertion: a request that finds neither fill nor entry would ask the origin.
        self.shared.unlist(&self.fill);
        if self.fill.state.lock().complete() {
            self.shared.wake(&self.fill);
        } else {
            self.cut();
        }
        stored
    }

    fn store(&mut self) -> Result<Arc<Entry>, NotKept> {
        let chunks =
            self.fill.state.lock().content().and_then(|content| content.chunks()).unwrap_or_default();
        let refused = |level| NotKept::Refused(InsertError::Full(level));
        let (ticket, amount) = (&self.fill.ticket, Usage { bytes: BODY_OVERHEAD_BYTES as u64, entries: 0 });
        let reserved = self.shared.store.reserve(ticket.scope(), &ticket.partition, amount);
        let overhead = reserved.map_err(refused)?;
        let charge = match self.charge.take() {
            Some(mut charge) => {
                charge.settle();
                charge.shrink(self.len + (chunks.len() * CHUNK_OVERHEAD_BYTES) as u64);
                charge.merge(overhead);
                charge
            }
            None => overhead,
        };
        let new = NewEntry {
            key: (*self.started.key).into(),
            asked: self.fill.asked.clone(),
            epoch: self.fill.epoch,
            head: self.started.head.clone(),
            body: Arc::new(Body::new(chunks, charge)),
            variant_of: self.started.set.clone(),
        };
        self.shared.store.insert(&self.fill.ticket, new).map_err(NotKept::Refused)
    }

    /// Allocates memory for bytes of the chunk that is arriving: for those that are there, or as much as the
    /// response had so far. An origin that promises much and sends little claims little. Returns the bytes.
    fn begin_block(&mut self, coming: usize) -> usize {
        self.publish_piece();
        let as_size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let rest = self.started.expected.map_or(u64::MAX, |expected| expected.saturating_sub(self.len));
        let wanted = coming.max(as_size(self.len)).max(BLOCK_BYTES_MIN).min(as_size(rest));
        let bytes = wanted.clamp(1, CHUNK_BYTES - self.open_len);
        if self.not_kept.is_none() && self.len >= self.content_max {
            self.pass_through(NotKept::TooLarge, WINDOW_BYTES);
        }
        let overhead = if self.open_len == 0 { CHUNK_OVERHEAD_BYTES } else { 0 };
        match self.claim((bytes + overhead) as u64) {
            Ok(more) => match &mut self.charge {
                Some(charge) => charge.merge(more),
                None => self.charge = Some(more),
            },
            // Without memory, two chunks are enough to relay the response.
            Err(level) => {
                let reason = NotKept::Refused(InsertError::Full(level));
                self.pass_through(self.not_kept.unwrap_or(reason), 2 * CHUNK_BYTES as u64);
            }
        }
        self.open = BytesMut::with_capacity(bytes);
        bytes
    }

    /// Publishes the chunk that is arriving, as one piece of memory.
    fn publish_chunk(&mut self) {
        if self.open_len == 0 {
            return;
        }
        let rest = self.open.split().freeze();
        let pieces = self.fill.state.lock().content().map(|content| content.pieces()).unwrap_or_default();
        let is_exact = pieces.is_empty() && (self.open_len == CHUNK_BYTES || self.is_of_expected_size());
        // Pieces of a chunk that arrived slowly are joined, and a last one that is shorter than its memory is
        // copied: one copy of up to a chunk.
        let chunk = if is_exact { rest } else { joined(&pieces, &rest) };
        self.open = BytesMut::new();
        self.open_len = 0;
        let replaced = self.fill.state.lock().content().map(|content| content.push_chunk(chunk));
        drop((replaced, pieces));
        if self.not_kept.is_none() && self.len > self.content_max {
            self.pass_through(NotKept::TooLarge, WINDOW_BYTES);
        }
        self.shared.wake(&self.fill);
    }

    fn is_of_expected_size(&self) -> bool {
        self.started.expected == Some(self.len)
    }

    /// Goes on without storing the response: no further request joins it.
    fn pass_through(&mut self, reason: NotKept, window: u64) {
        self.not_kept = Some(reason);
        self.shared.unlist(&self.fill);
        self.fill.state.lock().pass_through(window);
    }

    fn cut(&self) {
        let former = self.fill.state.lock().cut();
        drop(former);
        self.shared.wake(&self.fill);
    }

    fn claim(&self, bytes: u64) -> Result<Charge, Level> {
        let ticket = &self.fill.ticket;
        let own = self.charge.as_ref().map_or(0, |charge| charge.amount().bytes);
        self.shared.store.claim(ticket.scope(), &ticket.partition, bytes, own)
    }
}

impl<F: Clone> Drop for Writer<F> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.shared.unlist(&self.fill);
            self.cut();
        }
    }
}

impl<F: Clone> fmt::Debug for Writer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("fill", &self.id())
            .field("len", &self.len)
            .field("not_kept", &self.not_kept)
            .finish_non_exhaustive()
    }
}

/// Copies pieces into one chunk.
fn joined(pieces: &[Bytes], rest: &Bytes) -> Bytes {
    let len = pieces.iter().map(Bytes::len).sum::<usize>() + rest.len();
    let mut chunk = Vec::with_capacity(len);
    pieces.iter().chain([rest]).for_each(|piece| chunk.extend_from_slice(piece));
    chunk.into()
}
