//! Reading a store that another process has open and goes on writing.
//!
//! The engine writes when it opens its files, so it opens a copy of them. Nothing holds the writer back, so a copy may be
//! torn: it counts only when the mark in it proves that it is whole, and not older than what was acknowledged before it was made.

use std::path::Path;

use super::Fjall;
use super::engine::Unopened;
use super::unwritable::Lock;
use crate::mark::SCHEMA;
use crate::{LoadReport, Loaded, StoreError};

impl Fjall {
    /// Reads what a store holds while another process has it open: one revision, whole, and none that is older than the one
    /// acknowledged last before the call. Nothing is written in its directory.
    ///
    /// Cost: a copy of its files in a folder for temporary files or in memory, several when it is written meanwhile.
    ///
    /// # Errors
    /// [`StoreError::NotADirectory`], [`StoreError::NewerSchema`], [`StoreError::Changing`] when no copy was whole; else the
    /// system's.
    pub fn read_beside(path: impl AsRef<Path>) -> Result<Loaded, StoreError> {
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
                Ok(_) | Err(Unopened::Damaged(_)) => {}
                // A file that was there when its folder was listed is merged into another one.
                Err(Unopened::System(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(Unopened::Newer(found)) => {
                    return Err(StoreError::NewerSchema { path: store.path.clone(), found, known: SCHEMA });
                }
                Err(Unopened::System(source)) => {
                    return Err(StoreError::NotWritable { path: store.path.clone(), source });
                }
            }
        }
        Err(StoreError::Changing { path: store.path.clone() })
    }
}

/// Copies before it is given up: a torn one is rare, and a damaged store gives no other.
const COPIES_MAX: usize = 16;
