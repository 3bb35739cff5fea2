//! File of the audit log: its last line at a start, appending, rotation.
//!
//! Every batch of lines is written in one call and synced (fdatasync) before the next one. A batch that fails
//! is cut off again, so that the file ends with a whole line whenever the system allows it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::Chain;
use super::log::notice;
use crate::limits::{AUDIT_FILES_MAX, AUDIT_LINE_BYTES_MAX};

/// Writer of one log.
pub(super) struct Writer {
    path: PathBuf,
    file_bytes_max: u64,
    /// `None` before the first line, and after a failure that left the file in doubt.
    open: Option<Open>,
    /// End of the chain; `None` before the first opening.
    chain: Option<Chain>,
}

struct Open {
    file: File,
    bytes: u64,
    inode: u64,
}

/// End of a file.
enum Tail {
    /// No complete line.
    Empty,
    /// The last complete line.
    Line(Vec<u8>),
}

impl Writer {
    pub(super) fn new(path: PathBuf, file_bytes_max: u64) -> Self {
        Self { path, file_bytes_max, open: None, chain: None }
    }

    /// End of the chain.
    pub(super) fn end(&self) -> Chain {
        self.chain.clone().unwrap_or_default()
    }

    /// Chains, appends and syncs lines, given by their members; without any, only opens the file.
    ///
    /// # Errors
    /// The system's; none of the lines counts as written then.
    pub(super) fn write(&mut self, lines: &[&str]) -> io::Result<()> {
        // A file that was moved or removed is replaced; its chain continues.
        if self.open.as_ref().is_some_and(|open| !self.is_in_place(open)) {
            self.open = None;
        }
        let torn = match self.open {
            Some(_) => 0,
            None => self.reopen()?,
        };
        let notice = notice("audit.torn", torn);
        let torn = (torn > 0).then_some(notice.as_str());
        let mut chain = self.end();
        let mut text = String::new();
        for line in torn.into_iter().chain(lines.iter().copied()) {
            text.push_str(&chain.seal(line));
            text.push('\n');
        }
        if text.is_empty() {
            self.chain = Some(chain);
            return Ok(());
        }
        let is_full = |open: &Open| open.bytes > 0 && open.bytes + text.len() as u64 > self.file_bytes_max;
        if self.open.as_ref().is_some_and(is_full) {
            self.rotate()?;
        }
        let Some(open) = &mut self.open else { return Err(ErrorKind::NotFound.into()) };
        if let Err(error) = open.append(text.as_bytes()) {
            if open.cut_back().is_err() {
                self.open = None;
            }
            return Err(error);
        }
        self.chain = Some(chain);
        Ok(())
    }

    fn is_in_place(&self, open: &Open) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.ino() == open.inode)
    }

    /// Opens the file, and finds the end of its chain the first time. Returns the number of bytes of an
    /// incomplete last line, which was cut off.
    fn reopen(&mut self) -> io::Result<u64> {
        let mut file = open_file(&self.path)?;
        let length = file.metadata()?.len();
        let (tail, kept) = read_tail(&mut file, length)?;
        if kept < length {
            file.set_len(kept)?;
        }
        if self.chain.is_none() {
            self.chain = Some(match tail {
                Tail::Line(line) => Chain::ending_with(&line).unwrap_or_else(|_| {
                    let path = self.path.display();
                    tracing::error!(%path, "the last line of the audit log is broken; a new chain begins after it");
                    Chain::default()
                }),
                // The process may have ended between the rotation and the next line.
                Tail::Empty => last_of(&rotated(&self.path, 1))?,
            });
        }
        let inode = file.metadata()?.ino();
        self.open = Some(Open { file, bytes: kept, inode });
        Ok(length - kept)
    }

    /// Renames the file to `.1`, its predecessors to the next numbers, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        for number in (1..AUDIT_FILES_MAX).rev() {
            rename(&rotated(&self.path, number), &rotated(&self.path, number + 1))?;
        }
        rename(&self.path, &rotated(&self.path, 1))?;
        self.reopen()?;
        // The renames are on disk before the first line of the new file.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Cuts off an incomplete batch.
    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)
    }
}

/// Opens a file to append, for its owner only, and locks it against other processes.
fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(ErrorKind::ResourceBusy, "another process writes it"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Reads the last complete line, and the length of the file with complete lines only.
fn read_tail(file: &mut File, length: u64) -> io::Result<(Tail, u64)> {
    let start = length.saturating_sub(AUDIT_LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(AUDIT_LINE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    let is_end = |byte: &u8| *byte == b'\n';
    let Some(end) = bytes.iter().rposition(is_end) else {
        // A single incomplete line, or bytes that no log has, which stay.
        return Ok((Tail::Empty, if start == 0 { 0 } else { length }));
    };
    let begin = bytes[..end].iter().rposition(is_end).map_or(0, |at| at + 1);
    Ok((Tail::Line(bytes[begin..end].to_vec()), start + end as u64 + 1))
}

/// End of the chain in a file; that of no line when it does not exist.
fn last_of(path: &Path) -> io::Result<Chain> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Chain::default()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    match read_tail(&mut file, length)?.0 {
        Tail::Line(line) => Ok(Chain::ending_with(&line).unwrap_or_default()),
        Tail::Empty => Ok(Chain::default()),
    }
}

/// Path of a rotated file: `audit.log.1` is the newest.
pub(super) fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
