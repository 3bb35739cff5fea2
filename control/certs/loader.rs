//! Loader thread: reads certificates, keys and CAs for the cores.
//!
//! ```text
//!  core: handshake ─ SecretRequest ─▶ loader: cache, else disk ─ SecretUpdate ─▶ core: handshake goes on
//! ```
//!
//! A core never reads a file. One thread reads and parses each file once for all cores, which share the
//! result. Nothing is read before it is requested, so that a start with thousands of certificates opens none.
//! A file that cannot be loaded affects only the connections that need it; a parser panic counts as a load
//! error.
//!
//! Expired certificates are loaded and reported: to a client, an expired certificate with the right name says
//! more than a wrong name or a closed connection, and some clients accept it.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, MailboxSender, SendError, TryRecvError};
use ringway_model::{CertificateFiles, Hostname, Tick, UpstreamTls};
use ringway_net::clock;
use ringway_tls::{
    ClientVerifier, Identity, IdentityName, LoadError, Secret, SecretKey, SecretRequest, SecretUpdate,
    UpstreamSecret,
};

use crate::default_certificate::DefaultChange;
use crate::default_files::{DefaultFiles, FileCheck};
use crate::files::{Files, FilesError, Stamp};
use crate::limits::{CERTIFICATE_WATCH_INTERVAL, CERTIFICATES_CACHED_MAX};

/// State of the loader thread.
pub(crate) struct Loader {
    files: Files,
    requests: MailboxReceiver<SecretRequest>,
    /// Indexed by core.
    cores: Vec<MailboxSender<SecretUpdate>>,
    default: Option<DefaultFiles>,
    changes: MailboxSender<DefaultChange>,
    cache: Cache,
    /// Change that did not fit into the control thread's mailbox.
    unsent: Option<DefaultChange>,
}

impl Loader {
    pub(crate) fn new(
        files: Files,
        requests: MailboxReceiver<SecretRequest>,
        cores: Vec<MailboxSender<SecretUpdate>>,
        default: Option<DefaultFiles>,
        changes: MailboxSender<DefaultChange>,
    ) -> Self {
        Self { files, requests, cores, default, changes, cache: Cache::default(), unsent: None }
    }

    /// Serves requests until all senders are dropped.
    pub(crate) fn run(mut self) {
        let mut check_at = clock::now().after(CERTIFICATE_WATCH_INTERVAL);
        loop {
            let wait = if self.default.is_some() || self.unsent.is_some() {
                clock::now().until(check_at)
            } else {
                IDLE_WAIT
            };
            match self.requests.recv_timeout(wait) {
                Ok(request) => self.serve(request),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => return,
            }
            if clock::now() >= check_at {
                self.check_default();
                check_at = clock::now().after(CERTIFICATE_WATCH_INTERVAL);
            }
        }
    }

    /// Loads a secret and sends it to the core that requested it.
    fn serve(&mut self, request: SecretRequest) {
        let SecretRequest { core, key, version } = request;
        let result = self.load(&key, version);
        let Some(mailbox) = self.cores.get(usize::from(core.0)) else {
            tracing::error!(?core, "certificate request from an unknown core");
            return;
        };
        match mailbox.send(SecretUpdate { key, version, result }) {
            // The core repeats the request for handshakes that still wait.
            Err(SendError::Full(update)) => {
                tracing::warn!(?core, key = ?update.key, "certificate update dropped: the core's mailbox is full");
            }
            Ok(()) | Err(SendError::Closed(_)) => {}
        }
    }

    fn load(&mut self, key: &SecretKey, version: u64) -> Result<Secret, LoadError> {
        if *key == SecretKey::Identity(IdentityName::Default) {
            let served = self.default.as_ref().map(|default| Secret::Identity(default.identity().clone()));
            return served.ok_or_else(|| load_error("there is no default certificate"));
        }
        let now = clock::now();
        if let Some(result) = self.cache.find(key, version, now) {
            return result;
        }
        let files = &self.files;
        let (result, stamps) = catch_unwind(AssertUnwindSafe(|| read(files, key))).unwrap_or_else(|_| {
            tracing::error!(?key, "certificate loader panicked on a file");
            (Err(load_error("it could not be read: a defect of ringway")), Vec::new())
        });
        let previous = match &result {
            // All cores use the same secret, including those that did not request it while the file was
            // valid.
            Err(_) => self.cache.last_valid(key),
            Ok(_) => None,
        };
        let is_final = previous.is_none();
        let result = previous.map_or(result, Ok);
        self.cache.insert(key.clone(), version, result.clone(), Found { stamps, is_final }, now);
        result
    }

    /// Checks the files of the default certificate and reports a change.
    fn check_default(&mut self) {
        if let Some(change) = self.unsent.take() {
            self.report(change);
        }
        let Some(default) = &mut self.default else { return };
        let check = catch_unwind(AssertUnwindSafe(|| default.check(clock::timestamp())));
        let change = match check {
            Ok(FileCheck::Unchanged) => return,
            Ok(FileCheck::Replaced) => {
                DefaultChange::Replaced { facts: Arc::clone(default.facts()), version: default.version() }
            }
            Ok(FileCheck::Rejected(error)) => DefaultChange::Rejected(error),
            Ok(FileCheck::Restored) => DefaultChange::Restored,
            Err(_) => {
                tracing::error!("certificate loader panicked on the default certificate");
                return;
            }
        };
        self.report(change);
    }

    fn report(&mut self, change: DefaultChange) {
        // A later change replaces an unsent one.
        self.unsent = match self.changes.send(change) {
            Err(SendError::Full(change)) => Some(change),
            Ok(()) | Err(SendError::Closed(_)) => None,
        };
    }
}

/// Wait without a default certificate: nothing is due, a wakeup now and then only shows that the thread
/// lives.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// Stamps of files by path; `None` where a file could not be examined.
pub(crate) type FileStamps = Vec<(PathBuf, Option<Stamp>)>;

/// Reads a secret from the disk; returns it with the stamps of its files.
pub(crate) fn read(files: &Files, key: &SecretKey) -> (Result<Secret, LoadError>, FileStamps) {
    let stamps: FileStamps = paths(key)
        .into_iter()
        .map(|path| {
            let stamp = Stamp::read(&path).ok();
            (path, stamp)
        })
        .collect();
    let result = match key {
        SecretKey::Identity(IdentityName::Domain(host)) => read_identity(files, host).map(Secret::Identity),
        SecretKey::Identity(IdentityName::Default) => Err(load_error("there is no default certificate")),
        SecretKey::Identity(IdentityName::Files(paths)) => read_pair(files, paths).map(Secret::Identity),
        SecretKey::ClientCa(ca_file) => read_named(files, ca_file.as_path()).and_then(|pem| {
            ClientVerifier::from_pem(&pem)
                .map(Secret::ClientCa)
                .map_err(|error| load_error(format!("{ca_file}: {error}")))
        }),
        SecretKey::Upstream(_, tls) => read_upstream(files, tls).map(|tls| Secret::Upstream(Arc::new(tls))),
    };
    (result, stamps)
}

/// Reads a domain's certificate with its key.
pub(crate) fn read_identity(files: &Files, host: &Hostname) -> Result<Identity, LoadError> {
    let pair = files.read_identity(host).map_err(load_error)?;
    let pair = pair.ok_or_else(|| load_error(format!("there is no certificate for {host} on the disk")))?;
    let identity = Identity::from_pem(&pair.chain, &pair.key).map_err(|error| {
        load_error(format!("the file for {host} is not a certificate with its key: {error}"))
    })?;
    if identity.facts().covers(host.as_str()) {
        Ok(identity)
    } else {
        Err(load_error(format!("the certificate on the disk for {host} does not cover it")))
    }
}

/// Reads the CA and client certificate of upstream TLS.
pub(crate) fn read_upstream(files: &Files, tls: &UpstreamTls) -> Result<UpstreamSecret, LoadError> {
    let ca_pem = tls.ca_file.as_ref().map(|path| read_named(files, path.as_path())).transpose()?;
    let identity = match &tls.client_certificate {
        None => None,
        Some(paths) => Some(read_pair(files, paths)?),
    };
    UpstreamSecret::new(ca_pem.as_deref(), identity, tls.insecure).map_err(|error| match &tls.ca_file {
        Some(path) => load_error(format!("{path}: {error}")),
        None => load_error(error),
    })
}

/// Reads a certificate with its key from two files that are named by their paths.
fn read_pair(files: &Files, paths: &CertificateFiles) -> Result<Identity, LoadError> {
    let chain = read_named(files, paths.certificate.as_path())?;
    let key = read_named(files, paths.key.as_path())?;
    Identity::from_pem(&chain, &key)
        .map_err(|error| load_error(format!("{} and {}: {error}", paths.certificate, paths.key)))
}

fn read_named(files: &Files, path: &Path) -> Result<Vec<u8>, LoadError> {
    files.read_named(path).map(|(bytes, _)| bytes).map_err(|error: FilesError| load_error(error))
}

/// Files of a secret that users named by their paths and may change at any time.
pub(crate) fn paths(key: &SecretKey) -> Vec<PathBuf> {
    let path = |path: &ringway_model::FilePath| path.as_path().to_owned();
    match key {
        SecretKey::Identity(IdentityName::Default | IdentityName::Domain(_)) => Vec::new(),
        SecretKey::Identity(IdentityName::Files(files)) => vec![path(&files.certificate), path(&files.key)],
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

fn load_error(reason: impl fmt::Display) -> LoadError {
    LoadError::new(&reason.to_string())
}

/// LRU cache of loaded secrets, with the versions and stamps that they were loaded for.
#[derive(Debug)]
struct Cache {
    entries: HashMap<SecretKey, CacheEntry, ahash::RandomState>,
    capacity: usize,
    /// Counts uses, to order the entries by their last one.
    uses: u64,
}

#[derive(Debug)]
struct CacheEntry {
    version: u64,
    result: Result<Secret, LoadError>,
    /// Stamps of the files that are named by their paths.
    stamps: FileStamps,
    /// Whether the result reflects the files; otherwise it is an error, or the last valid secret.
    is_final: bool,
    /// An entry that is not final is loaded again after this.
    retry_at: Tick,
    last_use: u64,
}

/// Circumstances of a load.
#[derive(Debug)]
struct Found {
    stamps: FileStamps,
    is_final: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(CERTIFICATES_CACHED_MAX)
    }
}

impl Cache {
    fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), capacity: capacity.max(1), uses: 0 }
    }

    /// Returns a cached result that is still current.
    fn find(&mut self, key: &SecretKey, version: u64, now: Tick) -> Option<Result<Secret, LoadError>> {
        let entry = self.entries.get_mut(key)?;
        if entry.version != version || (!entry.is_final && now >= entry.retry_at) {
            return None;
        }
        if entry.stamps.iter().any(|(path, stamp)| Stamp::read(path).ok() != *stamp) {
            return None;
        }
        self.uses += 1;
        entry.last_use = self.uses;
        Some(entry.result.clone())
    }

    /// Returns the last valid secret of files that are named by their paths. Certificates of domains have
    /// versions instead, and cores keep theirs.
    fn last_valid(&self, key: &SecretKey) -> Option<Secret> {
        match key {
            SecretKey::Identity(IdentityName::Default | IdentityName::Domain(_)) => None,
            SecretKey::Identity(IdentityName::Files(_))
            | SecretKey::ClientCa(_)
            | SecretKey::Upstream(..) => self.entries.get(key)?.result.clone().ok(),
        }
    }

    fn insert(
        &mut self,
        key: SecretKey,
        version: u64,
        result: Result<Secret, LoadError>,
        found: Found,
        now: Tick,
    ) {
        // A core that is behind requests an older version, which must not replace the newer one.
        if self.entries.get(&key).is_some_and(|entry| entry.version > version) {
            return;
        }
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            // A scan, which costs little beside the read and parse that preceded it.
            let oldest =
                self.entries.iter().min_by_key(|(_, entry)| entry.last_use).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.entries.remove(&oldest));
        }
        self.uses += 1;
        let is_final = found.is_final && result.is_ok();
        let retry_at = now.after(FAILURE_AGE_MAX);
        let entry =
            CacheEntry { version, result, stamps: found.stamps, is_final, retry_at, last_use: self.uses };
        self.entries.insert(key, entry);
    }
}

/// Age of a cached failure: not read again for every handshake, but soon after a correction.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
