//! scratch
#![allow(clippy::unwrap_used, missing_docs)]
use ringway_model::*;
use ringway_traffic::compile::{Compiler, Settings};
use std::sync::Arc;
fn main() {
    let mut args = std::env::args().skip(1);
    let (listen, origin) = (args.next().unwrap(), args.next().unwrap());
    let driver = args.next().map_or(ringway_net::DriverChoice::Auto, |d| d.parse().unwrap());
    let cpu = args.next().map(|c| c.parse().unwrap());
    let app = AppId::parse("app").unwrap();
    let desired = Desired::default()
        .apply(
            &Change::Register {
                app: AppSpec { id: app.clone(), name: None },
                instance: Some(InstanceSpec {
                    id: InstanceId::parse("i").unwrap(),
                    app: app.clone(),
                    target: Target::parse(&origin).unwrap(),
                    health_check: HealthCheck::default(),
                }),
                domain: Some(DomainSpec {
                    name: Hostname::parse("localhost").unwrap(),
                    app,
                    tenant: Some(TenantId::parse("t").unwrap()),
                    kind: DomainKind::Custom,
                    cname_target: None,
                }),
            },
            Timestamp(0),
        )
        .unwrap()
        .desired;
    let mut compiler = Compiler::new(Settings { hash_key: 1 });
    let compiled = compiler.compile_all(&desired);
    let snapshot = compiler.commit(compiled).unwrap().snapshot;
    let (waker, wake) = ringway_bridge::wake_pair().unwrap();
    let (_tx, snapshots) = ringway_bridge::slot(waker.clone());
    let (_otx, orders) = ringway_bridge::mailbox(16, waker);
    let (reports, _rrx) = ringway_bridge::blocking_mailbox(16);
    let mut registry = ringway_telemetry::Registry::new();
    let telemetry = ringway_telemetry::Telemetry::new(registry.add_core(CoreId(0)), None, None);
    let listener = ringway_net::bind_reuseport(listen.parse().unwrap(), 4096).unwrap();
    ringway_worker::run(
        ringway_worker::Parts {
            id: CoreId(0),
            cpu,
            driver,
            listeners: vec![listener],
            snapshot,
            snapshots,
            orders,
            wake,
            reports,
            telemetry,
            filters: Default::default(),
            settings: Arc::new(Default::default()),
        },
        |d| eprintln!("driver {d}"),
    )
    .unwrap();
}
