//! What is published for certificates, and when those who wait for it are told.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::task::{Wake, Waker};

use ringway_bridge::SlotReceiver;
use ringway_model::limits::CHALLENGES_MAX;
use ringway_model::{AppId, AppSpec, Change, Desired, DomainKind, DomainSpec, Timestamp};
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::Snapshot;

use super::*;
use crate::engine_tests::{CORE, at, engine_with};

fn host() -> Hostname {
    Hostname::parse("app.test").unwrap()
}

/// `app.test` leads to an app.
fn desired() -> Desired {
    let app = AppSpec::new(AppId::parse("app").unwrap());
    let domain = DomainSpec {
        name: host(),
        app: app.id.clone(),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
        certificate: None,
        client_auth: None,
    };
    let change = Change::Register { app, instance: None, domain: Some(domain) };
    Desired::default().apply(&change, Timestamp(0)).unwrap().desired
}

/// The engine with a core that has taken its first snapshot.
fn stage() -> (Engine, SlotReceiver<Arc<Snapshot>>) {
    let (mut engine, snapshots, _) = engine_with(desired());
    take(&mut engine, &snapshots, 1);
    (engine, snapshots)
}

/// The core takes what is there and says so.
fn take(engine: &mut Engine, snapshots: &SlotReceiver<Arc<Snapshot>>, millis: u64) -> Arc<Snapshot> {
    let snapshot = snapshots.take().unwrap();
    engine.handle_report(Report::Applied { core: CORE, serial: snapshot.serial }, at(millis));
    engine.advance(at(millis));
    snapshot
}

fn result(answer: &Rc<RefCell<Acknowledged>>) -> Option<Result<(), Unpublished>> {
    answer.borrow().result
}

fn deadline() -> u64 {
    u64::try_from(APPLY_DEADLINE.as_millis()).unwrap()
}

#[test]
fn a_certificate_is_told_when_every_core_serves_it() {
    let (mut engine, snapshots) = stage();
    let answer = engine.handle_certificate(&host(), Some(7), at(10)).unwrap();
    engine.advance(at(10));
    assert_eq!(result(&answer), None);
    let snapshot = take(&mut engine, &snapshots, 11);
    assert_eq!(result(&answer), Some(Ok(())));
    assert_eq!(snapshot.virtual_host("app.test").unwrap().tls.certificate, Some(CertificateVersion(7)));

    // The same again changes nothing, and waits for nobody.
    let answer = engine.handle_certificate(&host(), Some(7), at(12)).unwrap();
    engine.advance(at(12));
    assert_eq!(result(&answer), Some(Ok(())));
    assert!(snapshots.take().is_none());

    let answer = engine.handle_certificate(&host(), None, at(13)).unwrap();
    let snapshot = take(&mut engine, &snapshots, 14);
    assert_eq!(
        (result(&answer), snapshot.virtual_host("app.test").unwrap().tls.certificate),
        (Some(Ok(())), None)
    );
}

#[test]
fn whoever_waits_is_woken() {
    struct Bell(std::sync::atomic::AtomicUsize);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let (mut engine, snapshots) = stage();
    let answer = engine.handle_default_certificate(Some(3), at(10)).unwrap();
    let bell = Arc::new(Bell(0.into()));
    answer.borrow_mut().waker = Some(Waker::from(Arc::clone(&bell)));
    let snapshot = take(&mut engine, &snapshots, 11);
    assert_eq!(snapshot.default_certificate, Some(CertificateVersion(3)));
    assert_eq!(bell.0.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn a_core_that_is_slow_is_not_waited_for_beyond_the_deadline() {
    let (mut engine, snapshots) = stage();
    let answer = engine.handle_certificate(&host(), Some(7), at(10)).unwrap();
    engine.advance(at(10 + deadline() - 1));
    assert_eq!(result(&answer), None);
    engine.advance(at(10 + deadline()));
    assert_eq!(result(&answer), Some(Err(Unpublished::SlowCores)));
    // It lags now, and is not waited for; that not all have it is said at once.
    let answer = engine.handle_certificate(&host(), Some(7), at(15 + deadline())).unwrap();
    engine.advance(at(15 + deadline()));
    assert_eq!(result(&answer), Some(Err(Unpublished::SlowCores)));
    let snapshot = take(&mut engine, &snapshots, 20 + deadline());
    assert_eq!(
        snapshot.virtual_host("app.test").unwrap().tls.certificate,
        Some(CertificateVersion(7)),
        "wanted all the same"
    );
}

#[test]
fn a_domain_that_is_not_registered_gets_none() {
    let (mut engine, snapshots) = stage();
    let other = Hostname::parse("other.test").unwrap();
    assert_eq!(engine.handle_certificate(&other, Some(7), at(10)).err(), Some(Unpublished::UnknownDomain));
    assert!(snapshots.take().is_none());
    // That it has none any more may be said at any time.
    assert!(engine.handle_certificate(&other, None, at(11)).is_ok());
}

#[test]
fn challenges_come_and_go_and_have_a_bound() {
    let (mut engine, snapshots) = stage();
    let answer = engine.handle_challenge("token-0", Some("key".into()), at(10)).unwrap();
    let snapshot = take(&mut engine, &snapshots, 11);
    assert_eq!(
        (result(&answer), snapshot.challenge("token-0").map(|key| &**key)),
        (Some(Ok(())), Some("key"))
    );
    for n in 1..CHALLENGES_MAX {
        assert!(engine.handle_challenge(&format!("token-{n}"), Some("key".into()), at(12)).is_ok());
    }
    assert_eq!(
        engine.handle_challenge("one-more", Some("key".into()), at(13)).err(),
        Some(Unpublished::Full)
    );
    assert!(engine.handle_challenge("token-0", None, at(14)).is_ok());
    assert!(engine.handle_challenge("one-more", Some("key".into()), at(15)).is_ok());
    let snapshot = take(&mut engine, &snapshots, 16);
    assert!(snapshot.challenge("token-0").is_none() && snapshot.challenge("one-more").is_some());
}

#[test]
fn nothing_is_published_at_the_end() {
    let (mut engine, _snapshots) = stage();
    engine.handle_shutdown(at(1_000).tick, None, at(10));
    assert_eq!(engine.handle_certificate(&host(), Some(7), at(11)).err(), Some(Unpublished::Stopping));
    assert_eq!(engine.handle_challenge("t", None, at(11)).err(), Some(Unpublished::Stopping));
    assert_eq!(engine.handle_default_certificate(None, at(11)).err(), Some(Unpublished::Stopping));
}

#[test]
fn the_loop_looks_again_at_the_deadline() {
    let mut publications = Publications::default();
    assert_eq!(publications.next_deadline(), Micros::NEVER);
    let answer = publications.wait(Serial(5), Micros(100));
    let due = Micros(100).after(APPLY_DEADLINE);
    assert_eq!(publications.next_deadline(), due);
    publications.release(|_| Reached::NotYet, Micros(due.0 - 1));
    assert_eq!(result(&answer), None);
    publications.release(|_| Reached::NotYet, due);
    assert_eq!(result(&answer), Some(Err(Unpublished::SlowCores)));
    assert_eq!(publications.next_deadline(), Micros::NEVER);
}
