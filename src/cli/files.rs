//! Log file that SIGHUP reopens, for logrotate.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of requests to reopen log files (SIGHUP).
static REOPENINGS: AtomicU64 = AtomicU64::new(0);

/// Has every log file reopened before its next line.
pub(crate) fn reopen_all() {
    REOPENINGS.fetch_add(1, Ordering::Relaxed);
}

/// A file that lines are appended to.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    /// Number of requests to reopen, and how many of them this file has followed.
    requested: &'static AtomicU64,
    followed: u64,
}

impl LogFile {
    /// Opens a file; creates it when missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_counted(path, &REOPENINGS)
    }

    fn open_counted(path: &Path, requested: &'static AtomicU64) -> io::Result<Self> {
        let followed = requested.load(Ordering::Relaxed);
        Ok(Self { path: path.to_owned(), file: open(path)?, requested, followed })
    }

    /// Reopens the path if that was requested. When it cannot be opened, the old file stays in use.
    fn reopen_if_requested(&mut self) {
        let requested = self.requested.load(Ordering::Relaxed);
        if requested != self.followed {
            self.followed = requested;
            if let Ok(file) = open(&self.path) {
                self.file = file;
            }
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.reopen_if_requested();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_renamed_file_is_replaced_after_a_request_to_reopen() {
        static REOPENINGS: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut file = LogFile::open_counted(&path, &REOPENINGS).unwrap();
        file.write_all(b"a\n").unwrap();
        fs::rename(&path, &old).unwrap();
        file.write_all(b"b\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "a\nb\n");
        REOPENINGS.fetch_add(1, Ordering::Relaxed);
        file.write_all(b"c\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "c\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), "a\nb\n");
    }

    #[test]
    fn the_old_file_stays_in_use_when_the_path_is_gone() {
        static REOPENINGS: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let (inside, moved) = (folder.path().join("logs"), folder.path().join("moved"));
        fs::create_dir(&inside).unwrap();
        let mut file = LogFile::open_counted(&inside.join("log"), &REOPENINGS).unwrap();
        fs::rename(&inside, &moved).unwrap();
        REOPENINGS.fetch_add(1, Ordering::Relaxed);
        file.write_all(b"kept\n").unwrap();
        assert_eq!(fs::read_to_string(moved.join("log")).unwrap(), "kept\n");
    }
}
