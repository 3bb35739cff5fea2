//! Files that apps and domains name by their paths: checks when they are named, and afterwards.
//!
//! Cores keep the last valid secret when such a file disappears or breaks, which would go unnoticed until the
//! next restart. The watch therefore reads them whether a core requests them or not.

use std::collections::HashMap;

use ringway_model::UpstreamTls;
use ringway_net::blocking;
use ringway_tls::{LoadError, SecretKey, UpstreamSecret};

use crate::files::{Files, Stamp};
use crate::loader::{FileStamps, paths, read, read_upstream};

/// Reads and parses the files of a secret, on a thread for blocking calls. Nothing is kept.
///
/// # Errors
/// The invalid file, and the reason.
pub async fn check_files(key: SecretKey) -> Result<(), LoadError> {
    let read = blocking(move || check_files_blocking(&key)).await;
    read.unwrap_or_else(|error| Err(LoadError::new(&error.to_string())))
}

/// As [`check_files`], for a thread that may block.
///
/// # Errors
/// The invalid file, and the reason.
pub fn check_files_blocking(key: &SecretKey) -> Result<(), LoadError> {
    read(&Files::without_directory(), key).0.map(drop)
}

/// Reads the CA and client certificate of an app's `https://` targets, on a thread for blocking calls.
///
/// # Errors
/// The invalid file, and the reason.
pub async fn upstream_secret(tls: UpstreamTls) -> Result<UpstreamSecret, LoadError> {
    let read = blocking(move || read_upstream(&Files::without_directory(), &tls)).await;
    read.unwrap_or_else(|error| Err(LoadError::new(&error.to_string())))
}

/// Last known state of the watched files.
#[derive(Debug, Default)]
pub struct FileWatch {
    known: HashMap<SecretKey, Known, ahash::RandomState>,
}

#[derive(Debug)]
struct Known {
    stamps: FileStamps,
    problem: Option<LoadError>,
}

impl FileWatch {
    /// Checks the files of all these secrets: reads those that changed or were invalid, and forgets all
    /// others. Works on a thread for blocking calls.
    ///
    /// # Errors
    /// When there is no such thread; the known state is lost then.
    pub async fn check(self, keys: Vec<SecretKey>) -> std::io::Result<Self> {
        blocking(move || self.check_now(keys)).await
    }

    /// Invalid secrets and the reasons, in no particular order.
    pub fn problems(&self) -> impl Iterator<Item = (&SecretKey, &LoadError)> {
        self.known.iter().filter_map(|(key, known)| Some((key, known.problem.as_ref()?)))
    }

    fn check_now(mut self, keys: Vec<SecretKey>) -> Self {
        let files = Files::without_directory();
        let mut known = HashMap::with_capacity_and_hasher(keys.len(), ahash::RandomState::new());
        for key in keys {
            let unchanged = self.known.remove(&key).filter(|before| {
                before.problem.is_none()
                    && before.stamps.iter().all(|(path, stamp)| Stamp::read(path).ok() == *stamp)
            });
            let current = unchanged.unwrap_or_else(|| {
                let (result, stamps) = read(&files, &key);
                Known { stamps, problem: result.err() }
            });
            known.insert(key, current);
        }
        Self { known }
    }
}

/// Whether the secret is loaded from files that are named by their paths.
pub fn names_files(key: &SecretKey) -> bool {
    !paths(key).is_empty()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::valid_pair;
    use ringway_model::FilePath;

    #[test]
    fn a_missing_or_broken_file_is_reported_until_it_is_valid_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let key = SecretKey::ClientCa(FilePath::parse(path.to_str().unwrap()).unwrap());
        let check = |watch: FileWatch| watch.check_now(vec![key.clone()]);
        let problem = |watch: &FileWatch| {
            let mut problems = watch.problems();
            let reason = problems.next().map(|(of, reason)| {
                assert_eq!(*of, key);
                reason.to_string()
            });
            assert!(problems.next().is_none());
            reason
        };
        let watch = check(FileWatch::default());
        assert!(problem(&watch).unwrap().contains("ca.pem"), "{watch:?}");
        std::fs::write(&path, valid_pair(&["ca.example"]).chain).unwrap();
        let watch = check(watch);
        assert_eq!(problem(&watch), None);
        std::fs::write(&path, "no PEM").unwrap();
        let watch = check(watch);
        assert!(problem(&watch).unwrap().contains("ca.pem"), "{watch:?}");
        std::fs::remove_file(&path).unwrap();
        let watch = check(watch);
        assert!(problem(&watch).is_some());
        // A file that no secret names is forgotten.
        assert_eq!(problem(&watch.check_now(Vec::new())), None);
    }
}
