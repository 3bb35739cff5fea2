//! Watch over the documents' folders (inotify): reports a save once it is complete.
//!
//! ```text
//!  quiet ── event ──► settling ── 50 ms of silence, no file open for writing ──► due
//!                        ├── one file, closed: 10 ms of silence; renamed: none ─┤
//!                        └── 1 s of events, or a writer silent for 2 s ─────────┘
//! ```
//! Folders are watched and not files, because most editors replace the file. Events of other names in the
//! same folder do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway_model::Tick;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::sources::{Names, Watched};
use crate::limits::{
    CONFIG_SETTLE, CONFIG_SETTLE_CLOSED, CONFIG_SETTLE_MAX, CONFIG_WRITE_MAX, CONFIG_WRITE_SILENCE,
};

/// Watched folders, and the progress of a save.
#[derive(Debug)]
pub(crate) struct FileWatch {
    inotify: OwnedFd,
    /// By watch descriptor.
    folders: BTreeMap<i32, (PathBuf, Names)>,
    save: Option<Save>,
}

/// A save in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Save {
    first: Tick,
    last: Tick,
    /// Files that a writer has open.
    writing: BTreeSet<OsString>,
    /// Silence after which it is complete, by the last event.
    silence: Duration,
}

impl FileWatch {
    /// # Errors
    /// The system's: inotify instances or descriptors are exhausted.
    pub(crate) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify, folders: BTreeMap::new(), save: None })
    }

    /// Replaces the watched folders; present ones stay without a gap.
    ///
    /// # Errors
    /// The first folder that cannot be watched; the others are.
    pub(crate) fn watch(&mut self, watched: &Watched) -> io::Result<()> {
        let mut result = Ok(());
        let mut kept = BTreeMap::new();
        for (folder, names) in &watched.folders {
            match inotify::add_watch(&self.inotify, folder.as_path(), mask()) {
                Ok(descriptor) => {
                    // One folder by two paths has one descriptor.
                    let entry = kept.entry(descriptor).or_insert_with(|| (folder.clone(), Names::default()));
                    entry.1.documents |= names.documents;
                    entry.1.scripts |= names.scripts;
                    entry.1.named.extend(names.named.iter().cloned());
                }
                Err(error) if result.is_ok() => result = Err(error.into()),
                Err(_) => {}
            }
        }
        for descriptor in self.folders.keys().filter(|descriptor| !kept.contains_key(*descriptor)) {
            // Fails when the folder is gone, and its watch with it.
            let _ = inotify::remove_watch(&self.inotify, *descriptor);
        }
        self.folders = kept;
        result
    }

    /// Descriptor that becomes readable with an event.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Reads the waiting events.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn read_events(&mut self, now: Tick) -> io::Result<()> {
        let mut buf = [MaybeUninit::uninit(); EVENTS_BYTES];
        // The documents of a folder are often saved together.
        let is_one_file = self.folders.values().all(|(_, names)| !names.documents && !names.scripts);
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buf);
        for _ in 0..EVENTS_MAX {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let folder = self.folders.get(&event.wd());
            let counts = match (folder, name) {
                (Some((_, names)), Some(name)) => names.contain(name),
                // An event of the folder itself, or lost events.
                (Some(_), None) => true,
                (None, _) => event.events().contains(ReadFlags::QUEUE_OVERFLOW),
            };
            if !counts {
                continue;
            }
            let save = self.save.get_or_insert_with(|| Save::new(now));
            save.last = now;
            if let (Some((folder, _)), Some(name)) = (folder, name) {
                save.handle(event.events(), folder, name);
            }
            // Other permissions leave the content as it is.
            if !event.events().contains(ReadFlags::ATTRIB) {
                let is_the_file = is_one_file && name.is_some();
                save.silence = if is_the_file { silence(event.events()) } else { CONFIG_SETTLE };
            }
        }
        Ok(())
    }

    /// Time at which the save is complete; [`Tick::NEVER`] without one.
    pub(crate) fn due(&self) -> Tick {
        self.save.as_ref().map_or(Tick::NEVER, Save::due)
    }

    /// Ends the save if it is complete.
    pub(crate) fn take_due(&mut self, now: Tick) -> bool {
        let is_due = self.due() <= now;
        if is_due {
            self.save = None;
        }
        is_due
    }
}

impl Save {
    fn new(now: Tick) -> Self {
        Self { first: now, last: now, writing: BTreeSet::new(), silence: CONFIG_SETTLE }
    }

    fn handle(&mut self, events: ReadFlags, folder: &Path, name: &OsStr) {
        let ends = ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO | ReadFlags::DELETE | ReadFlags::MOVED_FROM;
        let is_written = events.contains(ReadFlags::MODIFY)
            || events.contains(ReadFlags::CREATE) && is_being_created(&folder.join(name));
        if is_written {
            self.writing.insert(name.to_owned());
        } else if events.intersects(ends) {
            self.writing.remove(name);
        }
    }

    fn due(&self) -> Tick {
        let (silence, longest) = match self.writing.is_empty() {
            true => (self.silence, CONFIG_SETTLE_MAX),
            false => (CONFIG_WRITE_SILENCE, CONFIG_WRITE_MAX),
        };
        self.last.after(silence).min(self.first.after(longest))
    }
}

/// Silence after an event of the one document, until it is taken for whole.
fn silence(events: ReadFlags) -> Duration {
    match events {
        // Renamed into its place: no writer has it open there.
        events if events.contains(ReadFlags::MOVED_TO) => Duration::ZERO,
        events if events.contains(ReadFlags::CLOSE_WRITE) => CONFIG_SETTLE_CLOSED,
        _ => CONFIG_SETTLE,
    }
}

/// Whether a new name is a file that its creator still has open: neither a link nor a second name of a file,
/// whose events end with their creation.
fn is_being_created(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1)
}

fn mask() -> WatchFlags {
    WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR
        | WatchFlags::EXCL_UNLINK
}

/// Room for some 16 events with the longest names.
const EVENTS_BYTES: usize = 4_096;

/// Events handled in one turn: a folder that never rests must not occupy the thread.
const EVENTS_MAX: usize = 4_096;

#[cfg(test)]
#[path = "file_watch_tests.rs"]
mod tests;
