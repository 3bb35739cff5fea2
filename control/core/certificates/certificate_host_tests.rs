//! Publication of certificate updates, and the end of the wait for their acknowledgements.
#![allow(clippy::unwrap_used)]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use ringway_bridge::SlotReceiver;
use ringway_model::limits::CHALLENGES_MAX;
use ringway_model::{AppId, AppSpec, Change, Desired, DomainKind, DomainSpec, Timestamp};
use ringway_net::sync::Receiver;
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{CertificateVersion, Snapshot};

use super::*;
use crate::engine::Engine;
use crate::engine_tests::{CORE, at, engine_with};
use crate::limits::APPLY_DEADLINE;

fn host() -> Hostname {
    Hostname::parse("app.test").unwrap()
}

/// `app.test` leads to an app.
fn desired() -> Desired {
    let app = AppSpec::new(AppId::parse("app").unwrap());
    let domain = DomainSpec {
        policy: None,
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

/// An engine with a core that has acknowledged its first snapshot.
fn engine_with_core() -> (Engine, SlotReceiver<Arc<Snapshot>>) {
    let (mut engine, snapshots, _) = engine_with(desired());
    take(&mut engine, &snapshots, 1);
    (engine, snapshots)
}

/// The core takes the newest snapshot and acknowledges it.
fn take(engine: &mut Engine, snapshots: &SlotReceiver<Arc<Snapshot>>, millis: u64) -> Arc<Snapshot> {
    let snapshot = snapshots.take().unwrap();
    engine.handle_report(Report::Applied { core: CORE, serial: snapshot.serial }, at(millis));
    engine.advance(at(millis));
    snapshot
}

type Waiting = Receiver<Acknowledged>;

/// Result of a wait, if it has ended.
fn result(waiting: &mut Waiting) -> Option<Acknowledged> {
    match Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result.unwrap()),
        Poll::Pending => None,
    }
}

fn publish_certificate(
    engine: &mut Engine,
    host: &Hostname,
    version: Option<u64>,
    millis: u64,
) -> Result<Waiting, PublishError> {
    engine.publish_certificates(&CertificateUpdate::Domain { host, version }, at(millis))
}

fn publish_default(engine: &mut Engine, version: Option<u64>, millis: u64) -> Result<Waiting, PublishError> {
    engine.publish_certificates(&CertificateUpdate::Default { version }, at(millis))
}

fn publish_challenge(
    engine: &mut Engine,
    token: &str,
    key_authorization: Option<&str>,
    millis: u64,
) -> Result<Waiting, PublishError> {
    let key_authorization = key_authorization.map(Arc::from);
    engine.publish_certificates(&CertificateUpdate::Challenge { token, key_authorization }, at(millis))
}

fn deadline() -> u64 {
    u64::try_from(APPLY_DEADLINE.as_millis()).unwrap()
}

#[test]
fn a_publication_is_confirmed_once_every_core_serves_it() {
    let (mut engine, snapshots) = engine_with_core();
    let mut waiting = publish_certificate(&mut engine, &host(), Some(7), 10).unwrap();
    engine.advance(at(10));
    assert_eq!(result(&mut waiting), None);
    let snapshot = take(&mut engine, &snapshots, 11);
    assert_eq!(result(&mut waiting), Some(Acknowledged::ByAll));
    assert_eq!(snapshot.virtual_host("app.test").unwrap().tls.certificate, Some(CertificateVersion(7)));

    // A repetition publishes nothing and needs no acknowledgement.
    let mut waiting = publish_certificate(&mut engine, &host(), Some(7), 12).unwrap();
    engine.advance(at(12));
    assert_eq!(result(&mut waiting), Some(Acknowledged::ByAll));
    assert!(snapshots.take().is_none());

    let mut waiting = publish_certificate(&mut engine, &host(), None, 13).unwrap();
    let snapshot = take(&mut engine, &snapshots, 14);
    assert_eq!(
        (result(&mut waiting), snapshot.virtual_host("app.test").unwrap().tls.certificate),
        (Some(Acknowledged::ByAll), None)
    );
}

#[test]
fn a_slow_core_is_not_waited_for_beyond_the_deadline() {
    let (mut engine, snapshots) = engine_with_core();
    let mut waiting = publish_certificate(&mut engine, &host(), Some(7), 10).unwrap();
    engine.advance(at(10 + deadline() - 1));
    assert_eq!(result(&mut waiting), None);
    engine.advance(at(10 + deadline()));
    assert_eq!(result(&mut waiting), Some(Acknowledged::NotByAll));
    // The core lags now and is not waited for; the incomplete result comes at once.
    let mut waiting = publish_certificate(&mut engine, &host(), Some(7), 15 + deadline()).unwrap();
    engine.advance(at(15 + deadline()));
    assert_eq!(result(&mut waiting), Some(Acknowledged::NotByAll));
    let snapshot = take(&mut engine, &snapshots, 20 + deadline());
    assert_eq!(
        snapshot.virtual_host("app.test").unwrap().tls.certificate,
        Some(CertificateVersion(7)),
        "published anyway"
    );
}

#[test]
fn a_domain_that_is_not_registered_gets_no_certificate() {
    let (mut engine, snapshots) = engine_with_core();
    let other = Hostname::parse("other.test").unwrap();
    assert_eq!(
        publish_certificate(&mut engine, &other, Some(7), 10).err(),
        Some(PublishError::UnknownDomain)
    );
    assert!(snapshots.take().is_none());
    // A removal is allowed at any time.
    assert!(publish_certificate(&mut engine, &other, None, 11).is_ok());
}

#[test]
fn challenges_are_published_removed_and_bounded() {
    let (mut engine, snapshots) = engine_with_core();
    let mut waiting = publish_challenge(&mut engine, "token-0", Some("key"), 10).unwrap();
    let snapshot = take(&mut engine, &snapshots, 11);
    assert_eq!(
        (result(&mut waiting), snapshot.challenge("token-0").map(|key| &**key)),
        (Some(Acknowledged::ByAll), Some("key"))
    );
    for n in 1..CHALLENGES_MAX {
        assert!(publish_challenge(&mut engine, &format!("token-{n}"), Some("key"), 12).is_ok());
    }
    assert_eq!(publish_challenge(&mut engine, "one-more", Some("key"), 13).err(), Some(PublishError::Full));
    assert!(publish_challenge(&mut engine, "token-0", None, 14).is_ok());
    assert!(publish_challenge(&mut engine, "one-more", Some("key"), 15).is_ok());
    let snapshot = take(&mut engine, &snapshots, 16);
    assert!(snapshot.challenge("token-0").is_none() && snapshot.challenge("one-more").is_some());
}

#[test]
fn nothing_is_published_during_shutdown() {
    let (mut engine, _snapshots) = engine_with_core();
    engine.handle_shutdown(at(1_000).tick, None, at(10));
    assert_eq!(publish_certificate(&mut engine, &host(), Some(7), 11).err(), Some(PublishError::Stopping));
    assert_eq!(publish_challenge(&mut engine, "t", None, 11).err(), Some(PublishError::Stopping));
    assert_eq!(publish_default(&mut engine, None, 11).err(), Some(PublishError::Stopping));
}

#[test]
fn the_default_certificate_is_published() {
    let (mut engine, snapshots) = engine_with_core();
    let mut waiting = publish_default(&mut engine, Some(3), 10).unwrap();
    let snapshot = take(&mut engine, &snapshots, 11);
    assert_eq!(snapshot.default_certificate, Some(CertificateVersion(3)));
    assert_eq!(result(&mut waiting), Some(Acknowledged::ByAll));
}
