//! Cache of certificates, keys and CAs of one core. Missing ones are requested from the loader; no file is
//! read here.
//!
//! ```text
//! get ─► cached in this version ─────────────────────────────► returned
//!   └──► requested once ─► loaded ───────────────────────────► returned
//!                       ├─► load error, or timeout ──────────► the older version, if there is one
//! ```
//! A new certificate is pushed before the snapshot that names it: once a core has acknowledged that snapshot,
//! it never serves the older certificate again, however long the loader takes.
//!
//! Secrets without versions (CAs, version 0) are requested again when older than
//! [`SECRET_AGE_MAX`](ringway_model::limits::SECRET_AGE_MAX), and waited for like a newer version, so that a
//! CA that was removed verifies no more clients.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits;
use ringway_bridge::{MailboxReceiver, MailboxSender};
use ringway_model::{CoreId, Tick};
use ringway_net::Waits;
use ringway_telemetry::SecretLoaded;
use ringway_tls::{LoadError, Secret, SecretKey, SecretRequest, SecretUpdate};

use crate::lru_cache::LruCache;

/// Connection of a core to the certificate loader.
pub struct SecretSource {
    /// Requests to the loader.
    pub requests: MailboxSender<SecretRequest>,
    /// Secrets from the loader; each wakes the core.
    pub updates: MailboxReceiver<SecretUpdate>,
}

/// Secret with the number of its load, which differs for every load.
#[derive(Clone, Debug)]
pub(crate) struct CachedSecret {
    pub(crate) secret: Secret,
    pub(crate) load: u64,
}

/// Reason why a secret is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The loader failed.
    Failed(LoadError),
    /// No update came in time, or the loader's queue is full.
    TimedOut,
}

/// Secrets of one core.
pub(crate) struct Secrets {
    core: CoreId,
    source: Option<SecretSource>,
    entries: RefCell<LruCache<SecretKey, Entry>>,
    loads: Cell<u64>,
}

#[derive(Default)]
struct Entry {
    cached: Option<(Rc<CachedSecret>, u64)>,
    /// Time of the last update, successful or not.
    updated_at: Tick,
    /// Version of a pending request, and the time of its retry.
    requested: Option<(u64, Tick)>,
    /// Version that failed to load, the error, and the time of the retry.
    failed: Option<(u64, LoadError, Tick)>,
    waiters: Vec<Waker>,
}

impl Secrets {
    pub(crate) fn new(core: CoreId, source: Option<SecretSource>) -> Self {
        let entries = RefCell::new(LruCache::new(ringway_model::limits::SECRETS_PER_CORE_MAX));
        Self { core, source, entries, loads: Cell::new(0) }
    }

    /// Returns the secret in this version, else in the version before. Waits until `deadline` at most, and no
    /// longer than [`SECRET_REFRESH_TIMEOUT`](limits::SECRET_REFRESH_TIMEOUT) when an older version is
    /// cached.
    pub(crate) async fn get(
        &self,
        key: &SecretKey,
        version: u64,
        now: Tick,
        deadline: Tick,
    ) -> Result<Rc<CachedSecret>, Missing> {
        if let Poll::Ready(found) = self.look_up(key, version, now, None) {
            return found;
        }
        let deadline = match self.cached(key) {
            Some(_) => deadline.min(now.after(limits::SECRET_REFRESH_TIMEOUT)),
            None => deadline,
        };
        match self.wait(key, version, now, deadline).await {
            Ok(found) => found,
            Err(_) => self.cached(key).ok_or(Missing::TimedOut),
        }
    }

    /// Requests a secret that will be needed, unless it is cached.
    pub(crate) fn prefetch(&self, key: &SecretKey, version: u64, now: Tick) {
        let _ = self.look_up(key, version, now, None);
    }

    /// Returns the cached secret, in any version.
    pub(crate) fn cached(&self, key: &SecretKey) -> Option<Rc<CachedSecret>> {
        self.entries.borrow().peek(key)?.cached.as_ref().map(|(cached, _)| cached.clone())
    }

    /// Applies the updates from the loader, reports each, and wakes its waiters.
    pub(crate) fn apply_updates(&self, now: Tick, report: impl Fn(SecretLoaded)) {
        let Some(source) = &self.source else { return };
        for update in source.updates.drain(ringway_model::limits::CERTIFICATES_LOADED_MAX) {
            report(SecretLoaded { kind: kind(&update.key), is_good: update.result.is_ok() });
            self.apply(update, now);
        }
    }

    fn apply(&self, update: SecretUpdate, now: Tick) {
        let mut entries = self.entries.borrow_mut();
        // An evicted entry has woken its waiters, which have requested the secret again.
        let Some(entry) = entries.get(&update.key) else { return };
        if entry.requested.is_some_and(|(version, _)| version == update.version) {
            entry.requested = None;
        }
        match update.result {
            // Requested for the snapshot before; the newer version was pushed meanwhile.
            Ok(_) if entry.cached.as_ref().is_some_and(|(_, version)| *version > update.version) => {}
            Ok(secret) => {
                self.loads.update(|loads| loads + 1);
                entry.cached =
                    Some((Rc::new(CachedSecret { secret, load: self.loads.get() }), update.version));
                entry.updated_at = now;
                entry.failed = None;
            }
            Err(error) => {
                let is_new = entry
                    .failed
                    .as_ref()
                    .is_none_or(|(version, known, _)| (*version, known) != (update.version, &error));
                if is_new {
                    let serving = if entry.cached.is_some() { "the version before" } else { "none" };
                    let (core, key) = (self.core.0, &update.key);
                    tracing::warn!(core, ?key, %error, serving, "certificate, key or CA cannot be loaded");
                }
                entry.updated_at = now;
                entry.failed = Some((update.version, error, now.after(limits::SECRET_RETRY)));
            }
        }
        let waiters = std::mem::take(&mut entry.waiters);
        drop(entries);
        waiters.into_iter().for_each(Waker::wake);
    }

    async fn wait(
        &self,
        key: &SecretKey,
        version: u64,
        now: Tick,
        deadline: Tick,
    ) -> io::Result<Result<Rc<CachedSecret>, Missing>> {
        let poll =
            |cx: &mut std::task::Context<'_>| self.look_up(key, version, now, Some(cx.waker())).map(Ok);
        Waits::new()?.read(deadline, poll).await
    }

    /// Looks the secret up, and requests it when it is missing and no request is pending.
    fn look_up(
        &self,
        key: &SecretKey,
        version: u64,
        now: Tick,
        waker: Option<&Waker>,
    ) -> Poll<Result<Rc<CachedSecret>, Missing>> {
        let Some(source) = &self.source else { return Poll::Ready(Err(Missing::TimedOut)) };
        let mut entries = self.entries.borrow_mut();
        if entries.peek(key).is_none()
            && let Some(evicted) = entries.insert(key.clone(), Entry::default())
        {
            evicted.waiters.into_iter().for_each(Waker::wake);
        }
        let Some(entry) = entries.get(key) else { return Poll::Ready(Err(Missing::TimedOut)) };
        let has_versions = version != 0;
        if let Some((cached, cached_version)) = &entry.cached
            && *cached_version >= version
            && (has_versions || now < entry.updated_at.after(ringway_model::limits::SECRET_AGE_MAX))
        {
            return Poll::Ready(Ok(cached.clone()));
        }
        if let Some((failed_version, error, retry_at)) = &entry.failed
            && *failed_version == version
            && now < *retry_at
        {
            let cached = entry.cached.as_ref().map(|(cached, _)| cached.clone());
            return Poll::Ready(cached.ok_or_else(|| Missing::Failed(error.clone())));
        }
        let is_requested =
            entry.requested.is_some_and(|(requested, retry_at)| requested == version && now < retry_at);
        if !is_requested {
            let request = SecretRequest { core: self.core, key: key.clone(), version };
            if source.requests.send(request).is_err() {
                let cached = entry.cached.as_ref().map(|(cached, _)| cached.clone());
                return Poll::Ready(cached.ok_or(Missing::TimedOut));
            }
            entry.requested = Some((version, now.after(limits::SECRET_RETRY)));
        }
        if let Some(waker) = waker
            && !entry.waiters.iter().any(|waiter| waiter.will_wake(waker))
        {
            entry.waiters.push(waker.clone());
        }
        Poll::Pending
    }
}

/// Label in metrics.
fn kind(key: &SecretKey) -> &'static str {
    match key {
        SecretKey::Identity(_) => "certificate",
        SecretKey::ClientCa(_) => "client_ca",
        SecretKey::Upstream(..) => "upstream",
    }
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
