//! Certificate directory: one folder per domain, written so that a crash at any time leaves the old or the
//! new content.
//!
//! ```text
//! <dir>                     0700
//!   domains/<host>/         0700, one per domain; the name is the normalised host name
//!     identity.pem          0600, chain (leaf first) and private key together
//!     state.json            0600, issuance record
//!     order.json            0600, order in progress, with its key
//!   accounts/               0700, accounts at the CAs
//!   *.json                  0600, common state, such as budgets
//! ```
//!
//! Chain and key share one file because a rename replaces one name: with two files, a crash between two
//! renames would leave a chain with another one's key. `certificate.pem` and `key.pem`, placed by hand, are
//! read where there is no `identity.pem`, and never written.
//!
//! Every write goes to a temporary file, which is synced and renamed, and then the folder is synced. Names
//! come from [`Hostname`]s, which are one path component by construction; that is checked all the same. Links
//! are not followed, and permissions that let others read are corrected when a file is read.
//!
//! All of this blocks: it is called on blocking threads, on the loader thread, and once at the start.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{CERTIFICATE_FILE_BYTES_MAX, CERTIFICATE_RECORD_BYTES_MAX};
use ringway_model::Hostname;
use ringway_model::limits::FINDINGS_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Certificate directory. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: Arc<Path>,
    /// Files opened for reading: shows that a start opens none.
    opened: Arc<AtomicU64>,
    #[cfg(test)]
    pub(crate) faults: Faults,
}

/// Chain and key in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Chain, leaf first.
    pub(crate) chain: Vec<u8>,
    /// Private key.
    pub(crate) key: Vec<u8>,
}

/// Listing of the directory, made without opening a file.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Domains with a certificate.
    pub(crate) with_identity: Vec<Hostname>,
    /// Domains with a folder and no certificate.
    pub(crate) without: Vec<Hostname>,
    /// Unexpected entries, [`FINDINGS_MAX`] at most: for the log.
    pub(crate) findings: Vec<String>,
}

/// JSON file of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DomainFile {
    /// Issuance record.
    State,
    /// Order in progress.
    Order,
}

impl DomainFile {
    fn name(self) -> &'static str {
        match self {
            Self::State => "state.json",
            Self::Order => "order.json",
        }
    }
}

/// Reason for a failed read or write.
#[derive(Debug)]
pub(crate) enum FilesError {
    /// Error of the system.
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// A link, folder or device in place of a file.
    NotAFile(PathBuf),
    /// Over the size limit.
    TooLarge { path: PathBuf, bytes_max: usize },
    /// Unparsable; moved aside.
    Damaged { path: PathBuf, reason: String },
    /// Not a single path component.
    Name(String),
}

impl Files {
    /// Names the directory, without touching it.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            opened: Arc::default(),
            #[cfg(test)]
            faults: Faults::default(),
        }
    }

    /// No directory: only [`Self::read_named`] works.
    pub(crate) fn without_directory() -> Self {
        Self::new(Path::new("/dev/null"))
    }

    /// Creates the directory, corrects its permissions, and checks that it is writable; returns the
    /// corrections.
    pub(crate) fn prepare(&self) -> Result<Vec<String>, FilesError> {
        let mut findings = Vec::new();
        for dir in [self.dir.to_path_buf(), self.dir.join("domains"), self.dir.join("accounts")] {
            make_dir(&dir)?;
            findings.extend(close_to_others(&dir, DIR_MODE)?);
        }
        self.replace(&self.dir.join(".writable"), b"")?;
        self.remove_file(&self.dir.join(".writable"))?;
        Ok(findings)
    }

    /// Lists the folders of domains: one directory read, and a look at one name in each folder.
    pub(crate) fn list(&self) -> Result<Listing, FilesError> {
        let domains = self.dir.join("domains");
        let mut listing = Listing::default();
        let entries = match fs::read_dir(&domains) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(listing),
            Err(error) => return Err(io_error("list", &domains)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io_error("list", &domains))?;
            let name = entry.file_name();
            let host = name
                .to_str()
                .and_then(|name| Hostname::parse(name).ok().filter(|host| host.as_str() == name));
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match host {
                Some(host) if is_dir && self.has_identity(&host) => listing.with_identity.push(host),
                Some(host) if is_dir => listing.without.push(host),
                Some(_) | None if listing.findings.len() < FINDINGS_MAX => {
                    listing
                        .findings
                        .push(format!("{} is not the folder of a domain", entry.path().display()));
                }
                Some(_) | None => {}
            }
        }
        Ok(listing)
    }

    /// Whether the domain has a certificate. Opens nothing.
    pub(crate) fn has_identity(&self, host: &Hostname) -> bool {
        let Ok(folder) = self.folder(host) else { return false };
        let is_file = |name| fs::symlink_metadata(folder.join(name)).is_ok_and(|meta| meta.is_file());
        is_file(IDENTITY) || (is_file(HAND_PLACED.0) && is_file(HAND_PLACED.1))
    }

    /// Reads the certificate and key of a domain; `None` without one.
    pub(crate) fn read_identity(&self, host: &Hostname) -> Result<Option<Pair>, FilesError> {
        let folder = self.folder(host)?;
        if let Some(both) = self.read(&folder.join(IDENTITY), CERTIFICATE_FILE_BYTES_MAX)? {
            return Ok(Some(Pair::from_pem(&both, &both)));
        }
        let chain = self.read(&folder.join(HAND_PLACED.0), CERTIFICATE_FILE_BYTES_MAX)?;
        let key = self.read(&folder.join(HAND_PLACED.1), CERTIFICATE_FILE_BYTES_MAX)?;
        Ok(chain.zip(key).map(|(chain, key)| Pair { chain, key }))
    }

    /// Replaces the certificate and key of a domain, both at once.
    pub(crate) fn write_identity(&self, host: &Hostname, pair: &Pair) -> Result<(), FilesError> {
        let folder = self.make_folder(host)?;
        let mut both = Vec::with_capacity(pair.chain.len() + pair.key.len() + 1);
        both.extend_from_slice(&pair.chain);
        if !both.ends_with(b"\n") {
            both.push(b'\n');
        }
        both.extend_from_slice(&pair.key);
        self.replace(&folder.join(IDENTITY), &both)
    }

    /// Reads a JSON file of a domain; `None` without one. An unparsable one is moved aside, so that it is
    /// reported once and can be examined.
    pub(crate) fn read_domain_file<T: DeserializeOwned>(
        &self,
        host: &Hostname,
        file: DomainFile,
    ) -> Result<Option<T>, FilesError> {
        self.read_json(&self.folder(host)?.join(file.name()))
    }

    /// Replaces a JSON file of a domain.
    pub(crate) fn write_domain_file(
        &self,
        host: &Hostname,
        file: DomainFile,
        value: &impl Serialize,
    ) -> Result<(), FilesError> {
        let folder = self.make_folder(host)?;
        self.write_json(&folder.join(file.name()), value)
    }

    /// Removes a JSON file of a domain, if it exists.
    pub(crate) fn remove_domain_file(&self, host: &Hostname, file: DomainFile) -> Result<(), FilesError> {
        self.remove_file(&self.folder(host)?.join(file.name()))
    }

    /// Reads a common JSON file, such as `budgets.json` or `accounts/<id>.json`.
    pub(crate) fn read_common<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FilesError> {
        self.read_json(&self.common(name)?)
    }

    /// Replaces a common JSON file.
    pub(crate) fn write_common(&self, name: &str, value: &impl Serialize) -> Result<(), FilesError> {
        let path = self.common(name)?;
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        self.write_json(&path, value)
    }

    /// Removes a common JSON file, if it exists.
    pub(crate) fn remove_common(&self, name: &str) -> Result<(), FilesError> {
        self.remove_file(&self.common(name)?)
    }

    /// Removes the folder of a domain with its content, if it exists.
    pub(crate) fn remove_domain(&self, host: &Hostname) -> Result<(), FilesError> {
        let folder = self.folder(host)?;
        // The certificate first: after a crash in between, a folder without one is not served.
        for name in [IDENTITY, HAND_PLACED.1, HAND_PLACED.0] {
            self.remove_file(&folder.join(name))?;
        }
        match fs::remove_dir_all(&folder) {
            Ok(()) => sync_dir(&self.dir.join("domains")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("remove", &folder)(error)),
        }
    }

    /// Number of files opened for reading.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Reads a file by the path that a user named: it may be a link, and anywhere.
    pub(crate) fn read_named(&self, path: &Path) -> Result<(Vec<u8>, Stamp), FilesError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        // O_NONBLOCK: opening a pipe would block.
        let mut options = OpenOptions::new();
        let file =
            options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(io_error("open", path))?;
        let meta = file.metadata().map_err(io_error("read", path))?;
        if !meta.is_file() {
            return Err(FilesError::NotAFile(path.to_owned()));
        }
        Ok((read_bounded(file, path, CERTIFICATE_FILE_BYTES_MAX)?, Stamp::of(&meta)))
    }

    fn folder(&self, host: &Hostname) -> Result<PathBuf, FilesError> {
        let name = Path::new(host.as_str());
        let mut parts = name.components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(part)), None)
                if part == name.as_os_str() && !host.as_str().starts_with('.') => {}
            _ => return Err(FilesError::Name(host.as_str().to_owned())),
        }
        let folder = self.dir.join("domains").join(name);
        // A link in place of the folder would redirect writes.
        match fs::symlink_metadata(&folder) {
            Ok(meta) if !meta.is_dir() => Err(FilesError::NotAFile(folder)),
            Ok(_) | Err(_) => Ok(folder),
        }
    }

    fn make_folder(&self, host: &Hostname) -> Result<PathBuf, FilesError> {
        let folder = self.folder(host)?;
        match DirBuilder::new().mode(DIR_MODE).create(&folder) {
            Ok(()) => sync_dir(&self.dir.join("domains"))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_dir(&folder)?;
                sync_dir(&self.dir.join("domains"))?;
            }
            Err(error) => return Err(io_error("make", &folder)(error)),
        }
        Ok(folder)
    }

    fn common(&self, name: &str) -> Result<PathBuf, FilesError> {
        let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_plain || name.is_empty() {
            return Err(FilesError::Name(name.to_owned()));
        }
        Ok(self.dir.join(name))
    }

    fn read_json<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, FilesError> {
        let bytes = match self.read(path, CERTIFICATE_RECORD_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error @ FilesError::TooLarge { .. }) => return Err(set_aside(path, error.to_string())),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            // Only kind and line: the error text could contain a key.
            Err(error) => {
                Err(set_aside(path, format!("{:?} error at line {}", error.classify(), error.line())))
            }
        }
    }

    fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<(), FilesError> {
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| FilesError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
        if bytes.len() > CERTIFICATE_RECORD_BYTES_MAX {
            return Err(FilesError::TooLarge {
                path: path.to_owned(),
                bytes_max: CERTIFICATE_RECORD_BYTES_MAX,
            });
        }
        self.replace(path, &bytes)
    }

    /// Reads a file of the directory; `None` without one.
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, FilesError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let mut options = OpenOptions::new();
        let file = match options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            // O_NOFOLLOW reports a link as ELOOP.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(FilesError::NotAFile(path.to_owned()));
            }
            Err(error) => return Err(io_error("open", path)(error)),
        };
        let meta = file.metadata().map_err(io_error("read", path))?;
        if !meta.is_file() {
            return Err(FilesError::NotAFile(path.to_owned()));
        }
        if meta.mode() & OTHERS != 0 {
            // Others may have read it, but must not from now on. A file with another owner is still served.
            let corrected = file.set_permissions(Permissions::from_mode(FILE_MODE)).is_ok();
            tracing::warn!(path = %path.display(), mode = format!("{:o}", meta.mode() & 0o777), corrected, "private file was readable by others");
        }
        read_bounded(file, path, bytes_max).map(Some)
    }

    /// Replaces a file atomically: a crash leaves the old content or the new one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), FilesError> {
        let tmp = path.with_added_extension("tmp");
        let prepared = self.prepare_file(&tmp, bytes);
        if prepared.is_err() && !self.has_crashed() {
            // The partial file takes space on a disk that may be full.
            let _ = fs::remove_file(&tmp);
        }
        prepared?;
        self.step().map_err(io_error("replace", path))?;
        fs::rename(&tmp, path).map_err(io_error("replace", path))?;
        self.step().map_err(io_error("sync", path))?;
        path.parent().map_or(Ok(()), sync_dir)
    }

    fn prepare_file(&self, tmp: &Path, bytes: &[u8]) -> Result<(), FilesError> {
        // Left by a crash. The exclusive creation below follows no link.
        match fs::remove_file(tmp) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error("replace", tmp)(error)),
            Ok(()) | Err(_) => {}
        }
        self.step().map_err(io_error("write", tmp))?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .custom_flags(libc::O_NOFOLLOW)
            .open(tmp)
            .map_err(io_error("write", tmp))?;
        // In two parts, so that tests can crash between them.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.step().map_err(io_error("write", tmp))?;
        file.write_all(first).map_err(io_error("write", tmp))?;
        self.step().map_err(io_error("write", tmp))?;
        file.write_all(second).map_err(io_error("write", tmp))?;
        self.step().map_err(io_error("sync", tmp))?;
        file.sync_all().map_err(io_error("sync", tmp))
    }

    fn remove_file(&self, path: &Path) -> Result<(), FilesError> {
        self.step().map_err(io_error("remove", path))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    fn has_crashed(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        self.faults.step()
    }

    #[cfg(test)]
    fn has_crashed(&self) -> bool {
        self.faults.has_crashed()
    }
}

/// Identity of a file's content, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    mode: u32,
}

impl Stamp {
    /// Reads the stamp of the file at a path.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|meta| Self::of(&meta))
    }

    fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            mode: meta.mode(),
        }
    }

    /// Whether others than owner and group may read it, or others than the owner may write it: too open for a
    /// key.
    pub(crate) fn is_open_to_others(&self) -> bool {
        self.mode & 0o027 != 0
    }
}

/// Chain and key.
const IDENTITY: &str = "identity.pem";
/// Chain and key placed by hand.
const HAND_PLACED: (&str, &str) = ("certificate.pem", "key.pem");
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;

fn make_dir(path: &Path) -> Result<(), FilesError> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(path).map_err(io_error("make", path))
}

/// Removes the permissions of others; returns a finding when there were any.
fn close_to_others(dir: &Path, mode: u32) -> Result<Option<String>, FilesError> {
    let meta = fs::metadata(dir).map_err(io_error("look at", dir))?;
    if meta.mode() & OTHERS == 0 {
        return Ok(None);
    }
    let was = meta.mode() & 0o777;
    fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(io_error("close to others", dir))?;
    Ok(Some(format!("{} was open to others (mode {was:o}); it has mode {mode:o} now", dir.display())))
}

fn sync_dir(dir: &Path) -> Result<(), FilesError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

fn read_bounded(file: File, path: &Path, bytes_max: usize) -> Result<Vec<u8>, FilesError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() > bytes_max {
        return Err(FilesError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

fn set_aside(path: &Path, reason: String) -> FilesError {
    let aside = path.with_added_extension("damaged");
    // If the rename fails, the next write replaces the file.
    let _ = fs::rename(path, aside);
    FilesError::Damaged { path: path.to_owned(), reason }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Io { doing, path, source }
}

impl FilesError {
    /// Whether the error concerns the disk or the directory as a whole, not one domain.
    pub(crate) fn is_common(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                ErrorKind::StorageFull
                    | ErrorKind::QuotaExceeded
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::PermissionDenied
                    | ErrorKind::NotFound
            ),
            Self::NotAFile(_) | Self::TooLarge { .. } | Self::Damaged { .. } | Self::Name(_) => false,
        }
    }
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => {
                write!(f, "cannot {doing} {}: {source}", path.display())?;
                match source.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                        f.write_str("; free some space on this file system")
                    }
                    ErrorKind::PermissionDenied => {
                        f.write_str("; give it to the user that ringway runs as (chown)")
                    }
                    ErrorKind::ReadOnlyFilesystem => {
                        f.write_str("; mount it writable, or choose another directory for certificates")
                    }
                    _ => Ok(()),
                }
            }
            Self::NotAFile(path) => {
                write!(
                    f,
                    "{} is a link, or not the kind of file that it should be; links are not followed here",
                    path.display()
                )
            }
            Self::TooLarge { path, bytes_max } => {
                write!(f, "{} has more than {bytes_max} bytes", path.display())
            }
            Self::Damaged { path, reason } => {
                write!(f, "{} is damaged ({reason}) and was moved aside", path.display())
            }
            Self::Name(name) => write!(f, "{name:?} cannot be the name of a folder"),
        }
    }
}

impl std::error::Error for FilesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::NotAFile(_) | Self::TooLarge { .. } | Self::Damaged { .. } | Self::Name(_) => None,
        }
    }
}

impl Pair {
    /// Extracts the certificates of one text and the private keys of another, which may be the same.
    pub(crate) fn from_pem(chain: &[u8], key: &[u8]) -> Self {
        Self {
            chain: sections(chain, |label| label == b"CERTIFICATE"),
            key: sections(key, |label| label.ends_with(b"PRIVATE KEY")),
        }
    }
}

/// Extracts the sections of a PEM text (RFC 7468 §2) with the wanted labels. A section ends with its own
/// label, as for parsers, whatever follows on that line. The rest of the line is dropped, because it may be
/// anything, such as a key.
fn sections(pem: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut wanted = Vec::new();
    let mut inside: Option<&[u8]> = None;
    for line in pem.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if let Some(label) = line.strip_prefix(b"-----BEGIN ").and_then(|rest| rest.strip_suffix(b"-----")) {
            inside = Some(label).filter(|label| is_wanted(label));
        }
        let Some(label) = inside else { continue };
        let end = [b"-----END ", label, b"-----"].concat();
        if line.starts_with(&end) {
            wanted.extend_from_slice(&end);
            inside = None;
        } else {
            wanted.extend_from_slice(line);
        }
        wanted.push(b'\n');
    }
    wanted
}

impl fmt::Debug for Pair {
    /// Omits the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("chain_bytes", &self.chain.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
#[cfg(test)]
pub(crate) use tests::Faults;
