//! Eviction order of a partition: S3-FIFO, three queues without a write on a hit.
//!
//! ```text
//!            not seen lately                     used more than once
//! insert ──┬─────────────────► small (10 % of bytes) ─────────────────► main ─┐ used: again to its end
//!          │                          │ else                             ▲  │ └─► (one use less)
//!          │ seen lately              ▼                                  │  ▼ else
//!          └───────────────► ghost (hashes only) ────────────────────────┘  evicted
//! ```
//! Keys that are asked for once pass through the small queue and push out nothing that is used. Both queues
//! are linked lists over one table of nodes: an entry that is replaced or purged leaves its queue at once,
//! and no dead entry keeps memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::entry::{Entry, NO_NODE};
use crate::sync::Ordering;

/// Queues of one partition; they have exactly its entries.
#[derive(Debug)]
pub(crate) struct Queues {
    nodes: Vec<Node>,
    /// First of the free nodes, linked by `next`.
    free: u32,
    small: List,
    main: List,
    ghost: Ghost,
}

/// Queue of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Entries that were not used again yet.
    Small,
    /// Entries that were.
    Main,
}

#[derive(Debug)]
struct Node {
    entry: Option<Arc<Entry>>,
    queue: Queue,
    previous: u32,
    next: u32,
}

#[derive(Debug)]
struct List {
    first: u32,
    last: u32,
    len: usize,
    bytes: u64,
}

/// Fingerprints of the entries that left the small queue last.
#[derive(Debug, Default)]
struct Ghost {
    order: VecDeque<u32>,
    counts: HashMap<u32, u32, ahash::RandomState>,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: NO_NODE,
            small: List::default(),
            main: List::default(),
            ghost: Ghost::default(),
        }
    }
}

impl Queues {
    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.small.len + self.main.len
    }

    /// Appends an entry: to the main queue if its key was evicted lately, otherwise to the small one.
    pub(crate) fn push(&mut self, entry: &Arc<Entry>) {
        let queue = if self.ghost.take(fingerprint(entry)) { Queue::Main } else { Queue::Small };
        let node = self.allocate(entry.clone(), queue);
        entry.node.store(node, Ordering::Relaxed);
        self.link(node);
    }

    /// Removes an entry, and returns its queue; `None` when it is in none.
    pub(crate) fn remove(&mut self, entry: &Entry) -> Option<Queue> {
        let node = entry.node.swap(NO_NODE, Ordering::Relaxed);
        if node == NO_NODE {
            return None;
        }
        self.unlink(node);
        self.release(node);
        // A free node keeps the queue that it was in.
        Some(self.nodes[node as usize].queue)
    }

    /// Moves an entry from the small queue to the main one: the successor of an entry that was there.
    pub(crate) fn promote(&mut self, entry: &Entry) {
        let node = entry.node.load(Ordering::Relaxed);
        if node != NO_NODE {
            self.move_to_main(node);
        }
    }

    /// Removes the entry that is to be evicted; `None` when there is none. At most [`REINSERTIONS_MAX`]
    /// entries get another round before it.
    pub(crate) fn pop(&mut self) -> Option<Arc<Entry>> {
        for _ in 0..REINSERTIONS_MAX {
            let node = self.candidate()?;
            if !self.spare(node) {
                break;
            }
        }
        let node = self.candidate()?;
        if self.nodes[node as usize].queue == Queue::Small {
            let entry = self.nodes[node as usize].entry.as_deref();
            self.ghost.insert(entry.map_or(0, fingerprint), self.main.len);
        }
        self.unlink(node);
        let entry = self.release(node)?;
        entry.node.store(NO_NODE, Ordering::Relaxed);
        Some(entry)
    }

    /// Removes any entry: of a partition that is to be freed.
    pub(crate) fn pop_any(&mut self) -> Option<Arc<Entry>> {
        let node = if self.small.len > 0 { self.small.first } else { self.main.first };
        let entry = self.nodes.get(node as usize)?.entry.clone()?;
        self.remove(&entry);
        Some(entry)
    }

    /// Copies the entries of `count` nodes from number `from` on. Entries keep their number while they are
    /// here: a scan by slices misses none that were here when it began.
    pub(crate) fn slice(&self, from: usize, count: usize, out: &mut Vec<Arc<Entry>>) -> Option<usize> {
        let slice = self.nodes.get(from..)?;
        out.extend(slice.iter().take(count).filter_map(|node| node.entry.clone()));
        (slice.len() > count).then_some(from + count)
    }

    /// Head of the queue that is due: the small one while it has more than its share.
    fn candidate(&self) -> Option<u32> {
        let is_small_due = self.small.bytes * SMALL_SHARE >= self.small.bytes + self.main.bytes;
        let list =
            if self.small.len > 0 && (is_small_due || self.main.len == 0) { &self.small } else { &self.main };
        (list.len > 0).then_some(list.first)
    }

    /// Gives an entry that was used another round in the main queue; `false` if it is to be evicted.
    fn spare(&mut self, node: u32) -> bool {
        let Node { entry: Some(entry), queue, .. } = &self.nodes[node as usize] else { return false };
        let (uses_min, uses_left) = match queue {
            Queue::Small => (2, 0),
            Queue::Main => (1, entry.frequency().saturating_sub(1)),
        };
        if entry.frequency() < uses_min {
            return false;
        }
        entry.set_frequency(uses_left);
        self.move_to_main(node);
        true
    }

    fn move_to_main(&mut self, node: u32) {
        self.unlink(node);
        self.nodes[node as usize].queue = Queue::Main;
        self.link(node);
    }

    fn allocate(&mut self, entry: Arc<Entry>, queue: Queue) -> u32 {
        let node = Node { entry: Some(entry), queue, previous: NO_NODE, next: NO_NODE };
        match self.nodes.get_mut(self.free as usize) {
            Some(free) => {
                let number = std::mem::replace(&mut self.free, free.next);
                *free = node;
                number
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer entries than 2^32 fit into memory")
            }
        }
    }

    /// Frees a node that is in no list.
    fn release(&mut self, node: u32) -> Option<Arc<Entry>> {
        let free = std::mem::replace(&mut self.free, node);
        let released = &mut self.nodes[node as usize];
        released.next = free;
        released.entry.take()
    }

    /// Appends a node to the list of its queue.
    fn link(&mut self, node: u32) {
        let bytes = self.bytes(node);
        let queue = self.nodes[node as usize].queue;
        let list = self.list(queue);
        list.len += 1;
        list.bytes += bytes;
        let previous = std::mem::replace(&mut list.last, node);
        if previous == NO_NODE {
            list.first = node;
        } else {
            self.nodes[previous as usize].next = node;
        }
        (self.nodes[node as usize].previous, self.nodes[node as usize].next) = (previous, NO_NODE);
    }

    fn unlink(&mut self, node: u32) {
        let bytes = self.bytes(node);
        let Node { queue, previous, next, .. } = self.nodes[node as usize];
        let list = self.list(queue);
        list.len -= 1;
        list.bytes -= bytes;
        if list.first == node {
            list.first = next;
        }
        if list.last == node {
            list.last = previous;
        }
        if let Some(previous) = self.nodes.get_mut(previous as usize) {
            previous.next = next;
        }
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.previous = previous;
        }
    }

    fn bytes(&self, node: u32) -> u64 {
        self.nodes[node as usize].entry.as_ref().map_or(0, |entry| entry.bytes())
    }

    fn list(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self { first: NO_NODE, last: NO_NODE, len: 0, bytes: 0 }
    }
}

impl Ghost {
    /// Remembers a fingerprint, and forgets the oldest ones beyond the number of entries of the main queue.
    fn insert(&mut self, fingerprint: u32, main_len: usize) {
        self.order.push_back(fingerprint);
        *self.counts.entry(fingerprint).or_insert(0) += 1;
        while self.order.len() > main_len.max(GHOSTS_MIN) {
            let Some(oldest) = self.order.pop_front() else { return };
            self.take(oldest);
        }
    }

    /// Forgets a fingerprint; `false` if it is not remembered. Its place in the order stays, as one that has
    /// nothing to forget.
    fn take(&mut self, fingerprint: u32) -> bool {
        let std::collections::hash_map::Entry::Occupied(mut count) = self.counts.entry(fingerprint) else {
            return false;
        };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
        true
    }
}

/// Bits of the keyed hash that neither select the shard nor the bucket alone.
fn fingerprint(entry: &Entry) -> u32 {
    (entry.hash >> 16) as u32
}

/// The small queue has one part of ten.
const SMALL_SHARE: u64 = 10;
/// Fingerprints that are remembered in any case: a main queue begins empty.
const GHOSTS_MIN: usize = 16;
/// Entries that one eviction may give another round, for it holds the lock of the queues: 3 µs.
const REINSERTIONS_MAX: usize = 256;

#[cfg(all(test, not(loom)))]
#[path = "queues_tests.rs"]
mod tests;
