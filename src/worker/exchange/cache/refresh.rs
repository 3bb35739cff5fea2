//! Refreshes: a stale response that was served is asked about in the background, once at a time.

use std::rc::Rc;
use std::sync::Arc;

use ringway_cache::FieldSource;
use ringway_cache::control::Codings;
use ringway_cache::policy::{
    EntryChange, Freshened, RequestFacts, ResponseFacts, ResponseSource, Times, freshen,
    is_removed_on_refresh, storable, store, write_conditions,
};
use ringway_cache::{RefreshPermit, Request, Scope, Start, Vary};
use ringway_telemetry::CacheFilled;
use ringway_traffic::cache_rule::CacheRule;
use ringway_traffic::virtual_host::Rule;
use ringway_wire::message::Method;

use super::ask::entry_with;
use super::fill::Fill;
use super::lookup::field_lines;
use crate::core::Core;
use crate::exchange::{Exchange, Target, mirror};
use crate::runtime::Runtime;
use crate::upstream::{Detached, DetachedResponse, Reuse, Stop, Transfer, Versions};

/// A refresh under way.
struct Refresh<R: Runtime> {
    core: Rc<Core<R>>,
    rule: Arc<Rule>,
    cache: Arc<CacheRule>,
    pool: ringway_traffic::snapshot::PoolId,
    scope: Arc<Scope>,
    facts: RequestFacts,
    path: Box<[u8]>,
    /// Head of the request.
    request: Vec<u8>,
    permit: RefreshPermit,
}

impl<R: Runtime> Exchange<'_, R> {
    /// Begins to refresh an entry, as for this request but without its cookies and credentials, unless they
    /// are part of the key.
    pub(super) fn refresh(
        &mut self,
        target: &Target<'_>,
        cache: &Arc<CacheRule>,
        (permit, facts): (RefreshPermit, RequestFacts),
    ) {
        let core = self.core;
        let Some(state) = &core.cache else { return };
        let head = self.head_for_origin();
        let request = refresh_head(&head, cache, &permit);
        self.buffers.out = head;
        let parts = permit.entry().parts();
        let refresh = Refresh {
            core: core.handle(),
            rule: target.matched.rule.clone(),
            cache: cache.clone(),
            pool: target.pool.id,
            scope: cache.scope(&state.store).clone(),
            facts: facts.of_refresh(),
            path: parts.map_or(&b""[..], |parts| parts.target).into(),
            request,
            permit,
        };
        let id = core.id;
        core.runtime.spawn(refresh.run(), move |panic| {
            tracing::error!(core = id.0, %panic, "task of a cache refresh panicked; the entry stays stale");
        });
    }
}

impl<R: Runtime> Refresh<R> {
    async fn run(self) {
        let Self { core, rule, cache, pool, scope, facts, path, request, permit } = self;
        let Some(state) = &core.cache else { return };
        let entry = permit.entry().clone();
        let tables = core.tables();
        let picked = tables.snapshot.pool(pool).and_then(|pool| Some((pool, mirror::pick(&core, pool)?)));
        let Some((pool, (endpoint, _in_flight))) = picked else { return permit.fail(core.runtime.now()) };
        let lead = state.fills.lead_alone(&Request {
            scope: &scope,
            key: entry.key(),
            asked: entry.asked(),
            epoch: cache.epoch,
            known: Some(&entry),
            core: core.id.0.into(),
            now: core.runtime.now(),
            successions: 0,
        });
        let transfer = Transfer::default();
        transfer.activity.deadlines.end_at(core.runtime.now().after(rule.policy.head_timeout()));
        let asked_at = core.runtime.timestamp();
        let detached = Detached {
            core: &core,
            pool,
            endpoint,
            policy: &rule.policy,
            transfer: &transfer,
            versions: Versions::OfPool,
            reuse: Reuse::Allowed,
            request: request.clone(),
            method: Method::Get,
            stop: &Stop::default(),
        };
        let Ok(response) = detached.run().await else { return permit.fail(core.runtime.now()) };
        let times = Times { asked_at, received_at: core.runtime.timestamp() };
        let DetachedResponse { conn, head, bytes } = response;
        let (source, lines) = ((&head, bytes.as_slice()), field_lines(&request));
        if head.status() == 304 {
            let Freshened { head: updated, change } =
                freshen(&cache.settings, entry.head(), &facts, lines, &path, source, times);
            let is_stored = change == EntryChange::Replace && !entry.is_removed();
            let new = is_stored.then(|| entry_with(&entry, Arc::new(updated), cache.epoch));
            let inserted = new.is_some_and(|new| state.store.insert(lead.ticket(), new).is_ok());
            DetachedResponse { conn, head, bytes }.discard(&core, core.runtime.now(), 0).await;
            match inserted {
                true => core.telemetry.emit(CacheFilled { outcome: "validated" }),
                false => permit.fail(core.runtime.now()),
            }
            return;
        }
        let read = ResponseFacts::read(&cache.settings, head.status(), source, times.received_at);
        let path = ResponseSource::new(&path, source);
        let freshness = storable(&cache.settings, &facts, &read, &path, times);
        // A response that varies otherwise, or is none to store, is left to the next request.
        let is_same_kind = matches!(read.vary, Vary::Nothing) == entry.variant_of().is_none();
        let Some(freshness) = freshness.ok().filter(|_| is_same_kind && head.status() < 500) else {
            return permit.fail(core.runtime.now());
        };
        let reason = head.reason(&bytes);
        let stored = store(&cache.settings, lines, &read, source, reason, freshness, times);
        let (writer, reader) = lead.stream(Start {
            head: Arc::new(stored),
            variant: entry.variant_of().map(|set| (set.clone(), entry.key().into())),
            expected: head.content_length(),
            content_max: cache.settings.object_bytes_max,
            core: core.id.0.into(),
            now: core.runtime.now(),
        });
        Fill::detached(core.clone(), &rule, (conn, head, bytes), writer).complete().await;
        drop(reader);
    }
}

/// Makes the head of the request that refreshes an entry of the one for the origin: a GET without what
/// belongs to one client, and with the validators of the entry.
fn refresh_head(head: &[u8], cache: &CacheRule, permit: &RefreshPermit) -> Vec<u8> {
    let stored = permit.entry().head();
    let fields = field_lines(head);
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let target = line.iter().position(|byte| *byte == b' ').map_or(&b" / HTTP/1.1\r"[..], |at| &line[at..]);
    let mut request = [b"GET", target, b"\n"].concat();
    let is_left_out = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"accept-encoding") || is_removed_on_refresh(&cache.settings, stored, name)
    };
    for (name, value) in fields.lines().filter(|(name, _)| !is_left_out(name)) {
        [name, b": ", value, b"\r\n"].iter().for_each(|part| request.extend_from_slice(part));
    }
    if let Some(accepted) = Codings::parse(fields.values("accept-encoding")).value() {
        request.extend_from_slice(format!("Accept-Encoding: {accepted}\r\n").as_bytes());
    }
    write_conditions(&mut request, stored);
    request.extend_from_slice(b"\r\n");
    request
}
