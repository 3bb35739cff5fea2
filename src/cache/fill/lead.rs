//! Leader of a fill: the request that asks the origin.

use std::fmt;
use std::sync::Arc;

use ringway_model::Tick;

use super::state::{End, Started};
use super::waiter::Reader;
use super::writer::Writer;
use super::{Fill, Shared};
use crate::StoredHead;
use crate::entry::Entry;
use crate::store::insert::Ticket;
use crate::store::variant_set::VariantSet;

/// Right and duty to ask the origin for a fill. Dropped, its client is gone: a waiter leads then.
#[must_use = "dropped, another request asks the origin"]
pub struct Lead<F: Clone> {
    shared: Arc<Shared<F>>,
    /// Taken when the fill goes on without the leader.
    fill: Option<Arc<Fill<F>>>,
}

/// Response that is to be stored.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its head.
    pub head: Arc<StoredHead>,
    /// Resource whose variant it is, with the key of the variant.
    pub variant: Option<(Arc<VariantSet>, Box<[u8]>)>,
    /// Length of its content, if the origin named it.
    pub expected: Option<u64>,
    /// Longest content that is stored.
    pub content_max: u64,
    /// Core of the writer and of the leader.
    pub core: usize,
    /// The time.
    pub now: Tick,
}

impl<F: Clone> Lead<F> {
    pub(super) fn new(shared: Arc<Shared<F>>, fill: Arc<Fill<F>>) -> Self {
        Self { shared, fill: Some(fill) }
    }

    /// Ticket of the response: of the time before the origin was asked.
    pub fn ticket(&self) -> &Ticket {
        &self.fill().ticket
    }

    /// Requests that wait for it.
    pub fn waiters(&self) -> u32 {
        self.fill().state.lock().waiters()
    }

    /// Streams a response to all that wait, and to the leader; it is stored at its end.
    pub fn stream(mut self, start: Start) -> (Writer<F>, Reader<F>) {
        let fill = self.take();
        fill.ticket.scope().uncacheable.remove(fill.hash);
        let Start { head, variant, expected, content_max, core, now } = start;
        let (set, key) = match variant {
            Some((set, key)) => (Some(set), Arc::from(key)),
            None => (None, fill.key.clone()),
        };
        let started = Started { head, key, set, expected };
        let reader = fill.state.lock().start(started.clone(), core, now);
        if started.set.is_some() {
            // Requests that know how the resource varies look under the key of the variant.
            let hash = self.shared.store.hash(&started.key);
            self.shared.table.insert_as(hash, started.key.clone(), &fill);
        }
        self.shared.wake(&fill);
        let reader = Reader::new(self.shared.clone(), fill.clone(), reader, core, started.clone());
        (Writer::new(self.shared.clone(), fill, started, content_max, core), reader)
    }

    /// Ends the fill: the response is for this request only. The waiters go on together, and requests for the
    /// key do not wait for each other for a while.
    pub fn pass(mut self, now: Tick) {
        let fill = self.take();
        fill.ticket.scope().uncacheable.insert(fill.hash, now);
        self.shared.end(&fill, End::Alone);
    }

    /// Ends the fill: the origin failed, and all waiters get the failure. They are not sent to the origin,
    /// which has enough to bear.
    pub fn fail(mut self, failure: F) {
        let fill = self.take();
        self.shared.end(&fill, End::Failed(failure));
    }

    /// Ends the fill: the origin confirmed the stored response, of which `entry` is the new form.
    pub fn validated(mut self, entry: Arc<Entry>) {
        let fill = self.take();
        self.shared.end(&fill, End::Validated(entry));
    }

    fn fill(&self) -> &Arc<Fill<F>> {
        self.fill.as_ref().expect("taken by methods that consume the leader only")
    }

    fn take(&mut self) -> Arc<Fill<F>> {
        self.fill.take().expect("taken by methods that consume the leader only")
    }
}

impl<F: Clone> Drop for Lead<F> {
    fn drop(&mut self) {
        let Some(fill) = self.fill.take() else { return };
        let goes_on = fill.state.lock().abandon();
        if !goes_on {
            self.shared.unlist(&fill);
        }
        self.shared.wake(&fill);
    }
}

impl<F: Clone> fmt::Debug for Lead<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").field("fill", &self.fill.as_ref().map(|fill| fill.id)).finish_non_exhaustive()
    }
}
