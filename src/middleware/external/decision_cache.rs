//! Decisions of external filters that hold for later requests, on one core.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use ringway_model::ExternalFilter;

use super::{ClientKind, Decision, forwarded_fields};
use crate::limits;
use crate::reply::ReplyBody;
use crate::request::RequestCtx;

/// Hash of all that a decision depends on: it keeps no credentials in memory.
pub(crate) type Key = [u8; 32];

/// Decisions, in two generations: a full young one takes the place of the old one.
#[derive(Debug, Default)]
pub(crate) struct DecisionCache {
    young: HashMap<Key, Entry, ahash::RandomState>,
    old: HashMap<Key, Entry, ahash::RandomState>,
}

#[derive(Debug)]
struct Entry {
    decision: Decision,
    until_us: u64,
    /// Settings of the filter that made it.
    filter: Arc<ExternalFilter>,
}

impl DecisionCache {
    /// A decision of this filter that still holds.
    pub(crate) fn get(&mut self, key: &Key, filter: &Arc<ExternalFilter>, now_us: u64) -> Option<Decision> {
        if !self.young.contains_key(key) {
            let entry = self.old.remove(key)?;
            self.insert(*key, entry);
        }
        let entry = self.young.get(key)?;
        let is_same = Arc::ptr_eq(&entry.filter, filter) || entry.filter == *filter;
        (is_same && now_us < entry.until_us).then(|| entry.decision.clone())
    }

    /// Keeps a decision, unless it is large or sets a cookie, which is for one client.
    pub(crate) fn put(&mut self, key: Key, filter: &Arc<ExternalFilter>, decision: &Decision, until_us: u64) {
        if is_kept(decision) {
            self.insert(key, Entry { decision: decision.clone(), until_us, filter: filter.clone() });
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        if self.young.len() >= limits::DECISIONS_CACHED_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

fn is_kept(decision: &Decision) -> bool {
    match decision {
        Decision::Allowed(grant) => grant.size() <= limits::DECISION_CACHED_BYTES_MAX && !grant.sets_cookie(),
        Decision::Denied(reply) => {
            let body = match reply.body() {
                ReplyBody::Error { .. } => 0,
                ReplyBody::Bytes(bytes) => bytes.len(),
            };
            let sets_cookie = crate::edits::values(reply.lines(), "set-cookie").next().is_some();
            reply.lines().len() + body <= limits::DECISION_CACHED_BYTES_MAX && !sets_cookie
        }
    }
}

/// Key of a request's decision; `None` where none is kept. It contains the rule and its configuration, the
/// client's certificate, the form of the reply, and the parts that are configured. Each value has its length
/// and each field its number of lines: no two requests with other values have the same bytes.
pub(crate) fn key(filter: &ExternalFilter, request: &RequestCtx<'_>) -> Option<Key> {
    let cache = filter.cache.as_ref()?;
    let mut hash = Context::new(&SHA256);
    let mut push = |value: &[u8]| {
        hash.update(&(value.len() as u64).to_be_bytes());
        hash.update(value);
    };
    let (view, parts) = (request.view, &request.view.parts);
    push(&request.services.revision().to_be_bytes());
    for part in [filter.pool.as_str(), parts.route, parts.app, parts.tenant.unwrap_or_default()] {
        push(part.as_bytes());
    }
    push(parts.certificate.unwrap_or_default().as_bytes());
    push(&[ClientKind::of(request) as u8]);
    // Collected once: a client may send as many fields as are removed.
    let fields: Vec<(&str, &[u8])> = forwarded_fields(request).collect();
    for part in &cache.key {
        match &**part {
            "method" | "x-forwarded-method" => push(request.method().as_bytes()),
            "host" | "x-forwarded-host" => push(view.head().authority().to_string().as_bytes()),
            "path" | "x-forwarded-uri" => push(view.head().path_and_query(view.buf()).as_bytes()),
            // Those that the service gets, not those that a client has sent.
            "x-forwarded-proto" => push(view.scheme().as_bytes()),
            "x-forwarded-for" => push(request.client().to_string().as_bytes()),
            name => {
                let named = fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
                push(&(named.clone().count() as u64).to_be_bytes());
                named.for_each(|(_, value)| push(value));
            }
        }
    }
    let mut key = [0; 32];
    key.copy_from_slice(hash.finish().as_ref());
    Some(key)
}
