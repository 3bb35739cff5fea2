#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, blocking_mailbox};
use ringway_model::FilePath;
use ringway_net::{RuntimeOptions, clock, join, spawn, yield_now};
use ringway_tls::ClientVerifier;

/// Secrets of a core, and the loader's ends of the mailboxes.
struct Bench {
    secrets: Rc<Secrets>,
    requests: MailboxReceiver<SecretRequest>,
    updates: MailboxSender<SecretUpdate>,
}

impl Bench {
    fn new() -> Self {
        let (sender, requests) = blocking_mailbox(16);
        let (updates, receiver) = blocking_mailbox(16);
        let source = SecretSource { requests: sender, updates: receiver };
        let secrets = Rc::new(Secrets::new(CoreId(0), Some(source)));
        Self { secrets, requests, updates }
    }

    fn requested(&self) -> Vec<u64> {
        self.requests.drain(100).map(|request| request.version).collect()
    }

    fn update(&self, version: u64, result: Result<Secret, LoadError>, now: Tick) {
        self.updates.send(SecretUpdate { key: key(), version, result }).unwrap();
        self.secrets.apply_updates(now, |_| {});
    }

    fn look_up(&self, version: u64, now: Tick) -> Poll<Result<u64, Missing>> {
        self.secrets.look_up(&key(), version, now, None).map_ok(|cached| cached.load)
    }
}

fn key() -> SecretKey {
    SecretKey::ClientCa(FilePath::parse("/etc/ca.pem").unwrap())
}

fn ca() -> Secret {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap();
    Secret::ClientCa(ClientVerifier::from_pem(certificate.pem().as_bytes()).unwrap())
}

fn later(by: Duration) -> Tick {
    Tick(1000).after(by)
}

const NOW: Tick = Tick(1000);

#[test]
fn requests_a_secret_once_for_all_waiters() {
    let bench = Bench::new();
    assert_eq!(bench.look_up(1, NOW), Poll::Pending);
    assert_eq!(bench.look_up(1, NOW), Poll::Pending);
    assert_eq!(bench.requested(), [1]);
    bench.update(1, Ok(ca()), NOW);
    assert_eq!(bench.look_up(1, NOW), Poll::Ready(Ok(1)));
    assert_eq!(bench.requested(), [] as [u64; 0]);
}

#[test]
fn a_newer_version_is_requested_and_replaces_the_older() {
    let bench = Bench::new();
    let _ = bench.look_up(1, NOW);
    bench.update(1, Ok(ca()), NOW);
    assert_eq!(bench.look_up(2, NOW), Poll::Pending);
    bench.update(2, Ok(ca()), NOW);
    assert_eq!(bench.look_up(2, NOW), Poll::Ready(Ok(2)));
    assert_eq!(bench.requested(), [1, 2]);
}

#[test]
fn a_pushed_secret_is_served_at_once_and_to_older_snapshots() {
    let bench = Bench::new();
    bench.update(2, Ok(ca()), NOW);
    assert_eq!(
        bench.look_up(2, NOW),
        Poll::Pending,
        "a push for a secret that was never requested is dropped"
    );
    bench.update(2, Ok(ca()), NOW);
    bench.update(3, Ok(ca()), NOW);
    for version in [2, 3] {
        assert_eq!(bench.look_up(version, NOW), Poll::Ready(Ok(2)));
    }
    // A late response to an older request changes nothing.
    bench.update(2, Ok(ca()), NOW);
    assert_eq!(bench.look_up(3, NOW), Poll::Ready(Ok(2)));
    assert_eq!(bench.requested(), [2]);
}

#[test]
fn serves_the_older_version_while_the_newer_fails_to_load() {
    let bench = Bench::new();
    let _ = bench.look_up(1, NOW);
    bench.update(1, Ok(ca()), NOW);
    let _ = bench.look_up(2, NOW);
    bench.update(2, Err(LoadError::new("the file is cut")), NOW);
    assert_eq!(bench.look_up(2, NOW), Poll::Ready(Ok(1)));
    assert_eq!(bench.requested(), [1, 2]);
    assert_eq!(bench.look_up(2, later(crate::limits::SECRET_RETRY)), Poll::Pending);
    assert_eq!(bench.requested(), [2]);
}

#[test]
fn a_failed_load_is_not_requested_again_before_the_retry() {
    let bench = Bench::new();
    let error = LoadError::new("there is no such file");
    let _ = bench.look_up(1, NOW);
    bench.update(1, Err(error.clone()), NOW);
    for _ in 0..10 {
        assert_eq!(bench.look_up(1, NOW), Poll::Ready(Err(Missing::Failed(error.clone()))));
    }
    assert_eq!(bench.requested(), [1]);
}

#[test]
fn a_secret_without_versions_is_requested_again_when_it_is_old() {
    let bench = Bench::new();
    let _ = bench.look_up(0, NOW);
    bench.update(0, Ok(ca()), NOW);
    let almost = later(ringway_model::limits::SECRET_AGE_MAX - Duration::from_millis(1));
    assert_eq!(bench.look_up(0, almost), Poll::Ready(Ok(1)));
    assert_eq!(bench.requested(), [0]);
    let old = later(ringway_model::limits::SECRET_AGE_MAX);
    assert_eq!(bench.look_up(0, old), Poll::Pending, "the file may have been removed");
    assert_eq!(bench.look_up(0, old), Poll::Pending);
    assert_eq!(bench.requested(), [0], "requested once");
    bench.update(0, Err(LoadError::new("half written")), old);
    assert_eq!(bench.look_up(0, old), Poll::Ready(Ok(1)), "a failed load changes nothing");
    bench.update(0, Ok(ca()), old);
    assert_eq!(bench.look_up(0, old), Poll::Ready(Ok(2)));
}

#[test]
fn without_a_loader_all_secrets_are_missing() {
    let secrets = Secrets::new(CoreId(0), None);
    let found = secrets.look_up(&key(), 1, NOW, None).map_ok(|cached| cached.load);
    assert_eq!(found, Poll::Ready(Err(Missing::TimedOut)));
    let bench = Bench::new();
    drop(bench.requests);
    let found = bench.secrets.look_up(&key(), 1, NOW, None).map_ok(|cached| cached.load);
    assert_eq!(found, Poll::Ready(Err(Missing::TimedOut)));
}

#[test]
fn one_update_wakes_all_waiters() {
    let bench = Bench::new();
    let main = async {
        let served = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (secrets, served) = (bench.secrets.clone(), served.clone());
            let task = async move {
                secrets.get(&key(), 1, clock::now(), Tick::NEVER).await.unwrap();
                served.update(|count| count + 1);
            };
            spawn(task, |panic| panic!("{panic:?}"));
        }
        yield_now().await;
        assert_eq!((bench.requested(), served.get()), (vec![1], 0));
        bench.update(1, Ok(ca()), clock::now());
        while served.get() < 3 {
            yield_now().await;
        }
    };
    ringway_net::run(RuntimeOptions::default(), |_| main).unwrap();
}

#[test]
fn waits_for_a_stalled_loader_until_the_deadline() {
    let bench = Bench::new();
    let main = async {
        let now = clock::now();
        let soon = now.after(Duration::from_millis(50));
        let none = bench.secrets.get(&key(), 1, now, soon).await;
        assert_eq!(none.map(|cached| cached.load), Err(Missing::TimedOut));
        bench.update(1, Ok(ca()), now);
        // With an older version cached, the newer one is waited for briefly.
        let (cached, ()) = join(bench.secrets.get(&key(), 2, now, Tick::NEVER), async {}).await;
        assert_eq!(cached.map(|cached| cached.load), Ok(1));
    };
    ringway_net::run(RuntimeOptions::default(), |_| main).unwrap();
}
