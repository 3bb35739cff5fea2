//! Files that are there whole or not at all, and copies of directories.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A new content for a file, written and synced beside it: what may fail for want of space has happened.
pub(crate) struct Prepared {
    /// Until it is put in place.
    tmp: Option<PathBuf>,
    path: PathBuf,
}

impl Prepared {
    /// Writes `bytes` to a temporary file beside `path`.
    pub(crate) fn new(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let tmp = beside(path);
        let prepared = Self { tmp: Some(tmp.clone()), path: path.to_owned() };
        let mut file = create(&tmp)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        Ok(prepared)
    }

    /// Puts it in place, durably.
    pub(crate) fn replace(self) -> io::Result<()> {
        let path = self.path.clone();
        self.replace_soon()?;
        sync_parent(&path)
    }

    /// Puts it in place for every process at once, and durably with the next sync of anything on the file system.
    pub(crate) fn replace_soon(mut self) -> io::Result<()> {
        if let Some(tmp) = &self.tmp {
            fs::rename(tmp, &self.path)?;
        }
        self.tmp = None;
        Ok(())
    }
}

impl Drop for Prepared {
    /// What was not put in place is not left behind either.
    fn drop(&mut self) {
        if let Some(tmp) = &self.tmp {
            let _ = fs::remove_file(tmp);
        }
    }
}

/// Where the next content of a file is written.
pub(crate) fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("tmp")
}

/// Replaces a file: afterwards it has the old content or the new one, whatever happens.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Prepared::new(path, bytes)?.replace()
}

/// Makes renames and removals in a file's directory durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Creates a file, or empties it, that only its owner may read: records hold the secrets of webhooks.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    // One that was there keeps its mode otherwise.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Makes a directory that only its owner may read, and those above it.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Bytes that a directory occupies on its disk, holes not counted. What vanishes meanwhile counts nothing.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| if meta.is_dir() { disk_bytes(&path) } else { meta.blocks() * 512 })
        .sum()
}

/// Copies a directory with everything in it and syncs the copy. Files are copied sparsely: the engine's journal is 64 MB
/// that are nearly all holes.
pub(crate) fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    make_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_dir(&source, &target)?;
        } else if kind.is_file() {
            copy_file(&source, &target)?;
        }
    }
    File::open(to)?.sync_all()
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = create(to)?;
    let meta = source.metadata()?;
    let allocated = meta.blocks() * 512;
    let mut block = vec![0; COPY_BLOCK_BYTES];
    let (mut position, mut copied) = (0, 0);
    // Once all allocated bytes are copied, only holes follow: there is no need to read them.
    while position < meta.len() && copied < allocated {
        let count = source.read(&mut block)?;
        if count == 0 {
            break;
        }
        let bytes = &block[..count];
        if bytes.iter().any(|byte| *byte != 0) {
            target.seek(SeekFrom::Start(position))?;
            target.write_all(bytes)?;
            copied += count as u64;
        }
        position += count as u64;
    }
    target.set_len(meta.len())?;
    target.sync_all()
}

const FILE_MODE: u32 = 0o600;

/// 4 KiB: the block of common file systems, the unit in which holes come.
const COPY_BLOCK_BYTES: usize = 4096;
