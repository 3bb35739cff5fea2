//! The storage engine: opening, one durable batch, reading all records. The only file that names fjall.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::config::CompressionPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use ringway_model::Kind;

use crate::image::{Image, printable};
use crate::mark::{Mark, MarkRead, SCHEMA};
use crate::record::{Key, Sealed};
use crate::recovery::Scan;
use crate::{Finding, StoreError};

pub(super) struct Engine {
    /// By [`Kind::index`].
    keyspaces: Vec<Keyspace>,
    meta: Keyspace,
    /// Last, so that it is dropped after the handles to it.
    database: Database,
    path: PathBuf,
}

impl Engine {
    fn database(path: &Path) -> fjall::Result<Database> {
        Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(1)
            .open()
    }

    fn with(database: Database, path: &Path) -> fjall::Result<Self> {
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                // Compressed records could not be salvaged from a damaged table.
                .data_block_compression_policy(CompressionPolicy::disabled())
        };
        Ok(Self {
            keyspaces: Kind::ALL
                .into_iter()
                .map(|kind| database.keyspace(kind.plural(), options))
                .collect::<fjall::Result<_>>()?,
            meta: database.keyspace("meta", options)?,
            database,
            path: path.to_owned(),
        })
    }

    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let error = |error: fjall::Error| match error {
            fjall::Error::Io(error) if is_system_error(&error) => OpenError::System(error),
            fjall::Error::Storage(fjall::LsmError::Io(error)) if is_system_error(&error) => {
                OpenError::System(error)
            }
            error => OpenError::Damaged(Finding::FilesUnreadable {
                path: path.to_owned(),
                reason: format!("{error:?}"),
            }),
        };
        let database = Self::database(path).map_err(error)?;
        Self::with(database, path).map_err(error)
    }

    /// Writes a new database and closes it. The records are in tables and the journal has the mark only, so
    /// that it opens fast.
    pub(super) fn fill(path: &Path, image: &Image, mark: &Mark) -> fjall::Result<()> {
        let engine = Self::with(Self::database(path)?, path)?;
        for kind in Kind::ALL {
            // Tables are written in the order of keys.
            let mut records = image.iter().filter(|((of, _), _)| *of == kind).peekable();
            if records.peek().is_some() {
                let mut table = engine.keyspaces[kind.index()].start_ingestion()?;
                for ((_, key), sealed) in records {
                    table.write(key.as_str(), sealed.bytes())?;
                }
                table.finish()?;
            }
        }
        engine.write(&[], mark)
    }

    pub(super) fn get(&self, key: &Key) -> fjall::Result<Option<Vec<u8>>> {
        Ok(self.keyspaces[key.0.index()].get(&key.1)?.map(|value| value.to_vec()))
    }

    /// Writes one batch; durable on return.
    pub(super) fn write(&self, writes: &[(Key, Option<Vec<u8>>)], mark: &Mark) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for ((kind, key), value) in writes {
            let keyspace = &self.keyspaces[kind.index()];
            match value {
                Some(value) => batch.insert(keyspace, key.as_bytes(), value.as_slice()),
                None => batch.remove(keyspace, key.as_bytes()),
            }
        }
        batch.insert(&self.meta, MARK_KEY, mark.encode());
        batch.commit()
    }

    /// Reads and checks all records.
    pub(super) fn scan(&self) -> Result<Scan, OpenError> {
        self.snapshot().scan()
    }

    /// Takes a snapshot that can be read during later batches.
    pub(super) fn snapshot(&self) -> EngineSnapshot {
        let engine = Self {
            keyspaces: self.keyspaces.clone(),
            meta: self.meta.clone(),
            database: self.database.clone(),
            path: self.path.clone(),
        };
        EngineSnapshot { snapshot: self.database.snapshot(), engine }
    }
}

/// Snapshot of all records.
pub(super) struct EngineSnapshot {
    snapshot: Snapshot,
    engine: Engine,
}

impl EngineSnapshot {
    /// Reads and checks all records.
    pub(super) fn scan(&self) -> Result<Scan, OpenError> {
        let mut scan = Scan::default();
        match self.snapshot.get(&self.engine.meta, MARK_KEY) {
            Ok(Some(bytes)) => match Mark::decode(&bytes) {
                MarkRead::Whole(mark) => scan.mark = Some(mark),
                MarkRead::Newer(found) => return Err(OpenError::Newer(found)),
                MarkRead::Damaged | MarkRead::Missing => {}
            },
            Ok(None) => {}
            Err(error) => scan.findings.push(Finding::FilesUnreadable {
                path: self.engine.path.clone(),
                reason: format!("{error:?}"),
            }),
        }
        for kind in Kind::ALL {
            self.scan_kind(kind, &mut scan)?;
        }
        Ok(scan)
    }

    fn scan_kind(&self, kind: Kind, scan: &mut Scan) -> Result<(), OpenError> {
        let mut after = None;
        for item in self.snapshot.iter(&self.engine.keyspaces[kind.index()]) {
            let (key, value) = match item.into_inner() {
                Ok(pair) => pair,
                Err(error) => {
                    scan.findings.push(Finding::RecordsUnreadable {
                        kind,
                        after,
                        reason: format!("{error:?}"),
                    });
                    return Ok(());
                }
            };
            let text = std::str::from_utf8(&key).ok();
            match text.and_then(|text| Some((text, Sealed::verify(kind, text, &value)?))) {
                // Records of a newer version must not look damaged when the mark is.
                Some((_, sealed)) if sealed.format() > SCHEMA => {
                    return Err(OpenError::Newer(sealed.format()));
                }
                Some((text, sealed)) => _ = scan.image.put((kind, text.to_owned()), sealed),
                None => {
                    scan.findings.push(Finding::RecordDamaged { kind, key: printable(&key) });
                    if let Some(text) = text {
                        scan.damaged.push((kind, text.to_owned()));
                    }
                }
            }
            after = Some(printable(&key));
        }
        Ok(())
    }
}

/// Opens the engine and reads all records.
pub(super) fn open_and_scan(live: &Path) -> Result<(Engine, Scan), OpenError> {
    if !live.exists() {
        return Err(OpenError::Damaged(Finding::FileMissing { path: live.to_owned() }));
    }
    // The bytes are untrusted: a panic of the engine is damage, too.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let engine = Engine::open(live)?;
        let scan = engine.scan()?;
        Ok((engine, scan))
    }));
    opened.unwrap_or_else(|_| {
        Err(OpenError::Damaged(Finding::FilesUnreadable {
            path: live.to_owned(),
            reason: "the engine panicked".to_owned(),
        }))
    })
}

/// Error of opening the engine.
pub(super) enum OpenError {
    /// An error of the system (permissions, space, descriptors): the files may be intact.
    System(io::Error),
    /// The files have a newer format.
    Newer(u32),
    /// The files are damaged.
    Damaged(Finding),
}

/// Whether an error concerns the machine, not the content of files.
pub(super) fn is_system_error(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded | FileTooLarge | OutOfMemory
    )
}

pub(super) fn engine_error(action: &'static str) -> impl FnOnce(fjall::Error) -> StoreError {
    move |error| StoreError::Engine { action, source: Box::new(error) }
}

const MARK_KEY: &str = "mark";
/// 8 MiB: records are read only at the start and before they are replaced.
const CACHE_BYTES: u64 = 8 << 20;
/// 4 MiB for each kind: thousands of records before a table is written.
const MEMTABLE_BYTES: u64 = 4 << 20;
/// 64 MiB, the least that fjall allows.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
