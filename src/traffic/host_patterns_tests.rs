#![allow(clippy::unwrap_used)]
use ringway_model::{AppId, Owner};

use super::*;
use crate::policy::Policy;
use crate::snapshot::{MetricSlot, PoolId};
use crate::virtual_host::{Action, Rule, RuleId, Rules, TlsSettings};

fn host(pattern: HostPattern) -> Arc<VirtualHost> {
    let rule = Rule {
        traffic: None,
        id: RuleId(0),
        owner: Owner::Api,
        name: "x".into(),
        app: Some(AppId::parse("app").unwrap()),
        action: Action::Proxy { pool: PoolId(0), rewrite: None },
        policy: Arc::new(Policy::default()),
        tenant: None,
        requires_client_cert: false,
        stages: None,
        is_logged: true,
        cache: None,
        metric: MetricSlot::SHARED,
    };
    Arc::new(VirtualHost {
        owner: Owner::Api,
        host: pattern,
        tenant: None,
        tls: TlsSettings::default(),
        rules: Rules::One(Arc::new(rule)),
    })
}

fn name(text: &str) -> Hostname {
    Hostname::parse(text).unwrap()
}

fn one_label(parent: &str) -> HostPattern {
    HostPattern::OneLabel(name(parent))
}

fn suffix(parent: &str) -> HostPattern {
    HostPattern::Suffix(name(parent))
}

fn regex(text: &str) -> HostPattern {
    HostPattern::Regex(text.into())
}

fn patterns(all: &[HostPattern]) -> HostPatterns {
    let mut patterns = HostPatterns::default();
    for (order, pattern) in (0..).zip(all) {
        put(&mut patterns, pattern, order);
    }
    patterns
}

fn put(patterns: &mut HostPatterns, pattern: &HostPattern, order: u32) {
    let compiled = match pattern {
        HostPattern::Regex(text) => Some((Arc::new(Pattern::new(text).unwrap()), order)),
        _ => None,
    };
    patterns.put(host(pattern.clone()), compiled);
}

fn found(patterns: &HostPatterns, host: &str) -> Option<HostPattern> {
    patterns.find(host).map(|found| found.host.clone())
}

#[test]
fn tiers_are_asked_in_their_order() {
    let all = [
        HostPattern::Any,
        regex(r".*\.test"),
        regex("a.*"),
        suffix("test"),
        suffix("x.test"),
        one_label("x.test"),
        one_label("test"),
    ];
    let patterns = patterns(&all);
    for (host, expected) in [
        ("a.x.test", one_label("x.test")),
        ("a.b.x.test", suffix("x.test")),
        ("x.test", one_label("test")),
        ("a.y.test", suffix("test")),
        ("a.b.c.y.test", suffix("test")),
        ("test", HostPattern::Any),
        ("a.example", regex("a.*")),
        ("b.example", HostPattern::Any),
        ("127.0.0.1", HostPattern::Any),
        ("[::1]", HostPattern::Any),
        ("", HostPattern::Any),
    ] {
        assert_eq!(found(&patterns, host), Some(expected), "{host}");
    }
    assert_eq!(patterns.len(), 7);
    assert_eq!(patterns.iter().count(), 7);
}

#[test]
fn no_pattern_matches_its_own_parent_or_a_longer_name() {
    let patterns = patterns(&[one_label("x.test"), suffix("y.test"), regex("z[.]test")]);
    for host in ["x.test", "a.b.x.test", "ax.test", "y.test", "ay.test", "az.test", "z.test.evil", ""] {
        assert_eq!(found(&patterns, host), None, "{host}");
    }
}

#[test]
fn expressions_are_tried_as_declared_whenever_they_were_added() {
    let mut patterns = HostPatterns::default();
    put(&mut patterns, &regex("a.*"), 5);
    put(&mut patterns, &regex("ab.*"), 3);
    put(&mut patterns, &regex("abc.*"), 9);
    assert_eq!(found(&patterns, "abc"), Some(regex("ab.*")));
    // Declared at another place now.
    put(&mut patterns, &regex("abc.*"), 1);
    assert_eq!(found(&patterns, "abc"), Some(regex("abc.*")));
    assert_eq!(patterns.len(), 3);
}

#[test]
fn what_is_removed_is_no_longer_found() {
    let all = [HostPattern::Any, regex("a.*"), suffix("x.test"), one_label("x.test")];
    let mut patterns = patterns(&all);
    for pattern in &all {
        assert_eq!(patterns.get(pattern).map(|host| &host.host), Some(pattern));
        patterns.remove(pattern);
        assert!(patterns.get(pattern).is_none());
    }
    assert_eq!(patterns.len(), 0);
    assert_eq!(found(&patterns, "a.x.test"), None);
}
