//! Atomic file replacement and copies of directories.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// New content of a file, written and synced to a temporary file: a full disk shows before the replacement.
pub(crate) struct PreparedFile {
    /// The temporary file until the replacement.
    tmp: Option<PathBuf>,
    path: PathBuf,
}

impl PreparedFile {
    /// Writes `bytes` to a temporary file next to `path`.
    pub(crate) fn new(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let tmp = temporary(path);
        let prepared = Self { tmp: Some(tmp.clone()), path: path.to_owned() };
        let mut file = create(&tmp)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        Ok(prepared)
    }

    /// Replaces the file, durably.
    pub(crate) fn replace(self) -> io::Result<()> {
        let path = self.path.clone();
        self.replace_soon()?;
        sync_parent(&path)
    }

    /// Replaces the file for all processes; durable with the next sync of the file system.
    pub(crate) fn replace_soon(mut self) -> io::Result<()> {
        if let Some(tmp) = &self.tmp {
            fs::rename(tmp, &self.path)?;
        }
        self.tmp = None;
        Ok(())
    }
}

impl Drop for PreparedFile {
    /// Removes the temporary file if it was not used.
    fn drop(&mut self) {
        if let Some(tmp) = &self.tmp {
            let _ = fs::remove_file(tmp);
        }
    }
}

/// The path of the temporary file.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    path.with_added_extension("tmp")
}

/// Replaces a file atomically: it has the old content or the new one at every moment.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    PreparedFile::new(path, bytes)?.replace()
}

/// Makes renames and removals in a file's directory durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Creates or truncates a file that only its owner can read: records contain the secrets of webhooks.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    // An existing file keeps its mode otherwise.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Creates a directory that only its owner can read, and its parents.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Disk usage of a directory in bytes, holes not counted. Files that vanish meanwhile are not counted.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| if meta.is_dir() { disk_bytes(&path) } else { meta.blocks() * 512 })
        .sum()
}

/// Copies a directory recursively and syncs the copy. Files are copied sparsely: the engine's journal has 64
/// MB, nearly all of it holes.
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
    // After the allocated bytes only holes follow, which need not be read.
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

/// 4 KiB: the block size of common file systems, and so of holes.
const COPY_BLOCK_BYTES: usize = 4096;
