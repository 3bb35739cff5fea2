//! The runner on a real runtime: with a scripted prober, and with real sockets.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Poll, Waker};

use ringway_model::{
    AppId, Generation, Health, HealthCheck, Owner, Probe, Target, TargetHost, Timestamp, limits,
};
use ringway_net::{RuntimeOptions, run};

use super::*;
use crate::probe::NetProber;
use crate::probe_result::Failure;
use crate::schedule::Plan;

/// An instance with one check a second and thresholds of one.
fn instance(id: &str, target: &str, generation: u64) -> Instance {
    Instance {
        weight: 1,
        id: InstanceId::parse(id).unwrap(),
        owner: Owner::Api,
        app: AppId::parse("shop").unwrap(),
        target: Target::parse(target).unwrap(),
        health_check: HealthCheck {
            probe: Probe::http("/health").unwrap(),
            port: None,
            interval: Some(limits::HEALTH_INTERVAL_MIN),
            timeout: None,
            unhealthy_threshold: NonZeroU8::new(1),
            healthy_threshold: NonZeroU8::new(1),
        },
        registered_at: Timestamp(0),
        generation: Generation(generation),
        draining: None,
    }
}

/// Queue of reported changes, to be awaited.
#[derive(Clone, Default)]
struct HealthChanges {
    queue: Rc<RefCell<VecDeque<HealthChange>>>,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl HealthChanges {
    fn push(&self, change: HealthChange) {
        self.queue.borrow_mut().push_back(change);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn next(&self) -> HealthChange {
        poll_fn(|cx| {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            self.queue.borrow_mut().pop_front().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn start(checker: &Checker, prober: impl Prober) -> HealthChanges {
    let changes = HealthChanges::default();
    let (running, queue) = (checker.clone(), changes.clone());
    spawn(running.run(prober, move |change| queue.push(change)), |panic| panic!("{panic:?}"));
    changes
}

/// Prober that panics the first time, and then succeeds or fails by port.
#[derive(Default)]
struct Scripted {
    has_panicked: Cell<bool>,
}

impl Prober for Scripted {
    async fn probe(&self, Plan { target, .. }: &Plan) -> ProbeResult {
        assert!(self.has_panicked.replace(true), "a probe that panics, as a test");
        match target.host() {
            TargetHost::Address(_) if target.port() == 1 => ProbeResult::Healthy,
            _ => ProbeResult::Failed(Failure::Refused),
        }
    }
}

#[test]
fn instances_added_later_are_checked_and_a_panic_stops_nothing() {
    run(RuntimeOptions::default(), |_| async {
        let checker = Checker::new(Defaults::default());
        let changes = start(&checker, Scripted::default());
        checker.set_targets([&instance("a", "http://10.0.0.1:1", 1)]);

        let change = changes.next().await;
        assert_eq!((change.instance.as_str(), change.health), ("a", Health::Healthy));

        let b = instance("b", "http://10.0.0.1:2", 2);
        checker.upsert(&b);
        let change = changes.next().await;
        assert_eq!((change.instance.as_str(), change.health), ("b", Health::Unhealthy));
        assert_eq!((change.generation, change.reason), (Generation(2), Some(Failure::Refused)));
        assert_eq!(checker.status("b").unwrap().health, Health::Unhealthy);

        checker.remove(&b.id);
        assert_eq!((checker.len(), checker.status("b")), (1, None));
        assert_eq!(checker.shared.checks.borrow().in_flight(), 0);
    })
    .unwrap();
}

#[test]
fn a_real_instance_fails_and_recovers() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let status = Arc::new(AtomicU16::new(200));
    let served = status.clone();
    // Blocks in accept until the test process ends.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.extend_from_slice(&byte);
            }
            let status = served.load(Ordering::Relaxed);
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        }
    });
    run(RuntimeOptions::default(), |_| async {
        let checker = Checker::new(Defaults::default());
        let changes = start(&checker, NetProber::new());
        checker.upsert(&instance("a", &target, 1));
        checker.upsert(&instance("b", &target, 2));
        for (code, health, reason) in [
            (200, Health::Healthy, None),
            (503, Health::Unhealthy, Some(Failure::Status(503))),
            (301, Health::Healthy, None),
        ] {
            status.store(code, Ordering::Relaxed);
            for instance in ["a", "b"] {
                let change = changes.next().await;
                assert_eq!(
                    (change.instance.as_str(), change.health, change.reason),
                    (instance, health, reason)
                );
            }
        }
        let status = checker.status("a").unwrap();
        assert_eq!(status.last_failure.unwrap().0, Failure::Status(503));
        assert!(status.last_checked_at.unwrap() >= status.last_failure.unwrap().1);
    })
    .unwrap();
}
