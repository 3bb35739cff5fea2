//! Requests of a fill that do not lead: waiters, and readers of its response.

use std::fmt;
use std::sync::Arc;

use ringway_model::Tick;

use super::cores::FillId;
use super::lead::Lead;
use super::state::{End, Read, Seen, Started};
use super::{Fill, Shared};
use crate::StoredHead;
use crate::entry::Entry;
use crate::store::variant_set::VariantSet;

/// Request that waits for the head of a fill's response.
#[must_use = "dropped, the request has left"]
pub struct Waiter<F: Clone> {
    place: Place<F>,
}

/// Request that waited, and may follow the response if its head is that of its own variant.
#[must_use = "dropped, the request has left"]
pub struct Follower<F: Clone> {
    place: Place<F>,
    started: Started,
}

/// Reader of a response that arrives.
pub struct Reader<F: Clone> {
    shared: Arc<Shared<F>>,
    fill: Arc<Fill<F>>,
    number: usize,
    core: usize,
    started: Started,
}

/// State of a fill, as a waiter sees it.
#[derive(Debug)]
pub enum Progress<F: Clone> {
    /// Nothing new: poll again after a wake-up.
    Pending(Waiter<F>),
    /// The leader's client is gone: the request asks the origin.
    Lead(Lead<F>),
    /// The head has arrived.
    Streaming(Follower<F>),
    /// The origin confirmed the stored response.
    Validated(Arc<Entry>),
    /// The response was for the leader only: the request asks the origin for itself.
    Alone,
    /// The origin failed.
    Failed(F),
    /// Look up and join again.
    Retry {
        /// Number for the next join.
        successions: u8,
    },
}

/// Place of a waiter, counted until it is dropped.
struct Place<F: Clone> {
    shared: Arc<Shared<F>>,
    fill: Arc<Fill<F>>,
    core: usize,
    /// Whether the state counts it.
    is_counted: bool,
}

impl<F: Clone> Waiter<F> {
    pub(super) fn new(shared: Arc<Shared<F>>, fill: Arc<Fill<F>>, core: usize) -> Self {
        Self { place: Place { shared, fill, core, is_counted: true } }
    }

    pub(super) fn fill(&self) -> &Arc<Fill<F>> {
        &self.place.fill
    }

    /// Number by which wake-ups name the fill.
    pub fn id(&self) -> FillId {
        self.place.fill.id
    }

    /// Looks at the fill. A lock for a moment.
    pub fn poll(mut self) -> Progress<F> {
        let (seen, successions) = {
            let mut state = self.place.fill.state.lock();
            (state.see(self.place.core), state.successions())
        };
        match seen {
            Seen::Pending => Progress::Pending(self),
            Seen::Leads => {
                self.place.is_counted = false;
                Progress::Lead(Lead::new(self.place.shared.clone(), self.place.fill.clone()))
            }
            Seen::Started(started) => Progress::Streaming(Follower { place: self.place, started }),
            Seen::Ended(End::Validated(entry)) => Progress::Validated(entry),
            Seen::Ended(End::Failed(failure)) => Progress::Failed(failure),
            Seen::Ended(End::Alone) => Progress::Alone,
            Seen::Ended(End::Retry) => Progress::Retry { successions },
        }
    }
}

impl<F: Clone> Follower<F> {
    /// Head of the response.
    pub fn head(&self) -> &Arc<StoredHead> {
        &self.started.head
    }

    /// Key under which it will be stored.
    pub fn key(&self) -> &[u8] {
        &self.started.key
    }

    /// Resource whose variant it is. A request whose values make another key than [`key`](Self::key) does not
    /// follow: it joins the fill of its own key.
    pub fn variant_of(&self) -> Option<&Arc<VariantSet>> {
        self.started.set.as_ref()
    }

    /// Reads the response from its beginning on.
    ///
    /// # Errors
    /// The response has broken off since, or its beginning has passed because it is too large to be stored:
    /// the waiter, to be polled again.
    pub fn follow(mut self, now: Tick) -> Result<Reader<F>, Waiter<F>> {
        let Some(number) = self.place.fill.state.lock().follow(now) else {
            return Err(Waiter { place: self.place });
        };
        self.place.is_counted = false;
        let Place { shared, fill, core, .. } = &self.place;
        Ok(Reader::new(shared.clone(), fill.clone(), number, *core, self.started))
    }
}

impl<F: Clone> Drop for Place<F> {
    fn drop(&mut self) {
        self.shared.give_place();
        if self.is_counted && self.fill.state.lock().leave(self.core) {
            self.shared.unlist(&self.fill);
        }
    }
}

impl<F: Clone> Reader<F> {
    pub(super) fn new(
        shared: Arc<Shared<F>>,
        fill: Arc<Fill<F>>,
        number: usize,
        core: usize,
        started: Started,
    ) -> Self {
        Self { shared, fill, number, core, started }
    }

    /// Number by which wake-ups name the fill.
    pub fn id(&self) -> FillId {
        self.fill.id
    }

    /// Head of the response.
    pub fn head(&self) -> &Arc<StoredHead> {
        &self.started.head
    }

    /// Length of the content, if the origin named it.
    pub fn expected(&self) -> Option<u64> {
        self.started.expected
    }

    /// Reads on. A lock for a moment; copies no bytes.
    pub fn read(&mut self, now: Tick) -> Read {
        let (read, forgotten, writer) = {
            let mut state = self.fill.state.lock();
            let (read, forgotten) = state.read(self.number, now);
            (read, forgotten, state.waiting_writer())
        };
        drop(forgotten);
        if let Some(core) = writer {
            self.shared.wakeups.wake(core, self.fill.id);
        }
        read
    }
}

impl<F: Clone> Drop for Reader<F> {
    fn drop(&mut self) {
        let (forgotten, writer) = {
            let mut state = self.fill.state.lock();
            (state.leave_reader(self.number, self.core), state.waiting_writer())
        };
        drop(forgotten);
        if let Some(core) = writer {
            self.shared.wakeups.wake(core, self.fill.id);
        }
    }
}

impl<F: Clone> fmt::Debug for Waiter<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("fill", &self.id()).finish_non_exhaustive()
    }
}

impl<F: Clone> fmt::Debug for Follower<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("fill", &self.place.fill.id).finish_non_exhaustive()
    }
}

impl<F: Clone> fmt::Debug for Reader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("fill", &self.id()).finish_non_exhaustive()
    }
}
