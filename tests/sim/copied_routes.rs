//! Routes of two seeds in five: their requests are hedged, and copied to endpoints that are never of use.
//!
//! Nothing of the copies may be seen anywhere else: the other endpoints and the clients check their bytes as
//! ever, and on a calm day no request waits for what is never answered.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, Balancer, Change, EndpointSpec, FailurePolicy, HealthCheck, Hedge, HedgeDelay, HostPattern,
    InstanceId, Mirror, OnAllUnhealthy, OperatorSet, Owner, Percent, PolicyRef, PolicySettings, PoolRef,
    PoolSpec, Replacement, RouteId, RouteSpec, Target, TrafficSpec,
};

use super::engine::Engine;
use super::network::End;
use super::requests::{Case, Framing, Inbox};
use super::{APPS, host};

/// Number of the host of each app that is a route.
pub(super) const NUMBER: u64 = 1;
/// Longest request of a calm day: less than the timeout of copies.
pub(super) const CALM_US: u64 = 30_000_000;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Third octet of the addresses of the endpoints that get copies.
const COPIES: u8 = 9;

/// The change that adds the routes.
pub(super) fn change() -> Change {
    let copies = AppId::parse("copies").unwrap();
    let hedge =
        Hedge { delay: HedgeDelay::After(Duration::from_millis(5)), budget: Percent::ALL, dry_run: false };
    let settings = Arc::new(PolicySettings { hedge: Some(hedge), ..PolicySettings::default() });
    let mirror = Mirror {
        pool: PoolRef::Pool(copies.clone()),
        share: Percent::whole(70),
        methods: ["GET", "POST", "DELETE"].map(Into::into).into(),
        timeout: TIMEOUT,
    };
    let traffic = Arc::new(TrafficSpec { mirror: Some(mirror), ..TrafficSpec::default() });
    let route = |app: usize| {
        let pool = PoolRef::App(AppId::parse(&format!("app{app}")).unwrap());
        let id = RouteId::parse(&format!("route{app}")).unwrap();
        let mut route = RouteSpec::new(id, HostPattern::parse(host(app, NUMBER).as_str()).unwrap(), pool);
        route.policies = [PolicyRef::Inline(settings.clone())].into();
        route.traffic = Some(traffic.clone());
        Arc::new(route)
    };
    let endpoint = |number: u8| {
        let target = Target::parse(&format!("http://10.0.{COPIES}.{number}:80")).unwrap();
        let id = InstanceId::of_endpoint(&copies, &target);
        EndpointSpec { id, target, weight: 1, health_check: HealthCheck::default() }
    };
    let pool = PoolSpec {
        endpoints: [endpoint(1), endpoint(2)].into(),
        id: copies.clone(),
        traffic: Default::default(),
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    };
    let routes = (0..APPS as usize).map(route).collect();
    let set = Arc::new(OperatorSet { pools: vec![pool], routes, ..OperatorSet::default() });
    Change::ReplaceOwned(Arc::new(Replacement { owner: Owner::File, set, expect: None, version: None }))
}

/// Whether an endpoint gets copies.
pub(super) fn is_of_copies(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V4(address) if address.ip().octets()[2] == COPIES)
}

/// Checks each copy, and serves it badly; on a calm day, never.
pub(super) async fn serve(engine: Rc<Engine>, case: Rc<Case>, end: End) {
    let end = Rc::new(end);
    let mut inbox = Inbox::new(end.clone());
    loop {
        let head = match inbox.head().await {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(error) => return engine.violate(format!("a copy has {error}")),
        };
        let id = head.get("x-sim-id").and_then(|id| id.parse::<usize>().ok());
        let is_good = id.is_some_and(|id| {
            let requests = case.requests.borrow();
            let request = &requests[id];
            head.first == format!("{} /r/{id} HTTP/1.1", request.method)
                && head.get("host") == Some(&request.host)
        });
        engine.check(is_good && head.get("x-mirrored") == Some("1"), || format!("a copy {:?}", head.first));
        let framing = head.framing().ok().flatten().unwrap_or(Framing::Length(0));
        let Ok((_, true)) = inbox.body(framing).await else { return };
        let way = if case.is_calm { 0 } else { engine.below(6) };
        let body = vec![b'c'; engine.below(600_000) as usize];
        let head = format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n", body.len());
        match way {
            0 => {
                while inbox.more().await {}
                return;
            }
            1 => return end.abort(),
            2 => engine.sleep(engine.below(2 * TIMEOUT.as_micros() as u64)).await,
            3 => {
                end.send(b"nonsense\r\n\r\n").await;
                return;
            }
            4 => {
                end.send(head.as_bytes()).await;
                end.send(&body[..body.len() / 2]).await;
                return;
            }
            _ => {}
        }
        if !(end.send(head.as_bytes()).await && end.send(&body).await) {
            return;
        }
    }
}
