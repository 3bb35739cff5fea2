//! What was found while reading a store.

use std::fmt;
use std::path::PathBuf;

use ringway_model::{Kind, Revision};

use crate::limits;

/// Everything that a person should know about how a store came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    findings: Vec<Finding>,
    left_out: usize,
}

impl LoadReport {
    /// What was found, in the order in which it was found; at most [`limits::STORE_FINDINGS_MAX`].
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many more findings there were.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether something is, or may be, lost, or was only saved by a copy: the status says degraded.
    pub fn is_degraded(&self) -> bool {
        self.left_out > 0 || self.findings.iter().any(Finding::is_degrading)
    }

    /// The revision of the export that stepped in, if one did.
    pub fn fallback(&self) -> Option<Revision> {
        self.findings.iter().find_map(|finding| match finding {
            Finding::FallbackUsed { revision, .. } => Some(*revision),
            _ => None,
        })
    }

    /// Adds a finding; beyond the limit it is only counted.
    pub fn push(&mut self, finding: Finding) {
        if self.findings.len() < limits::STORE_FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        for finding in other.findings {
            self.push(finding);
        }
        self.left_out += other.left_out;
    }
}

/// The whole report as lines of text, one finding each.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match self.left_out {
            0 => Ok(()),
            more => writeln!(f, "and {more} more"),
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The last process did not end cleanly. Harmless by itself; everything was checked.
    UncleanStop,
    /// The files were copied before they were opened, or moved away after damage was found.
    KeptAside {
        /// Where they are now.
        path: PathBuf,
    },
    /// The files could not be copied before they were opened.
    NotKeptAside {
        /// Why, in the system's words.
        reason: String,
    },
    /// The engine cannot open its files.
    FilesUnreadable {
        /// Its directory.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// One file of ours is damaged.
    FileDamaged {
        /// Which.
        path: PathBuf,
    },
    /// One file of ours is missing.
    FileMissing {
        /// Which.
        path: PathBuf,
    },
    /// The files hold an older revision than the last one acknowledged.
    OlderRevision {
        /// What they hold.
        found: Revision,
        /// What was acknowledged.
        acknowledged: Revision,
    },
    /// The files do not say which revision they hold.
    RevisionUnknown,
    /// A record does not fit its checksum, or cannot be understood.
    RecordDamaged {
        /// What it is.
        kind: Kind,
        /// Its key, as far as it can be printed.
        key: String,
    },
    /// From some record on, the engine cannot read any further.
    RecordsUnreadable {
        /// What they are.
        kind: Kind,
        /// The last key that could be read.
        after: Option<String>,
        /// What the engine said.
        reason: String,
    },
    /// There are fewer, or more, records than there should be.
    WrongCount {
        /// What they are.
        kind: Kind,
        /// Number of them.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// The number of records is right, their content is not that of the revision.
    ContentDiffers {
        /// The revision.
        revision: Revision,
    },
    /// Records were taken from a logical export.
    FallbackUsed {
        /// Its file.
        path: PathBuf,
        /// Its revision.
        revision: Revision,
        /// How many records came from it.
        records: usize,
    },
    /// Records were read from the damaged files without the engine.
    Salvaged {
        /// How many.
        records: usize,
        /// Up to this revision nothing is missing.
        whole_at: Revision,
    },
    /// The store was of an older format and is rewritten in the present one. Nothing is lost.
    Migrated {
        /// The format before.
        from: u32,
        /// The format now.
        to: u32,
    },
    /// Everything that was acknowledged is there again.
    NothingLost {
        /// The revision that was restored.
        revision: Revision,
    },
    /// Changes are, or may be, lost.
    ChangesLost {
        /// What is served is at least as new as this.
        since: Revision,
        /// What was acknowledged, as far as is known.
        acknowledged: Revision,
        /// The revision under which it is served.
        served_as: Revision,
    },
    /// The repaired contents are only in memory so far; the next commit tries to write them again.
    NotRepaired {
        /// Why, in the system's words.
        reason: String,
    },
    /// A record is left out because its app is lost.
    AppMissing {
        /// What it is.
        kind: Kind,
        /// Its key.
        key: String,
    },
}

impl Finding {
    /// Whether it makes the store degraded.
    pub fn is_degrading(&self) -> bool {
        !matches!(self, Self::UncleanStop | Self::Migrated { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UncleanStop => f.write_str("the last process did not end cleanly; everything was checked"),
            Self::KeptAside { path } => write!(f, "the files as they were are kept in {}", path.display()),
            Self::NotKeptAside { reason } => write!(f, "the files could not be copied aside: {reason}"),
            Self::FilesUnreadable { path, reason } => {
                write!(f, "the engine cannot open {}: {reason}", path.display())
            }
            Self::FileDamaged { path } => write!(f, "{} is damaged", path.display()),
            Self::FileMissing { path } => write!(f, "{} is missing", path.display()),
            Self::OlderRevision { found, acknowledged } => {
                write!(f, "the files hold revision {found}, but {acknowledged} was acknowledged")
            }
            Self::RevisionUnknown => f.write_str("the files do not say which revision they hold"),
            Self::RecordDamaged { kind, key } => write!(f, "the record of {kind} {key} is damaged"),
            Self::RecordsUnreadable { kind, after: Some(after), reason } => {
                write!(f, "the records of {kind}s after {after} cannot be read: {reason}")
            }
            Self::RecordsUnreadable { kind, after: None, reason } => {
                write!(f, "the records of {kind}s cannot be read: {reason}")
            }
            Self::WrongCount { kind, found, expected } => {
                write!(f, "{found} {kind}s are there, {expected} should be")
            }
            Self::ContentDiffers { revision } => {
                write!(f, "the records are not those of revision {revision}")
            }
            Self::FallbackUsed { path, revision, records } => {
                write!(
                    f,
                    "{records} record(s) were taken from the export {} of revision {revision}",
                    path.display()
                )
            }
            Self::Salvaged { records, whole_at } => write!(
                f,
                "{records} record(s) were salvaged from the damaged files; up to revision {whole_at} nothing is missing"
            ),
            Self::Migrated { from, to } => {
                write!(f, "the store was migrated from format {from} to format {to}; nothing is lost")
            }
            Self::NothingLost { revision } => {
                write!(f, "all of revision {revision} is restored, nothing is lost")
            }
            Self::ChangesLost { since, acknowledged, served_as } => write!(
                f,
                "changes between revisions {since} and {acknowledged} are or may be lost; what is left is served as revision {served_as}"
            ),
            Self::NotRepaired { reason } => {
                write!(f, "the repaired store could not be written, the next change tries again: {reason}")
            }
            Self::AppMissing { kind, key } => write!(f, "{kind} {key} is left out because its app is lost"),
        }
    }
}
