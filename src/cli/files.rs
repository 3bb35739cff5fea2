//! A log file that can be opened anew while others write to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How often log files were to be opened anew (SIGHUP).
static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// From now on, every log file is opened anew before the next line is written to it.
pub(crate) fn reopen_all() {
    ROUNDS.fetch_add(1, Ordering::Relaxed);
}

/// A file that lines are appended to.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    /// Counts how often files were to be opened anew; `round` is where this one is.
    rounds: &'static AtomicU64,
    round: u64,
}

impl LogFile {
    /// Opens a file, makes it when missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_counted(path, &ROUNDS)
    }

    fn open_counted(path: &Path, rounds: &'static AtomicU64) -> io::Result<Self> {
        let round = rounds.load(Ordering::Relaxed);
        Ok(Self { path: path.to_owned(), file: open(path)?, rounds, round })
    }

    /// Opens the path anew if that was asked for. When it cannot be opened, the old file goes on.
    fn renew(&mut self) {
        let round = self.rounds.load(Ordering::Relaxed);
        if round != self.round {
            self.round = round;
            if let Ok(file) = open(&self.path) {
                self.file = file;
            }
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.renew();
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
    fn a_renamed_file_is_left_and_a_new_one_begun() {
        static ROUNDS: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut file = LogFile::open_counted(&path, &ROUNDS).unwrap();
        file.write_all(b"a\n").unwrap();
        fs::rename(&path, &old).unwrap();
        file.write_all(b"b\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "a\nb\n");
        ROUNDS.fetch_add(1, Ordering::Relaxed);
        file.write_all(b"c\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "c\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), "a\nb\n");
    }

    #[test]
    fn the_old_file_goes_on_when_the_path_is_gone() {
        static ROUNDS: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        let (inside, moved) = (folder.path().join("logs"), folder.path().join("moved"));
        fs::create_dir(&inside).unwrap();
        let mut file = LogFile::open_counted(&inside.join("log"), &ROUNDS).unwrap();
        fs::rename(&inside, &moved).unwrap();
        ROUNDS.fetch_add(1, Ordering::Relaxed);
        file.write_all(b"kept\n").unwrap();
        assert_eq!(fs::read_to_string(moved.join("log")).unwrap(), "kept\n");
    }
}
