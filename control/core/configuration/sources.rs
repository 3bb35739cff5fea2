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

use ringway_config::{ScriptPaths, Source, script_paths};

use crate::limits::{CONFIG_BYTES_MAX, CONFIG_FILES_MAX, CONFIG_LINKS_MAX, SCRIPT_FOLDERS_DEPTH_MAX};

/// Reads the documents of a file, or of all document files of a folder, in the order of their names.
///
/// # Errors
/// See [`SourceError`].
pub fn read_sources(path: &Path) -> Result<Vec<Source>, SourceError> {
    read(path).map(|reading| reading.sources)
}

/// Reads the Lua scripts of files and folders. A file that is missing is left out.
///
/// # Errors
/// See [`SourceError`].
pub fn read_scripts(paths: &ScriptPaths) -> Result<Vec<Source>, SourceError> {
    let mut reading = Reading { scripts: paths.clone(), ..Reading::default() };
    read_named_scripts(&mut reading)?;
    Ok(reading.sources)
}

/// Documents as read, and the state of their files.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) sources: Vec<Source>,
    pub(crate) stamp: Stamp,
    /// Files and folders of scripts that they name.
    pub(crate) scripts: ScriptPaths,
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
            result => return result.and_then(|()| read_scripts_of(&mut reading)).map(|()| reading),
        }
    }
}

/// Reads the scripts that the documents name.
fn read_scripts_of(reading: &mut Reading) -> Result<(), SourceError> {
    reading.scripts = script_paths(&reading.sources);
    read_named_scripts(reading)
}

fn read_named_scripts(reading: &mut Reading) -> Result<(), SourceError> {
    let mut left = CONFIG_BYTES_MAX;
    for file in list_scripts(&reading.scripts)? {
        match read_one(file, reading, &mut left) {
            // The reader has the place where a document names it; a save may replace it at this moment.
            Err(SourceError::Io(_, error)) if error.kind() == ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// Files of scripts: those that are named, and all in named folders.
fn list_scripts(paths: &ScriptPaths) -> Result<Vec<PathBuf>, SourceError> {
    let mut files: Vec<PathBuf> = paths.files.iter().cloned().collect();
    for folder in &paths.folders {
        for folder in script_folders(folder) {
            let failed = |error| SourceError::Io(folder.clone(), error);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                let path = folder.join(&name);
                if is_script(&name) && !path.is_dir() {
                    files.push(path);
                }
                if files.len() > CONFIG_FILES_MAX {
                    return Err(SourceError::TooManyFiles(folder));
                }
            }
        }
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

/// A folder of scripts and the folders in it, as deep as modules may be. One that does not exist is the only
/// one.
fn script_folders(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let (mut at, mut depth_ends) = (0, 1);
    for _ in 1..SCRIPT_FOLDERS_DEPTH_MAX {
        while at < depth_ends {
            let entries = fs::read_dir(&found[at]).into_iter().flatten().flatten();
            let below = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
            let below: Vec<_> = below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
            found.extend(below.into_iter().take(CONFIG_FILES_MAX));
            at += 1;
        }
        depth_ends = found.len();
    }
    found
}

/// Whether a file of a folder is a script, by its name. Tests of scripts stand beside them.
fn is_script(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !name.starts_with(b".") && name.ends_with(b".lua") && !name.ends_with(b"_test.lua")
}

/// State of all documents without their content.
pub(crate) fn stamp(path: &Path, scripts: &ScriptPaths) -> Result<Stamp, SourceError> {
    let state = |file: PathBuf| {
        let state = fs::metadata(&file).map(|found| FileState::of(&found));
        state.map(|state| (file.clone(), state)).map_err(|error| SourceError::Io(file, error))
    };
    let files = list(path)?.paths.into_iter().chain(list_scripts(scripts)?);
    files.map(state).collect::<Result<_, _>>().map(Stamp)
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
    /// Every name of a script, and of a folder of them.
    pub(crate) scripts: bool,
    /// Further names: links on the way to the documents.
    pub(crate) named: Vec<OsString>,
}

impl Names {
    pub(crate) fn contain(&self, name: &OsStr) -> bool {
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        let is_of_scripts = is_script(name) || !is_hidden && Path::new(name).extension().is_none();
        self.documents && is_document(name)
            || self.scripts && is_of_scripts
            || self.named.iter().any(|named| named == name)
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

impl Watched {
    /// Adds the folders of scripts.
    pub(crate) fn add_scripts(&mut self, scripts: &ScriptPaths) {
        for file in &scripts.files {
            trace(file, self, &mut 0);
        }
        for folder in &scripts.folders {
            for folder in script_folders(folder) {
                if let Some(end) = trace(&folder, self, &mut 0).filter(|end| end.is_dir()) {
                    self.folders.entry(end).or_default().scripts = true;
                }
            }
        }
    }
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
