#![allow(clippy::unwrap_used)]

use ringway_model::{
    AppSpec, Change, Desired, DomainKind, DomainSpec, HostPattern, Hostname, OperatorSet, PathMatch, PoolRef,
    Replacement, RouteId, RouteSpec, Timestamp,
};

use super::*;
use crate::compile::{Compiler, CompilerSettings};

fn app(id: &str) -> AppId {
    AppId::parse(id).unwrap()
}

fn domain(name: &str, of: &str) -> Change {
    let domain = DomainSpec {
        policy: None,
        certificate: None,
        client_auth: None,
        name: Hostname::parse(name).unwrap(),
        app: app(of),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
    };
    Change::Register { app: AppSpec::new(app(of)), instance: None, domain: Some(domain) }
}

/// Operator's routes `HOST PREFIX → app`.
fn routes(routes: &[(&str, &str, &str)]) -> Change {
    let route = |(at, (host, prefix, to)): (usize, &(&str, &str, &str))| {
        let id = RouteId::parse(&format!("route-{at}")).unwrap();
        let host = HostPattern::parse(host).unwrap();
        let mut spec = RouteSpec::new(id, host, PoolRef::App(app(to)));
        spec.matcher.path = PathMatch::Prefix((*prefix).into());
        Arc::new(spec)
    };
    let set =
        OperatorSet { routes: routes.iter().enumerate().map(route).collect(), ..OperatorSet::default() };
    let replacement = Replacement { owner: Owner::File, set: Arc::new(set), expect: None, version: None };
    Change::ReplaceOwned(Arc::new(replacement))
}

/// Snapshots before and after the last change.
fn snapshots(before: &[Change], change: Change) -> [Arc<Snapshot>; 2] {
    let mut desired = Desired::default();
    let mut compiler = Compiler::new(CompilerSettings { cores: 1, ..CompilerSettings::default() });
    let mut last = compiler.snapshot().clone();
    for change in before.iter().chain([&change]) {
        last = compiler.snapshot().clone();
        let applied = desired.apply(change, Timestamp(0)).unwrap();
        let compiled = compiler.compile(&applied.desired, &applied.deltas);
        compiler.commit(compiled).unwrap();
        desired = applied.desired;
    }
    [last, compiler.snapshot().clone()]
}

fn samples(requests: &[(&str, &str)]) -> SampledHeads {
    let mut heads = SampledHeads::default();
    for (host, target) in requests {
        heads.push(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    }
    heads
}

#[test]
fn finds_the_requests_that_go_elsewhere() {
    let attached = routes(&[("shop.example", "/api", "api")]);
    let [before, after] = snapshots(&[domain("shop.example", "shop")], attached);
    let heads = samples(&[
        ("shop.example", "/"),
        ("shop.example", "/api/v1?token=secret"),
        ("shop.example", "/api/v1?token=other"),
        ("shop.example", "/apis"),
        ("shop.example", "/a%70i"),
        ("unknown.example", "/api"),
    ]);
    let simulated = simulate([&heads], &before, &after);
    assert_eq!((simulated.requests, simulated.rerouted, simulated.lost), (6, 3, 0));
    assert_eq!(simulated.examples.len(), 2, "{:?}", simulated.examples);
    let example = &simulated.examples[0];
    assert_eq!((&*example.host, &*example.path), ("shop.example", "/api/v1"));
    assert_eq!(example.before.as_ref().unwrap().app, Some(app("shop")));
    let after = example.after.as_ref().unwrap();
    assert_eq!((&after.owner, &*after.rule, &after.app), (&Owner::File, "route-0", &Some(app("api"))));
}

#[test]
fn counts_requests_that_no_rule_would_serve() {
    let first = routes(&[("a.example", "/v1", "api"), ("b.example", "/", "api")]);
    let [before, after] = snapshots(&[first], routes(&[("a.example", "/v2", "api")]));
    let heads =
        samples(&[("a.example", "/v1/x"), ("b.example", "/"), ("a.example", "/v2"), ("a.example", "/")]);
    let simulated = simulate([&heads], &before, &after);
    assert_eq!((simulated.rerouted, simulated.lost), (3, 2));
    assert_eq!(simulate([&heads], &after, &after), Simulated { requests: 4, ..Simulated::default() });
}

#[test]
fn examples_are_bounded_and_broken_samples_are_left_out() {
    let [before, after] = snapshots(&[], routes(&[("a.example", "/", "api")]));
    let requests: Vec<String> = (0..100).map(|n| format!("/{n}")).collect();
    let requests: Vec<(&str, &str)> = requests.iter().map(|path| ("a.example", path.as_str())).collect();
    let mut heads = samples(&requests);
    heads.push(b"GET / HTTP/1.1\r\nHost: a.exa");
    let simulated = simulate([&heads], &before, &after);
    assert_eq!((simulated.requests, simulated.rerouted, simulated.examples.len()), (100, 100, 20));
}
