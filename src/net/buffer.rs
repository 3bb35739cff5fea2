//! A core's free buffers: an idle connection holds none, and a busy one takes the last that was used.

use ringway_model::limits::{
    BODY_BUFFER_BYTES, HEAD_BUFFER_BYTES, POOLED_BODY_BUFFERS_MAX, POOLED_HEAD_BUFFERS_MAX,
};
use std::cell::RefCell;

/// What a buffer is for, and so its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufClass {
    /// A message head: [`HEAD_BUFFER_BYTES`].
    Head,
    /// A body on its way: [`BODY_BUFFER_BYTES`].
    Body,
}

/// Free buffers of one core, last in first out, so that what is taken is likely still in the cache. Bounded.
#[derive(Debug)]
pub struct BufPool {
    heads: Shelf,
    bodies: Shelf,
}

impl BufPool {
    /// An empty pool with the usual bounds: 4 MiB of each class.
    pub fn new() -> Self {
        Self::with_bounds(POOLED_HEAD_BUFFERS_MAX, POOLED_BODY_BUFFERS_MAX)
    }

    /// An empty pool that keeps at most so many free buffers of each class.
    pub fn with_bounds(heads_max: usize, bodies_max: usize) -> Self {
        Self { heads: Shelf::new(heads_max), bodies: Shelf::new(bodies_max) }
    }

    /// An empty buffer with the capacity of `class`. Allocates when none is free.
    pub fn take(&self, class: BufClass) -> Vec<u8> {
        self.shelf(class).free.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(class.bytes()))
    }

    /// Takes a buffer back and forgets its content. One that is of no class, or too many, is freed.
    pub fn give(&self, mut buf: Vec<u8>) {
        // One that grew a little is still worth keeping; one that grew to twice the size would hold memory for ever.
        let class = match buf.capacity() {
            bytes if (HEAD_BUFFER_BYTES..2 * HEAD_BUFFER_BYTES).contains(&bytes) => BufClass::Head,
            bytes if (BODY_BUFFER_BYTES..2 * BODY_BUFFER_BYTES).contains(&bytes) => BufClass::Body,
            _ => return,
        };
        let shelf = self.shelf(class);
        let mut free = shelf.free.borrow_mut();
        if free.len() < shelf.free_max {
            buf.clear();
            free.push(buf);
        }
    }

    /// Bytes that the free buffers hold.
    pub fn bytes_free(&self) -> usize {
        [&self.heads, &self.bodies]
            .iter()
            .map(|shelf| shelf.free.borrow().iter().map(Vec::capacity).sum::<usize>())
            .sum()
    }

    fn shelf(&self, class: BufClass) -> &Shelf {
        match class {
            BufClass::Head => &self.heads,
            BufClass::Body => &self.bodies,
        }
    }
}

impl Default for BufPool {
    fn default() -> Self {
        Self::new()
    }
}

impl BufClass {
    /// The capacity of a buffer of this class.
    pub fn bytes(self) -> usize {
        match self {
            Self::Head => HEAD_BUFFER_BYTES,
            Self::Body => BODY_BUFFER_BYTES,
        }
    }
}

#[derive(Debug)]
struct Shelf {
    free: RefCell<Vec<Vec<u8>>>,
    free_max: usize,
}

impl Shelf {
    fn new(free_max: usize) -> Self {
        Self { free: RefCell::default(), free_max }
    }
}
