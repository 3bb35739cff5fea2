//! Encoder states of one core: lent, returned, and bounded in number and memory.

use std::cell::RefCell;
use std::rc::Rc;

use ringway_model::Coding;

use crate::encoder::{EncodeError, Encoder};
use crate::limits::{IDLE_STATES_MAX, STATE_BYTES_PER_CORE_MAX, STATES_PER_CORE_MAX};

/// Pool of the encoder states of one core. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct EncoderPool(Rc<RefCell<States>>);

#[derive(Debug, Default)]
struct States {
    idle: Vec<(Key, Encoder)>,
    /// Of all states, lent and idle.
    count: usize,
    bytes: usize,
}

/// States with equal keys can stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    coding: Coding,
    /// 0 for codings without levels.
    level: u8,
}

impl EncoderPool {
    /// Lends a state; the level is that of gzip. `None` when the budget is used up, or the memory.
    pub fn take(&self, coding: Coding, gzip_level: u8) -> Option<PooledEncoder> {
        let key = Key { coding, level: if coding == Coding::Gzip { gzip_level } else { 0 } };
        let mut states = self.0.borrow_mut();
        let encoder = match states.idle.iter().rposition(|(known, _)| *known == key) {
            Some(at) => states.idle.swap_remove(at).1,
            None => {
                states.make_room(Encoder::memory_bytes(coding)).then_some(())?;
                let encoder = Encoder::new(coding, gzip_level).ok()?;
                states.count += 1;
                states.bytes += Encoder::memory_bytes(coding);
                encoder
            }
        };
        drop(states);
        Some(PooledEncoder { pool: self.clone(), key, encoder: Some(encoder), has_failed: false })
    }

    /// Number of states, lent and idle.
    pub fn states(&self) -> usize {
        self.0.borrow().count
    }

    /// Number of idle states.
    pub fn idle(&self) -> usize {
        self.0.borrow().idle.len()
    }
}

impl States {
    /// Drops idle states until one of `bytes` fits. Whether it does.
    fn make_room(&mut self, bytes: usize) -> bool {
        loop {
            if self.count < STATES_PER_CORE_MAX && self.bytes + bytes <= STATE_BYTES_PER_CORE_MAX {
                return true;
            }
            match self.idle.pop() {
                Some((key, encoder)) => {
                    drop(encoder);
                    self.forget(key);
                }
                None => return false,
            }
        }
    }

    fn forget(&mut self, key: Key) {
        self.count -= 1;
        self.bytes -= Encoder::memory_bytes(key.coding);
    }
}

/// Encoder of a pool, which gets it back when this is dropped.
#[derive(Debug)]
pub struct PooledEncoder {
    pool: EncoderPool,
    key: Key,
    /// `None` only while it is dropped.
    encoder: Option<Encoder>,
    has_failed: bool,
}

impl PooledEncoder {
    /// Its coding.
    pub fn coding(&self) -> Coding {
        self.key.coding
    }

    /// Encodes data; see [`Encoder::write`].
    ///
    /// # Errors
    /// The body cannot be encoded.
    pub fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.run(|encoder| encoder.write(data, out))
    }

    /// Appends all that is still held; see [`Encoder::flush`].
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.run(|encoder| encoder.flush(out))
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.run(|encoder| encoder.finish(out))
    }

    fn run(&mut self, f: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>) -> Result<(), EncodeError> {
        let result = self.encoder.as_mut().map_or(Err(EncodeError), f);
        self.has_failed |= result.is_err();
        result
    }
}

impl Drop for PooledEncoder {
    fn drop(&mut self) {
        let mut states = self.pool.0.borrow_mut();
        let is_kept = !self.has_failed && states.idle.len() < IDLE_STATES_MAX;
        match self.encoder.take().filter(|_| is_kept).map(reset) {
            Some(Ok(encoder)) => states.idle.push((self.key, encoder)),
            Some(Err(EncodeError)) | None => states.forget(self.key),
        }
    }
}

fn reset(mut encoder: Encoder) -> Result<Encoder, EncodeError> {
    encoder.reset().map(|()| encoder)
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
