//! Insertion of a response, unless it was invalidated since its origin was asked.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::account::{Level, Usage};
use super::index::{Refused, Slot};
use super::partition::Partition;
use super::purge::Subject;
use super::queues::Queue;
use super::scope::Scope;
use super::variant_set::VariantSet;
use crate::entry::{Body, Coding, Entry, Parts};
use crate::sync::{AtomicU64, Ordering};
use crate::vary::{Marker, VaryNames};
use crate::{KeyParts, StoredHead};

/// Moment before an origin was asked. A response may be stored with it, unless an invalidation came since
/// then.
#[derive(Debug)]
pub struct Ticket {
    scope: Arc<Scope>,
    pub(crate) partition: Arc<Partition>,
    /// Purges that are known not to concern the response.
    purges: AtomicU64,
    /// The same for invalidations by requests of the scope.
    invalidations: AtomicU64,
}

/// Response to store.
#[derive(Debug)]
pub struct NewEntry {
    /// Its key: a primary one, or a variant's with its set.
    pub key: Box<[u8]>,
    /// Target that the client asked for, if the key has another one: purges name either.
    pub asked: Option<Box<[u8]>>,
    /// Epoch of the settings.
    pub epoch: u64,
    /// Status, field lines and freshness.
    pub head: Arc<StoredHead>,
    /// The content; of the entry that it updates after a 304.
    pub body: Arc<Body>,
    /// Resource whose variant it is.
    pub variant_of: Option<Arc<VariantSet>>,
}

/// Reason why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// It was asked for before a purge or an invalidation of its URL, or its scope was dropped.
    Invalidated,
    /// A limit has no room, even after evictions.
    Full(Level),
    /// Its resource was dropped, with the last other variant.
    VariantsDropped,
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalidated => "was invalidated while it was fetched",
            Self::Full(Level::Scope) => "has no room within the route's limit",
            Self::Full(Level::Tenant) => "has no room within the tenant's share",
            Self::Full(Level::Store) => "has no room in the store",
            Self::VariantsDropped => "belongs to a resource that was dropped meanwhile",
        })
    }
}

impl std::error::Error for InsertError {}

impl Ticket {
    /// Scope of the response.
    pub fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// Whether nothing was invalidated since. Three loads.
    pub fn is_current(&self, store: &Store) -> bool {
        self.purges.load(Ordering::Relaxed) == store.purges.sequence()
            && self.invalidations.load(Ordering::Relaxed) == self.scope.invalidations.sequence()
            && !self.partition.is_retired()
    }

    /// Compares a response with all invalidations since, and remembers those that do not concern it.
    pub(crate) fn catch_up(&self, store: &Store, subject: &Subject<'_>) -> Result<(), InsertError> {
        if self.partition.is_retired() {
            return Err(InsertError::Invalidated);
        }
        for (journal, seen) in
            [(&store.purges, &self.purges), (&self.scope.invalidations, &self.invalidations)]
        {
            let sequence = seen.load(Ordering::Relaxed);
            if journal.sequence() == sequence {
                continue;
            }
            let (records, next) = journal.since(sequence).map_err(|_| InsertError::Invalidated)?;
            if records.iter().any(|record| record.matches(subject)) {
                return Err(InsertError::Invalidated);
            }
            seen.fetch_max(next, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The response as purges see it.
    pub(crate) fn subject<'a>(
        &'a self,
        parts: KeyParts<'a>,
        asked: Option<&'a [u8]>,
        tags: Option<&'a [u64]>,
    ) -> Subject<'a> {
        Subject { scope: self.scope.name(), parts, asked, tags }
    }
}

impl Store {
    /// Takes a ticket: to be done before the origin is asked.
    pub fn ticket(&self, scope: &Arc<Scope>) -> Ticket {
        Ticket {
            // Before the partition: a purge of the scope appends its record first.
            purges: AtomicU64::new(self.purges.sequence()),
            invalidations: AtomicU64::new(scope.invalidations.sequence()),
            partition: scope.partition(),
            scope: scope.clone(),
        }
    }

    /// Makes a body of chunks, whose memory counts from now on.
    ///
    /// # Errors
    /// [`InsertError::Full`].
    pub fn body(&self, ticket: &Ticket, chunks: Vec<Bytes>) -> Result<Arc<Body>, InsertError> {
        let content = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let amount = Usage { bytes: Body::bytes_of(content, chunks.len()), entries: 0 };
        let charge = self.reserve(&ticket.scope, &ticket.partition, amount).map_err(InsertError::Full)?;
        Ok(Arc::new(Body::new(chunks, charge)))
    }

    /// Keeps the content of an entry in a coding beside it, for all that share the body. Returns what is
    /// kept.
    ///
    /// # Errors
    /// [`InsertError::Full`].
    pub fn keep_coded<'a>(
        &self,
        scope: &Arc<Scope>,
        entry: &'a Entry,
        coding: Coding,
        chunks: Vec<Bytes>,
    ) -> Result<&'a Arc<Body>, InsertError> {
        let content = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let amount = Usage { bytes: Body::bytes_of(content, chunks.len()), entries: 0 };
        let charge = self.reserve(scope, &entry.partition, amount).map_err(InsertError::Full)?;
        Ok(entry.body().keep_coded(coding, Body::new(chunks, charge)))
    }

    /// Makes the set of a resource whose response varies. It is found from the insertion of its first variant
    /// on.
    ///
    /// # Errors
    /// [`InsertError::Full`].
    pub fn variant_set(
        &self,
        ticket: &Ticket,
        primary: &[u8],
        names: VaryNames,
    ) -> Result<Arc<VariantSet>, InsertError> {
        let amount = Usage { bytes: VariantSet::bytes(primary, &names), entries: 0 };
        let charge = self.reserve(&ticket.scope, &ticket.partition, amount).map_err(InsertError::Full)?;
        let (key, marker) = ((self.hash(primary), primary), Marker::new(names, self.draw()));
        Ok(Arc::new(VariantSet::new(key, marker, ticket.partition.clone(), charge)))
    }

    /// Stores a response. It replaces the one of the same key, and takes over its place in the order of
    /// eviction.
    ///
    /// # Errors
    /// See [`InsertError`]; nothing is stored then, and what was stored before stays.
    pub fn insert(&self, ticket: &Ticket, new: NewEntry) -> Result<Arc<Entry>, InsertError> {
        let partition = &ticket.partition;
        let bytes = Entry::own_bytes(&new);
        let charge =
            self.reserve(&ticket.scope, partition, Usage { bytes, entries: 1 }).map_err(InsertError::Full)?;
        let parts = Parts { hash: self.hash(&new.key), new, partition: partition.clone() };
        let entry = Arc::new(Entry::new(parts, charge));
        // Scans of purges find it from here on.
        partition.queues.lock().push(&entry);
        self.publish(ticket, &entry).inspect_err(|_| {
            self.remove(&entry);
        })?;
        self.counters.insertions.fetch_add(1, Ordering::Relaxed);
        Ok(entry)
    }

    /// Puts an entry that is in its queues into the index, and then the set by which it is found.
    fn publish(&self, ticket: &Ticket, entry: &Arc<Entry>) -> Result<(), InsertError> {
        if let Some(set) = &entry.variant_of {
            let surplus = set.add(entry).map_err(|_| InsertError::VariantsDropped)?;
            if let Some(surplus) = surplus {
                self.remove(&surplus);
            }
        }
        let replaced = self.put_current(ticket, entry)?;
        if let Some(replaced) = replaced {
            self.succeed(entry, replaced);
        }
        if let Some(set) = &entry.variant_of {
            // Dropped meanwhile: by a purge, which removed the entry, too.
            let replaced = self.index.put(&Slot::Variants(set.clone()), || set.is_dropped());
            if let Some(replaced) = replaced.map_err(|Refused| InsertError::Invalidated)? {
                self.remove_replaced(replaced);
            }
        }
        Ok(())
    }

    /// Puts an entry into the index, unless it was invalidated since its ticket. Returns what it replaced.
    fn put_current(&self, ticket: &Ticket, entry: &Arc<Entry>) -> Result<Option<Slot>, InsertError> {
        for _ in 0..ROUNDS_MAX {
            let parts = entry.parts().ok_or(InsertError::Invalidated)?;
            let subject = ticket.subject(parts, entry.asked(), Some(entry.head().tags()));
            ticket.catch_up(self, &subject)?;
            // The comparison counts if no invalidation came before the entry can be found.
            let is_refused = || entry.is_retired() || !ticket.is_current(self);
            match self.index.put(&Slot::Entry(entry.clone()), is_refused) {
                Ok(replaced) => return Ok(replaced),
                Err(Refused) if entry.is_retired() => break,
                Err(Refused) => {}
            }
        }
        Err(InsertError::Invalidated)
    }

    /// Lets an entry take the place of the one that it replaced.
    fn succeed(&self, entry: &Arc<Entry>, replaced: Slot) {
        if let Slot::Entry(replaced) = &replaced
            && replaced.mark_retired()
        {
            entry.set_frequency(entry.frequency().max(replaced.frequency()));
            let queue = replaced.partition.queues.lock().remove(replaced);
            if queue == Some(Queue::Main) {
                entry.partition.queues.lock().promote(entry);
            }
            self.leave_set(replaced);
        }
        // A set, whose variants cannot be found any longer; an entry was removed above.
        self.remove_replaced(replaced);
    }
}

/// Comparisons with new invalidations before a response is given up: in a storm of purges none may be last.
const ROUNDS_MAX: usize = 16;
