//! Explanation of the cache's part in one request, in words: decided by the code of the cache.

use std::sync::Arc;

use ringway_cache::control::Directive;
use ringway_cache::policy::{Access, Bypass, RequestFacts, RequestTraits, Revalidation, Verdict, judge};
use ringway_cache::{
    Entry, FieldSource, KeyError, KeyParts, Lines, Scope, Selected, Store, VariantSet, write_key,
};
use ringway_model::{CacheMode, Timestamp};
use ringway_traffic::cache_rule::CacheRule;
use ringway_wire::h1::RequestHead;
use ringway_wire::message::Framing;

use super::explained_stages::ExplainedStages;
use crate::cache::CachedResponse;

/// Part of the cache in a request.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedCache {
    /// Mode of the route's cache: `safe` or `rfc9111`.
    pub mode: &'static str,
    /// Seconds of lifetime that the configuration gives responses without one.
    pub ttl: Option<u32>,
    /// `hit`, `stale`, `revalidate`, `miss`, `bypass`, `refused`; `undecided` where nothing is looked up.
    pub verdict: &'static str,
    /// The verdict in words.
    pub reason: String,
    /// Whether the response to a miss would fill the cache.
    pub fills: bool,
    /// Request fields that are part of the key: those of the route, then those that `Vary` lists.
    pub key_fields: Vec<String>,
    /// The stored response that decides; `None` where none does.
    pub response: Option<CachedResponse>,
    /// Number of stored variants of the URL, where its response varies.
    pub variants: usize,
}

/// Responses to look up.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    /// Those of the store, at a time.
    In(&'a Store, Timestamp),
    /// None: the configuration is not in force.
    Proposed,
    /// None: the process has no store.
    Nothing,
}

/// Request, as the cache of its route sees it.
pub(super) struct CacheQuestion<'a> {
    pub(super) head: (&'a RequestHead, &'a [u8]),
    pub(super) is_https: bool,
    /// Whether the question names the scheme; otherwise either counts.
    pub(super) has_scheme: bool,
    /// Path and query that the endpoint gets.
    pub(super) target: &'a str,
    /// The pool, where it is known.
    pub(super) pool: Option<Arc<str>>,
    pub(super) stages: &'a ExplainedStages,
    /// Whether it is answered without an endpoint, and without the cache.
    pub(super) is_answered: bool,
}

/// Result of a look-up.
enum Looked {
    /// The entry that the request selects.
    Entry { scope: Arc<Scope>, entry: Arc<Entry>, is_https: bool },
    /// None; with the variants of the resource where it has others.
    Nothing(Option<Arc<VariantSet>>),
}

/// Reason for which a request has no key.
enum NoKey {
    TooLong,
    /// The pool is part of it, and chance or the client's address decides about the pool.
    UndecidedPool,
}

impl From<KeyError> for NoKey {
    fn from(_: KeyError) -> Self {
        Self::TooLong
    }
}

/// Explains the part of a rule's cache in a request.
pub(super) fn explain_cache(
    cache: &CacheRule,
    question: &CacheQuestion<'_>,
    stored: Stored<'_>,
) -> ExplainedCache {
    let settings = &cache.settings;
    let mut explained = ExplainedCache {
        mode: match settings.mode {
            CacheMode::Safe => "safe",
            CacheMode::Rfc9111 => "rfc9111",
        },
        ttl: settings.ttl,
        verdict: "undecided",
        reason: String::new(),
        fills: false,
        key_fields: settings.vary_headers.iter().map(|name| name.to_string()).collect(),
        response: None,
        variants: 0,
    };
    if question.is_answered {
        return explained.with("bypass", "the request is answered before the cache");
    }
    let now = match stored {
        Stored::In(_, now) => now,
        Stored::Proposed | Stored::Nothing => Timestamp::default(),
    };
    let lines = lines(question);
    let lines = Lines(&lines);
    let (head, _) = question.head;
    let traits = RequestTraits {
        has_body: head.framing() != Framing::Empty,
        upgrades: head.upgrade().is_some(),
        passes_certificate: false,
        names_other_host: false,
    };
    let facts = RequestFacts::read(head.method(), traits, lines, now);
    match facts.access(settings) {
        Ok(access) => explained.fills = access == Access::ReadWrite,
        Err(bypass) => return explained.with("bypass", words_of_bypass(bypass)),
    }
    let store = match stored {
        Stored::In(store, _) => store,
        Stored::Proposed => {
            return explained.with("undecided", "the configuration is not in force: nothing is stored by it");
        }
        Stored::Nothing => return explained.with("undecided", "the process has no cache"),
    };
    let looked = match look_up(cache, question, store, lines) {
        Ok(looked) => looked,
        Err(NoKey::TooLong) => return explained.with("bypass", words_of_bypass(Bypass::KeyTooLong)),
        Err(NoKey::UndecidedPool) => {
            return explained.with(
                "undecided",
                "the pool is part of the key, and the request alone does not decide about it",
            );
        }
    };
    let (scope, entry, is_https) = match looked {
        Looked::Entry { scope, entry, is_https } => (scope, entry, is_https),
        Looked::Nothing(set) => {
            if let Some(set) = set {
                explained.add_variants(&set);
            }
            if facts.directives.has(Directive::OnlyIfCached) {
                return explained.with("refused", "only-if-cached, and nothing is stored: 504");
            }
            let reason = match explained.variants {
                0 => "nothing is stored for the URL".to_owned(),
                variants => format!("{variants} variants are stored, and none of these fields"),
            };
            let fills = match explained.fills {
                true => "",
                false => "; the response to HEAD, Range or no-store fills nothing",
            };
            return explained.with("miss", &format!("{reason}{fills}"));
        }
    };
    if let Some(set) = entry.variant_of() {
        explained.add_variants(set);
    }
    let (verdict, reason) = decision(cache.settings.mode, &facts, &entry, now);
    let scheme = match is_https == question.is_https {
        true => "",
        false => "; it is stored for http, not for https",
    };
    explained.response = Some(CachedResponse::new(&scope, &entry, now));
    explained.with(verdict, &format!("{reason}{scheme}"))
}

impl ExplainedCache {
    fn with(self, verdict: &'static str, reason: &str) -> Self {
        Self { verdict, reason: reason.to_owned(), ..self }
    }

    fn add_variants(&mut self, set: &VariantSet) {
        self.variants = set.variants().len();
        self.key_fields.extend(set.marker().names().iter().map(str::to_owned));
    }
}

/// Field lines that the endpoint would get, as far as the stages are explained.
fn lines(question: &CacheQuestion<'_>) -> Vec<u8> {
    let changes = || question.stages.stages.iter().map(|stage| &stage.request);
    let removed = || changes().flat_map(|changes| &changes.removed).chain(&question.stages.stripped);
    let mut lines = Vec::new();
    let mut push = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            lines.extend_from_slice(part);
        }
    };
    for (name, value) in FieldSource::lines(question.head) {
        if !removed().any(|known| known.as_bytes().eq_ignore_ascii_case(name)) {
            push(name, value);
        }
    }
    for (name, value) in changes().flat_map(|changes| &changes.added) {
        push(name.as_bytes(), value.as_bytes());
    }
    lines
}

/// Looks up a request under its scheme, or under both where none is named, and under its port; where none is
/// named, under the usual one first and then under those that responses of the host are stored for, as a
/// purge does. Makes no scope: a rule that has not served a request has none.
fn look_up(
    cache: &CacheRule,
    question: &CacheQuestion<'_>,
    store: &Store,
    lines: Lines<'_>,
) -> Result<Looked, NoKey> {
    let (head, _) = question.head;
    let pool = match (cache.has_pools, question.pool.as_deref()) {
        (true, Some(pool)) => pool,
        (true, None) => return Err(NoKey::UndecidedPool),
        (false, _) => "",
    };
    let Some(scope) = store.find_scope(&cache.name) else { return Ok(Looked::Nothing(None)) };
    let mut others = None;
    let usual = [(true, head.port().unwrap_or(443)), (false, head.port().unwrap_or(80))];
    let stored = match head.port() {
        Some(_) => Vec::new(),
        None => stored_ports(store, &scope, head.host()),
    };
    let authorities = usual.into_iter().chain(stored);
    for (is_https, port) in authorities.filter(|(of, _)| !question.has_scheme || *of == question.is_https) {
        let parts = KeyParts {
            scope: scope.id(),
            is_https,
            port,
            host: head.host(),
            target: question.target.as_bytes(),
            pool,
        };
        let (mut primary, mut variant) = (Vec::new(), Vec::new());
        write_key(&mut primary, &parts, &cache.settings, lines)?;
        let of = (cache.epoch, cache.settings.mode);
        match store.select((&primary, &mut variant), lines, of)? {
            Selected::Entry(entry) => return Ok(Looked::Entry { scope, entry, is_https }),
            Selected::Nothing(set) => others = others.or(set),
        }
    }
    Ok(Looked::Nothing(others))
}

/// Schemes and ports for which responses of a host are stored. Compares all entries.
fn stored_ports(store: &Store, scope: &Scope, host: &str) -> Vec<(bool, u16)> {
    let mut found = Vec::new();
    store.entries(1, |of, entry| {
        if of.id() == scope.id()
            && let Some(parts) = entry.parts().filter(|parts| parts.host == host)
            && !found.contains(&(parts.is_https, parts.port))
        {
            found.push((parts.is_https, parts.port));
        }
        found.len() >= PORTS_MAX
    });
    found
}

/// Ports of one host that are tried.
const PORTS_MAX: usize = 16;

/// Decision about a stored response, and the reason in words.
fn decision(mode: CacheMode, facts: &RequestFacts, entry: &Entry, now: Timestamp) -> (&'static str, String) {
    let head = entry.head();
    let how = match head.has_validator() {
        true => "the endpoint is asked whether it is still valid",
        false => "it has no ETag and no Last-Modified: the endpoint is asked for all of it",
    };
    match judge(mode, facts, head, entry.fresh_until(), now) {
        Verdict::Serve { ttl } => ("hit", format!("fresh for {ttl} s more")),
        Verdict::ServeStale { ttl, reason } => {
            ("stale", format!("past its lifetime by {} s, and served: {}", -ttl, reason.name()))
        }
        Verdict::Revalidate(Revalidation::Stale) => {
            ("revalidate", format!("past its lifetime by {} s; {how}", -entry.ttl(now)))
        }
        Verdict::Revalidate(Revalidation::NoCache) => {
            ("revalidate", format!("each use needs a confirmation (no-cache); {how}"))
        }
        Verdict::Revalidate(Revalidation::Request) => {
            ("revalidate", format!("the request wants a newer one; {how}"))
        }
        Verdict::Personal => {
            let reason = "what is stored is for requests without Cookie: ttl alone gives it its lifetime \
                          (vary_headers)";
            ("miss", reason.to_owned())
        }
        Verdict::Forward => {
            ("miss", format!("past its lifetime by {} s; HEAD does not refresh it", -entry.ttl(now)))
        }
        Verdict::OnlyIfCached => {
            ("refused", "only-if-cached, and what is stored needs a confirmation: 504".to_owned())
        }
    }
}

fn words_of_bypass(bypass: Bypass) -> &'static str {
    match bypass {
        Bypass::Method => "only GET and HEAD use the cache",
        Bypass::Body => "the request has a body, which is no part of the key",
        Bypass::Authorization => {
            "the request has Authorization, and the route's cache is not aware of it (auth_aware)"
        }
        Bypass::Upgrade => "the request asks for another protocol",
        Bypass::Precondition => "only the endpoint can decide If-Match and If-Unmodified-Since",
        Bypass::Certificate => "the endpoint gets the client's certificate",
        Bypass::MethodOverride => "a field of the request may override its method",
        Bypass::UrlOverride => "a field of the request may override its URL",
        Bypass::HostOverride => "a trusted proxy names another host in X-Forwarded-Host",
        Bypass::KeyTooLong => "target and fields are too long for a key",
    }
}
