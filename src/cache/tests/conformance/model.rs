//! Model of a cache: this crate's decisions with maps for a store, in the order of the data path. One request
//! at a time, a virtual clock, no coalescing.

use std::collections::{HashMap, HashSet};

use ringway_cache::control::Codings;
use ringway_cache::policy::{
    Access, Bypass, CONDITIONAL_FIELDS, EntryChange, Forward, Invalidation, NotStored, OriginFailure,
    Outcome, Reply, RequestFacts, RequestTarget, RequestTraits, ResponseFacts, ResponseSource, Revalidation,
    StaleReason, Storing, Times, Verdict, freshen, is_removed_on_refresh, judge, may_serve_stale, reply,
    storable, store, write_conditions, write_personal_fields, write_reply_fields, write_variant_conditions,
};
use ringway_cache::{FieldSource, KeyParts, Lines, Marker, ScopeId, Settings, StoredHead, Vary, write_key};
use ringway_model::Timestamp;
use ringway_wire::message::Method;

/// A request, of a client or at the origin.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Option<String>,
}

/// Answer of the origin.
#[derive(Clone, Debug)]
pub(crate) enum OriginAnswer {
    Response { status: u16, fields: Vec<(String, String)>, body: String, delay: u64 },
    Cut,
}

/// Response to the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: String,
    pub outcome: String,
}

/// The cache.
pub(crate) struct Model {
    settings: Settings,
    now: Timestamp,
    primary: HashMap<Vec<u8>, Slot>,
    variants: HashMap<Vec<u8>, Entry>,
    /// Keys whose last response was not stored.
    uncacheable: HashSet<Vec<u8>>,
    generations: u64,
}

enum Slot {
    Entry(Entry),
    Marker(Marker),
}

#[derive(Clone)]
struct Entry {
    head: StoredHead,
    body: String,
}

/// Received response with its times.
struct Received {
    status: u16,
    lines: Vec<u8>,
    body: String,
    times: Times,
}

/// The origin of one exchange: it answers once.
struct Origin {
    answer: Option<OriginAnswer>,
    asked: Option<Asked>,
}

const HOST: &str = "a.example";

impl Model {
    pub(crate) fn new(settings: Settings, now: Timestamp) -> Self {
        Self {
            settings,
            now,
            primary: HashMap::new(),
            variants: HashMap::new(),
            uncacheable: HashSet::new(),
            generations: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now.0 += seconds * 1_000;
    }

    /// Runs one exchange; also returns the request that the origin got.
    pub(crate) fn exchange(
        &mut self,
        request: &Asked,
        answer: Option<OriginAnswer>,
    ) -> Result<(Response, Option<Asked>), String> {
        let mut origin = Origin { answer, asked: None };
        let response = self.serve(request, &mut origin)?;
        Ok((response, origin.asked))
    }

    fn serve(&mut self, request: &Asked, origin: &mut Origin) -> Result<Response, String> {
        // With a cache, the origin is asked for the codings that the key has.
        let mut upstream = request.clone();
        let codings = Codings::parse(values(&request.fields, "accept-encoding"));
        upstream.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("accept-encoding"));
        if let Some(value) = codings.value() {
            upstream.fields.push(("Accept-Encoding".to_owned(), value.to_owned()));
        }
        let lines = to_lines(&upstream.fields);
        let source = Lines(&lines);
        let traits = RequestTraits { has_body: request.body.is_some(), ..RequestTraits::default() };
        let method = Method::from_bytes(request.method.as_bytes());
        let facts = RequestFacts::read(method, traits, source, self.now);
        let access = match facts.access(&self.settings) {
            Ok(access) => access,
            Err(bypass) => return self.bypass(&upstream, &facts, bypass, origin),
        };
        let primary = self.key(&request.target, source);
        let (found, has_variants) = self.find(&primary, source);
        let Some((key, entry)) = found else {
            if facts.directives.has(ringway_cache::control::Directive::OnlyIfCached) {
                return Ok(local(504));
            }
            let forward = if has_variants { Forward::VaryMiss } else { Forward::UriMiss };
            return self.miss(&upstream, &facts, access, &primary, forward, origin);
        };
        let fresh_until = entry.head.fresh_until();
        match judge(self.settings.mode, &facts, &entry.head, fresh_until, self.now) {
            Verdict::Serve { ttl } => Ok(self.answer(&facts, source, &entry, Outcome::Hit { ttl })),
            Verdict::ServeStale { ttl, reason } => {
                let response = self.answer(&facts, source, &entry, Outcome::Stale { ttl, reason });
                if reason == StaleReason::Revalidating {
                    self.refresh(&upstream, &key, &primary, &entry, origin)?;
                }
                Ok(response)
            }
            Verdict::OnlyIfCached => Ok(local(504)),
            Verdict::Forward => self.pass_on(&upstream, Forward::Stale, NotStored::Request, origin),
            Verdict::Personal => self.pass_on(&upstream, Forward::Request, NotStored::Cookie, origin),
            Verdict::Revalidate(why) => {
                self.revalidate(&upstream, &facts, &key, &primary, &entry, why, origin)
            }
        }
    }

    /// A request whose response is for its client only.
    fn pass_on(
        &mut self,
        request: &Asked,
        forward: Forward,
        reason: NotStored,
        origin: &mut Origin,
    ) -> Result<Response, String> {
        let Some(received) = self.ask(request, origin)? else { return Ok(local(502)) };
        Ok(passed(&received, &forwarded(&received, forward, Storing::Not(reason))))
    }

    /// A request that neither reads nor writes: it may invalidate, and a POST may be stored for GET.
    fn bypass(
        &mut self,
        request: &Asked,
        facts: &RequestFacts,
        bypass: Bypass,
        origin: &mut Origin,
    ) -> Result<Response, String> {
        let Some(received) = self.ask(request, origin)? else { return Ok(local(502)) };
        let target = RequestTarget { is_https: false, host: HOST, port: 80, target: &request.target };
        let invalidation = Invalidation::of(facts.method, received.status, &target, Lines(&received.lines));
        if let Some(invalidation) = invalidation {
            for target in &invalidation.targets {
                // Entries of the target have only the parts before the values of fields in common.
                let wanted = self.key(target, Lines(b""));
                let is_wanted = |key: &[u8]| {
                    KeyParts::parse(key).unwrap().target == KeyParts::parse(&wanted).unwrap().target
                };
                self.primary.retain(|key, _| !is_wanted(key));
                self.variants.retain(|key, _| !is_wanted(key));
            }
            let is_hit = |entry: &Entry| invalidation.groups.iter().any(|group| entry.head.has_tag(*group));
            self.primary.retain(|_, slot| !matches!(slot, Slot::Entry(entry) if is_hit(entry)));
            self.variants.retain(|_, entry| !is_hit(entry));
        }
        let lines = to_lines(&request.fields);
        if facts.method == Method::Post {
            let primary = self.key(&request.target, Lines(&lines));
            self.insert(request, facts, &primary, &received);
        }
        Ok(passed(&received, &Outcome::Bypass(bypass)))
    }

    fn miss(
        &mut self,
        request: &Asked,
        facts: &RequestFacts,
        access: Access,
        primary: &[u8],
        forward: Forward,
        origin: &mut Origin,
    ) -> Result<Response, String> {
        let lines = to_lines(&request.fields);
        let mut upstream = request.clone();
        let mut asks_variants = false;
        let may_store = access == Access::ReadWrite;
        if may_store && (forward == Forward::VaryMiss || !self.uncacheable.contains(primary)) {
            upstream.fields.retain(|(name, _)| !is_condition(name));
        }
        if forward == Forward::VaryMiss && may_store {
            let mut condition = Vec::new();
            asks_variants = write_variant_conditions(&mut condition, self.variants_of(primary));
            upstream.fields.extend(to_fields(&condition));
        }
        let Some(received) = self.ask(&upstream, origin)? else { return Ok(local(502)) };
        if asks_variants && received.status == 304 {
            let tag = values(&to_fields(&received.lines), "etag").next().map(<[u8]>::to_vec);
            let chosen = self.variants.values().find(|entry| entry.head.etag() == tag.as_deref()).cloned();
            let Some(entry) = chosen else { return Err("a 304 for no variant".to_owned()) };
            let entry = self.freshen(request, facts, &entry, &received, primary);
            let outcome = Outcome::Revalidated { forward, ttl: self.ttl(&entry.head) };
            return Ok(self.answer(facts, Lines(&lines), &entry, outcome));
        }
        let storing = match access {
            Access::ReadWrite => self.insert(request, &facts.without_conditions(), primary, &received),
            Access::Read => Storing::Not(NotStored::Request),
        };
        match storing {
            Storing::Not(NotStored::Request) => {}
            Storing::Not(_) => drop(self.uncacheable.insert(primary.to_vec())),
            _ => drop(self.uncacheable.remove(primary)),
        }
        Ok(self.answer_received(
            facts,
            Lines(&lines),
            primary,
            &received,
            forwarded(&received, forward, storing),
        ))
    }

    #[expect(clippy::too_many_arguments, reason = "a model's state is in its arguments")]
    fn revalidate(
        &mut self,
        request: &Asked,
        facts: &RequestFacts,
        key: &[u8],
        primary: &[u8],
        entry: &Entry,
        why: Revalidation,
        origin: &mut Origin,
    ) -> Result<Response, String> {
        let forward = if why == Revalidation::Request { Forward::Request } else { Forward::Stale };
        let lines = to_lines(&request.fields);
        let source = Lines(&lines);
        let fresh_until = entry.head.fresh_until();
        let received = self.ask(&self.conditional(request, &entry.head), origin)?;
        let failure = match &received {
            None => OriginFailure::Unreachable,
            Some(received) => OriginFailure::Status(received.status),
        };
        if let Some(reason) = may_serve_stale(&entry.head, fresh_until, failure, self.now) {
            let ttl = self.ttl(&entry.head);
            let outcome = match &received {
                None => Outcome::Stale { ttl, reason },
                Some(received) => Outcome::StaleAfter { ttl, status: received.status },
            };
            return Ok(self.answer(facts, source, entry, outcome));
        }
        let Some(received) = received else { return Ok(local(502)) };
        if received.status == 304 && entry.head.has_validator() {
            let entry = self.freshen(request, facts, entry, &received, primary);
            let outcome = Outcome::Revalidated { forward, ttl: self.ttl(&entry.head) };
            return Ok(self.answer(facts, source, &entry, outcome));
        }
        // The question was the cache's own, without the client's conditions: the answer is one for all.
        let storing = self.insert(request, &facts.without_conditions(), primary, &received);
        self.change(key, received.status, storing);
        Ok(self.answer_received(facts, source, primary, &received, forwarded(&received, forward, storing)))
    }

    /// Answers by a response of the origin: if it is stored, by the client's condition, and with what is for
    /// that client only.
    fn answer_received(
        &self,
        facts: &RequestFacts,
        source: Lines<'_>,
        primary: &[u8],
        received: &Received,
        outcome: Outcome,
    ) -> Response {
        let is_stored = matches!(outcome, Outcome::Forwarded { storing: Storing::Stored, .. });
        let (true, (Some((_, entry)), _)) = (is_stored, self.find(primary, source)) else {
            return passed(received, &outcome);
        };
        let lines = Lines(&received.lines);
        let response =
            ResponseFacts::read(&self.settings, received.status, lines, received.times.received_at);
        let mut personal = Vec::new();
        write_personal_fields(&mut personal, &self.settings, &response, lines);
        let mut answer = self.answer(facts, source, &entry, outcome);
        answer.fields.extend(to_fields(&personal));
        answer
    }

    /// The request for all clients that refreshes a stale entry.
    fn refresh(
        &mut self,
        request: &Asked,
        key: &[u8],
        primary: &[u8],
        entry: &Entry,
        origin: &mut Origin,
    ) -> Result<(), String> {
        let mut refresh = Asked { method: "GET".to_owned(), body: None, ..request.clone() };
        refresh
            .fields
            .retain(|(name, _)| !is_removed_on_refresh(&self.settings, &entry.head, name.as_bytes()));
        let lines = to_lines(&refresh.fields);
        let facts = RequestFacts::read(Method::Get, RequestTraits::default(), Lines(&lines), self.now);
        let Some(received) = self.ask(&self.conditional(&refresh, &entry.head), origin)? else {
            return Ok(());
        };
        if received.status == 304 {
            self.freshen(&refresh, &facts, entry, &received, primary);
        } else {
            let storing = self.insert(&refresh, &facts, primary, &received);
            self.change(key, received.status, storing);
        }
        Ok(())
    }

    /// The request with the validators of a stored response instead of the client's conditions.
    fn conditional(&self, request: &Asked, head: &StoredHead) -> Asked {
        let mut conditional = request.clone();
        conditional.fields.retain(|(name, _)| !is_condition(name));
        let mut lines = Vec::new();
        write_conditions(&mut lines, head);
        conditional.fields.extend(to_fields(&lines));
        conditional
    }

    fn freshen(
        &mut self,
        request: &Asked,
        facts: &RequestFacts,
        entry: &Entry,
        received: &Received,
        primary: &[u8],
    ) -> Entry {
        let lines = to_lines(&request.fields);
        let freshened = freshen(
            &self.settings,
            &entry.head,
            facts,
            Lines(&lines),
            request.target.as_bytes(),
            Lines(&received.lines),
            received.times,
        );
        let entry = Entry { head: freshened.head, body: entry.body.clone() };
        let vary = Vary::parse(entry.head.fields().values("vary"));
        match freshened.change {
            EntryChange::Replace => self.put(primary, &vary, Lines(&lines), entry.clone()),
            EntryChange::Keep => {}
            EntryChange::Drop(_) => {
                self.primary.remove(primary);
            }
        }
        entry
    }

    fn insert(
        &mut self,
        request: &Asked,
        facts: &RequestFacts,
        primary: &[u8],
        received: &Received,
    ) -> Storing {
        let source = Lines(&received.lines);
        let response =
            ResponseFacts::read(&self.settings, received.status, source, received.times.received_at);
        let subject = ResponseSource::new(request.target.as_bytes(), source);
        let freshness = match storable(&self.settings, facts, &response, &subject, received.times) {
            Ok(freshness) => freshness,
            Err(reason) => return Storing::Not(reason),
        };
        let lines = to_lines(&request.fields);
        let head =
            store(&self.settings, Lines(&lines), &response, source, b"Reason", freshness, received.times);
        let entry = Entry { head, body: received.body.clone() };
        self.put(primary, &response.vary, Lines(&lines), entry);
        Storing::Stored
    }

    fn put(&mut self, primary: &[u8], vary: &Vary, request: Lines<'_>, entry: Entry) {
        let Vary::Names(names) = vary else {
            self.primary.insert(primary.to_vec(), Slot::Entry(entry));
            return;
        };
        let mut marker = match self.primary.remove(primary) {
            Some(Slot::Marker(marker)) if marker.names() == names => marker,
            _ => {
                self.generations += 1;
                Marker::new(names.clone(), self.generations)
            }
        };
        if let Some(more) = marker.with_language(request, entry.head.fields(), self.settings.mode) {
            marker = more;
        }
        let mut key = Vec::new();
        marker.write_key(&mut key, primary, request, self.settings.mode).unwrap();
        self.variants.insert(key, entry);
        self.primary.insert(primary.to_vec(), Slot::Marker(marker));
    }

    /// Removes the entry that the origin was asked about, if its answer says so.
    fn change(&mut self, key: &[u8], status: u16, storing: Storing) {
        let stored = match storing {
            Storing::Not(reason) => Err(reason),
            _ => Ok(()),
        };
        if let EntryChange::Drop(_) = EntryChange::of(status, stored) {
            self.primary.remove(key);
            self.variants.remove(key);
        }
    }

    fn key(&self, target: &str, source: Lines<'_>) -> Vec<u8> {
        let parts = KeyParts {
            scope: ScopeId(1),
            is_https: false,
            port: 80,
            host: HOST,
            target: target.as_bytes(),
            pool: "",
        };
        let mut key = Vec::new();
        write_key(&mut key, &parts, &self.settings, source).unwrap();
        key
    }

    /// The entry for a request with its key, and whether the target has variants.
    fn find(&self, primary: &[u8], source: Lines<'_>) -> (Option<(Vec<u8>, Entry)>, bool) {
        let marker = match self.primary.get(primary) {
            None => return (None, false),
            Some(Slot::Entry(entry)) => return (Some((primary.to_vec(), entry.clone())), false),
            Some(Slot::Marker(marker)) => marker,
        };
        let mode = self.settings.mode;
        let mut key = Vec::new();
        marker.write_key(&mut key, primary, source, mode).unwrap();
        if !self.variants.contains_key(&key) {
            marker.write_language_key(&mut key, primary, source, mode).unwrap();
        }
        let entry = self.variants.get(&key).cloned();
        (entry.map(|entry| (key, entry)), true)
    }

    fn variants_of(&self, primary: &[u8]) -> impl Iterator<Item = &StoredHead> {
        let wanted = KeyParts::parse(primary);
        self.variants
            .iter()
            .filter(move |(key, _)| KeyParts::parse(key) == wanted)
            .map(|(_, entry)| &entry.head)
    }

    fn ttl(&self, head: &StoredHead) -> i64 {
        let until = i64::try_from(head.fresh_until().0).unwrap();
        (until - i64::try_from(self.now.0).unwrap()).div_euclid(1_000)
    }

    /// Asks the origin; `None` if it does not answer.
    fn ask(&mut self, request: &Asked, origin: &mut Origin) -> Result<Option<Received>, String> {
        let Some(answer) = origin.answer.take() else {
            return Err("the origin was asked, and has no answer".to_owned());
        };
        origin.asked = Some(request.clone());
        let OriginAnswer::Response { status, fields, body, delay } = answer else { return Ok(None) };
        let asked_at = self.now;
        self.wait(delay);
        let body = if request.method == "HEAD" || status == 304 { String::new() } else { body };
        let times = Times { asked_at, received_at: self.now };
        Ok(Some(Received { status, lines: to_lines(&fields), body, times }))
    }

    fn answer(&self, facts: &RequestFacts, source: Lines<'_>, entry: &Entry, outcome: Outcome) -> Response {
        let len = entry.body.len() as u64;
        let reply = reply(facts, source, &entry.head, Some(len));
        let mut lines = Vec::new();
        write_reply_fields(&mut lines, &entry.head, &reply, len, self.now);
        let body = match &reply {
            _ if facts.method == Method::Head => "",
            Reply::Full => &entry.body,
            Reply::Part(range) => &entry.body[range.start as usize..range.end as usize],
            Reply::NotModified | Reply::Unsatisfiable => "",
        };
        let mut response = Response {
            status: reply.status(&entry.head),
            fields: to_fields(&lines),
            body: body.to_owned(),
            outcome: String::new(),
        };
        if let Some(length) = reply.content_length(len) {
            response.fields.push(("Content-Length".to_owned(), length.to_string()));
        }
        set_outcome(&mut response, &outcome);
        response
    }
}

fn is_condition(name: &str) -> bool {
    CONDITIONAL_FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A response of the origin as the client gets it.
fn passed(received: &Received, outcome: &Outcome) -> Response {
    let mut response = Response {
        status: received.status,
        fields: to_fields(&received.lines),
        body: received.body.clone(),
        outcome: String::new(),
    };
    set_outcome(&mut response, outcome);
    response
}

/// Outcome of a request that went to the origin and was answered by it.
fn forwarded(received: &Received, forward: Forward, storing: Storing) -> Outcome {
    Outcome::Forwarded { forward, status: received.status, storing, collapsed: false }
}

fn set_outcome(response: &mut Response, outcome: &Outcome) {
    response.outcome = outcome.x_cache_status().to_owned();
    let mut member = Vec::new();
    outcome.write_cache_status(&mut member);
    response.fields.push(("Cache-Status".to_owned(), String::from_utf8(member).unwrap()));
}

fn local(status: u16) -> Response {
    Response { status, outcome: "LOCAL".to_owned(), ..Response::default() }
}

fn to_lines(fields: &[(String, String)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| format!("{name}: {value}\r\n").into_bytes()).collect()
}

fn to_fields(lines: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8(lines.to_vec()).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn values<'a>(fields: &'a [(String, String)], wanted: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value.as_bytes())
}
