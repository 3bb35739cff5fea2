//! Redirects of routes: their `Location`, and circles among them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ringway_model::{
    Change, Desired, FieldMatch, FixedResponse, HostPattern, OperatorSet, Owner, PathMatch, Redirect,
    Replacement, RouteAction, RouteId, RouteSpec, Timestamp, ValueMatch,
};
use ringway_wire::h1::{Limits, Parse, RequestHead};
use ringway_wire::path::Slashes;

use crate::compile::{Compiler, CompilerSettings};
use crate::limits::{REDIRECT_BYTES, REDIRECT_BYTES_MAX, REDIRECTS_FOLLOWED_MAX};
use crate::pattern::Patterns;
use crate::policy::Defaults;
use crate::snapshot::Snapshot;
use crate::virtual_host::{Action, Rules};

/// Returns the `Location` of a redirect. It is always absolute: of a path alone, `//other.example` would lead
/// to another host. `input` has the head of the request.
pub fn location(redirect: &Redirect, request: &RequestHead, input: &[u8], is_https: bool) -> String {
    let mut location = String::with_capacity(redirect.to.len() + 128);
    if redirect.to.starts_with('/') {
        location.push_str(if is_https { "https://" } else { "http://" });
        location.push_str(request.host());
        if let Some(port) = request.port() {
            location.push_str(&format!(":{port}"));
        }
    }
    for byte in redirect.to.bytes() {
        match byte {
            b'!'..=b'~' => location.push(byte.into()),
            // Nothing else can stand in a field (RFC 3986 §2.1).
            _ => location.push_str(&format!("%{byte:02X}")),
        }
    }
    let path = request.path_and_query(input);
    if redirect.keep_path && path.starts_with('/') {
        location.truncate(location.trim_end_matches('/').len());
        location.push_str(path);
    }
    location
}

/// Returns the circles of redirects: routes that redirect from one to the next, and from the last one to the
/// first. Each circle once, from its first route on.
///
/// A request of each redirect is routed by a snapshot of the routes that it may meet: one for its path, with
/// the header fields that the route requires. Routes with a pattern as their host or path, or with conditions
/// on the query, are not the begin of a circle that is found.
///
/// Cost: none without a redirect, else the compilation of the routes of the hosts that are redirected from or
/// to, whose patterns are to be checked before, and a search that ends after `REDIRECT_BYTES_MAX`.
pub fn circles(routes: &[Arc<RouteSpec>], slashes: Slashes, patterns: &Patterns) -> Vec<Vec<RouteId>> {
    let redirects: Vec<(&RouteSpec, &Redirect)> = routes
        .iter()
        .filter_map(|route| match &route.action {
            RouteAction::Redirect(redirect) => Some((&**route, redirect)),
            RouteAction::Proxy { .. } | RouteAction::Respond(_) => None,
        })
        .collect();
    if redirects.is_empty() {
        return Vec::new();
    }
    let hosts = Hosts::of(&redirects);
    let met: Vec<_> = routes.iter().filter(|route| hosts.may_have(&route.host)).map(without_pool).collect();
    let Some(mut search) = Search::new(met, slashes, patterns) else { return Vec::new() };
    let mut found: BTreeMap<BTreeSet<RouteId>, Vec<RouteId>> = BTreeMap::new();
    for (route, _) in redirects {
        if let Some(circle) = search.circle_from(route) {
            found.entry(circle.iter().cloned().collect()).or_insert(circle);
        }
    }
    found.into_values().collect()
}

/// Search for circles among routes.
struct Search {
    snapshot: Arc<Snapshot>,
    /// Hosts that are a regular expression.
    host_patterns: usize,
    /// Regular expressions of paths by host.
    path_patterns: HashMap<HostPattern, usize>,
    bytes_left: usize,
}

impl Search {
    fn new(routes: Vec<Arc<RouteSpec>>, slashes: Slashes, patterns: &Patterns) -> Option<Self> {
        let mut path_patterns: HashMap<HostPattern, usize> = HashMap::new();
        let mut regex_hosts = HashSet::new();
        for route in &routes {
            if let PathMatch::Regex(_) = route.matcher.path {
                *path_patterns.entry(route.host.clone()).or_default() += 1;
            }
            if let HostPattern::Regex(text) = &route.host {
                regex_hosts.insert(text.clone());
            }
        }
        let host_patterns = regex_hosts.len();
        let snapshot = snapshot_of(routes, slashes, patterns)?;
        Some(Self { snapshot, host_patterns, path_patterns, bytes_left: REDIRECT_BYTES_MAX })
    }

    /// Follows the redirects of a request of a route. Returns the routes from it on, if they lead back to it.
    fn circle_from(&mut self, route: &RouteSpec) -> Option<Vec<RouteId>> {
        let field = |field: &FieldMatch| match &field.value {
            ValueMatch::Exact(value) => format!("{}: {value}\r\n", field.name),
            ValueMatch::Present => format!("{}: 1\r\n", field.name),
        };
        let fields: String = route.matcher.headers.iter().map(field).collect();
        let method = route.matcher.methods.first().map_or("GET", |method| &**method);
        let (mut host, mut target) = (sample_host(&route.host)?, sample_path(route)?.to_owned());
        let mut circle: Vec<RouteId> = Vec::new();
        for _ in 0..=REDIRECTS_FOLLOWED_MAX {
            let text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
            let (name, location) = self.redirect_of(text.as_bytes())?;
            let is_first = *name == *route.id.as_str();
            match circle.is_empty() {
                // Another route takes the request.
                true if !is_first => return None,
                false if is_first => return Some(circle),
                _ => circle.push(RouteId::parse(&name).ok()?),
            }
            let (next_host, next_target) = split(&location)?;
            (host, target) = (next_host.to_owned(), next_target);
        }
        None
    }

    /// Name of the rule of a request and its location, if that is a redirect.
    fn redirect_of(&mut self, text: &[u8]) -> Option<(Arc<str>, String)> {
        let mut head = RequestHead::default();
        let Ok(Parse::Complete) = head.parse(text, &Limits::default()) else { return None };
        self.spend(REDIRECT_BYTES + head.host().len() * self.host_patterns)?;
        let found = self.snapshot.virtual_host(head.host())?.clone();
        if let Rules::Table(table) = &found.rules {
            head.normalize_path(text, table.slashes()).ok()?;
            let patterns = self.path_patterns.get(&found.host).copied().unwrap_or_default();
            self.spend(head.path(text).len() * patterns)?;
        }
        let rule = found.rules.find(&head, text)?;
        match &rule.action {
            Action::Redirect(redirect) => Some((rule.name.clone(), location(redirect, &head, text, true))),
            Action::Proxy { .. } | Action::Respond(_) | Action::Script(_) => None,
        }
    }

    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.bytes_left = self.bytes_left.checked_sub(bytes)?;
        Some(())
    }
}

/// Host and target of an absolute URL.
fn split(location: &str) -> Option<(&str, String)> {
    let rest = location.strip_prefix("https://").or_else(|| location.strip_prefix("http://"))?;
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    Some((host, if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }))
}

/// A host of a pattern; `None` for a regular expression.
fn sample_host(pattern: &HostPattern) -> Option<String> {
    match pattern {
        HostPattern::Exact(name) => Some(name.to_string()),
        HostPattern::OneLabel(parent) | HostPattern::Suffix(parent) => Some(format!("any-name.{parent}")),
        HostPattern::Any => Some("any-name.invalid".to_owned()),
        HostPattern::Regex(_) => None,
    }
}

/// A path of a route; `None` where a condition leaves open which one.
fn sample_path(route: &RouteSpec) -> Option<&str> {
    match &route.matcher.path {
        _ if !route.matcher.query.is_empty() => None,
        PathMatch::Any => Some("/"),
        PathMatch::Exact(path) | PathMatch::Prefix(path) => Some(path),
        PathMatch::Regex(_) => None,
    }
}

/// Hosts that are redirected from or to, and all their parents.
struct Hosts {
    names: HashSet<String>,
    parents: HashSet<String>,
}

impl Hosts {
    fn of(redirects: &[(&RouteSpec, &Redirect)]) -> Self {
        let (mut names, mut parents) = (HashSet::new(), HashSet::new());
        for (route, redirect) in redirects {
            let to =
                split(&redirect.to).map(|(host, _)| host.split(':').next().unwrap_or(host).to_lowercase());
            for name in sample_host(&route.host).into_iter().chain(to) {
                let mut rest = &*name;
                while let Some((_, parent)) = rest.split_once('.') {
                    // Its own parents are in the set, too.
                    if !parents.insert(parent.to_owned()) {
                        break;
                    }
                    rest = parent;
                }
                names.insert(name);
            }
        }
        Self { names, parents }
    }

    /// Whether a pattern may match one of them.
    fn may_have(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(name) => self.names.contains(name.as_str()),
            HostPattern::OneLabel(parent) | HostPattern::Suffix(parent) => {
                self.parents.contains(parent.as_str())
            }
            HostPattern::Regex(_) | HostPattern::Any => true,
        }
    }
}

/// The route without references: where it forwards to matters to no redirect.
fn without_pool(route: &Arc<RouteSpec>) -> Arc<RouteSpec> {
    let mut route = RouteSpec { policies: Box::default(), traffic: None, ..RouteSpec::clone(route) };
    route.middleware = Box::default();
    if let RouteAction::Proxy { .. } = route.action {
        let (content_type, body) = ("text/plain".into(), "".into());
        route.action = RouteAction::Respond(FixedResponse { status: 200, content_type, body });
    }
    Arc::new(route)
}

fn snapshot_of(routes: Vec<Arc<RouteSpec>>, slashes: Slashes, patterns: &Patterns) -> Option<Arc<Snapshot>> {
    let set = Arc::new(OperatorSet { routes, ..OperatorSet::default() });
    let change = Replacement { owner: Owner::File, set, expect: None, version: None };
    let change = Change::ReplaceOwned(Arc::new(change));
    let applied = Desired::default().apply(&change, Timestamp::default()).ok()?;
    let defaults = Defaults { slashes, ..Defaults::default() };
    let settings = CompilerSettings { defaults, patterns: patterns.clone(), ..CompilerSettings::default() };
    let mut compiler = Compiler::new(settings);
    let compiled = compiler.compile_all(&applied.desired);
    compiler.commit(compiled).ok()?;
    Some(Arc::clone(compiler.snapshot()))
}

#[cfg(test)]
#[path = "redirect_tests.rs"]
mod tests;
