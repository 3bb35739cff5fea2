//! In-memory store: for tests, for embedders with their own persistence, and for `--storage memory`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringway_model::Revision;

use crate::image::{Image, edits};
use crate::{Batch, Description, LoadReport, Loaded, Store, StoreError};

/// Keeps records for as long as a clone of it lives. Clones share their contents.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    contents: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    revision: Revision,
    image: Image,
}

impl Memory {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // No panic can happen between two writes to it.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let contents = self.contents();
        Ok(contents.image.load(contents.revision, LoadReport::default()))
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut contents = self.contents();
        if batch.revision <= contents.revision {
            return Err(StoreError::StaleRevision { stored: contents.revision, given: batch.revision });
        }
        contents.image.apply(edits(batch));
        contents.revision = batch.revision;
        Ok(())
    }

    fn describe(&self) -> Description {
        let contents = self.contents();
        Description {
            kind: "memory",
            path: None,
            bytes: contents.image.bytes(),
            revision: contents.revision,
            exported: None,
            warnings: Vec::new(),
        }
    }
}
