//! Credentials of middleware: the sources of all chains, their loader, and the requests that wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ringway_auth::{Event, FailureKind, KnownCredentials, Link, SourceStatus};
use ringway_bridge::Waker;
use ringway_model::{CoreId, CredentialSource, Delta, Desired, Resource};
use ringway_traffic::report::PasswordJob;
use ringway_traffic::security_event::{SecurityEvent, SecurityEventKind, SecuritySubject};

/// 8: failing sources that the status lists by name; an outage of the network fails all.
const SOURCES_LISTED_MAX: usize = 8;

/// Credentials that the chains of the configuration need. Without any, no thread is started.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Folder of the last good keys.
    folder: Option<PathBuf>,
    waker: Waker,
    link: Option<Link>,
    wanted: BTreeSet<CredentialSource>,
    statuses: BTreeMap<CredentialSource, SourceStatus>,
    /// Sources that failed or recovered, not taken yet.
    transitions: Vec<SecurityEvent>,
}

impl Credentials {
    pub(crate) fn new(folder: Option<PathBuf>, waker: Waker) -> Self {
        let (wanted, statuses) = (BTreeSet::new(), BTreeMap::new());
        Self { folder, waker, link: None, wanted, statuses, transitions: Vec::new() }
    }

    /// Follows stored changes of chains, beside a configuration on trial.
    pub(crate) fn handle_stored(&mut self, deltas: &[Delta], desired: &Desired, on_trial: Option<&Desired>) {
        let is_chain = |delta: &Delta| {
            matches!(delta, Delta::Put(Resource::Middleware(_)) | Delta::Remove(Resource::Middleware(_)))
        };
        if deltas.iter().any(is_chain) {
            self.follow(desired, on_trial);
        }
    }

    /// Keeps the sources of all chains loaded, with those of a configuration on trial: requests on its core
    /// wait for the first keys as those of all cores do.
    pub(crate) fn follow(&mut self, desired: &Desired, on_trial: Option<&Desired>) {
        let chains = desired.middlewares().chain(on_trial.into_iter().flat_map(Desired::middlewares));
        let wanted: BTreeSet<_> = chains.flat_map(|chain| chain.spec.sources()).collect();
        if wanted == self.wanted {
            return;
        }
        if !self.start() {
            return;
        }
        self.statuses.retain(|source, _| wanted.contains(source));
        self.wanted.clone_from(&wanted);
        if let Some(link) = &self.link {
            link.want(wanted);
        }
    }

    /// Starts the threads, unless they run; `false` where that fails.
    fn start(&mut self) -> bool {
        if self.link.is_none() {
            match ringway_auth::start(self.folder.clone(), self.waker.clone()) {
                Ok(link) => self.link = Some(link),
                Err(error) => {
                    tracing::error!(%error, "credentials cannot be loaded: no thread; requests that need them get 503");
                }
            }
        }
        self.link.is_some()
    }

    /// Loads a source soon, for requests that wait on a core that has `known`. `false` where it is not wanted
    /// any longer.
    pub(crate) fn refresh(&self, source: CredentialSource, known: KnownCredentials) -> bool {
        match &self.link {
            Some(link) if self.wanted.contains(&source) => {
                link.refresh(source, known);
                true
            }
            _ => false,
        }
    }

    /// Verifies a password, of a chain or of the forward proxy. `false` where there is no thread for it.
    pub(crate) fn verify(&mut self, core: CoreId, job: &PasswordJob) -> bool {
        if !self.start() {
            return false;
        }
        let Some(link) = &self.link else { return false };
        link.verify(core, job.ticket, Arc::clone(&job.hash), job.password.clone());
        true
    }

    /// The next event; statuses are noted.
    pub(crate) fn poll(&mut self) -> Option<Event> {
        let event = self.link.as_ref()?.poll()?;
        if let Event::Settled { source, status } = &event
            && self.wanted.contains(source)
        {
            let before = self.statuses.insert(source.clone(), status.clone());
            self.transitions.extend(transition(source, before.and_then(|before| before.failure), status));
        }
        Some(event)
    }

    /// Takes the sources that have failed or recovered since the last call.
    pub(crate) fn take_transitions(&mut self) -> Vec<SecurityEvent> {
        std::mem::take(&mut self.transitions)
    }

    /// Sources and their states, in order.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&CredentialSource, &SourceStatus)> {
        self.statuses.iter()
    }

    /// Sources whose last load failed, in words.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let failing = self.statuses.iter().filter_map(|(source, status)| {
            let (problem, failures) = (status.problem.as_ref()?, status.failures);
            Some(format!("authentication: {source} cannot be loaded ({failures} times in a row): {problem}"))
        });
        let mut warnings: Vec<String> = failing.take(SOURCES_LISTED_MAX).collect();
        let more = self.statuses.values().filter(|status| status.problem.is_some()).count() - warnings.len();
        if more > 0 {
            warnings.push(format!(
                "authentication: {more} more sources of keys and users cannot be loaded; see the log"
            ));
        }
        warnings
    }
}

/// Event of a source whose last load had the failure `before`.
fn transition(
    source: &CredentialSource,
    before: Option<FailureKind>,
    status: &SourceStatus,
) -> Option<SecurityEvent> {
    let (kind, failure) = match (before, status.failure) {
        (None, Some(failure)) => (SecurityEventKind::CredentialsFailed, failure),
        (Some(failure), None) => (SecurityEventKind::CredentialsRecovered, failure),
        _ => return None,
    };
    let subject = SecuritySubject::Credentials(source.clone());
    Some(SecurityEvent { kind, subject, reason: failure.as_str() })
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
