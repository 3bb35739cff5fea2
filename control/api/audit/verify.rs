//! Verification of the chain in files.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::chain::{Break, Chain};
use super::writer::rotated;
use crate::limits::{AUDIT_FILES_MAX, AUDIT_LINE_BYTES_MAX};

/// Result for files whose chain is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of lines.
    pub lines: u64,
    /// Number of the last line in its chain.
    pub sequence: u64,
    /// Hash of the last line, in hexadecimal digits; the file of a log that was replaced as a whole has
    /// another one.
    pub hash: String,
    /// Whether the chain begins in these files. Otherwise earlier files are missing, which rotation removes.
    pub is_complete: bool,
}

/// First fault.
#[derive(Debug)]
pub enum AuditFault {
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// A line is broken.
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The reason.
        reason: &'static str,
    },
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Broken { path, line, reason } => write!(f, "{}:{line}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for AuditFault {}

/// Files of a log that exist, the oldest first.
pub fn audit_files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = (1..=AUDIT_FILES_MAX)
        .rev()
        .map(|number| rotated(path, number))
        .filter(|file| file.exists())
        .collect();
    files.push(path.to_owned());
    files
}

/// Verifies that the lines of files are one chain, the oldest file first. Reads each line once.
///
/// # Errors
/// The first fault. A line at the end without a line end is one, unless the process still writes it.
pub fn verify_audit(files: &[PathBuf]) -> Result<Verified, AuditFault> {
    let mut lines = 0;
    let mut chain: Option<Chain> = None;
    let mut is_complete = false;
    for path in files {
        let failed = |error| AuditFault::Read(path.clone(), error);
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        for number in 1.. {
            let mut line = Vec::new();
            let most = AUDIT_LINE_BYTES_MAX as u64;
            if reader.by_ref().take(most).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            let broken = |reason| AuditFault::Broken { path: path.clone(), line: number, reason };
            let Some(line) = line.strip_suffix(b"\n") else {
                return Err(broken("the line is incomplete or too long"));
            };
            let next = match &chain {
                Some(chain) => chain.follow(line),
                None => {
                    is_complete = Chain::is_first(line);
                    Chain::ending_with(line)
                }
            };
            chain = Some(next.map_err(|error| broken(reason(error)))?);
            lines += 1;
        }
    }
    let Chain { sequence, hash } = chain.unwrap_or_default();
    Ok(Verified { lines, sequence, hash, is_complete: is_complete || lines == 0 })
}

fn reason(error: Break) -> &'static str {
    match error {
        Break::Malformed => "the line is not one of an audit log",
        Break::Content => "the line was changed: its hash is not that of its content",
        Break::Link => "the line does not follow the one before: lines were removed, inserted or reordered",
    }
}
