//! Errors of stores.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ringway_model::Revision;

/// Error of opening, reading or writing a store.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the directory.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Another process changes the directory faster than it can be copied.
    Changing {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be created, read or written.
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path exists and is not a directory.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The format belongs to a newer version of ringway.
    NewerSchema {
        /// The directory or file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest known format.
        known: u32,
    },
    /// The revision of the batch is not newer than the stored one.
    StaleRevision {
        /// The stored revision.
        stored: Revision,
        /// The revision of the batch.
        given: Revision,
    },
    /// A file could not be written; nothing was stored.
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The storage engine failed; nothing was stored.
    Engine {
        /// The operation.
        action: &'static str,
        /// The engine's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// After an engine failure the content of the files is not the acknowledged one.
    Diverged {
        /// The directory.
        path: PathBuf,
        /// The last revision acknowledged.
        acknowledged: Revision,
        /// The revision found.
        found: Revision,
    },
    /// Records can be imported into an empty store only.
    NotEmpty {
        /// The revision that it holds.
        revision: Revision,
    },
    /// The imported text is not a complete export.
    Import {
        /// The line, counted from 1.
        line: usize,
        /// The mistake.
        reason: ImportError,
    },
    /// The export could not be written to its destination, or the import not read from its source.
    Transfer(
        /// The system's error.
        io::Error,
    ),
}

/// Mistake in a line of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// The first line is not the header of an export.
    Header,
    /// The line is not a record.
    Syntax,
    /// The record does not match its checksum, or has unknown fields.
    Damaged,
    /// The last line is missing: the file was cut.
    Truncated,
    /// The last line does not match the lines before it.
    Total,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => write!(
                f,
                "{} is in use by another process; stop that process, or choose another directory with --db-path (PROXY_DB_PATH)",
                path.display()
            ),
            Self::Changing { path } => write!(
                f,
                "{} is in use and changed during every copy; try again, or stop the process that writes it",
                path.display()
            ),
            Self::NotWritable { path, .. } => write!(
                f,
                "cannot read and write {}; check its permissions and the free space, or choose another directory with --db-path (PROXY_DB_PATH)",
                path.display()
            ),
            Self::NotADirectory { path } => {
                write!(
                    f,
                    "{} is not a directory; choose a directory with --db-path (PROXY_DB_PATH)",
                    path.display()
                )
            }
            Self::NewerSchema { path, found, known } => write!(
                f,
                "{} was written by a newer version of ringway (format {found}; this version reads formats up to {known}); start a version that reads it; nothing was changed",
                path.display()
            ),
            Self::StaleRevision { stored, given } => {
                write!(f, "revision {given} does not follow the stored revision {stored}")
            }
            Self::Write { path, .. } => write!(f, "cannot write {}; nothing was stored", path.display()),
            Self::Engine { action, .. } => {
                write!(f, "the storage engine failed to {action}; nothing was stored")
            }
            Self::Diverged { path, acknowledged, found } => write!(
                f,
                "{} holds revision {found} after a failure, but revision {acknowledged} was acknowledged; restart to recover from the copies",
                path.display()
            ),
            Self::NotEmpty { revision } => {
                write!(f, "the store already holds revision {revision}; import into an empty store")
            }
            Self::Import { line, reason } => write!(f, "line {line} of the export {reason}"),
            Self::Transfer(_) => f.write_str("the export could not be transferred"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotWritable { source, .. } | Self::Write { source, .. } | Self::Transfer(source) => {
                Some(source)
            }
            Self::Engine { source, .. } => Some(&**source),
            Self::Locked { .. }
            | Self::Changing { .. }
            | Self::NotADirectory { .. }
            | Self::NewerSchema { .. }
            | Self::StaleRevision { .. }
            | Self::Diverged { .. }
            | Self::NotEmpty { .. }
            | Self::Import { .. } => None,
        }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "is not the header of an export",
            Self::Syntax => "is not a record",
            Self::Damaged => "does not match its checksum",
            Self::Truncated => "is the last one, but the end marker is missing: the file is truncated",
            Self::Total => "does not match the lines before it: some are missing or changed",
        })
    }
}

impl std::error::Error for ImportError {}
