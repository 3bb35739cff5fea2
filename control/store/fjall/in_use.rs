//! Reads a store while another process holds and writes it.
//!
//! The engine writes when it opens its files, so it opens a copy of them. The writer is not stopped, so a
//! copy may be torn: it is used only when its mark proves that it is complete and not older than the last
//! commit before the copy.

use std::path::Path;

use super::Fjall;
use super::engine::OpenError;
use super::unwritable::Lock;
use crate::mark::SCHEMA;
use crate::{LoadReport, Loaded, StoreError};

impl Fjall {
    /// Reads a store while another process holds it: one complete revision, not older than the last one
    /// acknowledged before the call. Nothing is written to its directory.
    ///
    /// Cost: a copy of the files in a temporary folder or in memory; several copies when the store is written
    /// meanwhile.
    ///
    /// # Errors
    /// [`StoreError::NotADirectory`], [`StoreError::NewerSchema`], [`StoreError::Changing`] when no copy was
    /// complete; otherwise the system's error.
    pub fn read_in_use(path: impl AsRef<Path>) -> Result<Loaded, StoreError> {
        let path = path.as_ref().to_owned();
        if !path.is_dir() {
            return Err(StoreError::NotADirectory { path });
        }
        let store = Self::with(path, Lock::none());
        for _ in 0..COPIES_MAX {
            let head = store.read_head()?;
            match store.scan_copy() {
                Ok(scan) if scan.fits(&head) => {
                    let revision = scan.mark.map(|mark| mark.revision()).unwrap_or_default();
                    return Ok(scan.image.load(revision, LoadReport::default()));
                }
                Ok(_) | Err(OpenError::Damaged(_)) => {}
                // A file vanished after its folder was listed: the engine merged it.
                Err(OpenError::System(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(OpenError::Newer(found)) => {
                    return Err(StoreError::NewerSchema { path: store.path.clone(), found, known: SCHEMA });
                }
                Err(OpenError::System(source)) => {
                    return Err(StoreError::NotWritable { path: store.path.clone(), source });
                }
            }
        }
        Err(StoreError::Changing { path: store.path.clone() })
    }
}

/// Attempts: a torn copy is rare, and a damaged store yields no other.
const COPIES_MAX: usize = 16;
