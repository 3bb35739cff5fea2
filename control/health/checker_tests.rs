//! The runner on a real runtime: with a scripted prober, and with real sockets.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ringway_model::{
    AppId, Generation, Health, HealthCheck, Owner, Probe, Target, TargetHost, Timestamp, limits,
};
use ringway_net::{RuntimeOptions, run};

use super::*;
use crate::answer::Failure;
use crate::probe::NetProber;
use crate::schedule::Plan;

/// Checked once a second; one answer decides.
fn instance(id: &str, target: &str, generation: u64) -> Instance {
    Instance {
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

/// Verdicts as they come, to be awaited.
#[derive(Clone, Default)]
struct Verdicts {
    queue: Rc<RefCell<VecDeque<Verdict>>>,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Verdicts {
    fn push(&self, verdict: Verdict) {
        self.queue.borrow_mut().push_back(verdict);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn next(&self) -> Verdict {
        poll_fn(|cx| {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            self.queue.borrow_mut().pop_front().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn start(checker: &Checker, prober: impl Prober) -> Verdicts {
    let verdicts = Verdicts::default();
    let (running, told) = (checker.clone(), verdicts.clone());
    spawn(running.run(prober, move |verdict| told.push(verdict)), |panic| panic!("{panic:?}"));
    verdicts
}

/// Panics the first time, answers by port after that.
#[derive(Default)]
struct Scripted {
    has_panicked: Cell<bool>,
}

impl Prober for Scripted {
    async fn probe(&self, Plan { target, .. }: &Plan) -> Answer {
        assert!(self.has_panicked.replace(true), "a probe that panics, as a test");
        match target.host() {
            TargetHost::Address(_) if target.port() == 1 => Answer::Well,
            _ => Answer::Failed(Failure::Refused),
        }
    }
}

#[test]
fn instances_added_live_are_checked_and_a_panic_stops_nothing() {
    run(RuntimeOptions::default(), |_| async {
        let checker = Checker::new(Defaults::default());
        let verdicts = start(&checker, Scripted::default());
        checker.set_targets([&instance("a", "http://10.0.0.1:1", 1)]);

        let verdict = verdicts.next().await;
        assert_eq!((verdict.instance.as_str(), verdict.health), ("a", Health::Healthy));

        let b = instance("b", "http://10.0.0.1:2", 2);
        checker.upsert(&b);
        let verdict = verdicts.next().await;
        assert_eq!((verdict.instance.as_str(), verdict.health), ("b", Health::Unhealthy));
        assert_eq!((verdict.generation, verdict.reason), (Generation(2), Some(Failure::Refused)));
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
    let answered = status.clone();
    // Ends with the test's process: it waits in accept.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.extend_from_slice(&byte);
            }
            let status = answered.load(Ordering::Relaxed);
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        }
    });
    run(RuntimeOptions::default(), |_| async {
        let checker = Checker::new(Defaults::default());
        let verdicts = start(&checker, NetProber::new());
        checker.upsert(&instance("a", &target, 1));
        checker.upsert(&instance("b", &target, 2));
        for (answer, health, reason) in [
            (200, Health::Healthy, None),
            (503, Health::Unhealthy, Some(Failure::Status(503))),
            (301, Health::Healthy, None),
        ] {
            status.store(answer, Ordering::Relaxed);
            for instance in ["a", "b"] {
                let verdict = verdicts.next().await;
                assert_eq!(
                    (verdict.instance.as_str(), verdict.health, verdict.reason),
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
