//! Why a store cannot do what it was asked.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ringway_model::Revision;

/// Why a store cannot be opened, read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the directory open.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Another process writes in the directory faster than it can be copied.
    Changing {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be made, read or written.
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path exists and is no directory.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A newer version of ringway wrote it, in a format that this one does not know.
    NewerSchema {
        /// The directory or file.
        path: PathBuf,
        /// The schema version found.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// The batch does not lead forward.
    StaleRevision {
        /// What is stored.
        stored: Revision,
        /// What the batch carries.
        given: Revision,
    },
    /// A file could not be written; nothing was stored.
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The storage engine failed; nothing was stored.
    Engine {
        /// What it was asked for.
        action: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// After an engine failure the files hold something else than what was acknowledged.
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
    /// The text that was to be imported is not a whole export.
    Import {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: ImportError,
    },
    /// The export could not be written to its destination, or the import not read from its source.
    Transfer(
        /// What the system said.
        io::Error,
    ),
}

/// What is wrong with a line of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// The first line does not say that this is an export.
    Header,
    /// The line is no record.
    Syntax,
    /// The record does not fit its checksum, or has fields that this version does not know.
    Damaged,
    /// The last line is missing: the file was cut.
    Truncated,
    /// The last line does not fit the lines before it.
    Total,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => write!(
                f,
                "{} is in use by another process; stop that one, or choose another directory with --db-path (PROXY_DB_PATH)",
                path.display()
            ),
            Self::Changing { path } => write!(
                f,
                "{} is in use, and no copy of it was whole; try again, or stop the process that writes there",
                path.display()
            ),
            Self::NotWritable { path, .. } => write!(
                f,
                "cannot read and write {}; give this user the right to it and free space, or choose another directory with --db-path (PROXY_DB_PATH)",
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
                "{} holds revision {found} after a failure, though {acknowledged} was acknowledged; restart to recover from the copies",
                path.display()
            ),
            Self::NotEmpty { revision } => {
                write!(f, "the store holds revision {revision} already; import into an empty one")
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
            Self::Header => "does not say that it is one",
            Self::Syntax => "is not a record",
            Self::Damaged => "does not fit its checksum",
            Self::Truncated => "is where it ends too early: the file was cut",
            Self::Total => "does not fit the lines before it: some are missing or were changed",
        })
    }
}

impl std::error::Error for ImportError {}
