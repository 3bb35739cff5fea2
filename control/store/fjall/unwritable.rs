//! Directories that cannot be written: read-only, without permission, on a full disk. Their contents are
//! served; changes are refused until they can be written again, which every change and every maintenance
//! tries.
//!
//! ```text
//! start ─► lock, open, write ──✗──► a copy for the engine ─► fits ─────────────────────────────► served, unchanged
//!                                    └─► no room for one, or damaged ─► salvage and exports ─► served, losses reported
//! served ─► next change ─► the whole start once more ─► the same revision and content ─► open
//!                           └─► still not ─► refused    └─► another ─► refused until a restart
//! ```
//! The engine writes when it opens its files, so it opens a copy here.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::engine::{OpenError, open_and_scan};
use super::{Fjall, State, same, with_source};
use crate::image::Image;
use crate::mark::{Mark, MarkRead, SCHEMA};
use crate::recovery::{Restored, Scan};
use crate::{LoadReport, Loaded, StoreError, durable, salvage};

/// Lock of a directory.
pub(super) struct Lock {
    /// The locked file. None where it cannot be read: another process may write then, and its changes are
    /// detected before the next write.
    file: Option<File>,
    /// The error of writing, if there is one.
    refusal: Option<io::Error>,
}

impl Lock {
    /// Takes no lock: only copies are read.
    pub(super) fn none() -> Self {
        Self { file: None, refusal: None }
    }

    /// Locks a directory, which is created if it does not exist. A directory with a store need not be
    /// writable.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let name = path.join("LOCK");
        let not_writable = |source| StoreError::NotWritable { path: path.to_owned(), source };
        durable::make_dir(path).map_err(not_writable)?;
        let options = File::options().create(true).truncate(false).read(true).write(true).open(&name);
        let (file, refusal) = match options {
            Ok(file) => (Some(file), None),
            Err(error) if holds_files(path) => (File::open(&name).ok(), Some(error)),
            Err(error) => return Err(not_writable(error)),
        };
        match file.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => Err(StoreError::Locked { path: path.to_owned() }),
            Some(Err(TryLockError::Error(source))) if refusal.is_none() => Err(not_writable(source)),
            // Some file systems lock only files that are open for writing.
            Some(Err(TryLockError::Error(_))) => Ok(Self { file: None, refusal }),
            Some(Ok(())) | None => Ok(Self { file, refusal }),
        }
    }

    /// Takes the lock again if the directory could not be written.
    fn retake(&mut self, path: &Path) -> Result<(), StoreError> {
        if self.refusal.is_none() {
            return Ok(());
        }
        // The own lock would be in the way.
        self.file = None;
        *self = Self::take(path)?;
        self.refused(path).map_or(Ok(()), Err)
    }

    /// The error of writing, if there is one.
    fn refused(&self, path: &Path) -> Option<StoreError> {
        let refusal = self.refusal.as_ref()?;
        let source = io::Error::new(refusal.kind(), refusal.to_string());
        Some(StoreError::NotWritable { path: path.to_owned(), source })
    }
}

/// Whether there are files that could be served.
fn holds_files(path: &Path) -> bool {
    ["HEAD", "live", "live.new", "export.jsonl", "export.previous.jsonl"]
        .iter()
        .any(|name| path.join(name).exists())
}

impl Fjall {
    /// Starts; only reads where nothing can be written.
    pub(super) fn start_or_read(&mut self) -> Result<Loaded, StoreError> {
        let refused = match self.lock.refused(&self.path) {
            Some(refused) => refused,
            None => match self.start() {
                Err(refused @ StoreError::NotWritable { .. }) if holds_files(&self.path) => refused,
                started => return started,
            },
        };
        self.read_only(refused)
    }

    /// Serves the readable records without writing.
    fn read_only(&mut self, refused: StoreError) -> Result<Loaded, StoreError> {
        let head = match self.read_head() {
            Ok(head) => head,
            Err(error @ StoreError::NewerSchema { .. }) => return Err(error),
            Err(_) => return Err(refused),
        };
        let mut report = LoadReport::default();
        let scan = match self.scan_copy() {
            Ok(scan) => scan,
            Err(OpenError::Newer(found)) => {
                return Err(StoreError::NewerSchema { path: self.path.clone(), found, known: SCHEMA });
            }
            Err(OpenError::Damaged(finding)) => Scan { findings: vec![finding], ..Scan::default() },
            // There is no room for a copy.
            Err(OpenError::System(_)) => Scan::default(),
        };
        let (image, revision) = match scan.mark.filter(|_| scan.fits(&head)) {
            Some(mark) => (scan.image, mark.revision()),
            None => {
                let restored = self.read_without_engine(&head, scan, &mut report);
                if restored.is_whole {
                    report = LoadReport::default();
                } else if restored.image.is_empty() {
                    // Nothing is readable.
                    return Err(refused);
                }
                (restored.image, restored.revision)
            }
        };
        // In the present format, as it will be stored once it can be written.
        let image = image.migrated();
        self.mark = Mark::new(revision, image.totals());
        let loaded = image.load(revision, report);
        self.state = State::Unwritable { image, why: with_source(&refused) };
        Ok(loaded)
    }

    fn read_without_engine(&self, head: &MarkRead, scan: Scan, report: &mut LoadReport) -> Restored {
        let head_mark = self.head_mark(head, report);
        scan.explain(head_mark, report);
        let scan = scan.or_salvaged(salvage::read_files(&self.files()), head_mark, report);
        self.best(head_mark, &scan, report)
    }

    /// Scans a copy of the engine's files.
    pub(super) fn scan_copy(&self) -> Result<Scan, OpenError> {
        let mut refused = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        for folder in &self.scratch {
            let copied = Scratch::new(folder).and_then(|scratch| {
                durable::copy_dir(&self.files(), &scratch.live())?;
                Ok(scratch)
            });
            let scratch = match copied {
                Ok(scratch) => scratch,
                Err(error) => {
                    refused = error;
                    continue;
                }
            };
            match open_and_scan(&scratch.live()) {
                Ok((engine, scan)) => {
                    drop(engine);
                    return Ok(scan);
                }
                Err(OpenError::System(error)) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(OpenError::System(refused))
    }

    /// The engine's files, also when a replacement was killed between its two renames.
    fn files(&self) -> PathBuf {
        if !self.live().exists() && self.live_new().exists() { self.live_new() } else { self.live() }
    }

    /// Tries the whole start again. A store whose content differs from the served one accepts no change.
    pub(super) fn become_writable(&mut self, served: Image, why: String) -> Result<(), StoreError> {
        let mark = self.mark;
        let started = self.lock.retake(&self.path).and_then(|()| self.start());
        let error = match started {
            Ok(loaded) if same(&self.mark, &mark) => {
                for finding in loaded.report.findings() {
                    tracing::warn!(%finding, "store opened for writing");
                }
                tracing::info!(path = %self.path.display(), "store can be written again");
                return Ok(());
            }
            Ok(_) => StoreError::Diverged {
                path: self.path.clone(),
                acknowledged: mark.revision(),
                found: self.mark.revision(),
            },
            Err(error) => error,
        };
        self.mark = mark;
        self.state = State::Unwritable { image: served, why };
        Err(error)
    }
}

/// Folders for temporary copies of the engine's files: for temporary files, or in memory.
pub(super) fn scratch_folders() -> Vec<PathBuf> {
    vec![std::env::temp_dir(), PathBuf::from("/dev/shm")]
}

/// Private temporary folder, removed when it is dropped: records contain the secrets of webhooks.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path) -> io::Result<Self> {
        let mut refused = io::Error::from(io::ErrorKind::AlreadyExists);
        for attempt in 0..SCRATCH_ATTEMPTS {
            let path = folder.join(format!("ringway-store-{}-{attempt}", std::process::id()));
            // Never an existing folder, which may belong to another user.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn live(&self) -> PathBuf {
        self.0.join("live")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Attempts: names may be left from an earlier process with the same id.
const SCRATCH_ATTEMPTS: usize = 64;
