//! Requests that go to the origin: for themselves, for others that wait, or waiting for another one.

use std::sync::Arc;

use ringway_cache::control::{Codings, Directive};
use ringway_cache::policy::{
    Access, CONDITIONAL_FIELDS, EntryChange, Forward, Freshened, NotStored, OriginFailure, Outcome,
    ResponseFacts, ResponseSource, StaleReason, Storing, Times, freshen, may_serve_stale, storable, store,
    write_conditions, write_personal_fields, write_variant_conditions,
};
use ringway_cache::{
    Alone, Body, Entry, FieldSource, Found, Join, Lead, NewEntry, Progress, Request, Start, StoredHead,
    VariantSet, Vary, Waiter,
};
use ringway_model::Timestamp;
use ringway_telemetry::{CacheFilled, CacheWait};
use ringway_traffic::cache_rule::CacheRule;
use ringway_wire::message::Method;

use super::lookup::{Answer, Lookup, Question, field_lines};
use crate::core::{ConnBuffers, Core};
use crate::exchange::disposition::Disposition;
use crate::exchange::failure::Failure;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::{Exchange, Interrupt, Target};
use crate::limits;
use crate::runtime::Runtime;
use crate::upstream::UpstreamResponse;

/// Conditions with which the origin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conditions {
    /// Those of the cache, about what is stored.
    Stored,
    /// Those of the client, for its response is hardly one to store.
    Clients,
    /// None: the whole response is wanted.
    None,
}

/// Result of waiting for another request's fill.
enum Waited {
    Lead(Lead<Failure>),
    Follow(ringway_cache::Reader<Failure>),
    Validated(Arc<Entry>),
    Failed(Failure),
    Alone,
    /// The response is for requests without `Cookie`, which this one has.
    Personal,
    LookUpAgain(u8),
    TimedOut(Waiter<Failure>),
    ClientLeft,
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Answers a request that no stored response answers as it is.
    pub(in crate::exchange) async fn ask(
        &mut self,
        target: &Target<'a>,
        cache: &'a CacheRule,
        mut question: Box<Question>,
    ) -> Result<Disposition, Interrupt<'a>> {
        if question.access == Access::Read && question.entry.is_none() {
            return self.pass_on(target, question.forward, NotStored::Request).await;
        }
        let core = self.core;
        let Some(state) = &core.cache else {
            return self.pass_on(target, question.forward, NotStored::Request).await;
        };
        let mut successions = 0;
        let mut rounds = 0;
        let mut conditions = Conditions::Stored;
        // The answer to a request with `no-store` is for its client alone.
        let may_share = cache.settings.coalesces && !question.facts.directives.has(Directive::NoStore);
        let lead = loop {
            let request = self.fill_request(cache, &question, successions);
            let join = match may_share && rounds < ROUNDS_MAX {
                true => state.fills.join(&request),
                false => Join::Lead(state.fills.lead_alone(&request)),
            };
            rounds += 1;
            let waiter = match join {
                Join::Lead(lead) => break lead,
                Join::Alone(reason) => {
                    if reason == Alone::Uncacheable && !question.is_conditional() {
                        conditions = Conditions::Clients;
                    }
                    break state.fills.lead_alone(&request);
                }
                Join::Wait(waiter) => waiter,
                Join::Found(Found::Entry(_) | Found::Variants(_)) => match self.look_up(target, cache) {
                    Lookup::Ask(next) => {
                        question = next;
                        continue;
                    }
                    other => return self.answer_now(target, other).await,
                },
            };
            match self.wait_for_fill(waiter, cache, &question).await {
                Waited::Lead(lead) => break lead,
                Waited::Follow(reader) => {
                    let (forward, status) = (question.forward, reader.head().status());
                    let outcome =
                        Outcome::Forwarded { forward, status, storing: Storing::Underway, collapsed: true };
                    let followed = self.follow(target, reader, &question.facts, (outcome, &[]));
                    return followed.await.map_err(Interrupt::Failure);
                }
                Waited::Validated(entry) => {
                    let answer = self.confirmed(&question, entry.head().clone(), entry.body().clone());
                    return self.answer(target, answer).await.map_err(Interrupt::Failure);
                }
                Waited::Failed(failure) => return self.answer_failure(target, &question, failure).await,
                Waited::Personal => return self.pass_on(target, question.forward, NotStored::Cookie).await,
                Waited::Alone => break state.fills.lead_alone(&request),
                Waited::ClientLeft => return Err(Failure::ClientClosed.into()),
                Waited::TimedOut(waiter) => match state.fills.time_out(waiter, &request) {
                    Join::Lead(lead) => break lead,
                    Join::Found(_) | Join::Wait(_) | Join::Alone(_) => {
                        break state.fills.lead_alone(&request);
                    }
                },
                Waited::LookUpAgain(next) => {
                    successions = next;
                    match self.look_up(target, cache) {
                        Lookup::Ask(next) => question = next,
                        other => return self.answer_now(target, other).await,
                    }
                }
            }
        };
        self.lead(target, cache, &question, (lead, conditions)).await
    }

    /// Answers by a look-up that found something to say, or that leaves the request to the origin alone.
    async fn answer_now(
        &mut self,
        target: &Target<'a>,
        lookup: Lookup,
    ) -> Result<Disposition, Interrupt<'a>> {
        match lookup {
            Lookup::Answer(answer) => self.answer(target, answer).await.map_err(Interrupt::Failure),
            Lookup::OnlyIfCached => Err(LocalReply::only_if_cached().into()),
            Lookup::Bypass(bypass) => {
                self.info.cache = Some(Outcome::Bypass(bypass));
                self.forward(target).await
            }
            Lookup::PassOn(forward, reason) => self.pass_on(target, forward, reason).await,
            Lookup::Ask(question) | Lookup::Post(question) => {
                self.pass_on(target, question.forward, NotStored::Request).await
            }
        }
    }

    /// Passes the request on, and stores nothing.
    pub(super) async fn pass_on(
        &mut self,
        target: &Target<'a>,
        forward: Forward,
        reason: NotStored,
    ) -> Result<Disposition, Interrupt<'a>> {
        let storing = Storing::Not(reason);
        // Its status is noted when the response has come.
        self.info.cache = Some(Outcome::Forwarded { forward, status: 0, storing, collapsed: false });
        self.forward(target).await
    }

    pub(super) fn fill_request<'q>(
        &self,
        cache: &CacheRule,
        question: &'q Question,
        successions: u8,
    ) -> Request<'q> {
        Request {
            scope: &question.scope,
            key: question.key(),
            asked: question.asked.as_deref(),
            epoch: cache.epoch,
            known: question.entry.as_ref().map(|(entry, _)| entry),
            core: self.core.id.0.into(),
            now: self.core.runtime.now(),
            successions,
        }
    }

    /// Waits until a fill has something for this request, its client leaves, or the time for it is over.
    async fn wait_for_fill(
        &mut self,
        mut waiter: Waiter<Failure>,
        cache: &CacheRule,
        question: &Question,
    ) -> Waited {
        let core = self.core;
        let Some(state) = &core.cache else { return Waited::Alone };
        self.has_paused = true;
        let begun = core.runtime.now();
        let timeout = cache.settings.coalesce_timeout;
        let mut wait = state.waits.begin(waiter.id());
        let _counted = self.count_wait();
        let is_for_others = |head: &StoredHead| question.facts.has_cookie() && !head.is_for_cookies();
        loop {
            waiter = match waiter.poll() {
                Progress::Pending(waiter) => waiter,
                Progress::Lead(lead) => return Waited::Lead(lead),
                Progress::Validated(entry) if is_for_others(entry.head()) => return Waited::Personal,
                Progress::Validated(entry) => return Waited::Validated(entry),
                Progress::Alone => return Waited::Alone,
                Progress::Failed(failure) => return Waited::Failed(failure),
                Progress::Retry { successions } => return Waited::LookUpAgain(successions),
                Progress::Streaming(follower) => {
                    if !self.selects(cache, question, follower.variant_of(), follower.key()) {
                        return Waited::LookUpAgain(0);
                    }
                    if is_for_others(follower.head()) {
                        return Waited::Personal;
                    }
                    return match follower.follow(core.runtime.now()) {
                        Ok(reader) => Waited::Follow(reader),
                        // It broke off, or its beginning has passed.
                        Err(_) => Waited::Alone,
                    };
                }
            };
            let waited = core.runtime.now().since(begun);
            if waited >= timeout {
                return Waited::TimedOut(waiter);
            }
            let pause = limits::CLIENT_WATCH_DELAY.min(timeout - waited);
            // Boxed: exchanges need not be larger for it.
            let woken = Box::pin(core.runtime.timeout(wait.next(), pause)).await;
            if woken.is_none() && self.has_left().await {
                return Waited::ClientLeft;
            }
        }
    }

    /// Counts this request among those that wait, until the result is dropped.
    fn count_wait(&self) -> CountedWait<'a, R> {
        let route = self.info.matched.map_or(0, |matched| matched.rule.metric.0);
        let counted =
            CountedWait { core: self.core, route, pool: self.info.pool.map_or(0, |pool| pool.metric.0) };
        counted.emit(false);
        counted
    }

    /// Whether a response that another request asked for is the variant that this one selects.
    fn selects(
        &mut self,
        cache: &CacheRule,
        question: &Question,
        set: Option<&Arc<VariantSet>>,
        key: &[u8],
    ) -> bool {
        let Some(set) = set else { return true };
        let head = self.head_for_origin();
        let mut own = Vec::new();
        let marker = set.marker();
        let written = marker.write_key(&mut own, &question.primary, field_lines(&head), cache.settings.mode);
        self.buffers.out = head;
        written.is_ok() && own == key
    }

    /// Asks the origin for all that wait.
    async fn lead(
        &mut self,
        target: &Target<'a>,
        cache: &'a CacheRule,
        question: &Question,
        (lead, mut conditions): (Lead<Failure>, Conditions),
    ) -> Result<Disposition, Interrupt<'a>> {
        let core = self.core;
        self.edit_for_origin(question, conditions);
        self.admit_load(target.matched).await?;
        let (response, times) = loop {
            let asked_at = core.runtime.timestamp();
            let response = match self.fetch(target).await {
                Ok(response) => response,
                Err(Interrupt::Failure(failure)) if !failure.is_clients() => {
                    lead.fail(failure);
                    return self.answer_failure(target, question, failure).await;
                }
                Err(interrupt) => return Err(interrupt),
            };
            self.note_response_head(target);
            let times = Times { asked_at, received_at: core.runtime.timestamp() };
            let is_confirmed = self.buffers.response.status() == 304
                && conditions == Conditions::Stored
                && question.is_conditional();
            if !is_confirmed {
                break (response, times);
            }
            if let Some(entry) = self.confirmed_entry(question) {
                return self.confirm(target, cache, question, (&entry, lead, response, times)).await;
            }
            // A 304 that names none of the variants. The client has no use for it: it did not ask so.
            self.give_up_response(target, response);
            conditions = Conditions::None;
            self.edit_for_origin(question, conditions);
        };
        let status = self.buffers.response.status();
        if let Some(answer) = self.stale_answer(question, OriginFailure::Status(status)) {
            lead.fail(Failure::OriginFailed(status));
            self.give_up_response(target, response);
            return self.answer(target, answer).await.map_err(Interrupt::Failure);
        }
        let (started, personal) = match self.start(cache, question, lead.ticket(), times) {
            Ok(started) => started,
            Err(reason) => {
                match reason {
                    // It says nothing about other requests for the key.
                    Storing::Not(NotStored::Request) => drop(lead),
                    _ => lead.pass(core.runtime.now()),
                }
                if let (Storing::Not(reason), Some((entry, _))) = (reason, &question.entry)
                    && let EntryChange::Drop(_) = EntryChange::of(status, Err(reason))
                {
                    self.drop_entry(cache, entry);
                }
                let forward = question.forward;
                self.info.cache =
                    Some(Outcome::Forwarded { forward, status, storing: reason, collapsed: false });
                return self.deliver_response(target, response).await.map_err(Interrupt::Failure);
            }
        };
        let (writer, reader) = lead.stream(started);
        let storing = self.fill(target, response, writer);
        let forward = question.forward;
        let outcome = Outcome::Forwarded { forward, status, storing, collapsed: false };
        let followed = self.follow(target, reader, &question.facts, (outcome, &personal));
        followed.await.map_err(Interrupt::Failure)
    }

    /// Edits the request for the origin: what is asked is what is to be stored, whatever part or condition
    /// this client asks for, and what is stored already is asked about.
    fn edit_for_origin(&mut self, question: &Question, conditions: Conditions) {
        let head = self.head_for_origin();
        let accepted = Codings::parse(field_lines(&head).values("accept-encoding")).value();
        self.buffers.out = head;
        let mut lines = Vec::new();
        match (&question.entry, &question.variant) {
            _ if conditions != Conditions::Stored => {}
            (Some((entry, _)), _) => write_conditions(&mut lines, entry.head()),
            (None, Some((set, _))) => {
                let variants = set.variants();
                write_variant_conditions(&mut lines, variants.iter().map(|variant| &**variant.head()));
            }
            (None, None) => {}
        }
        let edits = self.stages.edit_request();
        let replaced = CONDITIONAL_FIELDS.iter().filter(|_| conditions != Conditions::Clients);
        for name in replaced.chain(&["accept-encoding"]) {
            edits.withdraw(name);
            edits.remove(name);
        }
        let accepted = accepted.map(|value| ("Accept-Encoding", value.as_bytes()));
        let lines = ringway_cache::Lines(&lines);
        let named = lines.lines().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
        for (name, value) in accepted.into_iter().chain(named) {
            // Both are names and values of fields that were parsed before.
            let _ = edits.append(name, value);
        }
    }

    /// Head that the origin gets, in the buffer `out`, which is to be put back.
    pub(super) fn head_for_origin(&mut self) -> Vec<u8> {
        let mut head = std::mem::take(&mut self.buffers.out);
        head.clear();
        let rewrite = ringway_wire::h1::RequestRewrite::default();
        crate::upstream::write_head(&mut head, self.buffers, self.stages.request_edits(), &rewrite);
        head
    }

    /// Handles a 304: `entry` is valid, and updated by its fields (RFC 9111 §4.3.4).
    async fn confirm(
        &mut self,
        target: &Target<'a>,
        cache: &CacheRule,
        question: &Question,
        (entry, lead, response, times): (&Entry, Lead<Failure>, UpstreamResponse<'a, R>, Times),
    ) -> Result<Disposition, Interrupt<'a>> {
        let core = self.core;
        let Some(state) = &core.cache else { return Err(Failure::Exhausted.into()) };
        let settings = &cache.settings;
        let sent = self.head_for_origin();
        let mut personal = Vec::new();
        let Freshened { head, change } = {
            let ConnBuffers { response: not_modified, upstream_in, .. } = &*self.buffers;
            let source = (not_modified, upstream_in.as_slice());
            let facts = ResponseFacts::read(settings, 304, source, times.received_at);
            write_personal_fields(&mut personal, settings, &facts, source);
            let lines = field_lines(&sent);
            freshen(settings, entry.head(), &question.facts, lines, question.path(), source, times)
        };
        self.buffers.out = sent;
        self.give_up_response(target, response);
        let head = Arc::new(head);
        let stored = match change {
            EntryChange::Replace if entry.is_removed() => None,
            EntryChange::Replace => {
                let new = entry_with(entry, head.clone(), cache.epoch);
                state.store.insert(lead.ticket(), question.selected(new)).ok()
            }
            EntryChange::Keep => None,
            EntryChange::Drop(_) => {
                self.drop_entry(cache, entry);
                None
            }
        };
        match stored {
            Some(entry) => {
                core.telemetry.emit(CacheFilled { outcome: "validated" });
                lead.validated(entry);
            }
            None if question.facts.directives.has(Directive::NoStore) => drop(lead),
            None => lead.pass(core.runtime.now()),
        }
        let answer = self.confirmed(question, head, entry.body().clone());
        let answer = Answer { extra: personal, ..answer };
        self.answer(target, answer).await.map_err(Interrupt::Failure)
    }

    /// Drops an entry that its origin does not want to be stored any longer.
    fn drop_entry(&self, cache: &CacheRule, entry: &Entry) {
        if let (Some(state), Some(parts)) = (&self.core.cache, entry.parts()) {
            let scope = cache.scope(&state.store);
            state.store.invalidate(scope, &parts, &cache.settings, self.core.runtime.timestamp());
        }
    }

    /// The entry that a 304 is about: the one that was asked about, or the variant with its entity tag.
    fn confirmed_entry(&self, question: &Question) -> Option<Arc<Entry>> {
        if let Some((entry, _)) = &question.entry {
            return Some(entry.clone());
        }
        let (set, _) = question.variant.as_ref()?;
        let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
        let tag = response.field(upstream_in, "etag").next()?;
        set.variants().into_iter().find(|variant| variant.head().etag() == Some(tag))
    }

    fn confirmed(&self, question: &Question, head: Arc<StoredHead>, body: Arc<Body>) -> Answer {
        let ttl = ttl(head.fresh_until(), self.core.runtime.timestamp());
        let outcome = Outcome::Revalidated { forward: question.forward, ttl };
        Answer { head, body, facts: question.facts, outcome, extra: Vec::new(), refresh: None }
    }

    /// Answers for a failed origin: by what is stored, or with the failure.
    async fn answer_failure(
        &mut self,
        target: &Target<'a>,
        question: &Question,
        failure: Failure,
    ) -> Result<Disposition, Interrupt<'a>> {
        let origin = match failure {
            Failure::OriginFailed(status) => OriginFailure::Status(status),
            failure if failure.is_disconnect() => OriginFailure::Unreachable,
            _ => OriginFailure::Status(504),
        };
        match self.stale_answer(question, origin) {
            Some(answer) => self.answer(target, answer).await.map_err(Interrupt::Failure),
            None => Err(failure.into()),
        }
    }

    /// The stored response in place of a failure of the origin, where it may be served.
    fn stale_answer(&self, question: &Question, failure: OriginFailure) -> Option<Answer> {
        let (entry, _) = question.entry.as_ref()?;
        let now = self.core.runtime.timestamp();
        let reason = may_serve_stale(entry.head(), entry.fresh_until(), failure, now)?;
        let ttl = ttl(entry.fresh_until(), now);
        let outcome = match failure {
            OriginFailure::Status(status) if reason == StaleReason::IfError => {
                Outcome::StaleAfter { ttl, status }
            }
            _ => Outcome::Stale { ttl, reason },
        };
        let (head, body) = (entry.head().clone(), entry.body().clone());
        Some(Answer { head, body, facts: question.facts, outcome, extra: Vec::new(), refresh: None })
    }

    /// Judges the response whose head stands in the buffers: how it is stored, and the field lines that are
    /// for this client only, or the reason not to store it.
    pub(super) fn start(
        &mut self,
        cache: &CacheRule,
        question: &Question,
        ticket: &ringway_cache::Ticket,
        times: Times,
    ) -> Result<(Start, Vec<u8>), Storing> {
        let core = self.core;
        let Some(state) = &core.cache else { return Err(Storing::Full) };
        let settings = &cache.settings;
        let sent = self.head_for_origin();
        let lines = field_lines(&sent);
        let result = (|| {
            let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
            let source = (response, upstream_in.as_slice());
            let facts = ResponseFacts::read(settings, response.status(), source, times.received_at);
            let path = ResponseSource::new(question.path(), source);
            let asked = match question.facts.method {
                Method::Post => question.facts,
                _ => question.facts.without_conditions(),
            };
            let freshness = storable(settings, &asked, &facts, &path, times).map_err(Storing::Not)?;
            let mut personal = Vec::new();
            write_personal_fields(&mut personal, settings, &facts, source);
            let reason = response.reason(upstream_in);
            let head = Arc::new(store(settings, lines, &facts, source, reason, freshness, times));
            let variant = match &facts.vary {
                Vary::Names(names) => {
                    let known = question.variant.as_ref().map(|(set, _)| set);
                    let set = match known.filter(|set| set.marker().names() == names) {
                        Some(set) => set.clone(),
                        None => state
                            .store
                            .variant_set(ticket, &question.primary, names.clone())
                            .map_err(|_| Storing::Full)?,
                    };
                    if let Some(marker) = set.marker().with_language(lines, source, settings.mode) {
                        set.set_marker(marker);
                    }
                    let mut key = Vec::new();
                    let written = set.marker().write_key(&mut key, &question.primary, lines, settings.mode);
                    written.map_err(|_| Storing::Full)?;
                    Some((set, key.into_boxed_slice()))
                }
                _ => question.variant.clone(),
            };
            let started = Start {
                head,
                variant,
                expected: response.content_length().or_else(|| is_empty(response).then_some(0)),
                content_max: settings.object_bytes_max,
                core: core.id.0.into(),
                now: core.runtime.now(),
            };
            Ok((started, personal))
        })();
        self.buffers.out = sent;
        result
    }
}

/// Request that waits for another one's response, as metrics count it: also when its client leaves.
struct CountedWait<'a, R: Runtime> {
    core: &'a Core<R>,
    route: u16,
    pool: u16,
}

impl<R: Runtime> CountedWait<'_, R> {
    fn emit(&self, has_ended: bool) {
        let Self { core, route, pool } = *self;
        core.telemetry.emit(CacheWait { route, pool, has_ended });
    }
}

impl<R: Runtime> Drop for CountedWait<'_, R> {
    fn drop(&mut self) {
        self.emit(true);
    }
}

/// The entry with another head.
pub(super) fn entry_with(entry: &Entry, head: Arc<StoredHead>, epoch: u64) -> NewEntry {
    NewEntry {
        key: entry.key().into(),
        asked: entry.asked().map(Into::into),
        epoch,
        head,
        body: entry.body().clone(),
        variant_of: entry.variant_of().cloned(),
    }
}

fn is_empty(response: &ringway_wire::h1::ResponseHead) -> bool {
    response.framing() == ringway_wire::message::Framing::Empty
}

/// Remaining lifetime in whole seconds; negative past it.
fn ttl(fresh_until: Timestamp, now: Timestamp) -> i64 {
    let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    match now < fresh_until {
        true => signed((fresh_until.0 - now.0) / 1_000),
        false => -signed((now.0 - fresh_until.0).div_ceil(1_000)),
    }
}

/// Look-ups of one request: after as many, it asks for itself.
const ROUNDS_MAX: usize = 4;
