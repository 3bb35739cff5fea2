#![allow(clippy::unwrap_used)]
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{CacheMode, CacheSpec, CacheTtl, SetCookiePolicy};

use crate::{Beside, Document, Source, read, read_beside};

/// A pool and three routes, of which two forward.
const ROUTES: &str = "pools: [{id: p, endpoints: [{address: '10.0.0.1:80'}]}]
routes:
  - {id: api, host: a.example, pool: p}
  - {id: web, host: b.example, pool: p}
  - {id: old, host: c.example, redirect: /new}
";

fn source(text: &str) -> Source {
    Source { name: "c".into(), text: text.to_owned() }
}

/// The document of a text without findings.
fn document(text: &str) -> Document {
    let reading = read(&[source(text)]);
    assert!(reading.findings.is_empty(), "{:#?}", reading.findings);
    reading.document.unwrap()
}

fn findings(text: &str) -> Vec<String> {
    let findings = read(&[source(text)]).findings;
    findings.iter().map(|finding| format!("{finding} [{}]", finding.code)).collect()
}

fn cache_of(document: &Document, id: &str) -> Option<Arc<CacheSpec>> {
    document.set.routes.iter().find(|route| route.id.as_str() == id).unwrap().cache.clone()
}

/// The cache of the route `api` by a rule with these members.
fn ruled(members: &str) -> CacheSpec {
    let document = document(&format!("{ROUTES}cache: [{{route: api, {members}}}]\n"));
    assert_eq!(cache_of(&document, "web"), None);
    CacheSpec::clone(&cache_of(&document, "api").unwrap())
}

#[test]
fn a_route_has_no_cache_until_it_has_one() {
    assert_eq!(cache_of(&document(ROUTES), "api"), None);
    let set = |cache: &str| document(&ROUTES.replace("a.example,", &format!("a.example, cache: {cache},")));
    assert_eq!(cache_of(&set("true"), "api"), Some(Arc::default()));
    assert_eq!(cache_of(&set("false"), "api"), None);
    assert_eq!(cache_of(&set("{enabled: false, ttl: 1s}"), "api"), None);
    let ttl = Some(CacheTtl::Fixed(Duration::from_secs(60)));
    let expected = CacheSpec { ttl, ..CacheSpec::default() };
    assert_eq!(cache_of(&set("{ttl: 60s}"), "api"), Some(Arc::new(expected.clone())));
    assert_eq!(ruled("ttl: 60s"), expected);
    assert_eq!(ruled("ttl: 1m, enabled: true"), expected);
}

#[test]
fn all_settings_are_read() {
    let all = "mode: rfc9111, ttl: 2h, statuses: [410, 200], auth_aware: true, vary_headers: [Authorization, \
               Accept-Language], set_cookie: strip, coalesce: true, coalesce_timeout: 1500ms, \
               stale_while_revalidate: 10s, stale_if_error: 1d, stale_on_disconnect: 0, targets: \
               [Ringway-Cache-Control, CDN-Cache-Control], patterns: ['*.css', '/static/*'], sort_query: true, \
               ignore_params: [utm_source, fbclid], max_size: 1MiB, max_object: 64KiB";
    let expected = CacheSpec {
        mode: CacheMode::Rfc9111,
        ttl: Some(CacheTtl::Fixed(Duration::from_secs(7200))),
        respect_cache_headers: true,
        statuses: [200, 410].into(),
        auth_aware: true,
        vary_headers: ["accept-language".into(), "authorization".into()].into(),
        set_cookie: SetCookiePolicy::Strip,
        coalesce: true,
        coalesce_timeout: Duration::from_millis(1500),
        stale_while_revalidate: Duration::from_secs(10),
        stale_if_error: Duration::from_secs(86_400),
        stale_on_disconnect: Duration::ZERO,
        targets: ["ringway-cache-control".into(), "cdn-cache-control".into()].into(),
        patterns: ["*.css".into(), "/static/*".into()].into(),
        sort_query: true,
        ignore_params: ["fbclid".into(), "utm_source".into()].into(),
        max_size: 1 << 20,
        max_object: 64 << 10,
    };
    assert_eq!(ruled(all), expected);
}

#[test]
fn defaults_depend_on_mode_and_size() {
    let safe = ruled("mode: safe");
    assert_eq!((safe.set_cookie, safe.stale_on_disconnect.as_secs()), (SetCookiePolicy::Bypass, 60));
    assert_eq!((safe.max_size, safe.max_object), (10_000_000, 2_500_000));
    let rfc9111 = ruled("mode: rfc9111, max_size: 1GiB");
    assert_eq!((rfc9111.set_cookie, rfc9111.stale_on_disconnect.as_secs()), (SetCookiePolicy::Store, 86_400));
    assert_eq!((rfc9111.max_size, rfc9111.max_object), (1 << 30, 8 << 20));
}

#[test]
fn the_section_as_an_object_has_defaults_for_all_caches() {
    let text = format!(
        "{ROUTES}cache:
  max_memory: 64MB
  max_entries: 100
  default_ttl: 120
  respect_cache_headers: false
  patterns: ['*.js']
  rules:
    - {{route: api}}
    - {{route: web, ttl: 5s, respect_cache_headers: true, patterns: []}}
"
    );
    let document = document(&text);
    let api = cache_of(&document, "api").unwrap();
    assert_eq!(api.ttl, Some(CacheTtl::Default));
    assert!(!api.respect_cache_headers);
    assert_eq!(&*api.patterns, ["*.js".into()]);
    let web = cache_of(&document, "web").unwrap();
    assert_eq!(web.ttl, Some(CacheTtl::Fixed(Duration::from_secs(5))));
    assert!(web.respect_cache_headers && web.patterns.is_empty());
    let statics: Vec<_> = document.statics.iter().map(|value| (&*value.path, &*value.value)).collect();
    let expected =
        [("/cache/max_memory", "64MB"), ("/cache/max_entries", "100"), ("/cache/default_ttl", "120")];
    assert_eq!(statics, expected);
}

#[test]
fn rules_of_routing_have_the_lifetime_of_the_process() {
    let text = "routing:
  rules:
    - {match: {path: '/static/*'}, forward: {target: 'http://cdn.example.com', cache: true}}
    - {match: {host: a.example}, forward: {target: 'http://a.example', cache: false}}
cache: {max_memory: 256MB, patterns: ['*.js', '*.css']}
";
    let document = document(text);
    let cached = cache_of(&document, "rule-1").unwrap();
    assert_eq!(cached.ttl, Some(CacheTtl::Default));
    assert_eq!(&*cached.patterns, ["*.js".into(), "*.css".into()]);
    assert_eq!(cache_of(&document, "rule-2"), None);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (members, expected) in [
        (
            "auth_aware: true",
            "/auth_aware needs Authorization in vary_headers: without it, the response for one user would be served to another [conflict]",
        ),
        (
            "auth_aware: true, mode: rfc9111",
            "/auth_aware needs Authorization in vary_headers: without it, the response for one user would be served to another [conflict]",
        ),
        (
            "set_cookie: store",
            "/set_cookie must not be store: a cookie for one client would be served to others; strip stores without it, and mode: rfc9111 leaves the decision to the origin [conflict]",
        ),
        (
            "mode: rfc9111, ttl: 1s, respect_cache_headers: false",
            "/respect_cache_headers must not be false with mode: rfc9111, which is about these headers [conflict]",
        ),
        (
            "respect_cache_headers: false",
            "/route has respect_cache_headers: false and no ttl: no response would have a lifetime [conflict]",
        ),
        (
            "max_size: 1MB, max_object: 2MB",
            "/max_object must not be more than max_size, 1000000 bytes [range]",
        ),
        ("max_size: 0", "/max_size must be from 64KB to 1TiB; enabled: false stores nothing [range]"),
        ("max_size: 4KB", "/max_size must be from 64KB to 1TiB; enabled: false stores nothing [range]"),
        ("max_object: 100", "/max_object must be from 1KiB to 1TiB [range]"),
        ("ttl: 0", "/ttl must be at least 1s; leave it out for none [range]"),
        ("ttl: 1500ms", "/ttl must be whole seconds, as the lifetimes of HTTP are [range]"),
        ("ttl: 400d", "/ttl must be at most 31622400s [range]"),
        ("ttl: soon", "/ttl must be a whole number with a unit of ms, s, m, h or d, as in 10s [invalid]"),
        ("stale_if_error: 31d", "/stale_if_error must be at most 2592000s [range]"),
        ("coalesce_timeout: 1ms", "/coalesce_timeout must be from 10ms to 60s [range]"),
        (
            "statuses: [206]",
            "/statuses must not have 206 and 304: they are parts of other responses [invalid]",
        ),
        ("statuses: [100]", "/statuses must have statuses from 200 to 599 [range]"),
        ("statuses: []", "/statuses must have at least one status [range]"),
        ("statuses: [200, 200]", "/statuses has an item twice [duplicate]"),
        (
            "vary_headers: '*'",
            "/vary_headers must name fields: with * no two requests would share a response [invalid]",
        ),
        ("vary_headers: [Host]", "/vary_headers must not have Host, which is part of every key [invalid]"),
        (
            "vary_headers: [Range]",
            "/vary_headers must not have range: it is about one connection or transfer, and no two responses differ by it [invalid]",
        ),
        (
            "vary_headers: ['a b']",
            "/vary_headers must have names of header fields, such as Accept-Language [invalid]",
        ),
        ("vary_headers: [X-A, x-a]", "/vary_headers has an item twice [duplicate]"),
        ("targets: [Cache-Control]", "/targets must be names that end with -Cache-Control [invalid]"),
        (
            "patterns: [a.css]",
            "/patterns must have paths that begin with / or *, such as *.css or /static/* [invalid]",
        ),
        (
            "patterns: ['*.{css,js}']",
            "/patterns must have paths in visible ASCII; * stands for any characters, and ?, #, \\, brackets and braces are not supported [invalid]",
        ),
        ("patterns: ['/*/*/*/*/*']", "/patterns must not have a pattern with more than 4 * [range]"),
        (
            "ignore_params: ['a=b']",
            "/ignore_params must have names as they stand in the query: from 1 to 256 visible ASCII characters without &, =, #, ? and * [invalid]",
        ),
        ("mode: unsafe", "/mode must be one of safe, rfc9111 [invalid]"),
        ("ttls: 5s", "/ttls is not known here; did you mean ttl? [unknown]"),
    ] {
        let found = findings(&format!("{ROUTES}cache: [{{route: api, {members}}}]\n"));
        assert!(
            found.len() == 1 && found[0].ends_with(&format!("/cache/0{expected}")),
            "{members}: {found:#?}"
        );
    }
}

#[test]
fn settings_without_effect_give_warnings() {
    for (members, expected) in [
        (
            "vary_headers: authorization",
            "/cache/0/vary_headers has Authorization, and requests with it bypass the cache; auth_aware: true admits them",
        ),
        (
            "vary_headers: Cookie",
            "/cache/0/vary_headers has Cookie: clients have cookies of their own, so that hardly two of them share a response",
        ),
        (
            "coalesce: false, coalesce_timeout: 1s",
            "/cache/0/coalesce_timeout has no effect: coalesce: false lets no request wait",
        ),
        (
            "patterns: '*.css'",
            "/routes/0/id has a cache whose patterns have no effect: they limit its ttl, and it has none",
        ),
    ] {
        let found = findings(&format!("{ROUTES}cache: [{{route: api, {members}}}]\n"));
        let expected = format!("warning: {expected} [conflict]");
        assert!(found.len() == 1 && found[0].ends_with(&expected), "{members}: {found:#?}");
    }
    let post = ROUTES.replace("a.example,", "a.example, methods: [POST], cache: true,");
    let found = findings(&post);
    assert!(
        found[0].ends_with("has a cache without effect: its methods leave out GET [conflict]"),
        "{found:?}"
    );
}

#[test]
fn a_route_has_one_cache_and_forwards() {
    let rules = |rules: &str| findings(&format!("{ROUTES}cache: [{rules}]\n"));
    let twice = rules("{route: api}, {route: api, ttl: 1s}");
    assert!(
        twice[0]
            .ends_with("/cache/1/route is of the route api, which has a cache at c:6:17 already [duplicate]"),
        "{twice:?}"
    );
    let in_place = ROUTES.replace("a.example,", "a.example, cache: true,");
    let twice = findings(&format!("{in_place}cache: [{{route: api}}]\n"));
    assert!(
        twice[0]
            .ends_with("/cache/0/route is of the route api, which has a cache at c:3:39 already [duplicate]"),
        "{twice:?}"
    );
    let old = rules("{route: old}");
    assert!(
        old[0].ends_with(
            "is of the route old, which forwards no requests: there is nothing to store [conflict]"
        ),
        "{old:?}"
    );
    let unknown = rules("{route: apy}");
    assert!(
        unknown[0].ends_with(
            "names the route apy, which this configuration does not have; did you mean api? [reference]"
        ),
        "{unknown:?}"
    );
    assert!(rules("{ttl: 1s}")[0].ends_with("/cache/0/route is required [missing]"));
}

#[test]
fn defaults_of_two_files_must_not_differ() {
    let read = |second: &str| {
        let sources = [source(&format!("{ROUTES}cache: {{patterns: ['*.js']}}\n")), source(second)];
        read(&sources).findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(read("cache: {patterns: ['*.js'], respect_cache_headers: true}\n"), [""; 0]);
    let found = read("cache: {patterns: ['*.css']}\n");
    assert!(found[0].ends_with("/cache/patterns differs from that of another file"), "{found:?}");
}

#[test]
fn rules_alone_change_the_caches_of_the_present_routes() {
    let base = document(&ROUTES.replace("b.example,", "b.example, cache: true,"));
    let beside = Beside { base: Some(&base), ..Beside::NOTHING };
    let document = read_beside(&[source("cache: [{route: api, ttl: 1s}]\n")], &beside).document.unwrap();
    assert!(cache_of(&document, "api").is_some());
    assert_eq!(cache_of(&document, "web"), None, "the rules are all that there are");
    let document = read_beside(&[source("cache: {max_memory: 1MB}\n")], &beside).document.unwrap();
    assert_eq!(document.set.routes, base.set.routes, "settings of the process change no route");
}

#[test]
fn the_canonical_text_reads_back() {
    let text = format!(
        "{ROUTES}cache: [{{route: api, ttl: default, targets: [], patterns: '*.css'}}, {{route: web, mode: rfc9111}}]\n"
    );
    let first = document(&text);
    let second = document(&first.canonical);
    assert_eq!(first.set, second.set);
    assert_eq!(first.canonical, second.canonical);
    assert!(cache_of(&second, "api").unwrap().targets.is_empty());
}
