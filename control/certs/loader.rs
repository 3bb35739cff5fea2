//! The thread that reads certificates, keys and CAs for the cores.
//!
//! ```text
//!  core: handshake ── SecretRequest ──▶ loader: cache, else the disk ── SecretUpdate ──▶ core: handshake goes on
//! ```
//!
//! A core never reads a file; it asks here, and here is one thread: a file is read and parsed once for all cores, which
//! share it. Nothing is read before somebody asks, so that thousands of certificates cost a start nothing. What the
//! loader cannot load harms only those who asked for it; a parser that panics is one more reason why something cannot be
//! loaded.
//!
//! A certificate that has expired is loaded like any other, and reported as expired: to a client, an expired
//! certificate for the right name says more than a wrong name or a closed connection, and some take it.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{CERTIFICATE_WATCH_INTERVAL, CERTIFICATES_CACHED_MAX};
use ringway_bridge::{MailboxReceiver, MailboxSender, SendError, TryRecvError};
use ringway_model::{Tick, UpstreamTls};
use ringway_net::clock;
use ringway_tls::{
    ClientVerifier, Facts, Identity, IdentityName, LoadError, Secret, SecretKey, SecretRequest, SecretUpdate,
    UpstreamSecret,
};

use crate::files::{Files, FilesError, Stamp};
use crate::watch::{DefaultError, Look, Watched};

/// The loader's state, before and on its thread.
pub(crate) struct Loader {
    pub(crate) files: Files,
    pub(crate) wants: MailboxReceiver<SecretRequest>,
    /// By the numbers of the cores.
    pub(crate) cores: Vec<MailboxSender<SecretUpdate>>,
    pub(crate) watched: Option<Watched>,
    pub(crate) news: MailboxSender<News>,
    pub(crate) cache: Cache,
    /// What the control thread has not been told for want of room.
    pub(crate) untold: Option<News>,
}

/// Told to the control thread about the default certificate.
#[derive(Debug)]
pub(crate) enum News {
    /// It was replaced.
    Replaced { facts: Arc<Facts>, version: u64 },
    /// What stands in its files now cannot be served.
    Refused(DefaultError),
    /// What was wrong there is as it was before.
    Restored,
}

impl Loader {
    /// Answers until all who may ask have gone.
    pub(crate) fn run(mut self) {
        let mut watch_at = clock::now().after(CERTIFICATE_WATCH_INTERVAL);
        loop {
            let wait = if self.watched.is_some() || self.untold.is_some() {
                clock::now().until(watch_at)
            } else {
                IDLE_WAIT
            };
            match self.wants.recv_timeout(wait) {
                Ok(wanted) => self.answer(wanted),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => return,
            }
            if clock::now() >= watch_at {
                self.watch();
                watch_at = clock::now().after(CERTIFICATE_WATCH_INTERVAL);
            }
        }
    }

    /// Loads one thing and sends it to the core that wants it.
    pub(crate) fn answer(&mut self, wanted: SecretRequest) {
        let SecretRequest { core, key, version } = wanted;
        let result = self.load(&key, version);
        let Some(mailbox) = self.cores.get(usize::from(core.0)) else {
            tracing::error!(?core, "a core that does not exist asks for a certificate");
            return;
        };
        match mailbox.send(SecretUpdate { key, version, result }) {
            // A core that takes nothing has more handshakes than it can make; it asks again for those that still wait.
            Err(SendError::Full(loaded)) => {
                tracing::warn!(?core, key = ?loaded.key, "a core is too busy to take a certificate")
            }
            Ok(()) | Err(SendError::Closed(_)) => {}
        }
    }

    fn load(&mut self, key: &SecretKey, version: u64) -> Result<Secret, LoadError> {
        if *key == SecretKey::Identity(IdentityName::Default) {
            let served = self.watched.as_ref().map(|watched| Secret::Identity(watched.identity().clone()));
            return served.ok_or_else(|| unloadable("there is no default certificate"));
        }
        let now = clock::now();
        if let Some(result) = self.cache.find(key, version, now) {
            return result;
        }
        let files = &self.files;
        let (result, seen) = catch_unwind(AssertUnwindSafe(|| read(files, key))).unwrap_or_else(|_| {
            tracing::error!(?key, "loading panicked");
            (Err(unloadable("it could not be read: a defect of ringway")), Vec::new())
        });
        let standing_in = match &result {
            // All cores go by the same, also those that had not asked while the file was good.
            Err(_) => self.cache.stand_in(key),
            Ok(_) => None,
        };
        let is_final = standing_in.is_none();
        let result = standing_in.map_or(result, Ok);
        self.cache.keep(key.clone(), version, result.clone(), Found { seen, is_final }, now);
        result
    }

    /// Looks after the default certificate.
    fn watch(&mut self) {
        if let Some(news) = self.untold.take() {
            self.tell(news);
        }
        let Some(watched) = &mut self.watched else { return };
        let look = catch_unwind(AssertUnwindSafe(|| watched.look(clock::timestamp())));
        let news = match look {
            Ok(Look::Same) => return,
            Ok(Look::Replaced) => {
                News::Replaced { facts: Arc::clone(watched.facts()), version: watched.version() }
            }
            Ok(Look::Refused(error)) => News::Refused(error),
            Ok(Look::Restored) => News::Restored,
            Err(_) => {
                tracing::error!("looking at the default certificate panicked");
                return;
            }
        };
        self.tell(news);
    }

    fn tell(&mut self, news: News) {
        // The newest counts; an older one that was not told is out of date.
        self.untold = match self.news.send(news) {
            Err(SendError::Full(news)) => Some(news),
            Ok(()) | Err(SendError::Closed(_)) => None,
        };
    }
}

/// How long the thread sleeps when nobody asks: it looks up now and then for no reason but to be seen alive.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// What files looked like; none where a file could not be looked at.
pub(crate) type Seen = Vec<(PathBuf, Option<Stamp>)>;

/// Reads one thing from the disk, and what its files looked like.
pub(crate) fn read(files: &Files, key: &SecretKey) -> (Result<Secret, LoadError>, Seen) {
    let seen: Seen = paths(key)
        .into_iter()
        .map(|path| {
            let stamp = Stamp::read(&path).ok();
            (path, stamp)
        })
        .collect();
    let result = match key {
        SecretKey::Identity(IdentityName::Domain(host)) => read_identity(files, host).map(Secret::Identity),
        SecretKey::Identity(IdentityName::Default) => Err(unloadable("there is no default certificate")),
        SecretKey::ClientCa(ca_file) => named(files, ca_file.as_path()).and_then(|pem| {
            ClientVerifier::from_pem(&pem)
                .map(Secret::ClientCa)
                .map_err(|error| unloadable(format!("{ca_file}: {error}")))
        }),
        SecretKey::Upstream(_, tls) => read_upstream(files, tls).map(|tls| Secret::Upstream(Arc::new(tls))),
    };
    (result, seen)
}

/// Reads a domain's certificate with its key.
pub(crate) fn read_identity(files: &Files, host: &ringway_model::Hostname) -> Result<Identity, LoadError> {
    let pair = files.read_identity(host).map_err(unloadable)?;
    let pair = pair.ok_or_else(|| unloadable(format!("there is no certificate of {host} on the disk")))?;
    let identity = Identity::from_pem(&pair.chain, &pair.key).map_err(|error| {
        unloadable(format!("what is on the disk for {host} is no certificate with its key: {error}"))
    })?;
    if identity.facts().covers(host.as_str()) {
        Ok(identity)
    } else {
        Err(unloadable(format!("the certificate on the disk for {host} does not cover it")))
    }
}

pub(crate) fn read_upstream(files: &Files, tls: &UpstreamTls) -> Result<UpstreamSecret, LoadError> {
    let ca_pem = tls.ca_file.as_ref().map(|path| named(files, path.as_path())).transpose()?;
    let identity = match &tls.client_certificate {
        None => None,
        Some(paths) => {
            let chain = named(files, paths.certificate.as_path())?;
            let key = named(files, paths.key.as_path())?;
            let identity = Identity::from_pem(&chain, &key)
                .map_err(|error| unloadable(format!("{} and {}: {error}", paths.certificate, paths.key)))?;
            Some(identity)
        }
    };
    UpstreamSecret::new(ca_pem.as_deref(), identity, tls.insecure).map_err(|error| match &tls.ca_file {
        Some(path) => unloadable(format!("{path}: {error}")),
        None => unloadable(error),
    })
}

fn named(files: &Files, path: &Path) -> Result<Vec<u8>, LoadError> {
    files.read_named(path).map(|(bytes, _)| bytes).map_err(|error: FilesError| unloadable(error))
}

/// The files that somebody named and may change at any time.
pub(crate) fn paths(key: &SecretKey) -> Vec<PathBuf> {
    let path = |path: &ringway_model::FilePath| path.as_path().to_owned();
    match key {
        SecretKey::Identity(_) => Vec::new(),
        SecretKey::ClientCa(ca_file) => vec![path(ca_file)],
        SecretKey::Upstream(_, tls) => {
            let client = tls.client_certificate.as_ref();
            let named = [
                tls.ca_file.as_ref(),
                client.map(|files| &files.certificate),
                client.map(|files| &files.key),
            ];
            named.into_iter().flatten().map(path).collect()
        }
    }
}

fn unloadable(why: impl fmt::Display) -> LoadError {
    LoadError::new(&why.to_string())
}

/// What was loaded, the least recently wanted dropped when there is no room.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: HashMap<SecretKey, Entry, ahash::RandomState>,
    capacity: usize,
    /// Counts uses, so that the oldest can be told.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    version: u64,
    result: Result<Secret, LoadError>,
    /// What the files looked like that somebody named.
    seen: Seen,
    /// Whether that is what the files say; else it was not to be had, or is what they said before.
    is_final: bool,
    /// What is not final is tried again after this.
    retry_at: Tick,
    used: u64,
}

/// What was found on the disk.
#[derive(Debug)]
struct Found {
    seen: Seen,
    /// Whether the result is what is there now.
    is_final: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(CERTIFICATES_CACHED_MAX)
    }
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), capacity: capacity.max(1), clock: 0 }
    }

    fn find(&mut self, key: &SecretKey, version: u64, now: Tick) -> Option<Result<Secret, LoadError>> {
        let entry = self.entries.get_mut(key)?;
        if entry.version != version || (!entry.is_final && now >= entry.retry_at) {
            return None;
        }
        if entry.seen.iter().any(|(path, stamp)| Stamp::read(path).ok() != *stamp) {
            return None;
        }
        self.clock += 1;
        entry.used = self.clock;
        Some(entry.result.clone())
    }

    /// What was last good of files that somebody named. A certificate of a domain has versions, and cores that keep theirs.
    fn stand_in(&self, key: &SecretKey) -> Option<Secret> {
        match key {
            SecretKey::Identity(_) => None,
            SecretKey::ClientCa(_) | SecretKey::Upstream(..) => self.entries.get(key)?.result.clone().ok(),
        }
    }

    fn keep(
        &mut self,
        key: SecretKey,
        version: u64,
        result: Result<Secret, LoadError>,
        found: Found,
        now: Tick,
    ) {
        // A core that is behind asks for an older version: what it gets is not worth the newer one's place.
        if self.entries.get(&key).is_some_and(|entry| entry.version > version) {
            return;
        }
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            // A walk over all, beside the reading and parsing that has just been done for it.
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.entries.remove(&oldest));
        }
        self.clock += 1;
        let is_final = found.is_final && result.is_ok();
        let retry_at = now.after(FAILURE_AGE_MAX);
        let entry = Entry { version, result, seen: found.seen, is_final, retry_at, used: self.clock };
        self.entries.insert(key, entry);
    }
}

/// What cannot be loaded is not read again for every handshake, but soon enough for somebody who has just mended it.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
