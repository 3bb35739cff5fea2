//! Documents of a file or folder: listing, reading, and the places to watch.
//!
//! Of a folder all `*.yaml`, `*.yml` and `*.json` files are read, sorted by name; hidden files and leftovers
//! of editors are not.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ringway_config::Source;

use crate::limits::{CONFIG_BYTES_MAX, CONFIG_FILES_MAX, CONFIG_LINKS_MAX};

/// Reads the documents of a file, or of all document files of a folder, in the order of their names.
///
/// # Errors
/// See [`SourceError`].
pub fn read_sources(path: &Path) -> Result<Vec<Source>, SourceError> {
    read(path).map(|reading| reading.sources)
}

/// Documents as read, and the state of their files.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) sources: Vec<Source>,
    pub(crate) stamp: Stamp,
    /// Files that no folder names any longer: a single file mounted into a container, after its replacement
    /// outside.
    pub(crate) unlinked: Vec<PathBuf>,
}

/// State of the files by the file system: differs after a save, without reading any content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<(PathBuf, FileState)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// Reason why documents cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceError {
    /// The system's error for a file or folder.
    Io(PathBuf, io::Error),
    /// Neither a regular file nor a link to one.
    NotAFile(PathBuf),
    /// The folder has no document.
    Empty(PathBuf),
    /// The folder has more than `CONFIG_FILES_MAX` documents.
    TooManyFiles(PathBuf),
    /// The documents have more than `CONFIG_BYTES_MAX` bytes together.
    TooLarge(PathBuf),
    /// A file is not UTF-8: the number of the line with the first wrong byte.
    NotUtf8(PathBuf, u32),
}

impl SourceError {
    /// The file or folder.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io(path, _)
            | Self::NotAFile(path)
            | Self::Empty(path)
            | Self::TooManyFiles(path)
            | Self::TooLarge(path)
            | Self::NotUtf8(path, _) => path,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().display();
        match self {
            Self::Io(..) => write!(f, "{path} cannot be read"),
            Self::NotAFile(_) => write!(f, "{path} is not a regular file"),
            Self::Empty(_) => write!(f, "{path} has no file that ends with .yaml, .yml or .json"),
            Self::TooManyFiles(_) => {
                write!(f, "{path} has more than {CONFIG_FILES_MAX} documents; join some of them")
            }
            Self::TooLarge(_) => {
                let mebibytes = CONFIG_BYTES_MAX >> 20;
                write!(f, "{path}: the documents have more than {mebibytes} MiB together")
            }
            Self::NotUtf8(_, line) => write!(f, "{path}:{line}: not UTF-8"),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::NotAFile(_)
            | Self::Empty(_)
            | Self::TooManyFiles(_)
            | Self::TooLarge(_)
            | Self::NotUtf8(..) => None,
        }
    }
}

/// Reads all documents. A file that vanishes between listing and reading is listed again.
pub(crate) fn read(path: &Path) -> Result<Reading, SourceError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut reading = Reading::default();
        let mut left = CONFIG_BYTES_MAX;
        let files = list(path)?;
        let is_folder = files.is_folder;
        let result = files.paths.into_iter().try_for_each(|file| read_one(file, &mut reading, &mut left));
        match result {
            Err(SourceError::Io(_, error))
                if is_folder && error.kind() == ErrorKind::NotFound && tries < LISTINGS_MAX => {}
            result => return result.map(|()| reading),
        }
    }
}

/// State of all documents without their content.
pub(crate) fn stamp(path: &Path) -> Result<Stamp, SourceError> {
    let state = |file: PathBuf| {
        let state = fs::metadata(&file).map(|found| FileState::of(&found));
        state.map(|state| (file.clone(), state)).map_err(|error| SourceError::Io(file, error))
    };
    list(path)?.paths.into_iter().map(state).collect::<Result<_, _>>().map(Stamp)
}

struct Listing {
    is_folder: bool,
    paths: Vec<PathBuf>,
}

fn list(path: &Path) -> Result<Listing, SourceError> {
    let failed = |error| SourceError::Io(path.to_owned(), error);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(Listing { is_folder: false, paths: vec![path.to_owned()] });
    }
    let mut names: Vec<OsString> = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if is_document(&name) && names.len() > CONFIG_FILES_MAX {
            return Err(SourceError::TooManyFiles(path.to_owned()));
        }
        if is_document(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let paths: Vec<PathBuf> =
        names.iter().map(|name| path.join(name)).filter(|file| !file.is_dir()).collect();
    match paths.len() {
        0 => Err(SourceError::Empty(path.to_owned())),
        count if count > CONFIG_FILES_MAX => Err(SourceError::TooManyFiles(path.to_owned())),
        _ => Ok(Listing { is_folder: true, paths }),
    }
}

/// Whether a file of a folder is a document, by its name.
pub(crate) fn is_document(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let ends = |end: &str| name.ends_with(end.as_bytes());
    !name.starts_with(b".") && (ends(".yaml") || ends(".yml") || ends(".json"))
}

fn read_one(path: PathBuf, reading: &mut Reading, left: &mut u64) -> Result<(), SourceError> {
    let failed = |error| SourceError::Io(path.clone(), error);
    // Non-blocking: opening a FIFO must not wait for its writer.
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(&path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(SourceError::NotAFile(path));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len().min(*left)).unwrap_or(0));
    (&file).take(*left + 1).read_to_end(&mut bytes).map_err(failed)?;
    *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| SourceError::TooLarge(path.clone()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        SourceError::NotUtf8(path.clone(), u32::try_from(line).unwrap_or(u32::MAX))
    })?;
    if found.nlink() == 0 {
        reading.unlinked.push(path.clone());
    }
    reading.stamp.0.push((path.clone(), FileState::of(&found)));
    reading.sources.push(Source { name: Arc::from(path.to_string_lossy()), text });
    Ok(())
}

/// Names to watch in each folder: a change of one of them may change the documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Folder to the names in it.
    pub(crate) folders: BTreeMap<PathBuf, Names>,
}

/// Names of one folder that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Every name of a document.
    pub(crate) documents: bool,
    /// Further names: links on the way to the documents.
    pub(crate) named: Vec<OsString>,
}

impl Names {
    pub(crate) fn contain(&self, name: &OsStr) -> bool {
        self.documents && is_document(name) || self.named.iter().any(|named| named == name)
    }
}

/// Folders that a change of the documents shows in: that of each document and of each link on the way to it,
/// such as the `..data` of a mounted ConfigMap.
pub(crate) fn watched(path: &Path) -> Watched {
    let mut watched = Watched::default();
    let mut links = 0;
    let end = trace(path, &mut watched, &mut links);
    if let Some(folder) = end.filter(|end| end.is_dir()) {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let linked = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        for entry in linked.filter(|entry| is_document(&entry.file_name())).take(CONFIG_FILES_MAX) {
            links = 0;
            trace(&entry.path(), &mut watched, &mut links);
        }
        watched.folders.entry(folder).or_default().documents = true;
    }
    watched
}

/// Follows a path link by link. Returns the file or folder at its end, if it exists.
fn trace(path: &Path, watched: &mut Watched, links: &mut usize) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let mut at = PathBuf::from("/");
    let mut rest: Vec<OsString> = absolute.components().rev().filter_map(name_of).collect();
    while let Some(name) = rest.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let link = fs::read_link(&next).ok();
        // The last name, and every link: its replacement leads elsewhere.
        if link.is_some() || rest.is_empty() {
            let names = &mut watched.folders.entry(at.clone()).or_default().named;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let Some(target) = link else {
            at = next;
            continue;
        };
        *links += 1;
        if *links > CONFIG_LINKS_MAX {
            return None;
        }
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        rest.extend(target.components().rev().filter_map(name_of));
    }
    at.exists().then_some(at)
}

fn name_of(component: Component<'_>) -> Option<OsString> {
    match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }
}

/// `O_NONBLOCK` on Linux.
const O_NONBLOCK: i32 = 0o4000;

/// Listings of a folder for one reading.
const LISTINGS_MAX: usize = 3;

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
