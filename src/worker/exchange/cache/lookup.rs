//! Look-up: from the head that the origin would get to the stored response that answers it.

use std::sync::Arc;

use ringway_cache::policy::{
    self, Access, Bypass, Forward, NotStored, Outcome, RequestFacts, RequestTraits, Revalidation, Verdict,
    judge,
};
use ringway_cache::{
    Body, Entry, KeyError, KeyParts, Lines, NewEntry, RefreshPermit, Scope, Selected, StoredHead, VariantSet,
    write_key,
};
use ringway_model::Timestamp;
use ringway_traffic::cache_rule::CacheRule;
use ringway_wire::message::{Framing, Method};

use super::state::Keys;
use crate::core::ConnBuffers;
use crate::exchange::{Exchange, Target, forwarded, match_rule};
use crate::runtime::Runtime;

/// Result of a look-up.
pub(in crate::exchange) enum Lookup {
    /// The cache has no part in the request.
    Bypass(Bypass),
    /// A stored response answers it.
    Answer(Answer),
    /// Nothing that is stored may answer, and the client wants no other.
    OnlyIfCached,
    /// The origin is asked for this client only; with the reason not to store its response.
    PassOn(Forward, NotStored),
    /// The origin is asked.
    Ask(Box<Question>),
    /// The cache has no part in the request, but may store its response.
    Post(Box<Question>),
}

/// Stored response that answers a request.
pub(in crate::exchange) struct Answer {
    pub(super) head: Arc<StoredHead>,
    pub(super) body: Arc<Body>,
    pub(super) facts: RequestFacts,
    pub(super) outcome: Outcome,
    /// Field lines for this client only: cookies of the 304 that confirmed the response.
    pub(super) extra: Vec<u8>,
    /// Permission to refresh it meanwhile.
    pub(super) refresh: Option<RefreshPermit>,
}

/// Request that goes to the origin, as the cache sees it.
pub(in crate::exchange) struct Question {
    pub(super) facts: RequestFacts,
    pub(super) access: Access,
    pub(super) scope: Arc<Scope>,
    pub(super) primary: Box<[u8]>,
    /// Target that the client asked for, if the origin is asked for another one.
    pub(super) asked: Option<Box<[u8]>>,
    /// Variants of the resource, and the key that the request selects among them.
    pub(super) variant: Option<(Arc<VariantSet>, Box<[u8]>)>,
    /// Stored response to validate.
    pub(super) entry: Option<(Arc<Entry>, Revalidation)>,
    pub(super) forward: Forward,
}

impl Question {
    /// Key of its response, as far as it is known: of the resource, or of a variant.
    pub(super) fn key(&self) -> &[u8] {
        self.variant.as_ref().map_or(&self.primary, |(_, key)| key)
    }

    /// Path and query that the origin is asked for.
    pub(super) fn path(&self) -> &[u8] {
        KeyParts::parse(&self.primary).map_or(b"", |parts| parts.target)
    }

    /// A confirmed entry under the key that this request selects: it may be that of another variant.
    pub(super) fn selected(&self, confirmed: NewEntry) -> NewEntry {
        match &self.variant {
            Some((set, key)) => NewEntry {
                key: key.clone(),
                asked: self.asked.clone(),
                variant_of: Some(set.clone()),
                ..confirmed
            },
            None => confirmed,
        }
    }

    /// Whether the origin was asked about stored responses.
    pub(super) fn is_conditional(&self) -> bool {
        self.entry.is_some() || self.variant.is_some()
    }
}

impl<R: Runtime> Exchange<'_, R> {
    /// Looks up the request, whose added fields and target are written.
    pub(in crate::exchange) fn look_up(&mut self, target: &Target<'_>, cache: &CacheRule) -> Lookup {
        let core = self.core;
        let Some(state) = &core.cache else { return Lookup::Bypass(Bypass::Method) };
        let now = core.runtime.timestamp();
        let head = self.head_for_origin();
        let mut keys = state.keys.borrow_mut();
        let lookup = self.look_up_head(target, cache, (field_lines(&head), now), &mut keys);
        self.buffers.out = head;
        lookup
    }

    fn look_up_head(
        &self,
        target: &Target<'_>,
        cache: &CacheRule,
        (lines, now): (Lines<'_>, Timestamp),
        keys: &mut Keys,
    ) -> Lookup {
        let core = self.core;
        let Some(state) = &core.cache else { return Lookup::Bypass(Bypass::Method) };
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let traits = RequestTraits {
            has_body: request.framing() != Framing::Empty,
            upgrades: self.upgrade || request.upgrade().is_some(),
            passes_certificate: !self.client.client_cert_headers(target.matched.host).is_empty(),
            names_other_host: self.client.trusted && forwarded::names_other_host(request, client_in),
        };
        let facts = RequestFacts::read(request.method(), traits, lines, now);
        let access = match facts.access(&cache.settings) {
            Ok(access) => access,
            Err(Bypass::Method) if facts.may_fill_by_post(&cache.settings) => Access::ReadWrite,
            Err(bypass) => return Lookup::Bypass(bypass),
        };
        let scope = cache.scope(&state.store).clone();
        let written =
            write_key(&mut keys.primary, &self.key_parts(target, cache, &scope), &cache.settings, lines);
        let is_post = facts.method == Method::Post;
        let selected = written.and_then(|()| {
            let Keys { primary, variant } = &mut *keys;
            match is_post {
                true => Ok(Selected::Nothing(None)),
                false => state.store.select((primary, variant), lines, (cache.epoch, cache.settings.mode)),
            }
        });
        let selected = match selected {
            Ok(selected) => selected,
            Err(KeyError::TooLong) if is_post => return Lookup::Bypass(Bypass::Method),
            Err(KeyError::TooLong) => return Lookup::Bypass(Bypass::KeyTooLong),
        };
        let ask = |entry, set: Option<Arc<VariantSet>>, forward| {
            Box::new(Question {
                facts,
                access,
                scope,
                primary: (*keys.primary).into(),
                asked: self.asked_target(),
                variant: set.map(|set| (set, (*keys.variant).into())),
                entry,
                forward,
            })
        };
        if is_post {
            return Lookup::Post(ask(None, None, Forward::UriMiss));
        }
        let question = |entry, set, forward| Lookup::Ask(ask(entry, set, forward));
        let entry = match selected {
            Selected::Entry(entry) => entry,
            Selected::Nothing(_) if facts.directives.has(ringway_cache::control::Directive::OnlyIfCached) => {
                return Lookup::OnlyIfCached;
            }
            Selected::Nothing(set) => {
                let forward = if set.is_some() { Forward::VaryMiss } else { Forward::UriMiss };
                return question(None, set, forward);
            }
        };
        let answer = |outcome, refresh| {
            let (head, body) = (entry.head().clone(), entry.body().clone());
            Lookup::Answer(Answer { head, body, facts, outcome, extra: Vec::new(), refresh })
        };
        match judge(cache.settings.mode, &facts, entry.head(), entry.fresh_until(), now) {
            Verdict::Serve { ttl } => answer(Outcome::Hit { ttl }, None),
            Verdict::ServeStale { ttl, reason } => {
                let refresh = (reason == policy::StaleReason::Revalidating)
                    .then(|| entry.begin_refresh(core.runtime.now()))
                    .flatten();
                answer(Outcome::Stale { ttl, reason }, refresh)
            }
            Verdict::OnlyIfCached => Lookup::OnlyIfCached,
            Verdict::Forward => Lookup::PassOn(Forward::Stale, NotStored::Request),
            Verdict::Personal => Lookup::PassOn(Forward::Request, NotStored::Cookie),
            Verdict::Revalidate(why) => {
                let forward = if why == Revalidation::Request { Forward::Request } else { Forward::Stale };
                let set = entry.variant_of().cloned();
                question(Some((entry, why)), set, forward)
            }
        }
    }

    /// Parts of the request's key.
    fn key_parts<'b>(&'b self, target: &Target<'b>, cache: &CacheRule, scope: &Scope) -> KeyParts<'b> {
        let ConnBuffers { request, client_in, target: rewritten, .. } = &*self.buffers;
        let is_https = match_rule::is_secure(self.client, request, client_in);
        let sent = if rewritten.is_empty() { request.path_and_query(client_in) } else { rewritten };
        KeyParts {
            scope: scope.id(),
            is_https,
            port: request.port().unwrap_or(if is_https { 443 } else { 80 }),
            host: request.host(),
            target: sent.as_bytes(),
            pool: if cache.has_pools { target.pool.app.as_str() } else { "" },
        }
    }

    /// Target that the client asked for, where a rule rewrites it.
    fn asked_target(&self) -> Option<Box<[u8]>> {
        let ConnBuffers { request, client_in, target: rewritten, .. } = &*self.buffers;
        let asked = request.path_and_query(client_in);
        (!rewritten.is_empty() && *rewritten != *asked).then(|| asked.as_bytes().into())
    }
}

/// The field lines of a head.
pub(super) fn field_lines(head: &[u8]) -> Lines<'_> {
    let start = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |end| end + 1);
    Lines(&head[start..])
}
