#![allow(clippy::unwrap_used)]
use std::time::Duration;

use ringway_config::Position;
use ringway_model::{
    AppId, Balancer, Change, EndpointSpec, FailurePolicy, HealthCheck, InstanceId, OnAllUnhealthy,
    OperatorSet, PolicyId, PolicySpec, PoolSpec, Replacement, RouteId, RouteSpec, Target, UpstreamTls,
};

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap()
}

/// A set with one pool `p` of these endpoints, and routes to it.
fn set(endpoints: &[&str], routes: &[(&str, &str)]) -> OperatorSet {
    let id = AppId::parse("p").unwrap();
    let endpoint = |target: &&str| {
        let target = Target::parse(target).unwrap();
        EndpointSpec {
            id: InstanceId::of_endpoint(&id, &target),
            target,
            weight: 1,
            health_check: HealthCheck::default(),
        }
    };
    let pool = PoolSpec {
        traffic: Default::default(),
        id: id.clone(),
        endpoints: endpoints.iter().map(endpoint).collect(),
        balancer: Balancer::default(),
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    };
    let route = |(name, host): &(&str, &str)| {
        let (route, pool) = (RouteId::parse(name).unwrap(), PoolRef::Pool(id.clone()));
        Arc::new(RouteSpec::new(route, pattern(host), pool))
    };
    OperatorSet { routes: routes.iter().map(route).collect(), pools: vec![pool], ..OperatorSet::default() }
}

fn with_policy(mut set: OperatorSet, settings: PolicySettings) -> OperatorSet {
    for route in &mut set.routes {
        let policies: Box<[PolicyRef]> = Box::new([PolicyRef::Inline(Arc::new(settings.clone()))]);
        *route = Arc::new(RouteSpec { policies, ..RouteSpec::clone(route) });
    }
    set
}

/// Messages of a rule about a change of `owner` from one set to the next.
fn broken_by(
    rule: &Rule,
    owner: Owner,
    before: OperatorSet,
    after: OperatorSet,
    reason: Option<&str>,
) -> Vec<String> {
    let put = |desired: &Desired, set: OperatorSet| {
        let replacement =
            Replacement { owner: owner.clone(), set: Arc::new(set), expect: None, version: None };
        desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(1)).unwrap()
    };
    let before = put(&Desired::default(), before).desired;
    let applied = put(&before, after);
    let judged = Judged {
        before: &before,
        after: &applied.desired,
        deltas: &applied.deltas,
        owner: &owner,
        reason,
        default_timeout: Duration::from_secs(30),
    };
    let place = Some(Place::new(&"rules.yaml".into(), Position { line: 3, column: 5 }));
    let rules = vec![GovernanceRule { rule: rule.clone(), mode: RuleMode::Refuse, place }];
    // A rule of the present and of the proposed documents is named once.
    let findings = judge(vec![&rules, &rules], &judged, &Places::default(), NOW);
    findings.into_iter().map(|finding| finding.message).collect()
}

fn broken(rule: &Rule, before: OperatorSet, after: OperatorSet) -> Vec<String> {
    broken_by(rule, Owner::Admin, before, after, None)
}

#[test]
fn hosts_are_reserved_for_their_owner() {
    let rule = Rule::ReservedHosts { hosts: vec![pattern("*.corp.example")], owner: Owner::File };
    let set = || set(&[], &[("a", "wiki.corp.example"), ("b", "b.example")]);
    let messages = broken(&rule, OperatorSet::default(), set());
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].contains("wiki.corp.example") && messages[0].contains("rules.yaml:3:5"),
        "{messages:?}"
    );
    assert!(broken_by(&rule, Owner::File, OperatorSet::default(), set(), None).is_empty());
    assert!(broken(&rule, set(), set()).is_empty(), "routes that do not change");
    for host in [r".*\.corp\.example", "*", "**.corp.example"] {
        let messages = broken(&rule, OperatorSet::default(), self::set(&[], &[("a", host)]));
        assert_eq!(messages.len(), 1, "{host} may serve a reserved host");
    }
}

#[test]
fn no_more_than_the_share_is_removed() {
    let rule =
        Rule::MaxRemoved { hosts: Some(Share::Percent(20)), routes: None, endpoints: Some(Share::Count(1)) };
    let hosts: Vec<(String, String)> =
        (0..10).map(|at| (format!("r{at}"), format!("h{at}.example"))).collect();
    let some = |from: usize| {
        let routes: Vec<(&str, &str)> = hosts[from..].iter().map(|(id, host)| (&**id, &**host)).collect();
        set(&["http://10.0.0.1:1", "http://10.0.0.1:2", "http://10.0.0.1:3"], &routes)
    };
    assert!(broken(&rule, some(0), some(2)).is_empty());
    assert!(broken(&rule, some(0), some(3))[0].starts_with("3 of 10 hosts would be removed, 2 are allowed"));
    let fewer =
        |count: usize| set(&["http://10.0.0.1:1", "http://10.0.0.1:2", "http://10.0.0.1:3"][..count], &[]);
    assert!(broken(&rule, fewer(3), fewer(2)).is_empty());
    assert_eq!(broken(&rule, fewer(3), fewer(1)).len(), 1);
}

#[test]
fn tls_is_required_of_routes_of_the_hosts() {
    let rule = Rule::RequireTls { hosts: vec![pattern("**.example")] };
    let plain = || set(&[], &[("a", "a.example"), ("b", "b.test")]);
    assert_eq!(broken(&rule, OperatorSet::default(), plain()).len(), 1);
    let settings = PolicySettings { require_tls: Some(true), ..PolicySettings::default() };
    assert!(broken(&rule, OperatorSet::default(), with_policy(plain(), settings.clone())).is_empty());
    // By name, too.
    let id = PolicyId::parse("tls").unwrap();
    let mut named = plain();
    named.policies.push(PolicySpec { id: id.clone(), settings });
    for route in &mut named.routes {
        *route = Arc::new(RouteSpec {
            policies: Box::new([PolicyRef::Named(id.clone())]),
            ..RouteSpec::clone(route)
        });
    }
    assert!(broken(&rule, OperatorSet::default(), named).is_empty());
}

#[test]
fn endpoints_are_reached_over_verified_tls() {
    let rule = Rule::ForbidInsecureUpstream { hosts: Vec::new() };
    let routes = [("a", "a.example")];
    assert_eq!(broken(&rule, OperatorSet::default(), set(&["http://10.0.0.1:1"], &routes)).len(), 1);
    let mut tls = set(&["https://10.0.0.1:1"], &routes);
    assert!(broken(&rule, OperatorSet::default(), tls.clone()).is_empty());
    tls.pools[0].upstream_tls = Some(UpstreamTls { insecure: true, ..UpstreamTls::default() });
    assert!(broken(&rule, OperatorSet::default(), tls)[0].contains("does not verify"));
}

#[test]
fn timeouts_have_a_maximum() {
    let rule = Rule::MaxTimeout { max: Duration::from_secs(30) };
    let of = |seconds| {
        let timeout = Some(Duration::from_secs(seconds));
        with_policy(set(&[], &[("a", "a.example")]), PolicySettings { timeout, ..PolicySettings::default() })
    };
    assert!(broken(&rule, OperatorSet::default(), of(30)).is_empty());
    assert_eq!(broken(&rule, OperatorSet::default(), of(31)).len(), 1);
    // Those of a pool, too.
    let of_pool = |seconds| {
        let settings = PolicySettings { per_try_timeout: seconds, ..PolicySettings::default() };
        let mut set = set(&[], &[("a", "a.example")]);
        set.pools[0].policy = Some(PolicyRef::Inline(Arc::new(settings)));
        set
    };
    assert!(broken(&rule, OperatorSet::default(), of_pool(Some(Duration::from_secs(30)))).is_empty());
    let messages = broken(&rule, OperatorSet::default(), of_pool(Some(Duration::from_secs(31))));
    assert!(messages[0].starts_with("a timeout of pool p is longer than 30 s"), "{messages:?}");
}

#[test]
fn the_timeout_of_the_process_counts_where_a_route_has_none() {
    let rule = Rule::MaxTimeout { max: Duration::from_secs(29) };
    let plain = || set(&["http://10.0.0.1:1"], &[("a", "a.example"), ("b", "b.example")]);
    let messages = broken(&rule, OperatorSet::default(), plain());
    assert_eq!(messages.len(), 2);
    assert!(
        messages[0].contains("has no timeout, and that of the process, 30 s, is longer than 29 s"),
        "{messages:?}"
    );
    let five = Some(Duration::from_secs(5));
    for settings in [
        PolicySettings { timeout: five, ..PolicySettings::default() },
        PolicySettings { total_timeout: five, ..PolicySettings::default() },
    ] {
        assert!(broken(&rule, OperatorSet::default(), with_policy(plain(), settings.clone())).is_empty());
        let mut of_pool = plain();
        of_pool.pools[0].policy = Some(PolicyRef::Inline(Arc::new(settings)));
        assert!(broken(&rule, OperatorSet::default(), of_pool).is_empty());
    }
    // A timeout of one attempt leaves the wait over all attempts open.
    let settings = PolicySettings { per_try_timeout: five, ..PolicySettings::default() };
    assert_eq!(broken(&rule, OperatorSet::default(), with_policy(plain(), settings)).len(), 2);
    // A route that the change leaves alone, and one without a pool.
    assert!(broken(&rule, plain(), plain()).is_empty());
    let mut redirect = set(&[], &[("a", "a.example")]);
    let to = ringway_model::Redirect { to: "/x".into(), status: 308, keep_path: false };
    redirect.routes[0] =
        Arc::new(RouteSpec { action: RouteAction::Redirect(to), ..RouteSpec::clone(&redirect.routes[0]) });
    assert!(broken(&rule, OperatorSet::default(), redirect).is_empty());
}

#[test]
fn pools_have_a_minimum_of_endpoints() {
    let rule = Rule::MinEndpoints { min: 2 };
    let two = || set(&["http://10.0.0.1:1", "http://10.0.0.1:2"], &[]);
    assert!(broken(&rule, OperatorSet::default(), two()).is_empty());
    let messages = broken(&rule, two(), set(&["http://10.0.0.1:1"], &[]));
    assert!(messages[0].starts_with("pool p has 1 endpoints, 2 are required"), "{messages:?}");
    assert!(broken(&rule, two(), OperatorSet::default()).is_empty(), "a pool that is removed");
    let mut idle = two();
    idle.pools[0].endpoints[1].weight = 0;
    let messages = broken(&rule, two(), idle);
    assert!(
        messages[0].starts_with("pool p has 1 endpoints"),
        "one without weight serves nothing: {messages:?}"
    );
}

#[test]
fn protected_resources_are_not_changed() {
    let rule = Rule::Protect {
        hosts: vec![pattern("a.example")],
        routes: Vec::new(),
        pools: vec![AppId::parse("p").unwrap()],
    };
    let before = || set(&["http://10.0.0.1:1"], &[("a", "a.example"), ("b", "b.example")]);
    assert!(broken(&rule, before(), before()).is_empty());
    let without_b = set(&["http://10.0.0.1:1"], &[("a", "a.example")]);
    assert!(broken(&rule, before(), without_b).is_empty());
    let without_a = set(&["http://10.0.0.1:1"], &[("b", "b.example")]);
    assert!(broken(&rule, before(), without_a)[0].starts_with("route a is protected"));
    let other_endpoint = set(&["http://10.0.0.1:2"], &[("a", "a.example"), ("b", "b.example")]);
    assert_eq!(broken(&rule, before(), other_endpoint).len(), 1, "the endpoint that goes");
}

#[test]
fn a_freeze_has_a_beginning_and_an_end() {
    let freeze = |from: Option<u64>, until: Option<u64>| {
        let rule = Rule::Freeze {
            from: from.map(Timestamp),
            until: until.map(Timestamp),
            message: "changes are frozen".into(),
        };
        broken(&rule, OperatorSet::default(), set(&[], &[("a", "a.example")]))
    };
    assert!(freeze(None, None)[0].starts_with("changes are frozen (rule"));
    assert_eq!(freeze(Some(NOW.0), Some(NOW.0 + 1)).len(), 1);
    assert!(freeze(Some(NOW.0 + 1), None).is_empty());
    assert!(freeze(None, Some(NOW.0)).is_empty());
}

#[test]
fn a_reason_is_required_of_a_change_and_not_of_a_question() {
    let judge =
        |reason| broken_by(&Rule::RequireReason, Owner::Admin, OperatorSet::default(), set(&[], &[]), reason);
    assert_eq!(judge(Some(" ")).len(), 1);
    assert!(judge(Some("more capacity")).is_empty());
    assert!(judge(None).is_empty());
}

#[test]
fn routes_pass_the_stages_that_are_demanded() {
    use ringway_model::{
        AuthMethod, AuthStage, IpAcl, MiddlewareId, MiddlewareSpec, RequestIdStage, StageSpec,
    };
    let rule = Rule::RequireMiddleware {
        types: vec!["auth".into(), "ip_acl".into()],
        hosts: vec![pattern("a.example")],
    };
    let id = |text: &str| MiddlewareId::parse(text).unwrap();
    let auth = |optional| {
        StageSpec::Auth(AuthStage { any_of: Box::new([AuthMethod::ClientCertificate {}]), optional })
    };
    let with = |stages: Vec<StageSpec>| {
        let acl = StageSpec::IpAcl(IpAcl::default());
        let mut set = set(&[], &[("a", "a.example"), ("b", "b.example")]);
        set.middlewares = vec![
            Arc::new(MiddlewareSpec { id: id("c"), stages: stages.into() }),
            Arc::new(MiddlewareSpec { id: id("d"), stages: Box::new([acl]) }),
        ];
        let route = RouteSpec::clone(&set.routes[0]);
        set.routes[0] = Arc::new(RouteSpec { middleware: Box::new([id("c"), id("d")]), ..route });
        set
    };
    let none = OperatorSet::default;
    let other = || StageSpec::RequestId(RequestIdStage { header: "X-Request-ID".into() });
    let message = "route a passes no stage auth (rule require_middleware at rules.yaml:3:5)";
    assert!(broken(&rule, none(), with(vec![auth(false)])).is_empty());
    assert_eq!(broken(&rule, none(), with(vec![other()])), [message]);
    assert_eq!(broken(&rule, none(), with(vec![auth(true)])), [message], "it admits anybody");
    // The route stays as it is, and its chain loses the stage.
    assert_eq!(broken(&rule, with(vec![auth(false)]), with(vec![other()])), [message]);
    assert!(broken(&rule, with(vec![other()]), with(vec![other()])).is_empty(), "nothing changes");
    let without = set(&[], &[("a", "a.example"), ("b", "b.example")]);
    let message = "route a passes no stage auth, ip_acl (rule require_middleware at rules.yaml:3:5)";
    assert_eq!(broken(&rule, none(), without), [message]);
}
