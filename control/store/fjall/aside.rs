//! Copies of the store's files: after an unclean stop, and when damage was found.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::limits;

use super::Fjall;
use crate::durable;

/// Copy of the files that is made before they are opened after an unclean stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unchecked {
    /// Made by this start.
    Made,
    /// Left by an earlier start that was killed before it was done.
    Found,
}

impl Fjall {
    pub(super) fn aside(&self) -> PathBuf {
        self.path.join("aside")
    }

    fn unchecked(&self) -> PathBuf {
        self.aside().join("unchecked")
    }

    /// Copies the files before the engine opens them. The copy of an earlier killed start is kept: it has the
    /// older state, and repeated kills must not fill the disk.
    pub(crate) fn copy_unchecked(&self) -> io::Result<Unchecked> {
        if self.unchecked().exists() {
            return Ok(Unchecked::Found);
        }
        // Renamed only when it is complete.
        let part = self.aside().join("unchecked.part");
        let copy = || {
            durable::make_dir(&self.aside())?;
            let _ = fs::remove_dir_all(&part);
            self.copy_files(&part)?;
            durable::copy_dir(&self.live(), &part.join("live"))?;
            fs::rename(&part, self.unchecked())?;
            durable::sync_parent(&self.unchecked())
        };
        let copied = copy();
        if copied.is_err() {
            let _ = fs::remove_dir_all(&part);
        }
        copied.map(|()| Unchecked::Made)
    }

    /// Removes the copy: all acknowledged changes are present.
    pub(super) fn drop_unchecked(&self) {
        for name in ["unchecked", "unchecked.part"] {
            let _ = fs::remove_dir_all(self.aside().join(name));
        }
    }

    /// Keeps the copy under a number, because damage was found.
    pub(super) fn number_unchecked(&self) -> io::Result<PathBuf> {
        let to = self.next_copy()?;
        fs::rename(self.unchecked(), &to)?;
        durable::sync_parent(&to).map(|()| to)
    }

    /// Moves the present files to a new numbered folder.
    pub(super) fn keep_aside(&self) -> io::Result<PathBuf> {
        let to = self.next_copy()?;
        let filled = self.copy_files(&to).and_then(|()| {
            if self.live().exists() {
                fs::rename(self.live(), to.join("live"))?;
            }
            durable::sync_parent(&to)
        });
        // Never with the engine's files in it.
        if filled.is_err() && !to.join("live").exists() {
            let _ = fs::remove_dir_all(&to);
        }
        filled.map(|()| to)
    }

    /// Copies HEAD and the exports.
    fn copy_files(&self, to: &Path) -> io::Result<()> {
        durable::make_dir(to)?;
        for file in [self.head()].into_iter().chain(self.exports()) {
            if let (true, Some(name)) = (file.is_file(), file.file_name()) {
                fs::copy(&file, to.join(name))?;
            }
        }
        Ok(())
    }

    fn next_copy(&self) -> io::Result<PathBuf> {
        durable::make_dir(&self.aside())?;
        Ok(self.copy(self.copies()?.last().map_or(1, |last| last.saturating_add(1))))
    }

    /// Removes the oldest copies beyond the limit.
    pub(super) fn forget_copies(&self) {
        let Ok(numbers) = self.copies() else { return };
        let excess = numbers.len().saturating_sub(limits::STORE_COPIES_MAX);
        for number in numbers.into_iter().take(excess) {
            let _ = fs::remove_dir_all(self.copy(number));
        }
    }

    /// The numbers of the copies, ascending.
    fn copies(&self) -> io::Result<Vec<u32>> {
        let mut numbers: Vec<u32> = fs::read_dir(self.aside())?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn copy(&self, number: u32) -> PathBuf {
        self.aside().join(format!("{number:04}"))
    }
}
