//! Last good JWK sets on disk: a restart needs no identity provider.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest;
use ringway_model::CredentialSource;
use ringway_net::clock;

use crate::file;

/// The folder of kept answers.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Option<PathBuf>);

impl Disk {
    /// A folder, which is made when it is needed; without one nothing is kept.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// Keeps an answer. The file appears whole or not at all.
    pub(crate) fn put(&self, source: &CredentialSource, body: &[u8]) -> io::Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        fs::create_dir_all(folder)?;
        let (path, new) = (path(folder, source), folder.join(".new"));
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(new, path)
    }

    /// A kept answer, and its age.
    pub(crate) fn get(&self, source: &CredentialSource) -> Option<(Vec<u8>, Duration)> {
        let path = path(self.0.as_deref()?, source);
        let modified = fs::metadata(&path).ok()?.modified().ok()?;
        // A file of the future, after a jump of the clock, is new.
        let now = UNIX_EPOCH + Duration::from_millis(clock::timestamp().0);
        let age = now.duration_since(modified).unwrap_or_default();
        Some((file::read(path.to_str()?).ok()?, age))
    }
}

/// The file of a source: named by a hash, because a URL is no file name.
fn path(folder: &Path, source: &CredentialSource) -> PathBuf {
    let text = format!("{source:?}");
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let digits: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{digits}.jwks"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_are_kept_by_their_source() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(Some(folder.path().join("keys")));
        let (one, other) = (CredentialSource::Jwks("a".into()), CredentialSource::Discovery("a".into()));
        assert!(disk.get(&one).is_none());
        disk.put(&one, b"1").unwrap();
        disk.put(&other, b"2").unwrap();
        disk.put(&one, b"3").unwrap();
        assert_eq!(disk.get(&one).unwrap().0, b"3");
        assert_eq!(disk.get(&other).unwrap().0, b"2");
        assert!(Disk::new(None).put(&one, b"1").is_ok() && Disk::new(None).get(&one).is_none());
    }
}
