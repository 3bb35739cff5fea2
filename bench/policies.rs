//! Cost of the traffic policies of one request: rate limit, circuit breaker, retries, permits, canary.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, Ban, BrakeMode, Canary, CircuitBreaker, Percent, PoolRef, RateLimit, RateLimitKey, RequestKey,
    Retries, Tick, TrafficSpec,
};
use ringway_traffic::breaker::Candidate;
use ringway_traffic::overload::{LoadLimit, LoadSettings, LoadState};
use ringway_traffic::permits::Permits;
use ringway_traffic::plan::{Bucket, BucketKey, PlanRequest, PlanSource, TrafficPlan};
use ringway_traffic::policy::Policy;
use ringway_traffic::pool_breaker::PoolBreaker;
use ringway_traffic::rate_limit::{KeySource, LimitScope, RateLimitTable, RateLimiter};
use ringway_traffic::request_key::RequestFields;
use ringway_traffic::retry::{self, Allowance, Body, Failed, FailedAttempt, Method};
use ringway_traffic::retry_budget::RetryBudget;
use ringway_traffic::snapshot::PoolId;
use ringway_traffic::verdict::Verdict;
use ringway_traffic::virtual_host::RuleId;
use ringway_wire::h1::{Limits, RequestHead};

use crate::harness::Harness;

/// Cores of the gateway: the number of lines in tables by core.
const CORES: usize = 4;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Present time where it does not matter, in microseconds.
const NOW_US: u64 = 1_000_000;

/// Secret of the canary's cookies.
const SECRET: &[u8] = b"a secret of the benchmark";

pub(crate) fn run(bench: &mut Harness) {
    limits(bench);
    retries(bench);
    concurrency(bench);
    canaries(bench);
}

/// Rate limits by client.
fn limits(bench: &mut Harness) {
    if !bench.wants("limit: ") {
        return;
    }
    let table = Arc::new(RateLimitTable::default());
    let limiter = |name: &str, requests, per, ban| {
        let settings = RateLimit {
            requests,
            per,
            burst: 1,
            key: Box::new([RateLimitKey::Client]),
            ban,
            sends_fields: false,
            dry_run: false,
        };
        RateLimiter::new(LimitScope::Policy(name.into()), settings, table.clone())
    };
    let (second, day) = (Duration::from_secs(1), Duration::from_hours(24));
    let (head, input) = head("");
    let fields = RequestFields::received(&head, &input);
    let request = KeySource { rule: RuleId(1), client: CLIENT, tenant: None, fields };
    let mut now_us = NOW_US;
    let wide = limiter("wide", 100_000, second, None);
    bench.line("limit: count a request of a client", || {
        now_us += 10;
        wide.decide(&request, now_us)
    });
    let mut client = 0_u32;
    bench.line("limit: count the first request of a client", || {
        client += 1;
        wide.decide(&KeySource { client: Ipv4Addr::from_bits(client).into(), ..request }, NOW_US)
    });
    let narrow = limiter("narrow", 1, day, None);
    bench.line("limit: refuse a request", || narrow.decide(&request, NOW_US));
    let banning = limiter("banning", 1, day, Some(Ban { after: 1, duration: day }));
    bench.line("limit: refuse a banned client", || banning.decide(&request, NOW_US));
}

/// Retry decisions, and what a request without a retry has for them.
fn retries(bench: &mut Harness) {
    let (retries, policy, budget) = (Retries::default(), Policy::default(), RetryBudget::new(CORES));
    let retries = Retries { budget_floor: u16::MAX, ..retries };
    let allowance = Allowance {
        retries: &retries,
        budget: &budget,
        left: Duration::from_secs(5),
        retry_after: None,
        now_us: NOW_US,
        draw: 42,
    };
    let attempt = FailedAttempt {
        attempts: 1,
        replays: 0,
        failed: Failed::Status(503),
        body: Body::Whole,
        method: Method::Idempotent,
    };
    bench.line("retry: count a good response", || budget.deposit(0, NOW_US));
    bench.line("retry: repeat a response of 503, within the budget", || {
        retry::decide(&attempt, &policy, Some(&allowance))
    });
}

/// Circuit breaker of a route, and limits of concurrent requests.
fn concurrency(bench: &mut Harness) {
    let (breaker, tick) = (PoolBreaker::new(CircuitBreaker::default(), None, CORES), Tick(1));
    bench.line("circuit: admit and succeed", || {
        let admission = breaker.admit(Candidate::Ready, tick);
        breaker.record(0, admission.expect("a new breaker is closed"), Verdict::Success, tick)
    });
    let permits = Permits::default();
    bench.line("permits: take one and give it back", || permits.take(100).is_some());
    let settings = LoadSettings {
        max_concurrent: 100,
        queue_size: 100,
        queue_timeout: Duration::from_secs(1),
        adaptive: None,
        dry_run: false,
    };
    let limit = LoadLimit::new(settings, Arc::new(LoadState::new(CORES)));
    bench.line("overload: take a permit and give it back", || (limit.admit(0), limit.release()));
}

/// Choice between a stable pool and its canary.
fn canaries(bench: &mut Harness) {
    let plan = |hash, cookie: Option<&str>| {
        let canary = Canary {
            pool: PoolRef::Pool(app("canary")),
            weight: Percent::whole(10),
            steps: Box::default(),
            hash,
            cookie: cookie.map(Into::into),
            brake: BrakeMode::On,
        };
        let source = PlanSource {
            route: "route",
            stable: (&app("stable"), PoolId(1)),
            spec: &Arc::new(TrafficSpec { canary: Some(canary), ..TrafficSpec::default() }),
            stored: None,
            known: None,
            cores: CORES,
            secret: SECRET,
        };
        TrafficPlan::new(&source, |_| PoolId(2))
    };
    let sealed = BucketKey::new(SECRET, "route").seal(Bucket::draw(0));
    let (head, input) = head(&format!("Cookie: session=1234567890; canary={sealed}\r\n"));
    let mut draw = 0_u64;
    let mut choose = |plan: &TrafficPlan| {
        draw = draw.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let request = PlanRequest { head: &head, buf: &input, client: CLIENT, is_trusted: false, draw };
        plan.choose(&request, |_| true)
    };
    let drawn = plan(None, None);
    bench.line("canary: choose by weight", || choose(&drawn));
    let kept = plan(None, Some("canary"));
    bench.line("canary: choose by cookie", || choose(&kept));
    let keyed = plan(Some(RequestKey::Client), None);
    bench.line("canary: choose by client", || choose(&keyed));
}

/// Request head with these further lines, and its bytes.
fn head(lines: &str) -> (RequestHead, Vec<u8>) {
    let text = format!("GET / HTTP/1.1\r\nHost: bench.test\r\n{lines}\r\n").into_bytes();
    let mut head = RequestHead::default();
    head.parse(&text, &Limits::default()).expect("a request head");
    (head, text)
}

fn app(id: &str) -> AppId {
    AppId::parse(id).expect("an id")
}
