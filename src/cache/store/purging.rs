//! Purges and invalidations: their effect holds on all cores when the call returns.

use std::sync::Arc;

use ringway_model::Timestamp;

use super::Store;
use super::purge::{Effect, Purge, PurgeKind, Purged, Record, Selector, Subject, Url, is_of_tenant};
use super::scope::Scope;
use crate::entry::Entry;
use crate::sync::Ordering;
use crate::{KeyParts, Lines, Settings, write_key, write_key_target};

impl Store {
    /// Purges entries. Responses that were asked for before are not stored afterwards, and no request joins
    /// their fills.
    ///
    /// Everything, a tenant and a route cost a step for each scope: their entries are freed later, in slices.
    /// All else is a scan of the entries: 2 ms for 100,000 by tags, 40 ms by a pattern with many asterisks.
    /// For the control thread.
    pub fn purge(&self, purge: &Purge, now: Timestamp) -> Purged {
        let Purge { selector, tenant, effect } = purge;
        if *effect != Effect::DryRun {
            self.purges
                .append(Record::Purge { selector: Arc::new(selector.clone()), tenant: tenant.clone() });
        }
        let scopes = self.scopes();
        let visible = || scopes.iter().filter(|scope| is_of_tenant(tenant.as_deref(), scope.name()));
        let concerned = visible().filter(|scope| selector.may_match(scope.id(), scope.name()));
        let invalidated = concerned.map(|scope| self.purge_scope(scope, selector, *effect, now)).sum();
        if *effect != Effect::DryRun {
            self.count_purged(selector.kind(), invalidated);
        }
        Purged { invalidated, remaining: visible().map(|scope| scope.partition().len() as u64).sum() }
    }

    fn count_purged(&self, kind: PurgeKind, entries: u64) {
        self.counters.purged[kind as usize].fetch_add(entries, Ordering::Relaxed);
    }

    /// Invalidates entries of one scope, in the name of one of its requests or responses: other scopes, and
    /// their fetches, are not concerned.
    pub fn purge_within(&self, scope: &Arc<Scope>, selector: Selector, now: Timestamp) -> u64 {
        scope.invalidations.append(Record::Purge { selector: Arc::new(selector.clone()), tenant: None });
        let invalidated = self.purge_scope(scope, &selector, Effect::Remove, now);
        self.count_purged(selector.kind(), invalidated);
        invalidated
    }

    /// Invalidates the entries of a URL in a scope, after a request with an unsafe method (RFC 9111 §4.4):
    /// all variants, for both schemes. Returns the number of entries.
    ///
    /// Two lookups; where keys have more than the URL, a scan of the scope's entries.
    pub fn invalidate(
        &self,
        scope: &Arc<Scope>,
        url: &KeyParts<'_>,
        settings: &Settings,
        now: Timestamp,
    ) -> u64 {
        let port = (url.port != default_port(url.is_https)).then_some(url.port);
        let mut key = Vec::new();
        write_key_target(&mut key, url.target, settings);
        let target = Url { host: url.host.into(), port, target: key.as_slice().into() };
        if !settings.vary_headers.is_empty() || scope.has_pools() {
            return self.purge_within(scope, Selector::Url(target), now);
        }
        scope.invalidations.append(Record::Url(Arc::new(target)));
        let mut invalidated = 0;
        for is_https in [false, true] {
            let port = port.unwrap_or(default_port(is_https));
            let parts = KeyParts { scope: scope.id(), is_https, port, ..*url };
            if write_key(&mut key, &parts, settings, Lines(b"")).is_ok()
                && let Some(slot) = self.index.take(self.hash(&key), &key)
            {
                invalidated += self.remove_replaced(slot);
            }
        }
        self.count_purged(PurgeKind::Method, invalidated);
        invalidated
    }

    fn purge_scope(&self, scope: &Arc<Scope>, selector: &Selector, effect: Effect, now: Timestamp) -> u64 {
        if effect == Effect::Remove && selector.is_by_scope() {
            let retired = scope.replace_partition();
            let entries = retired.len() as u64;
            self.bury(retired);
            return entries;
        }
        let mut invalidated = 0;
        scope.partition().scan(|entry| {
            let is_concerned = subject(scope, entry).is_some_and(|subject| selector.matches(&subject));
            invalidated += u64::from(is_concerned && self.apply(effect, entry, now));
            true
        });
        invalidated
    }

    /// Applies an effect to an entry; `false` if it was removed before.
    fn apply(&self, effect: Effect, entry: &Arc<Entry>, now: Timestamp) -> bool {
        match effect {
            Effect::Remove => self.remove(entry),
            Effect::Expire => {
                entry.expire(now);
                !entry.is_retired()
            }
            Effect::DryRun => !entry.is_retired(),
        }
    }
}

/// An entry as purges see it.
fn subject<'a>(scope: &'a Scope, entry: &'a Entry) -> Option<Subject<'a>> {
    let (parts, tags) = (entry.parts()?, entry.head().tags());
    Some(Subject { scope: scope.name(), parts, asked: entry.asked(), tags: Some(tags) })
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}
