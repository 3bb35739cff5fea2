//! Files that apps and domains name by their paths: whether they can be used, when they are named and ever after.
//!
//! Cores go on with what they last loaded when such a file goes away or breaks, and nobody would notice before the next
//! restart. So they are looked at here, whether anybody wants them or not.

use std::collections::HashMap;
use std::path::Path;

use ringway_net::blocking;
use ringway_tls::{LoadError, SecretKey};

use crate::files::{Files, Stamp};
use crate::loader::{Seen, paths, read};

/// Reads and parses the files that this names, now, on a thread for blocking calls. Nothing is kept of them.
///
/// # Errors
/// Which file is of no use, and why.
pub async fn check_files(want: SecretKey) -> Result<(), LoadError> {
    let read = blocking(move || read(&nowhere(), &want).0.map(drop)).await;
    read.unwrap_or_else(|error| Err(LoadError::new(&error.to_string())))
}

/// What was last found in such files.
#[derive(Debug, Default)]
pub struct FileWatch {
    known: HashMap<SecretKey, Known, ahash::RandomState>,
}

#[derive(Debug)]
struct Known {
    seen: Seen,
    problem: Option<LoadError>,
}

impl FileWatch {
    /// Looks at the files of all these, and reads the ones that have changed or were of no use the last time; forgets all
    /// others. Works on a thread for blocking calls.
    ///
    /// # Errors
    /// When there is no such thread; what was found is then forgotten.
    pub async fn look(self, wants: Vec<SecretKey>) -> std::io::Result<Self> {
        blocking(move || self.look_now(wants)).await
    }

    /// What cannot be used, and why, in no order.
    pub fn problems(&self) -> impl Iterator<Item = (&SecretKey, &LoadError)> {
        self.known.iter().filter_map(|(want, known)| Some((want, known.problem.as_ref()?)))
    }

    fn look_now(mut self, wants: Vec<SecretKey>) -> Self {
        let files = nowhere();
        let mut known = HashMap::with_capacity_and_hasher(wants.len(), ahash::RandomState::new());
        for want in wants {
            let before = self.known.remove(&want).filter(|before| {
                before.problem.is_none()
                    && before.seen.iter().all(|(path, stamp)| Stamp::read(path).ok() == *stamp)
            });
            let found = before.unwrap_or_else(|| {
                let (result, seen) = read(&files, &want);
                Known { seen, problem: result.err() }
            });
            known.insert(want, found);
        }
        Self { known }
    }
}

/// Whether this names any file.
pub fn names_files(want: &SecretKey) -> bool {
    !paths(want).is_empty()
}

/// No directory: for files that are named by their paths.
fn nowhere() -> Files {
    Files::new(Path::new("/dev/null"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::sound;
    use ringway_model::FilePath;

    #[test]
    fn a_file_that_goes_away_or_breaks_is_told_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let want = SecretKey::ClientCa(FilePath::parse(path.to_str().unwrap()).unwrap());
        let look = |watch: FileWatch| watch.look_now(vec![want.clone()]);
        let told = |watch: &FileWatch| {
            let mut problems = watch.problems();
            let why = problems.next().map(|(of, why)| {
                assert_eq!(*of, want);
                why.to_string()
            });
            assert!(problems.next().is_none());
            why
        };
        let watch = look(FileWatch::default());
        assert!(told(&watch).unwrap().contains("ca.pem"), "{watch:?}");
        std::fs::write(&path, sound(&["ca.example"]).chain).unwrap();
        let watch = look(watch);
        assert_eq!(told(&watch), None);
        std::fs::write(&path, "no PEM").unwrap();
        let watch = look(watch);
        assert!(told(&watch).unwrap().contains("ca.pem"), "{watch:?}");
        std::fs::remove_file(&path).unwrap();
        let watch = look(watch);
        assert!(told(&watch).is_some());
        // What nobody names any more is nobody's problem.
        assert_eq!(told(&watch.look_now(Vec::new())), None);
    }
}
