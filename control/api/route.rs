//! The route table: the method and the path of each operation. Requests are matched by it, and the OpenAPI
//! document is made from it.
//!
//! A path has a key at most, in one of its segments, and before it perhaps that of the object that it belongs
//! to, its parent.

use ringway_wire::message::Method;

use crate::cache_operation::CacheOperation;
use crate::config_operation::ConfigOperation;
use crate::operation::Operation;

/// One entry of the table. The last `{…}` in a path stands for the key of the operation, one segment; one
/// before it for the key of its parent.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) operation: Operation,
}

/// The route table.
pub(crate) static ROUTES: &[Route] = {
    use ConfigOperation::*;
    use Method::{Delete, Get, Post, Put};
    use Operation::*;
    const fn route(method: Method, path: &'static str, operation: Operation) -> Route {
        Route { method, path, operation }
    }
    &[
        // Each key may be in the body, the query or the path: there are clients of all three kinds.
        route(Post, "/api/apps/register", RegisterApp),
        route(Get, "/api/apps", ListApps),
        route(Get, "/api/apps/{app_id}", ShowApp),
        route(Post, "/api/apps/get", ShowApp),
        route(Get, "/api/apps/get", ShowApp),
        route(Post, "/api/apps/get/{app_id}", ShowApp),
        route(Delete, "/api/apps", RemoveApp),
        route(Delete, "/api/apps/{app_id}", RemoveApp),
        route(Post, "/api/apps/delete", RemoveApp),
        route(Post, "/api/apps/delete/{app_id}", RemoveApp),
        route(Post, "/api/apps/instances", AddInstance),
        route(Get, "/api/apps/instances", ListInstances),
        route(Delete, "/api/apps/instances", RemoveInstance),
        route(Delete, "/api/apps/instances/{instance_id}", RemoveInstance),
        route(Post, "/api/apps/instances/delete", RemoveInstance),
        route(Post, "/api/apps/instances/delete/{instance_id}", RemoveInstance),
        route(Post, "/api/apps/instances/list", ListInstancesOfApp),
        route(Get, "/api/apps/instances/list", ListInstancesOfApp),
        route(Post, "/api/apps/instances/list/{app_id}", ListInstancesOfApp),
        route(Post, "/api/apps/heartbeat", Heartbeat),
        route(Post, "/api/apps/heartbeat/{instance_id}", Heartbeat),
        route(Post, "/api/tenants/domains", AddDomain),
        route(Post, "/api/tenants/custom-domains", AddCustomDomain),
        route(Put, "/api/tenants/domains", UpdateDomain),
        route(Put, "/api/tenants/domains/{domain}", UpdateDomain),
        route(Delete, "/api/tenants/domains", RemoveDomain),
        route(Delete, "/api/tenants/domains/{domain}", RemoveDomain),
        route(Post, "/api/tenants/domains/delete", RemoveDomain),
        route(Post, "/api/tenants/domains/delete/{domain}", RemoveDomain),
        route(Get, "/api/tenants/domains", ListDomains),
        route(Get, "/api/tenants/domains/{domain}", ShowDomain),
        route(Post, "/api/tenants/domains/get", ShowDomain),
        route(Get, "/api/tenants/domains/get", ShowDomain),
        route(Post, "/api/tenants/domains/get/{domain}", ShowDomain),
        route(Post, "/api/tenants/domains/verify", VerifyDomain),
        route(Post, "/api/tenants/domains/verify/{domain}", VerifyDomain),
        route(Post, "/api/tenants/domains/certificate", UploadCertificate),
        route(Put, "/api/tenants/domains/certificate", UploadCertificate),
        route(Put, "/api/tenants/domains/{domain}/certificate", UploadCertificate),
        route(Delete, "/api/tenants/domains/certificate", RemoveCertificate),
        route(Delete, "/api/tenants/domains/{domain}/certificate", RemoveCertificate),
        route(Post, "/api/tenants/domains/certificate/delete", RemoveCertificate),
        route(Get, "/api/status", Status),
        route(Get, "/api/status/certificates", ListCertificates),
        route(Get, "/api/status/instances", ListInstances),
        route(Post, "/api/status/app", AppStatus),
        route(Get, "/api/status/app", AppStatus),
        route(Get, "/api/status/app/{app_id}", AppStatus),
        route(Post, "/api/status/app/{app_id}", AppStatus),
        // Registration in one step, and aliases.
        route(Post, "/api/register", Register),
        route(Delete, "/api/register", Deregister),
        route(Delete, "/api/register/{instance_id}", Deregister),
        route(Post, "/api/register/delete", Deregister),
        route(Post, "/api/routes", AddRoute),
        route(Get, "/api/routes", ListDomains),
        route(Delete, "/api/routes", RemoveDomain),
        route(Delete, "/api/routes/{domain}", RemoveDomain),
        route(Post, "/api/routes/delete", RemoveDomain),
        route(Post, "/api/webhooks", PutWebhook),
        route(Put, "/api/webhooks", UpdateWebhook),
        route(Put, "/api/webhooks/{app_id}", UpdateWebhook),
        route(Get, "/api/webhooks", ListWebhooks),
        route(Get, "/api/webhooks/{app_id}", ShowWebhook),
        route(Post, "/api/webhooks/get", ShowWebhook),
        route(Delete, "/api/webhooks", RemoveWebhook),
        route(Delete, "/api/webhooks/{app_id}", RemoveWebhook),
        route(Post, "/api/webhooks/delete", RemoveWebhook),
        // Configuration of operators.
        route(Post, "/api/v2/config/validate", Configuration(Validate)),
        route(Post, "/api/v2/config/diff", Configuration(Diff)),
        route(Post, "/api/v2/config/apply", Configuration(Apply)),
        route(Post, "/api/v2/config/rollback", Configuration(Rollback)),
        route(Post, "/admin/reload", Configuration(Reload)),
        route(Get, "/api/v2/config/current", Configuration(Current)),
        route(Get, "/api/v2/config/history", Configuration(History)),
        route(Get, "/api/v2/config/versions/{version}", Configuration(Version)),
        route(Get, "/api/v2/config/rollout", Configuration(Rollout)),
        route(Post, "/api/v2/config/rollout/promote", Configuration(Promote)),
        route(Post, "/api/v2/config/rollout/abort", Configuration(Abort)),
        route(Get, "/api/v2/config/explain", Configuration(Explain)),
        route(Post, "/api/v2/config/explain", Configuration(Explain)),
        route(Post, "/api/v2/config/simulate", Configuration(Simulate)),
        // The cache.
        route(Post, "/api/cache/purge", Cache(CacheOperation::Purge)),
        route(Delete, "/admin/cache", Cache(CacheOperation::PurgePattern)),
        route(Get, "/api/cache/stats", Cache(CacheOperation::Stats)),
        route(Get, "/admin/cache/stats", Cache(CacheOperation::HitRates)),
        route(Get, "/api/cache/entries", Cache(CacheOperation::Entries)),
        route(Post, "/api/cache/explain", Cache(CacheOperation::Explain)),
        route(Get, "/api/cache/explain", Cache(CacheOperation::Explain)),
        // Health checks and metrics.
        route(Get, "/healthz", Liveness),
        route(Get, "/health/liveness", Liveness),
        route(Get, "/ready", Readiness),
        route(Get, "/health/readiness", Readiness),
        route(Get, "/health/startup", Startup),
        route(Get, "/admin/health", Health),
        route(Get, "/admin/tenants", ListTenants),
        route(Get, "/api/v2/pools", ListPools),
        route(Get, "/api/v2/pools/{pool}", ShowPool),
        route(Get, "/api/v2/pools/{pool}/health", PoolHealth),
        route(Put, "/api/v2/pools/{pool}/endpoints/{endpoint}", SetEndpoint),
        route(Delete, "/api/v2/pools/{pool}/endpoints/{endpoint}", ResetEndpoint),
        route(Get, "/api/v2/breakers", ListBreakers),
        route(Get, "/api/v2/traffic/canary", ListCanaries),
        route(Post, "/api/v2/traffic/canary/{route}/resume", ResumeCanary),
        route(Post, "/api/v2/traffic/canary/{route}/weight", SetCanaryWeight),
        route(Post, "/api/v2/auth/check", CheckAuth),
        route(Get, "/metrics", Metrics),
        route(Get, "/api/openapi.json", OpenApi),
    ]
};

/// Result of a lookup.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// An operation, with the keys in the path.
    Operation(Operation, Keys<'a>),
    /// The path has other methods.
    OtherMethods(Vec<Method>),
    /// The path is unknown.
    Nothing,
}

/// Keys in a path, still encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys<'a> {
    /// The key of the operation.
    pub(crate) own: Option<&'a str>,
    /// Field name and key of its parent.
    pub(crate) parent: Option<(&'static str, &'a str)>,
}

/// Looks up a method and a path. An entry without a key in its path has precedence; HEAD is matched as GET
/// (RFC 9110 §9.1).
///
/// A POST that matches only with a key is unknown: no operation posts to a key, so the last segment is
/// probably a mistyped name of an operation.
///
/// Cost: a walk over the table, some microseconds.
pub(crate) fn find(method: Method, path: &str) -> Found<'_> {
    let wanted = if method == Method::Head { Method::Get } else { method };
    let mut methods = Vec::new();
    let mut is_known = method != Method::Post;
    let mut found: Option<(Operation, Keys<'_>)> = None;
    for route in ROUTES {
        let Some(keys) = matched(route.path, path) else { continue };
        if !methods.contains(&route.method) {
            methods.push(route.method);
        }
        is_known |= keys.own.is_none();
        let is_better = found.is_none_or(|(_, known)| known.own.is_some() && keys.own.is_none());
        if route.method == wanted && is_better {
            found = Some((route.operation, keys));
        }
    }
    match found {
        Some((operation, keys)) => Found::Operation(operation, keys),
        None if methods.is_empty() || !is_known => Found::Nothing,
        None => Found::OtherMethods(methods),
    }
}

/// Whether listeners of metrics serve a path.
pub(crate) fn is_for_monitoring(path: &str) -> bool {
    ROUTES.iter().any(|route| route.path == path && route.operation.is_for_monitoring())
}

/// Formats the value of `Allow` (RFC 9110 §10.2.1).
pub(crate) fn allow(methods: &[Method]) -> String {
    let mut names: Vec<&str> = methods.iter().filter_map(|method| method.name()).collect();
    if methods.contains(&Method::Get) {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.join(", ")
}

/// The methods of a path; none when it is unknown.
pub(crate) fn methods_of(path: &str) -> Vec<Method> {
    match find(Method::Extension, path) {
        Found::OtherMethods(methods) => methods,
        Found::Operation(..) | Found::Nothing => Vec::new(),
    }
}

/// The known paths most similar to an unknown one.
pub(crate) fn nearest(path: &str) -> Vec<&'static str> {
    let path: String = path.chars().take(128).collect();
    let mut paths: Vec<&'static str> = ROUTES.iter().map(|route| route.path).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.sort_by_key(|known| distance(&path, known));
    paths.truncate(3);
    paths
}

/// Matches a path segment by segment; returns the keys in it.
fn matched<'a>(pattern: &'static str, path: &'a str) -> Option<Keys<'a>> {
    if !pattern.contains('{') {
        return (pattern == path).then(Keys::default);
    }
    let mut segments = path.split('/');
    let mut found: Option<(&'static str, &'a str)> = None;
    let mut parent = None;
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        match key_name(expected) {
            None if expected != segment => return None,
            Some(_) if segment.is_empty() => return None,
            None => {}
            Some(name) => parent = found.replace((name, segment)),
        }
    }
    segments.next().is_none().then_some(Keys { own: found.map(|(_, key)| key), parent })
}

/// The field name of a segment that stands for a key.
pub(crate) fn key_name(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The field names of the keys in a path of the table, the operation's own last.
pub(crate) fn keys_of(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    pattern.split('/').filter_map(key_name)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A path of the table with keys; the operation's own is the last one.
#[cfg(test)]
pub(crate) fn with_keys(pattern: &'static str, keys: &[&str]) -> String {
    let count = keys_of(pattern).count();
    let mut keys = keys[keys.len().saturating_sub(count)..].iter();
    let segments = pattern.split('/').map(|segment| match key_name(segment) {
        Some(_) => keys.next().copied().unwrap_or(""),
        None => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// All operations, once each.
#[cfg(test)]
pub(crate) fn operations() -> Vec<Operation> {
    let mut all: Vec<Operation> = ROUTES.iter().map(|route| route.operation).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn operation(method: Method, path: &str) -> Option<(Operation, Option<&str>)> {
        match find(method, path) {
            Found::Operation(operation, keys) => Some((operation, keys.own)),
            Found::OtherMethods(_) | Found::Nothing => None,
        }
    }

    #[test]
    fn finds_every_entry_of_the_table() {
        for route in ROUTES {
            let path = with_keys(route.path, &["some-parent", "some-key"]);
            let key = route.path.contains('{').then_some("some-key");
            assert_eq!(
                operation(route.method, &path),
                Some((route.operation, key)),
                "{} {path}",
                route.method
            );
        }
    }

    #[test]
    fn keys_that_equal_paths_are_distinguished_by_the_method() {
        assert_eq!(
            operation(Method::Get, "/api/apps/register"),
            Some((Operation::ShowApp, Some("register")))
        );
        assert_eq!(operation(Method::Get, "/api/apps/get"), Some((Operation::ShowApp, None)));
        assert_eq!(operation(Method::Head, "/api/apps"), Some((Operation::ListApps, None)));
    }

    #[test]
    fn the_key_of_the_parent_comes_before_the_own_one() {
        let keys = matched("/pools/{pool}/endpoints/{endpoint}", "/pools/a/endpoints/b%2F:1");
        assert_eq!(keys, Some(Keys { own: Some("b%2F:1"), parent: Some(("pool", "a")) }));
        for path in
            ["/pools/a/endpoints/", "/pools//endpoints/b", "/pools/a/b/endpoints/c", "/pools/a/endpoints/b/"]
        {
            assert_eq!(matched("/pools/{pool}/endpoints/{endpoint}", path), None, "{path}");
        }
    }

    #[test]
    fn similar_paths_are_unknown() {
        for path in [
            "",
            "/",
            "/api",
            "/api/",
            "/api/apps/",
            "//api/apps",
            "/API/apps",
            "/api/apps/a/b",
            "/api/webhooks/a/b",
            "*",
        ] {
            assert!(matches!(find(Method::Get, path), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn other_methods_are_reported() {
        assert!(matches!(find(Method::Patch, "/api/apps/register"), Found::OtherMethods(_)));
        assert_eq!(allow(&methods_of("/api/tenants/domains")), "POST, PUT, DELETE, GET, HEAD, OPTIONS");
        assert_eq!(allow(&methods_of("/api/apps/register")), "POST, GET, DELETE, HEAD, OPTIONS");
        assert!(methods_of("/nowhere").is_empty());
    }

    #[test]
    fn the_nearest_paths_are_suggested() {
        assert_eq!(nearest("/api/app")[0], "/api/apps");
        assert_eq!(nearest("/api/apps/")[0], "/api/apps");
        assert_eq!(nearest("/health")[0], "/healthz");
        assert_eq!(nearest(&"x".repeat(1_000_000)).len(), 3);
    }

    #[test]
    fn distances_are_counted_in_characters() {
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(a, b), expected);
        }
    }
}
