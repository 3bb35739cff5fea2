//! Findings of a load.

use std::fmt;
use std::path::PathBuf;

use ringway_model::{Kind, Revision};

use crate::limits;

/// Report of a load: all findings that concern the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    findings: Vec<Finding>,
    left_out: usize,
}

impl LoadReport {
    /// The findings, in order; at most `STORE_FINDINGS_MAX`.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The number of further findings.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether something is or may be lost, or was only restored from a copy: the status is degraded.
    pub fn is_degraded(&self) -> bool {
        self.left_out > 0 || self.findings.iter().any(Finding::is_degrading)
    }

    /// The revision of the export that was used, if any.
    pub fn fallback(&self) -> Option<Revision> {
        self.findings.iter().find_map(|finding| match finding {
            Finding::FallbackUsed { revision, .. } => Some(*revision),
            _ => None,
        })
    }

    /// Adds a finding; beyond the limit findings are only counted.
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

/// The report as text, one finding a line.
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

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The last process did not close the store. Harmless by itself; all records were checked.
    UncleanStop,
    /// The files were copied before they were opened, or moved away after damage was found.
    KeptAside {
        /// Their folder now.
        path: PathBuf,
    },
    /// The files could not be copied before they were opened.
    NotKeptAside {
        /// The system's error.
        reason: String,
    },
    /// The engine cannot open its files.
    FilesUnreadable {
        /// The directory.
        path: PathBuf,
        /// The engine's error.
        reason: String,
    },
    /// A file of the store is damaged.
    FileDamaged {
        /// The file.
        path: PathBuf,
    },
    /// A file of the store is missing.
    FileMissing {
        /// The file.
        path: PathBuf,
    },
    /// A file that only a repair needs is missing; it will be written again. Harmless by itself.
    SpareMissing {
        /// The file.
        path: PathBuf,
    },
    /// The files hold an older revision than the last one acknowledged.
    OlderRevision {
        /// The revision of the files.
        found: Revision,
        /// The acknowledged revision.
        acknowledged: Revision,
    },
    /// The revision of the files is unknown.
    RevisionUnknown,
    /// A record does not match its checksum, or cannot be decoded.
    RecordDamaged {
        /// The kind of the record.
        kind: Kind,
        /// The printable part of its key.
        key: String,
    },
    /// The engine cannot read the records after some key.
    RecordsUnreadable {
        /// The kind of the records.
        kind: Kind,
        /// The last readable key.
        after: Option<String>,
        /// The engine's error.
        reason: String,
    },
    /// The number of records is wrong.
    WrongCount {
        /// The kind of the records.
        kind: Kind,
        /// The number found.
        found: u64,
        /// The number expected.
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
        /// The number of records taken from it.
        records: usize,
    },
    /// Records were read from the damaged files without the engine.
    Salvaged {
        /// The number of records.
        records: usize,
        /// The revision up to which nothing is missing.
        whole_at: Revision,
    },
    /// The store was of an older format and is rewritten in the present one. Nothing is lost.
    Migrated {
        /// The format before.
        from: u32,
        /// The format now.
        to: u32,
    },
    /// All acknowledged changes are restored.
    NothingLost {
        /// The restored revision.
        revision: Revision,
    },
    /// Changes are, or may be, lost.
    ChangesLost {
        /// The oldest revision that the served records may have.
        since: Revision,
        /// The last known acknowledged revision.
        acknowledged: Revision,
        /// The revision of the served configuration.
        served_as: Revision,
    },
    /// The repaired contents are not written yet; the next commit tries again.
    NotRepaired {
        /// The system's error.
        reason: String,
    },
    /// A record is left out because its app is lost.
    AppMissing {
        /// The kind of the record.
        kind: Kind,
        /// Its key.
        key: String,
    },
}

impl Finding {
    /// Whether it makes the store degraded.
    pub fn is_degrading(&self) -> bool {
        !matches!(self, Self::UncleanStop | Self::SpareMissing { .. } | Self::Migrated { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UncleanStop => {
                f.write_str("the last process did not close the store; all records were checked")
            }
            Self::KeptAside { path } => write!(f, "the original files are kept in {}", path.display()),
            Self::NotKeptAside { reason } => write!(f, "the original files could not be copied: {reason}"),
            Self::FilesUnreadable { path, reason } => {
                write!(f, "the engine cannot open {}: {reason}", path.display())
            }
            Self::FileDamaged { path } => write!(f, "{} is damaged", path.display()),
            Self::FileMissing { path } => write!(f, "{} is missing", path.display()),
            Self::SpareMissing { path } => write!(
                f,
                "{} is missing; the records are whole without it, and it will be written again",
                path.display()
            ),
            Self::OlderRevision { found, acknowledged } => {
                write!(f, "the files hold revision {found}, but revision {acknowledged} was acknowledged")
            }
            Self::RevisionUnknown => f.write_str("the revision of the files is unknown"),
            Self::RecordDamaged { kind, key } => write!(f, "the record of {kind} {key} is damaged"),
            Self::RecordsUnreadable { kind, after: Some(after), reason } => {
                write!(f, "the records of {} after {after} cannot be read: {reason}", kind.plural())
            }
            Self::RecordsUnreadable { kind, after: None, reason } => {
                write!(f, "the records of {} cannot be read: {reason}", kind.plural())
            }
            Self::WrongCount { kind, found, expected } => {
                write!(f, "{found} {} found, {expected} expected", kind.plural())
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
                "{records} record(s) were salvaged from the damaged files; nothing is missing up to revision {whole_at}"
            ),
            Self::Migrated { from, to } => {
                write!(f, "the store was migrated from format {from} to format {to}; nothing is lost")
            }
            Self::NothingLost { revision } => {
                write!(f, "revision {revision} is completely restored; nothing is lost")
            }
            Self::ChangesLost { since, acknowledged, served_as } => write!(
                f,
                "changes between revisions {since} and {acknowledged} are or may be lost; the remaining records are served as revision {served_as}"
            ),
            Self::NotRepaired { reason } => {
                write!(f, "the repaired store could not be written; the next change tries again: {reason}")
            }
            Self::AppMissing { kind, key } => write!(f, "{kind} {key} is left out because its app is lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_plural() {
        let count = Finding::WrongCount { kind: Kind::Policy, found: 0, expected: 3 };
        assert_eq!(count.to_string(), "0 policies found, 3 expected");
        let (kind, after, reason) = (Kind::Policy, Some("a".to_owned()), "end of file".to_owned());
        let unreadable = Finding::RecordsUnreadable { kind, after, reason };
        assert_eq!(unreadable.to_string(), "the records of policies after a cannot be read: end of file");
    }
}
