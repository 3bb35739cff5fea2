//! Watch over files that apps and domains name by path: cores keep the last loaded version when a file
//! disappears or breaks, and the problem is logged and shown in the status.

use std::fmt;

use ahash::{AHashMap, AHashSet};
use ringway_certs::{FileWatch, names_files};
use ringway_model::Desired;
use ringway_net::sleep;
use ringway_tls::{IdentityName, LoadError, SecretKey};

use crate::control::Control;
use crate::limits::{NAMED_FILES_INTERVAL, NAMED_FILES_LISTED_MAX, NAMED_FILES_MAX};

/// Checks all files in an endless loop and hands the problems to the engine.
pub(crate) async fn watch(control: Control) {
    let mut watch = FileWatch::default();
    let (mut revision, mut keys) = (None, Vec::new());
    loop {
        let is_new = revision != Some(control.revision());
        if is_new {
            let desired = control.desired();
            (revision, keys) = (Some(desired.revision()), wanted(&desired));
        }
        // Without named files no blocking thread is used.
        if is_new || !keys.is_empty() {
            match watch.check(keys.clone()).await {
                Ok(looked) => watch = looked,
                Err(error) => {
                    tracing::warn!(%error, "files of apps and domains could not be checked");
                    watch = FileWatch::default();
                }
            }
            let problems = watch.problems().map(|(key, why)| (key.clone(), why.clone())).collect();
            control.turn(|engine, _| engine.handle_file_problems(problems));
        }
        sleep(NAMED_FILES_INTERVAL).await;
    }
}

/// Named files without duplicates.
fn wanted(desired: &Desired) -> Vec<SecretKey> {
    let client_cas = desired.domains().filter_map(|domain| {
        domain.client_auth.as_ref().map(|client_auth| SecretKey::ClientCa(client_auth.ca_file.clone()))
    });
    let upstream = desired
        .apps()
        .filter_map(|app| Some(SecretKey::Upstream(app.id.clone(), app.upstream_tls.clone()?)))
        .filter(names_files);
    let of_routes = desired
        .routes()
        .filter_map(|route| Some(SecretKey::ClientCa(route.spec.client_auth.as_ref()?.ca_file.clone())));
    let identities = desired
        .certificates()
        .map(|certificate| SecretKey::Identity(IdentityName::Files(certificate.files.clone())));
    let mut known = AHashSet::new();
    upstream
        .chain(client_cas)
        .chain(of_routes)
        .chain(identities)
        .filter(|key| known.insert(key.clone()))
        .take(NAMED_FILES_MAX)
        .collect()
}

/// Files that cannot be used, by the last check.
#[derive(Debug, Default)]
pub(crate) struct FileProblems(AHashMap<SecretKey, LoadError>);

impl FileProblems {
    /// Replaces the problems, and logs new and solved ones.
    pub(crate) fn put(&mut self, problems: AHashMap<SecretKey, LoadError>) {
        for (key, why) in &problems {
            if self.0.get(key) != Some(why) {
                let of = Of(key);
                tracing::error!(%of, %why, "file unusable; the last loaded version stays in use");
            }
        }
        for key in self.0.keys().filter(|key| !problems.contains_key(*key)) {
            tracing::info!(of = %Of(key), "file usable again or no longer named");
        }
        self.0 = problems;
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One sentence for each problem in a stable order, and the number of further ones.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .0
            .iter()
            .map(|(key, why)| format!("{} is unusable, the last loaded version stays in use: {why}", Of(key)))
            .collect();
        warnings.sort_unstable();
        let more = warnings.len().saturating_sub(NAMED_FILES_LISTED_MAX);
        warnings.truncate(NAMED_FILES_LISTED_MAX);
        if more > 0 {
            warnings.push(format!("{more} more files of apps and domains are unusable; see the log"));
        }
        warnings
    }
}

/// Purpose of a file, in words.
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
    fn lists_each_problem_once_up_to_the_limit() {
        let mut problems = FileProblems::default();
        assert_eq!(problems.warnings(), [""; 0]);
        let of = |n: usize| {
            let path = FilePath::parse(&format!("/ca/{n:03}.pem")).unwrap();
            (SecretKey::ClientCa(path), LoadError::new("cannot open it"))
        };
        problems.put((0..NAMED_FILES_LISTED_MAX).map(of).collect());
        let listed = problems.warnings();
        assert_eq!(listed.len(), NAMED_FILES_LISTED_MAX);
        assert!(listed[0].contains("/ca/000.pem") && listed[0].ends_with("cannot open it"), "{}", listed[0]);
        problems.put((0..NAMED_FILES_LISTED_MAX + 7).map(of).collect());
        let listed = problems.warnings();
        assert_eq!((listed.len(), problems.len()), (NAMED_FILES_LISTED_MAX + 1, NAMED_FILES_LISTED_MAX + 7));
        assert!(listed.last().unwrap().starts_with("7 more"), "{listed:?}");
    }
}
