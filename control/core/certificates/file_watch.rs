//! The files that apps and domains name by their paths, looked after: the cores go on with what they last loaded when one
//! goes away or breaks, so somebody has to say so.

use std::fmt;

use crate::limits::{NAMED_FILES_INTERVAL, NAMED_FILES_MAX, NAMED_FILES_TOLD_MAX};
use ahash::{AHashMap, AHashSet};
use ringway_certs::{FileWatch, names_files};
use ringway_model::Desired;
use ringway_net::sleep;
use ringway_tls::{LoadError, SecretKey};

use crate::control::Control;

/// Looks at all files again and again, and gives what is wrong with them to the engine.
pub(crate) async fn watch(control: Control) {
    let mut watch = FileWatch::default();
    let (mut revision, mut wants) = (None, Vec::new());
    loop {
        let is_new = revision != Some(control.revision());
        if is_new {
            let desired = control.desired();
            (revision, wants) = (Some(desired.revision()), wanted(&desired));
        }
        // Where nobody names a file, no thread is asked for it.
        if is_new || !wants.is_empty() {
            match watch.look(wants.clone()).await {
                Ok(looked) => watch = looked,
                Err(error) => {
                    tracing::warn!(%error, "files that apps and domains name could not be looked at");
                    watch = FileWatch::default();
                }
            }
            let problems = watch.problems().map(|(want, why)| (want.clone(), why.clone())).collect();
            control.turn(|engine, _| engine.handle_file_problems(problems));
        }
        sleep(NAMED_FILES_INTERVAL).await;
    }
}

/// All that names a file, once.
fn wanted(desired: &Desired) -> Vec<SecretKey> {
    let client_cas = desired.domains().filter_map(|domain| {
        domain.client_auth.as_ref().map(|client_auth| SecretKey::ClientCa(client_auth.ca_file.clone()))
    });
    let upstream = desired
        .apps()
        .filter_map(|app| Some(SecretKey::Upstream(app.id.clone(), app.upstream_tls.clone()?)))
        .filter(names_files);
    let mut known = AHashSet::new();
    upstream.chain(client_cas).filter(|want| known.insert(want.clone())).take(NAMED_FILES_MAX).collect()
}

/// What is wrong with the files now.
#[derive(Debug, Default)]
pub(crate) struct FileProblems(AHashMap<SecretKey, LoadError>);

impl FileProblems {
    /// Takes what a look has shown, and logs what is news.
    pub(crate) fn put(&mut self, problems: AHashMap<SecretKey, LoadError>) {
        for (want, why) in &problems {
            if self.0.get(want) != Some(why) {
                let of = Of(want);
                tracing::error!(%of, %why, "files cannot be used: where they were loaded before, that stays in force");
            }
        }
        for want in self.0.keys().filter(|want| !problems.contains_key(*want)) {
            tracing::info!(of = %Of(want), "files can be used again, or are not wanted any more");
        }
        self.0 = problems;
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One sentence each, in a lasting order, and how many more there are.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .0
            .iter()
            .map(|(want, why)| {
                format!("{} cannot be used; where it was loaded before, that stays in force: {why}", Of(want))
            })
            .collect();
        warnings.sort_unstable();
        let more = warnings.len().saturating_sub(NAMED_FILES_TOLD_MAX);
        warnings.truncate(NAMED_FILES_TOLD_MAX);
        if more > 0 {
            warnings
                .push(format!("{more} more files of apps and domains cannot be used; the log names them"));
        }
        warnings
    }
}

/// What files are for, in words.
struct Of<'a>(&'a SecretKey);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SecretKey::ClientCa(path) => write!(f, "the CA file for clients {path}"),
            SecretKey::Upstream(app, _) => write!(f, "a file for the instances of app {app}"),
            SecretKey::Identity(_) => f.write_str("a certificate"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_model::FilePath;

    #[test]
    fn tells_each_once_and_not_all_of_many() {
        let mut problems = FileProblems::default();
        assert_eq!(problems.warnings(), [""; 0]);
        let of = |n: usize| {
            let path = FilePath::parse(&format!("/ca/{n:03}.pem")).unwrap();
            (SecretKey::ClientCa(path), LoadError::new("cannot open it"))
        };
        problems.put((0..NAMED_FILES_TOLD_MAX).map(of).collect());
        let told = problems.warnings();
        assert_eq!(told.len(), NAMED_FILES_TOLD_MAX);
        assert!(told[0].contains("/ca/000.pem") && told[0].ends_with("cannot open it"), "{}", told[0]);
        problems.put((0..NAMED_FILES_TOLD_MAX + 7).map(of).collect());
        let told = problems.warnings();
        assert_eq!((told.len(), problems.len()), (NAMED_FILES_TOLD_MAX + 1, NAMED_FILES_TOLD_MAX + 7));
        assert!(told.last().unwrap().starts_with("7 more"), "{told:?}");
    }
}
